// The one home of transcendental functions. They call libm, are never inlined and never see a constant,
// because gcc and clang fold libm calls at compile time with other last bits: so both compilers give the same
// results. Special values are those of <cmath>.
#pragma once

namespace moesim::core::math {

[[nodiscard]] double exp(double x);
[[nodiscard]] double exp2(double x);
[[nodiscard]] double log(double x);
[[nodiscard]] double log1p(double x);
[[nodiscard]] double log2(double x);
[[nodiscard]] double pow(double base, double exponent);
[[nodiscard]] double sqrt(double x);
[[nodiscard]] double sin(double x);
[[nodiscard]] double cos(double x);
[[nodiscard]] double tanh(double x);

// The z with P(Z <= z) = probability for a standard normal Z, to about 1e-16 relative (Wichura, "Algorithm AS
// 241: The Percentage Points of the Normal Distribution", Applied Statistics 37, 1988, routine PPND16).
// Throws InvariantError unless 0 < probability < 1.
[[nodiscard]] double inverse_normal(double probability);

}  // namespace moesim::core::math
