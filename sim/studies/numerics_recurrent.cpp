#include "sim/studies/numerics_recurrent.hpp"

namespace moesim::studies {

namespace {

// Heads [head, head + count) of tokens [first, first + n) from [tokens, heads, width].
std::vector<float> head_part(const std::vector<float>& values, std::int64_t heads, std::int64_t width,
                             std::int64_t first, std::int64_t n, std::int64_t head, std::int64_t count) {
  std::vector<float> part;
  for (std::int64_t t = first; t < first + n; ++t) {
    const auto from = values.begin() + (t * heads + head) * width;
    part.insert(part.end(), from, from + count * width);
  }
  return part;
}

}  // namespace

DeltaProblem DeltaProblem::part(std::int64_t first, std::int64_t n, std::int64_t rank,
                                std::int64_t ranks) const {
  const std::int64_t key_heads = sizes.key_heads / ranks, value_heads = sizes.value_heads / ranks;
  const auto of_keys = [&](const std::vector<float>& x) {
    return head_part(x, sizes.key_heads, sizes.key_dim, first, n, rank * key_heads, key_heads);
  };
  const auto of_values = [&](const std::vector<float>& x, std::int64_t width) {
    return head_part(x, sizes.value_heads, width, first, n, rank * value_heads, value_heads);
  };
  DeltaProblem own;
  own.sizes = {n, key_heads, value_heads, sizes.key_dim, sizes.value_dim};
  own.options = options;
  own.queries = of_keys(queries);
  own.keys = of_keys(keys);
  own.values = of_values(values, sizes.value_dim);
  own.log_decay = of_values(log_decay, by_channel() ? sizes.key_dim : 1);
  own.beta = of_values(beta, 1);
  const std::int64_t size = sizes.key_dim * sizes.value_dim;
  own.state.assign(state.begin() + rank * value_heads * size,
                   state.begin() + (rank + 1) * value_heads * size);
  return own;
}

}  // namespace moesim::studies
