#include "models/reference/attention_tile.hpp"

namespace moesim::reference::detail {

double tanh_double(double x) {
  const double magnitude = std::fabs(x);
  if (magnitude < 0x1p-9) {
    // The fraction below loses digits near 0; the next term of the series is below 2^-63 of x there.
    const double square = x * x;
    return x * (1.0 - square * (1.0 / 3.0 - square * (2.0 / 15.0 - square * (17.0 / 315.0))));
  }
  const double decay = core::math::exp(-2.0 * magnitude);
  return std::copysign((1.0 - decay) / (1.0 + decay), x);
}

KeyRange united(std::span<const QueryRow> rows) {
  KeyRange all{0, 0};
  bool any = false;
  for (const QueryRow& row : rows) {
    if (row.visible.begin >= row.visible.end) continue;
    all.begin = any ? std::min(all.begin, row.visible.begin) : row.visible.begin;
    all.end = any ? std::max(all.end, row.visible.end) : row.visible.end;
    any = true;
  }
  return all;
}

KeyRange common(KeyRange a, KeyRange b) {
  const std::int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

}  // namespace moesim::reference::detail
