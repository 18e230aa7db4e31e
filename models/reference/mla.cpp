#include "models/reference/mla.hpp"

#include "models/reference/norms.hpp"

namespace moesim::reference {

namespace {

// y[rows, outputs] = x[rows, inputs] w[outputs, inputs]^T. `second`: of two products that make one operator.
template <class P>
std::vector<float> project(std::span<const float> x, std::int64_t rows, std::int64_t inputs,
                           std::span<const float> w, std::int64_t outputs, P& probe, bool second = false) {
  using detail::LatentTensor;
  const LatentTensor weights = second ? LatentTensor::more_weights : LatentTensor::weights;
  const LatentTensor result = second ? LatentTensor::more_result : LatentTensor::result;
  core::check(std::ssize(x) == rows * inputs && std::ssize(w) == outputs * inputs,
              "a projection needs rows x inputs and outputs x inputs elements");
  std::vector<float> y;
  for (std::int64_t r = 0; r < rows; ++r) {
    for (std::int64_t o = 0; o < outputs; ++o) {
      y.push_back(detail::dot(x.data() + r * inputs, w.data() + o * inputs, inputs));
      probe.macs(inputs, inputs);
      detail::touch_latent<float>(Operand::weights, weights, o * inputs, inputs, probe);
    }
    detail::touch_latent<float>(Operand::activations, LatentTensor::input, r * inputs, inputs, probe);
    detail::touch_latent<float>(Operand::result, result, r * outputs, outputs, probe);
  }
  return y;
}

std::vector<float> normed(const std::vector<float>& rows, std::span<const float> weights, float epsilon) {
  NormOptions options;
  options.epsilon = epsilon;
  std::vector<float> out(rows.size());
  const std::int64_t width = std::ssize(weights);
  core::check(width > 0, "a norm has a weight per element");
  NoProbe none;
  rms_norm<float>(rows, std::ssize(rows) / width, width, weights, options, {}, std::span<float>(out), none);
  return out;
}

}  // namespace

template <class P>
LatentProjection latent_projection(std::span<const float> x, const LatentWeights<float>& weights,
                                   const LatentSizes& sizes, const RopeTable& table, RopeLayout layout,
                                   float epsilon, LatentProbes<P>& probes) {
  const bool rotates = table.pairs > 0;
  core::check(sizes.hidden > 0 && (!rotates || sizes.rope == 2 * table.pairs),
              "the table must fit the rotated part");
  const std::int64_t tokens = std::ssize(x) / sizes.hidden;
  const bool direct = sizes.query_rank == 0;
  std::vector<float> low(x.begin(), x.end());
  if (!direct) {
    core::check(std::ssize(weights.query_norm) == sizes.query_rank, "a norm has a weight per element");
    low = project(x, tokens, sizes.hidden, weights.query_down, sizes.query_rank, probes.latent_down);
    low = normed(low, weights.query_norm, epsilon);
  }
  const std::int64_t width = sizes.query_dim();
  const std::vector<float> queries = project(low, tokens, direct ? sizes.hidden : sizes.query_rank,
                                             weights.query_up, sizes.heads * width, probes.query_up);
  const std::vector<float> cached =
      project(x, tokens, sizes.hidden, weights.key_value_down, sizes.cached_dim(), probes.latent_down, true);
  core::check(std::ssize(weights.key_value_norm) == sizes.latent, "a norm has a weight per element");
  LatentProjection out;
  NoProbe none;
  out.queries.resize(queries.size());
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t head = 0; head < sizes.heads; ++head) {
      float* row = out.queries.data() + (head * tokens + t) * width;
      std::copy_n(queries.data() + (t * sizes.heads + head) * width, width, row);
      if (rotates)
        rotate_head(std::span<float>(row + sizes.nope, static_cast<std::size_t>(sizes.rope)), table, t,
                    layout, none);
    }
    const float* from = cached.data() + t * sizes.cached_dim();
    out.latent_rows.insert(out.latent_rows.end(), from, from + sizes.latent);
    std::vector<float> rotated(from + sizes.latent, from + sizes.cached_dim());
    if (rotates) rotate_head(std::span<float>(rotated), table, t, layout, none);
    out.rope_rows.insert(out.rope_rows.end(), rotated.begin(), rotated.end());
  }
  out.latent_rows = normed(out.latent_rows, weights.key_value_norm, epsilon);
  return out;
}

template LatentProjection latent_projection(std::span<const float>, const LatentWeights<float>&,
                                            const LatentSizes&, const RopeTable&, RopeLayout, float,
                                            LatentProbes<NoProbe>&);
template LatentProjection latent_projection(std::span<const float>, const LatentWeights<float>&,
                                            const LatentSizes&, const RopeTable&, RopeLayout, float,
                                            LatentProbes<CountingProbe>&);

LatentProjection latent_projection(std::span<const float> x, const LatentWeights<float>& weights,
                                   const LatentSizes& sizes, const RopeTable& table, RopeLayout layout,
                                   float epsilon) {
  LatentProbes<NoProbe> none;
  return latent_projection(x, weights, sizes, table, layout, epsilon, none);
}

template <class P>
std::vector<float> latent_output(std::span<const float> heads_out, const LatentWeights<float>& weights,
                                 const LatentSizes& sizes, LatentProbes<P>& probes) {
  const std::int64_t width = sizes.heads * sizes.value;
  core::check(width > 0 && std::ssize(heads_out) % width == 0, "there must be a result per head and token");
  const std::int64_t tokens = std::ssize(heads_out) / width;
  std::vector<float> joined(heads_out.size());
  for (std::int64_t head = 0; head < sizes.heads; ++head) {
    for (std::int64_t t = 0; t < tokens; ++t)
      std::copy_n(heads_out.data() + (head * tokens + t) * sizes.value, sizes.value,
                  joined.data() + t * width + head * sizes.value);
  }
  return project(joined, tokens, width, weights.output, sizes.hidden, probes.attention_output);
}

template std::vector<float> latent_output(std::span<const float>, const LatentWeights<float>&,
                                          const LatentSizes&, LatentProbes<NoProbe>&);
template std::vector<float> latent_output(std::span<const float>, const LatentWeights<float>&,
                                          const LatentSizes&, LatentProbes<CountingProbe>&);

std::vector<float> latent_output(std::span<const float> heads_out, const LatentWeights<float>& weights,
                                 const LatentSizes& sizes) {
  LatentProbes<NoProbe> none;
  return latent_output(heads_out, weights, sizes, none);
}

}  // namespace moesim::reference
