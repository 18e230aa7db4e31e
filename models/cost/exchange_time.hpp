// What an exchange of rows sends.
#pragma once

#include "models/cost/kernel_shape.hpp"

namespace moesim::cost {

// Of one rank, on average over random choices of experts.
struct ExchangeTraffic {
  double rows = 0;        // that a rank sends, those to itself included
  double bytes = 0;       // of these rows: what benchmarks divide by the time
  double near_bytes = 0;  // of them, over links to other ranks of the domain (for `normal` the copies that
                          // arrivals from other domains are forwarded in as well)
  double far_bytes = 0;   // of them, over the network
};
[[nodiscard]] ExchangeTraffic exchange_traffic(const ExchangeShape& shape);

}  // namespace moesim::cost
