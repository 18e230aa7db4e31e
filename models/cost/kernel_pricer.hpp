// The times of a step's operators from a kernel library: which shape of which family each operator is.
#pragma once

#include <optional>

#include "models/cost/kernel_library.hpp"
#include "models/llm/operator.hpp"

namespace moesim::cost {

// The time of an operator that stays on its device, or nullopt for operators that no family describes (choice
// of keys, sampling, embedding, sparse prompts) or whose family was not fitted: a roofline prices them.
//
// Operators of a step hold sums over their sequences, so sequences are taken to be equally long: attention is
// that of as many sequences of the mean length. Kernels of an MoE layer are parts of one measured whole: the
// choice of experts carries its routing, the two grouped products half of its start-up each.
[[nodiscard]] std::optional<LibraryTime> kernel_time(const llm::Operator& op, const KernelLibrary& library);

}  // namespace moesim::cost
