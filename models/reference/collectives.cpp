#include "models/reference/collectives.hpp"

#include <cmath>

namespace moesim::reference {

double reduce_error_bound(std::span<const double> values, ReduceOrder order, ReduceRounding rounding,
                          double storage) {
  constexpr double kFloat = 0x1p-24;
  const auto ranks = std::ssize(values);
  double magnitudes = 0.0;
  for (const double value : values) magnitudes += std::fabs(value);
  std::int64_t chain = std::max<std::int64_t>(ranks - 1, 0);
  if (order == ReduceOrder::tree) {
    chain = 0;
    while ((std::int64_t{1} << chain) < ranks) ++chain;
  }
  // f32 sums are rounded to f32 before they are rounded to a narrower type.
  const double narrow = storage > kFloat ? storage : 0.0;
  const double each = rounding == ReduceRounding::each_add ? kFloat + narrow + kFloat * narrow : kFloat;
  const double n = static_cast<double>(chain) * each;
  core::check(n < 1.0, "too many ranks for a bound");
  const double sums = n / (1.0 - n) * magnitudes;
  const double last = rounding == ReduceRounding::once ? narrow * (magnitudes + sums) : 0.0;
  return sums + last + static_cast<double>(ranks) * (narrow > 0.0 ? 0x1p-133 : 0.0);
}

}  // namespace moesim::reference
