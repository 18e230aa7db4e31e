// Draws prompt and answer lengths.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/core/random.hpp"
#include "workloads/workload.hpp"

namespace moesim::workloads {

// A length distribution made ready for drawing. The distribution must have passed its field table.
class LengthSampler {
 public:
  explicit LengthSampler(LengthDistribution distribution);
  // A length in tokens, from 1 to kMaxTokens.
  [[nodiscard]] std::int64_t draw(core::Draws& draws) const;

 private:
  [[nodiscard]] std::int64_t draw(const FixedLength& fixed, core::Draws& draws) const;
  [[nodiscard]] std::int64_t draw(const UniformLength& uniform, core::Draws& draws) const;
  [[nodiscard]] std::int64_t draw(const LognormalLength& lognormal, core::Draws& draws) const;
  [[nodiscard]] std::int64_t draw(const EmpiricalLength& empirical, core::Draws& draws) const;

  LengthDistribution distribution_;
  double sigma_ = 0.0;              // lognormal
  std::vector<double> cumulative_;  // empirical with weights: running sums
};

// Prompt and answer length of one request. A draw depends only on the seed, the stream and the request's
// number, never on the arrival process or on the other length.
struct RequestLengths {
  std::int64_t input = 0;
  std::int64_t output = 0;
};
class RequestLengthSampler {
 public:
  RequestLengthSampler(const Lengths& lengths, std::uint64_t seed)
      : input_(lengths.input), output_(lengths.output), seed_(seed) {}
  // Lengths of the measured request with this number, from 0.
  [[nodiscard]] RequestLengths measured(std::int64_t number) const;
  // Lengths of an extra warm-up request of a closed loop: a stream of their own, so that the measured
  // requests are the same with any warm-up.
  [[nodiscard]] RequestLengths extra_warmup(std::int64_t number) const;

 private:
  [[nodiscard]] RequestLengths draw(std::uint32_t input_stream, std::uint32_t output_stream,
                                    std::int64_t number) const;
  LengthSampler input_;
  LengthSampler output_;
  std::uint64_t seed_;
};

}  // namespace moesim::workloads
