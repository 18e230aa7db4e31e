#include "models/reference/mla.hpp"

#include <cmath>

namespace moesim::reference {

namespace {

// x / sqrt(mean(x^2) + epsilon) x weight, in f32.
void norm_rows(std::span<float> rows, std::span<const float> weights, double epsilon) {
  const std::size_t width = weights.size();
  for (std::size_t at = 0; at + width <= rows.size(); at += width) {
    float sum = 0.0F;
    for (std::size_t i = 0; i < width; ++i) sum += rows[at + i] * rows[at + i];
    const float root = std::sqrt(sum / static_cast<float>(width) + static_cast<float>(epsilon));
    for (std::size_t i = 0; i < width; ++i) rows[at + i] = rows[at + i] / root * weights[i];
  }
}

}  // namespace

RotationTable rotation_table(std::span<const double> inverse_frequencies, double factor, std::int64_t first,
                             std::int64_t count, bool interleaved) {
  RotationTable table;
  table.pairs = std::ssize(inverse_frequencies);
  table.interleaved = interleaved;
  for (std::int64_t t = 0; t < count; ++t) {
    for (const double frequency : inverse_frequencies) {
      const double angle = static_cast<double>(first + t) * frequency;
      table.cosines.push_back(static_cast<float>(std::cos(angle) * factor));
      table.sines.push_back(static_cast<float>(std::sin(angle) * factor));
    }
  }
  return table;
}

void rotate_row(std::span<float> row, const RotationTable& table, std::int64_t index) {
  core::check(std::ssize(row) == 2 * table.pairs, "a rotation turns pairs of elements");
  for (std::int64_t i = 0; i < table.pairs; ++i) {
    const auto at = static_cast<std::size_t>(index * table.pairs + i);
    float& a = row[static_cast<std::size_t>(table.interleaved ? 2 * i : i)];
    float& b = row[static_cast<std::size_t>(table.interleaved ? 2 * i + 1 : i + table.pairs)];
    const float turned = a * table.cosines[at] - b * table.sines[at];
    b = a * table.sines[at] + b * table.cosines[at];
    a = turned;
  }
}

LatentProjection latent_projection(std::span<const float> x, const LatentWeights<float>& weights,
                                   const LatentSizes& sizes, const RotationTable& table, double epsilon) {
  core::check(sizes.hidden > 0 && sizes.rope == 2 * table.pairs, "the table must fit the rotated part");
  const std::int64_t tokens = std::ssize(x) / sizes.hidden;
  const bool direct = sizes.query_rank == 0;
  std::vector<float> low(x.begin(), x.end());
  if (!direct) {
    core::check(std::ssize(weights.query_norm) == sizes.query_rank, "a norm has a weight per element");
    low = project(x, tokens, sizes.hidden, weights.query_down, sizes.query_rank);
    norm_rows(low, weights.query_norm, epsilon);
  }
  const std::int64_t width = sizes.query_dim();
  const std::vector<float> queries =
      project(std::span<const float>(low), tokens, direct ? sizes.hidden : sizes.query_rank, weights.query_up,
              sizes.heads * width);
  const std::vector<float> cached =
      project(x, tokens, sizes.hidden, weights.key_value_down, sizes.cached_dim());
  core::check(std::ssize(weights.key_value_norm) == sizes.latent, "a norm has a weight per element");
  LatentProjection out;
  out.queries.resize(queries.size());
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t head = 0; head < sizes.heads; ++head) {
      float* row = out.queries.data() + (head * tokens + t) * width;
      std::copy_n(queries.data() + (t * sizes.heads + head) * width, width, row);
      rotate_row({row + sizes.nope, static_cast<std::size_t>(sizes.rope)}, table, t);
    }
    const float* from = cached.data() + t * sizes.cached_dim();
    out.latent_rows.insert(out.latent_rows.end(), from, from + sizes.latent);
    std::vector<float> rotated(from + sizes.latent, from + sizes.cached_dim());
    rotate_row(rotated, table, t);
    out.rope_rows.insert(out.rope_rows.end(), rotated.begin(), rotated.end());
  }
  norm_rows(out.latent_rows, weights.key_value_norm, epsilon);
  return out;
}

std::vector<float> latent_output(std::span<const float> heads_out, const LatentWeights<float>& weights,
                                 const LatentSizes& sizes) {
  const std::int64_t width = sizes.heads * sizes.value;
  core::check(width > 0 && std::ssize(heads_out) % width == 0, "there must be a result per head and token");
  const std::int64_t tokens = std::ssize(heads_out) / width;
  std::vector<float> joined(heads_out.size());
  for (std::int64_t head = 0; head < sizes.heads; ++head) {
    for (std::int64_t t = 0; t < tokens; ++t)
      std::copy_n(heads_out.data() + (head * tokens + t) * sizes.value, sizes.value,
                  joined.data() + t * width + head * sizes.value);
  }
  return project(std::span<const float>(joined), tokens, width, weights.output, sizes.hidden);
}

}  // namespace moesim::reference
