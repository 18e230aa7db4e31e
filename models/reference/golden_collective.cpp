// Golden vectors of all-reduce orders.
#include <cmath>

#include "models/reference/collectives.hpp"
#include "models/reference/golden.hpp"

namespace moesim::reference {

namespace {

template <class Value>
std::vector<Value> first_rank_sum(const std::vector<Value>& x, std::int64_t ranks, ReduceOrder order,
                                  ReduceRounding rounding) {
  std::vector<Value> out(x.size());
  NoProbe probe;
  (void)all_reduce<Value>(order, rounding, x, ranks, out, probe);
  out.resize(x.size() / static_cast<std::size_t>(ranks));
  return out;
}

std::int64_t collective_ranks(const GoldenCase& golden, std::string_view tensor) {
  const std::vector<std::int64_t>& shape = golden.tensor(tensor).shape;
  constexpr std::int64_t kMostRanks = 4096;  // a ring takes time with their square
  if (shape.size() < 2 || shape.front() < 1 || shape.front() > kMostRanks) {
    throw GoldenError(golden.name() + ": buffers must be [ranks, values] of at most 4096 ranks");
  }
  return shape.front();
}

void give_float_sum(GoldenCase& golden, std::string_view output, ReduceOrder order) {
  if (!golden.has_tensor(output)) return;
  const auto x = golden.f32("x_f32");
  golden.give(output, first_rank_sum<float>({x.begin(), x.end()}, collective_ranks(golden, "x_f32"), order,
                                            ReduceRounding::each_add));
}

void give_bf16_sum(GoldenCase& golden, std::string_view output, ReduceOrder order, ReduceRounding rounding) {
  if (!golden.has_tensor(output)) return;
  std::vector<Bf16> x;
  for (const std::uint16_t bits : golden.u16("x_bf16")) x.push_back(Bf16{bits});
  const std::vector<Bf16> sum = first_rank_sum(x, collective_ranks(golden, "x_bf16"), order, rounding);
  const auto want = golden.u16(output);
  std::vector<std::uint16_t> bits;
  for (std::size_t i = 0; i < sum.size(); ++i) {
    // All NaN are alike, and so are the zeros.
    const bool alike =
        i < want.size() && ((std::isnan(to_float(sum[i])) && std::isnan(to_float(Bf16{want[i]}))) ||
                            to_float(sum[i]) == to_float(Bf16{want[i]}));
    bits.push_back(alike ? want[i] : sum[i].bits);
  }
  golden.give_integers(output, std::span<const std::uint16_t>(bits));
}

// The sum in double, and how far a sum of f32 in any order may lie from it: gamma = (P - 1) u / (1 - (P - 1)
// u) of the sum of magnitudes (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., section 4.2).
void give_exact_sum(GoldenCase& golden) {
  if (!golden.has_tensor("exact") && !golden.has_tensor("bound_f32")) return;
  const auto x = golden.f32("x_f32");
  const std::int64_t ranks = collective_ranks(golden, "x_f32");
  const std::size_t n = x.size() / static_cast<std::size_t>(ranks);
  std::vector<double> sums(n, 0.0);
  std::vector<double> bounds(n, 0.0);
  for (std::size_t i = 0; i < x.size(); ++i) {
    sums[i % n] += static_cast<double>(x[i]);
    bounds[i % n] += std::fabs(static_cast<double>(x[i]));
  }
  const double roundings = static_cast<double>(ranks - 1) * 0x1p-24;
  for (double& bound : bounds) bound *= roundings / (1.0 - roundings);
  golden.give("exact", std::span<const double>(sums));
  golden.give("bound_f32", std::span<const double>(bounds));
}

void run_allreduce(GoldenCase& golden) {
  give_exact_sum(golden);
  give_float_sum(golden, "ring_f32", ReduceOrder::ring);
  give_float_sum(golden, "tree_f32", ReduceOrder::tree);
  give_bf16_sum(golden, "ring_bf16", ReduceOrder::ring, ReduceRounding::each_add);
  give_bf16_sum(golden, "tree_bf16", ReduceOrder::tree, ReduceRounding::each_add);
  give_bf16_sum(golden, "ring_bf16_fp32acc", ReduceOrder::ring, ReduceRounding::once);
  give_bf16_sum(golden, "tree_bf16_fp32acc", ReduceOrder::tree, ReduceRounding::once);
}

constexpr GoldenKind kCollectiveKinds[] = {{"allreduce", run_allreduce}};

}  // namespace

std::span<const GoldenKind> golden_collective_kinds() { return kCollectiveKinds; }

}  // namespace moesim::reference
