#include "models/reference/indexer.hpp"

#include <cmath>

namespace moesim::reference {

double attention_temperature(std::int64_t position, double floor_scale, double scale) {
  core::check(floor_scale > 0.0, "a temperature needs a floor scale above 0");
  const double steps = std::floor(static_cast<double>(position + 1) / floor_scale);
  return core::math::log(steps + 1.0) * scale + 1.0;
}

}  // namespace moesim::reference
