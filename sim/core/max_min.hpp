// Weighted max-min fair rates of flows over several shared resources: an NVSwitch domain, a fat tree, kernels
// that share SMs and HBM at once. A rate is max-min fair when no flow's rate / weight can grow without
// lowering that of a flow that has no more (D. Bertsekas and R. Gallager, "Data Networks", 2nd ed.,
// section 6.5.2).
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace moesim::core {

// A flow uses `coefficient` units of the resource for each unit of its rate. Several uses of one resource add
// up.
struct ResourceUse {
  std::uint32_t resource = 0;  // index into the capacities
  double coefficient = 1.0;
};

// `multiplicity` identical flows: the same uses, bound and weight.
struct FlowClass {
  std::vector<ResourceUse> uses;
  double bound = std::numeric_limits<double>::infinity();  // of the rate of one flow
  double weight = 1.0;
  std::int64_t multiplicity = 1;
};

// The weighted max-min fair rate of one flow of each class, by progressive filling: all rates grow together
// in proportion to their weights; a flow stops at its bound or when one of its resources is full.
// Deterministic: classes and resources are visited in index order, and equal levels are compared exactly. A
// few passes over all uses for each resource that fills up. Throws InvariantError for an unknown resource, a
// capacity or coefficient that is negative or not finite, a weight that is not positive and finite, a
// negative bound, a multiplicity below 1, or a flow that nothing limits.
[[nodiscard]] std::vector<double> max_min_rates(std::span<const double> capacities,
                                                std::span<const FlowClass> flows);

// The certificate: true if the rates are not negative, no flow passes its bound, no resource is over its
// capacity, and each flow is at its bound or uses a full resource on which no flow has a higher rate /
// weight; all within the relative tolerance. Only the max-min fair rates pass. Throws as max_min_rates, or if
// there is not one rate a class.
[[nodiscard]] bool is_max_min_fair(std::span<const double> capacities, std::span<const FlowClass> flows,
                                   std::span<const double> rates, double tolerance = 1e-9);

}  // namespace moesim::core
