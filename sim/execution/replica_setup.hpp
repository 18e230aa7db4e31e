// What the time of a replica's step depends on.
#pragma once

#include <cstdint>
#include <memory>

#include "models/cost/kernel_library.hpp"
#include "models/cost/price.hpp"
#include "models/llm/architecture.hpp"
#include "models/llm/formats.hpp"
#include "models/llm/layout.hpp"
#include "models/routing/popularity.hpp"

namespace moesim::execution {

// Everything a replica's step time depends on.
struct ReplicaSetup {
  llm::Architecture architecture;
  llm::Layout layout;
  llm::Formats formats;
  cost::EngineProfile engine;
  hardware::Gpu gpu;
  std::shared_ptr<const cost::KernelLibrary> kernels;      // none: the first roofline prices operators
  std::shared_ptr<const cost::KernelLibrary> collectives;  // none: the costs of the engine's profile
  hardware::GroupProfile tensor_group;                     // tp ranks of one data-parallel rank
  hardware::GroupProfile data_group;                       // dp ranks with one tensor rank
  hardware::GroupProfile expert_group;                     // ranks of the expert all-to-all
  // dcp neighbours among the tensor ranks; not looked at when dcp is 1
  hardware::GroupProfile decode_context_group;
  routing::Popularity popularity = routing::LognormalPopularity{};
  cost::LinkLabels link_labels;
  std::uint64_t seed = 0;
  std::int64_t block_tokens = 64;  // attention is priced in whole blocks of context
};

struct StepOptions {
  bool memo = true;  // remember priced batches
  bool fold = true;  // price equal layers once; false: layer by layer, rank by rank
};

}  // namespace moesim::execution
