#include "models/reference/bounds_delta.hpp"

#include <algorithm>
#include <cmath>

namespace moesim::reference {

namespace {

constexpr double kSecondOrder = 1.01;

double norm(const double* x, std::int64_t n, std::int64_t stride) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) sum += x[i * stride] * x[i * stride];
  return core::math::sqrt(sum);
}

double absolute_dot(const double* a, const double* b, std::int64_t n, std::int64_t b_stride) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) sum += std::fabs(a[i] * b[i * b_stride]);
  return sum;
}

// What both forms share: exact normed inputs and the units of their errors.
struct DeltaExact {
  const DeltaInputs<float>& in;
  const DeltaSizes& sizes;
  std::vector<double> queries;
  std::vector<double> keys;
  std::int64_t channels = 1;
  double rho_k = 0.0;
  double rho_q = 0.0;
  double gamma_k = 0.0;

  DeltaExact(const DeltaInputs<float>& inputs, const DeltaSizes& shape, const DeltaOptions& options)
      : in(inputs), sizes(shape) {
    NoProbe none;
    detail::UnitInputs<double, float, NoProbe> unit(inputs, shape, options, none);
    queries = std::move(unit.queries);
    keys = std::move(unit.keys);
    channels = in.log_decay.size() == in.beta.size() ? 1 : sizes.key_dim;
    const auto width = static_cast<double>(sizes.key_dim);
    rho_k = detail::gamma_f32((width + 2.0) / 2.0 + 4.0);
    rho_q = detail::gamma_f32((width + 2.0) / 2.0 + 6.0);
    gamma_k = detail::gamma_f32(width);
  }
  [[nodiscard]] std::size_t gate(std::int64_t t, std::int64_t h) const {
    return static_cast<std::size_t>(t * sizes.value_heads + h);
  }
  [[nodiscard]] const double* key(std::int64_t t, std::int64_t h) const { return keys.data() + row(t, h); }
  [[nodiscard]] const double* query(std::int64_t t, std::int64_t h) const {
    return queries.data() + row(t, h);
  }
  [[nodiscard]] double value(std::int64_t t, std::int64_t h, std::int64_t c) const {
    return in.values[static_cast<std::size_t>(detail::value_row(sizes, t, h) + c)];
  }
  [[nodiscard]] double decay(std::int64_t t, std::int64_t h, std::int64_t channel) const {
    const std::size_t at = gate(t, h) * static_cast<std::size_t>(channels);
    return core::math::exp(in.log_decay[at + static_cast<std::size_t>(channels == 1 ? 0 : channel)]);
  }
  // max(1, |1 - beta |k|^2|)
  [[nodiscard]] double update_norm(std::int64_t t, std::int64_t h) const {
    const double length = norm(key(t, h), sizes.key_dim, 1);
    return std::max(1.0, std::fabs(1.0 - in.beta[gate(t, h)] * length * length));
  }

 private:
  [[nodiscard]] std::int64_t row(std::int64_t t, std::int64_t h) const {
    return (t * sizes.key_heads + h / (sizes.value_heads / sizes.key_heads)) * sizes.key_dim;
  }
};

// One column of the state of a head over all tokens.
void follow_column(const DeltaExact& exact, std::int64_t h, std::int64_t c, std::vector<double> column,
                   DeltaBounds& bounds) {
  const DeltaSizes& sizes = exact.sizes;
  const std::int64_t k = sizes.key_dim;
  const double u = detail::kUnitF32, tiny = 4.0 * detail::kTinyF32 * static_cast<double>(k);
  double error = 0.0;
  for (std::int64_t t = 0; t < sizes.tokens; ++t) {
    const double* key = exact.key(t, h);
    const double* query = exact.query(t, h);
    const double beta = exact.in.beta[exact.gate(t, h)], key_norm = norm(key, k, 1);
    double most = 0.0, prediction = 0.0;
    for (std::int64_t i = 0; i < k; ++i) {
      const double factor = exact.decay(t, h, i);
      most = std::max(most, factor);
      column[static_cast<std::size_t>(i)] *= factor;
      prediction += column[static_cast<std::size_t>(i)] * key[i];
    }
    const double decayed = most * error * (1.0 + 3.0 * u) + 3.0 * u * norm(column.data(), k, 1) + tiny;
    const double carried = key_norm * decayed;
    const double rounded = (exact.gamma_k + exact.rho_k) * (absolute_dot(key, column.data(), k, 1) + carried);
    const double difference = exact.value(t, h, c) - prediction, delta = beta * difference;
    const double delta_error =
        std::fabs(beta) * (rounded + 2.0 * u * (std::fabs(difference) + carried + rounded));
    for (std::int64_t i = 0; i < k; ++i) column[static_cast<std::size_t>(i)] += key[i] * delta;
    error = exact.update_norm(t, h) * decayed + key_norm * delta_error +
            (exact.rho_k + 2.0 * u) * key_norm * std::fabs(delta) + u * norm(column.data(), k, 1) + tiny;
    error *= 1.0 + 1e-6;  // terms of second order
    const double length = norm(query, k, 1);
    const double own = length * error + (exact.gamma_k + exact.rho_q) *
                                            (absolute_dot(query, column.data(), k, 1) + length * error);
    bounds.o[static_cast<std::size_t>(detail::value_row(sizes, t, h) + c)] = kSecondOrder * own + tiny;
  }
  for (std::int64_t i = 0; i < k; ++i)
    bounds.state[static_cast<std::size_t>((h * k + i) * sizes.value_dim + c)] = kSecondOrder * error;
}

DeltaBounds empty_bounds(const DeltaSizes& sizes) {
  DeltaBounds bounds;
  bounds.o.resize(static_cast<std::size_t>(sizes.tokens * sizes.value_heads * sizes.value_dim));
  bounds.state.resize(static_cast<std::size_t>(sizes.value_heads * sizes.key_dim * sizes.value_dim));
  return bounds;
}

}  // namespace

DeltaBounds delta_bounds(const DeltaInputs<float>& in, const DeltaSizes& sizes, const DeltaOptions& options,
                         std::span<const float> state) {
  const DeltaExact exact(in, sizes, options);
  DeltaBounds bounds = empty_bounds(sizes);
  for (std::int64_t h = 0; h < sizes.value_heads; ++h) {
    for (std::int64_t c = 0; c < sizes.value_dim; ++c) {
      std::vector<double> column;
      for (std::int64_t i = 0; i < sizes.key_dim; ++i)
        column.push_back(state[static_cast<std::size_t>((h * sizes.key_dim + i) * sizes.value_dim + c)]);
      follow_column(exact, h, c, std::move(column), bounds);
    }
  }
  return bounds;
}

namespace {

// Square matrices of one chunk, [rows, rows], by the names of the header.
struct ChunkExact {
  std::int64_t rows = 0;
  std::vector<double> log_decay;  // G_i
  std::vector<double> between;    // e^(G_i - G_j), j <= i
  std::vector<double> lower;      // A
  std::vector<double> alpha;
  std::vector<double> inverse;         // T
  std::vector<double> inverse_error;   // E
  std::vector<double> products;        // P
  std::vector<double> products_error;  // pi

  [[nodiscard]] std::size_t at(std::int64_t i, std::int64_t j) const {
    return static_cast<std::size_t>(i * rows + j);
  }
  [[nodiscard]] double since_start(std::int64_t i) const {
    return core::math::exp(log_decay[static_cast<std::size_t>(i)]);
  }
  // Relative error of the computed e^(G_i); below e^-200 it is 0 in f32.
  [[nodiscard]] double epsilon(std::int64_t i) const {
    const double decay = std::min(std::fabs(log_decay[static_cast<std::size_t>(i)]), 200.0);
    return detail::kUnitF32 * (static_cast<double>(i + 1) * decay + 2.0);
  }
};

ChunkExact chunk_products(const DeltaExact& exact, std::int64_t h, std::int64_t first, std::int64_t rows) {
  const double u = detail::kUnitF32;
  const std::int64_t k = exact.sizes.key_dim;
  ChunkExact chunk;
  chunk.rows = rows;
  const auto square = static_cast<std::size_t>(rows * rows);
  for (auto* matrix : {&chunk.between, &chunk.lower, &chunk.alpha, &chunk.inverse, &chunk.inverse_error,
                       &chunk.products, &chunk.products_error}) {
    matrix->assign(square, 0.0);
  }
  double sum = 0.0;
  for (std::int64_t i = 0; i < rows; ++i) {
    sum += exact.in.log_decay[exact.gate(first + i, h)];
    chunk.log_decay.push_back(sum);
    for (std::int64_t j = 0; j <= i; ++j) {
      const std::size_t at = chunk.at(i, j);
      chunk.between[at] = i == j ? 1.0 : chunk.between[chunk.at(i - 1, j)] * exact.decay(first + i, h, 0);
      const double beta = exact.in.beta[exact.gate(first + i, h)];
      const double steps = (2.0 * static_cast<double>(i - j) + 2.0) * u;
      double key_product = 0.0, query_product = 0.0;
      const double *key = exact.key(first + j, h), *left = exact.key(first + i, h),
                   *query = exact.query(first + i, h);
      for (std::int64_t c = 0; c < k; ++c) {
        key_product += left[c] * key[c];
        query_product += query[c] * key[c];
      }
      chunk.products[at] = query_product * chunk.between[at];
      chunk.products_error[at] = chunk.between[at] * absolute_dot(query, key, k, 1) *
                                     (exact.gamma_k + exact.rho_q + exact.rho_k + steps) +
                                 detail::kTinyF32;
      if (i == j) continue;
      chunk.lower[at] = beta * key_product * chunk.between[at];
      chunk.alpha[at] = std::fabs(beta) * chunk.between[at] * absolute_dot(left, key, k, 1) *
                            (exact.gamma_k + 2.0 * exact.rho_k + steps) +
                        detail::kTinyF32;
    }
  }
  return chunk;
}

// T and its error.
void invert_exactly(ChunkExact& chunk) {
  const std::int64_t rows = chunk.rows;
  const double g = detail::gamma_f32(static_cast<double>(rows));
  for (std::int64_t m = 0; m < rows; ++m) {
    chunk.inverse[chunk.at(m, m)] = 1.0;
    for (std::int64_t i = m + 1; i < rows; ++i) {
      double sum = 0.0;
      for (std::int64_t j = m; j < i; ++j) sum -= chunk.lower[chunk.at(i, j)] * chunk.inverse[chunk.at(j, m)];
      chunk.inverse[chunk.at(i, m)] = sum;
    }
  }
  // Y = |T| X, strictly lower; then E = Y (|T| + E) column by column.
  std::vector<double> carried(chunk.lower.size());
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t n = 0; n <= i; ++n) {
      const double weight = std::fabs(chunk.inverse[chunk.at(i, n)]);
      for (std::int64_t j = 0; j < n; ++j)
        carried[chunk.at(i, j)] +=
            weight * (g * std::fabs(chunk.lower[chunk.at(n, j)]) + chunk.alpha[chunk.at(n, j)]);
    }
  }
  for (std::int64_t m = 0; m < rows; ++m) {
    for (std::int64_t i = m + 1; i < rows; ++i) {
      double sum = 0.0;
      for (std::int64_t j = m; j < i; ++j) {
        sum += carried[chunk.at(i, j)] *
               (std::fabs(chunk.inverse[chunk.at(j, m)]) + chunk.inverse_error[chunk.at(j, m)]);
      }
      chunk.inverse_error[chunk.at(i, m)] = sum;
    }
  }
}

// One column of one chunk: D and e_D, the results' bounds, then the state and its error.
class ChunkColumn {
 public:
  ChunkColumn(const DeltaExact& exact, const ChunkExact& chunk, std::int64_t h, std::int64_t first,
              std::int64_t c, std::vector<double>& column, double& error)
      : exact_(exact), chunk_(chunk), head_(h), first_(first), c_(c), column_(column), error_(error) {
    for (const double element : column) raised_.push_back(std::fabs(element) + error);
  }
  void run(DeltaBounds& bounds, std::vector<double>& state_error) {
    find_delta();
    results(bounds);
    next_state(state_error);
  }

 private:
  void find_delta() {
    const std::int64_t rows = chunk_.rows, k = exact_.sizes.key_dim;
    const double g = detail::gamma_f32(static_cast<double>(rows)), u = detail::kUnitF32;
    std::vector<double> scaled, seen, right;
    for (std::int64_t i = 0; i < rows; ++i) {
      const double beta = exact_.in.beta[exact_.gate(first_ + i, head_)];
      const double* key = exact_.key(first_ + i, head_);
      double prediction = 0.0;
      for (std::int64_t n = 0; n < k; ++n) prediction += key[n] * column_[static_cast<std::size_t>(n)];
      const double factor = beta * chunk_.since_start(i);
      scaled.push_back(std::fabs(beta * exact_.value(first_ + i, head_, c_)));
      seen.push_back(std::fabs(factor) * absolute_dot(key, raised_.data(), k, 1));
      right.push_back(beta * exact_.value(first_ + i, head_, c_) - factor * prediction);
    }
    for (std::int64_t i = 0; i < rows; ++i) {
      double delta = 0.0, bound = 0.0;
      for (std::int64_t j = 0; j <= i; ++j) {
        const auto at = static_cast<std::size_t>(j);
        const double weight = std::fabs(chunk_.inverse[chunk_.at(i, j)]);
        const double zeta = chunk_.epsilon(j) + 2.0 * u + exact_.rho_k;
        delta += chunk_.inverse[chunk_.at(i, j)] * right[at];
        bound += chunk_.inverse_error[chunk_.at(i, j)] * (scaled[at] + seen[at]) +
                 weight * ((g + u) * scaled[at] + (zeta + g + exact_.gamma_k) * seen[at]);
      }
      delta_.push_back(delta);
      delta_error_.push_back(kSecondOrder * bound + 2.0 * u * std::fabs(delta) + detail::kTinyF32);
      growth_ *= exact_.decay(first_ + i, head_, 0) * exact_.update_norm(first_ + i, head_);
      carried_.push_back(growth_ * error_);
    }
  }
  void results(DeltaBounds& bounds) const {
    const std::int64_t k = exact_.sizes.key_dim;
    const double u = detail::kUnitF32;
    const double g = detail::gamma_f32(static_cast<double>(k + chunk_.rows));
    for (std::int64_t i = 0; i < chunk_.rows; ++i) {
      const double* query = exact_.query(first_ + i, head_);
      double bound = (chunk_.epsilon(i) + 2.0 * u + exact_.rho_q + g) * chunk_.since_start(i) *
                     absolute_dot(query, raised_.data(), k, 1);
      for (std::int64_t j = 0; j <= i; ++j) {
        const auto at = static_cast<std::size_t>(j);
        const double delta = std::fabs(delta_[at]);
        bound += chunk_.products_error[chunk_.at(i, j)] * (delta + delta_error_[at]) +
                 std::fabs(chunk_.products[chunk_.at(i, j)]) * (delta_error_[at] + g * delta);
      }
      bound += norm(query, k, 1) * carried_[static_cast<std::size_t>(i)];
      bounds.o[static_cast<std::size_t>(detail::value_row(exact_.sizes, first_ + i, head_) + c_)] =
          kSecondOrder * bound + detail::kTinyF32 * static_cast<double>(4 * (k + chunk_.rows));
    }
  }
  void next_state(std::vector<double>& state_error) {
    const std::int64_t rows = chunk_.rows, k = exact_.sizes.key_dim;
    const double u = detail::kUnitF32, g = detail::gamma_f32(static_cast<double>(rows + 1));
    const double decay = chunk_.since_start(rows - 1);
    double squares = 0.0;
    for (std::int64_t n = 0; n < k; ++n) {
      const auto row = static_cast<std::size_t>(n);
      double next = decay * column_[row];
      double bound = (chunk_.epsilon(rows - 1) + u + g) * decay * raised_[row];
      for (std::int64_t j = 0; j < rows; ++j) {
        const auto at = static_cast<std::size_t>(j);
        const double weight = chunk_.between[chunk_.at(rows - 1, j)] * exact_.key(first_ + j, head_)[n];
        const double steps = (2.0 * static_cast<double>(rows - j) + 1.0) * u + exact_.rho_k + g;
        next += weight * delta_[at];
        bound += std::fabs(weight) * (steps * std::fabs(delta_[at]) + delta_error_[at]);
      }
      bound = kSecondOrder * bound + detail::kTinyF32 * static_cast<double>(4 * rows);
      column_[row] = next;
      state_error[row] = bound + carried_.back();
      squares += bound * bound;
    }
    error_ = carried_.back() + core::math::sqrt(squares);
  }

  const DeltaExact& exact_;
  const ChunkExact& chunk_;
  std::int64_t head_ = 0;
  std::int64_t first_ = 0;
  std::int64_t c_ = 0;
  std::vector<double>& column_;
  double& error_;
  double growth_ = 1.0;
  std::vector<double> raised_;
  std::vector<double> delta_;
  std::vector<double> delta_error_;
  std::vector<double> carried_;  // error of the state before the chunk, as it reaches each token's state
};

}  // namespace

DeltaBounds delta_chunk_bounds(const DeltaInputs<float>& in, const DeltaSizes& sizes,
                               const DeltaOptions& options, std::span<const float> state) {
  const DeltaExact exact(in, sizes, options);
  core::check(exact.channels == 1 && options.chunk > 0, "the chunked delta rule has one decay per head");
  const std::int64_t k = sizes.key_dim, v = sizes.value_dim;
  DeltaBounds bounds = empty_bounds(sizes);
  for (std::int64_t h = 0; h < sizes.value_heads; ++h) {
    std::vector<std::vector<double>> columns(static_cast<std::size_t>(v));
    std::vector<double> errors(static_cast<std::size_t>(v));
    for (std::int64_t i = 0; i < k * v; ++i)
      columns[static_cast<std::size_t>(i % v)].push_back(state[static_cast<std::size_t>(h * k * v + i)]);
    for (std::int64_t first = 0; first < sizes.tokens; first += options.chunk) {
      ChunkExact chunk = chunk_products(exact, h, first, std::min(options.chunk, sizes.tokens - first));
      invert_exactly(chunk);
      for (std::int64_t c = 0; c < v; ++c) {
        const auto at = static_cast<std::size_t>(c);
        std::vector<double> state_error(static_cast<std::size_t>(k));
        ChunkColumn(exact, chunk, h, first, c, columns[at], errors[at]).run(bounds, state_error);
        for (std::int64_t i = 0; i < k; ++i)
          bounds.state[static_cast<std::size_t>((h * k + i) * v + c)] =
              state_error[static_cast<std::size_t>(i)];
      }
    }
  }
  return bounds;
}

}  // namespace moesim::reference
