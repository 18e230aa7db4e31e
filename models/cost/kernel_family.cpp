#include "models/cost/kernel_family.hpp"

#include <algorithm>
#include <vector>

namespace moesim::cost {

std::span<const KernelFamily> kernel_families() {
  static const std::vector<KernelFamily> all = [] {
    std::vector<KernelFamily> families = {
        gemm_family(),
        moe_family(),
        attention_prefill_family(),
        attention_decode_family(),
        latent_prefill_family(),
        latent_decode_family(),
        stream_family(),
        delta_family(),
        latent_module_family(),
        collective_family(),
        custom_all_reduce_family(),
        exchange_family(),
    };
    std::sort(families.begin(), families.end(),
              [](const KernelFamily& a, const KernelFamily& b) { return a.name < b.name; });
    return families;
  }();
  return all;
}

const KernelFamily* find_family(std::string_view name) {
  for (const KernelFamily& family : kernel_families()) {
    if (family.name == name) return &family;
  }
  return nullptr;
}

}  // namespace moesim::cost
