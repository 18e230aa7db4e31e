// The choice of experts, counted.
#pragma once

#include <cstdint>
#include <span>

#include "models/reference/probe.hpp"
#include "models/routing/gate/gate.hpp"

namespace moesim::reference {

// gate::choose() with its counts given to a probe: logits read (4 bytes each), experts and weights written (8
// bytes a choice), operations as gate::Operations. Throws as gate::choose().
template <Probe P>
[[nodiscard]] gate::Choice choose_experts(const gate::GateSpec& spec, std::span<const float> logits,
                                          std::int64_t tokens, std::int64_t experts,
                                          std::span<const float> bias, P& probe) {
  gate::Operations operations;
  gate::Choice choice = gate::choose(spec, logits, tokens, experts, bias, &operations);
  probe.flops(operations.flops);
  probe.specials(operations.specials);
  probe.touch(Operand::activations, 0, 0, tokens * experts, 32);
  probe.touch(Operand::result, 1, 0, tokens * spec.top_k, 64);
  return choice;
}

// The same for given experts, read from a frozen table by token id without weights of their own (arXiv
// 2106.04426): ids and rows of the table are read, nothing is computed.
template <Probe P>
[[nodiscard]] gate::Choice look_up_experts(std::span<const std::int32_t> table, std::int64_t experts,
                                           std::int64_t top_k, std::span<const std::int32_t> token_ids,
                                           P& probe) {
  gate::GateSpec spec;
  spec.top_k = top_k;
  const auto tokens = static_cast<std::int64_t>(token_ids.size());
  const auto given = gate::look_up(table, top_k, token_ids);
  probe.touch(Operand::activations, 0, 0, tokens, 32);
  for (std::int64_t t = 0; t < tokens; ++t) {
    probe.touch(Operand::activations, 1, token_ids[static_cast<std::size_t>(t)] * top_k, top_k, 32);
  }
  probe.touch(Operand::result, 2, 0, tokens * top_k, 64);
  return gate::weigh(spec, given, {}, tokens, experts);
}

}  // namespace moesim::reference
