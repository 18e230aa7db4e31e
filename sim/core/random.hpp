// Counter-based random numbers (Philox4x32-10, Salmon et al., SC'11, Random123): a draw depends only on
// (seed, stream, entity, index), never on the order of events, so two policies under one seed see the same
// requests.
#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace moesim::core {

// The draws of one entity in one stream. A uniform random bit generator (for Boost.Random) and a value.
class Draws {
 public:
  using result_type = std::uint64_t;

  Draws(std::uint64_t seed, std::uint32_t stream, std::uint64_t entity)
      : seed_(seed), stream_(stream), entity_(entity) {}

  static constexpr result_type min() { return 0; }
  static constexpr result_type max() { return UINT64_MAX; }

  // The next 64 random bits. Each entity has 2^33 of them; one more throws InvariantError.
  result_type operator()();
  // Uniform in [0, 1), a multiple of 2^-53.
  [[nodiscard]] double uniform();
  // Uniform in (0, 1): never 0, for logarithms.
  [[nodiscard]] double uniform_open();
  // Skips `count` draws of 64 bits in constant time. Throws InvariantError past the 2^33rd.
  void discard(std::uint64_t count);

 private:
  void fill_block();

  std::uint64_t seed_;
  std::uint32_t stream_;
  std::uint64_t entity_;
  std::uint64_t used_ = 0;
  std::array<std::uint64_t, 2> block_{};
};

// Uniform integer in [low, high], unbiased. Throws InvariantError if low > high.
[[nodiscard]] std::int64_t draw_integer(Draws& draws, std::int64_t low, std::int64_t high);
// Exponential with the given mean (finite, not negative), by inversion of one uniform draw.
[[nodiscard]] double draw_exponential(Draws& draws, double mean);
// Standard normal, by inversion of one uniform draw.
[[nodiscard]] double draw_normal(Draws& draws);
// Gamma with the given shape (> 0) and scale (>= 0): mean shape * scale (Marsaglia and Tsang 2000).
[[nodiscard]] double draw_gamma(Draws& draws, double shape, double scale);
// Exact binomial: successes in `trials` (0 to 2^52) of the given probability in [0, 1] (inversion for a small
// mean, else Hoermann's BTRS 1993). Throws InvariantError outside these ranges.
[[nodiscard]] std::int64_t draw_binomial(Draws& draws, std::int64_t trials, double probability);
// Hypergeometric: marked items among `taken` taken without return from `total` items of which `marked` are
// marked (total up to 2^40). By inversion, from the mode outwards; the probability of the mode, from
// Stirling's series, is good to about 2^-53 total log(total). Throws InvariantError for more marked or taken
// items than there are.
[[nodiscard]] std::int64_t draw_hypergeometric(Draws& draws, std::int64_t total, std::int64_t marked,
                                               std::int64_t taken);
// Exact multinomial by conditional binomials: counts sum to `trials`; weights need not be normalised.
// Throws InvariantError if the spans differ in length, or a weight is negative or not finite, or all are
// zero.
void draw_multinomial(Draws& draws, std::int64_t trials, std::span<const double> weights,
                      std::span<std::int64_t> counts);

}  // namespace moesim::core
