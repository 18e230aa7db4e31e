#include "models/reference/bounds_latent.hpp"

#include <cmath>

namespace moesim::reference::detail {

namespace {

// A number and by how much its computed counterpart may be off.
struct Estimate {
  double value = 0.0;
  double error = 0.0;
};

// A product of exact elements: sum a[i x a_stride] b[i x b_stride] over `depth` elements, each of which
// passes `roundings`; then stored.
Estimate product(const float* a, std::int64_t a_stride, const float* b, std::int64_t b_stride,
                 std::int64_t depth, double roundings, double store_unit) {
  Estimate sum;
  double magnitude = 0.0;
  for (std::int64_t i = 0; i < depth; ++i) {
    const double term = static_cast<double>(a[i * a_stride]) * static_cast<double>(b[i * b_stride]);
    sum.value += term;
    magnitude += std::fabs(term);
  }
  const auto n = static_cast<double>(depth);
  sum.error = gamma_f32(roundings) * magnitude + n * kTinyF32;
  sum.error += store_unit * (std::fabs(sum.value) + sum.error) + (store_unit > 0.0 ? kTinyBf16 : 0.0);
  return sum;
}

class LatentBounds {
 public:
  LatentBounds(const LatentInputs& in, bool absorbed) : in_(in), absorbed_(absorbed), rule_(in.options) {}

  AttentionBounds run() {
    AttentionBounds bounds;
    for (head_ = 0; head_ < in_.sizes.heads; ++head_) {
      if (!absorbed_) expand();
      for (std::int64_t i = 0; i < in_.queries; ++i) add_row(i, bounds);
    }
    return bounds;
  }

 private:
  [[nodiscard]] const float* weights(std::int64_t row) const {
    return in_.up.data() + (head_ * (in_.sizes.nope + in_.sizes.value) + row) * in_.sizes.latent;
  }
  [[nodiscard]] const float* query(std::int64_t i) const {
    return in_.query_rows.data() + (head_ * in_.queries + i) * in_.sizes.query_dim();
  }
  // Expanded keys and values of the head: [keys, nope + value].
  void expand() {
    expanded_.clear();
    for (std::int64_t j = 0; j < in_.keys; ++j) {
      for (std::int64_t n = 0; n < in_.sizes.nope + in_.sizes.value; ++n) {
        expanded_.push_back(product(weights(n), 1, in_.latent_rows.data() + j * in_.sizes.latent, 1,
                                    in_.sizes.latent, dot_roundings(in_.sizes.latent), in_.store_unit));
      }
    }
  }
  [[nodiscard]] const Estimate& expanded(std::int64_t j, std::int64_t n) const {
    return expanded_[static_cast<std::size_t>(j * (in_.sizes.nope + in_.sizes.value) + n)];
  }
  // The score of query i and key j from the part that is not rotated: pairs of an estimate and an exact
  // element.
  template <class Pair>
  void add_score(std::int64_t i, std::int64_t j, std::int64_t depth, const Pair& pair,
                 SoftmaxRow& row) const {
    double sum = 0.0, magnitude = 0.0, carried = 0.0;
    for (std::int64_t c = 0; c < depth; ++c) pair(c, sum, magnitude, carried);
    for (std::int64_t c = 0; c < in_.sizes.rope; ++c) {
      const double term =
          static_cast<double>(query(i)[in_.sizes.nope + c]) *
          static_cast<double>(in_.rope_rows[static_cast<std::size_t>(j * in_.sizes.rope + c)]);
      sum += term;
      magnitude += std::fabs(term);
    }
    row.scores.push_back(rule_.score<NoProbe>(sum));
    row.score_errors.push_back(score_error(magnitude + carried, row.scores.back(),
                                           dot_roundings(depth + in_.sizes.rope), in_.options) +
                               std::fabs(in_.options.scale) * carried);
  }
  static void take(const Estimate& estimate, double other, double& sum, double& magnitude, double& carried) {
    sum += estimate.value * other;
    magnitude += std::fabs(estimate.value * other);
    carried += estimate.error * std::fabs(other);
  }
  void add_row(std::int64_t i, AttentionBounds& bounds) {
    const LatentSizes& sizes = in_.sizes;
    SoftmaxRow row;
    const KeyRange range =
        visible_range(in_.options.mask, in_.options.first_query + i, common({0, in_.keys}, in_.options.only));
    std::vector<Estimate> absorbed;
    for (std::int64_t c = 0; absorbed_ && c < sizes.latent; ++c)
      absorbed.push_back(product(query(i), 1, weights(0) + c, sizes.latent, sizes.nope,
                                 static_cast<double>(sizes.nope), in_.store_unit));
    for (std::int64_t j = range.begin; j < range.end; ++j) {
      if (!custom_allows(in_.options.mask, i, j)) continue;
      const float* latent = in_.latent_rows.data() + j * sizes.latent;
      if (absorbed_) {
        add_score(
            i, j, sizes.latent,
            [&](std::int64_t c, double& sum, double& magnitude, double& carried) {
              take(absorbed[static_cast<std::size_t>(c)], latent[c], sum, magnitude, carried);
            },
            row);
        row.values.insert(row.values.end(), latent, latent + sizes.latent);
        continue;
      }
      add_score(
          i, j, sizes.nope,
          [&](std::int64_t n, double& sum, double& magnitude, double& carried) {
            take(expanded(j, n), query(i)[n], sum, magnitude, carried);
          },
          row);
      for (std::int64_t v = 0; v < sizes.value; ++v) {
        row.values.push_back(expanded(j, sizes.nope + v).value);
        row.value_errors.push_back(expanded(j, sizes.nope + v).error);
      }
    }
    row.sink = in_.sinks.empty() ? kMinusInfinity<double> : in_.sinks[static_cast<std::size_t>(head_)];
    row.tiles = tiles_of(range, in_.options.tile.keys);
    row.tile_keys = in_.options.tile.keys;
    row.value_dim = absorbed_ ? sizes.latent : sizes.value;
    row.bf16_probabilities = in_.options.bf16_probabilities;
    row.store_unit = absorbed_ ? in_.store_unit : in_.result_unit;
    std::vector<double> out(static_cast<std::size_t>(row.value_dim));
    bounds.lse.push_back(softmax_row_bounds(row, out.data()));
    if (absorbed_) out = raise(row, out);
    bounds.o.insert(bounds.o.end(), out.begin(), out.end());
  }
  // Through the up projection of the values.
  [[nodiscard]] std::vector<double> raise(const SoftmaxRow& row, const std::vector<double>& errors) const {
    const std::vector<double> exact = softmax_row(row);
    const double g = gamma_f32(dot_roundings(in_.sizes.latent));
    std::vector<double> out;
    for (std::int64_t v = 0; v < in_.sizes.value; ++v) {
      const float* up = weights(in_.sizes.nope + v);
      double bound = 0.0, sum = 0.0;
      for (std::size_t c = 0; c < exact.size(); ++c) {
        bound += std::fabs(static_cast<double>(up[c])) *
                 (errors[c] + g * (std::fabs(exact[c]) + errors[c]) + kTinyF32);
        sum += static_cast<double>(up[c]) * exact[c];
      }
      out.push_back(bound + in_.result_unit * (std::fabs(sum) + bound) +
                    (in_.result_unit > 0.0 ? kTinyBf16 : 0.0));
    }
    return out;
  }

  const LatentInputs& in_;
  bool absorbed_ = false;
  ScoreRule<double> rule_;
  std::int64_t head_ = 0;
  std::vector<Estimate> expanded_;
};

}  // namespace

AttentionBounds latent_bounds(const LatentInputs& in, bool absorbed) {
  return LatentBounds(in, absorbed).run();
}

}  // namespace moesim::reference::detail
