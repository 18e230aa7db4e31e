// Attention made wrong in known ways: the a-priori bounds notice each, on problems on which the right kernels
// stay within them.
#include <limits>

#include "tests/support/catch.hpp"
#include "tests/unit/reference/attention_problem.hpp"
#include "tests/unit/reference/delta_problem.hpp"
#include "tests/unit/reference/latent_problem.hpp"

namespace moesim::reference {
namespace {

using test::Answer;
using test::Problem;
using test::ProblemShape;

Problem<Bf16> plain() { return {ProblemShape{8, 2, 12, 70, 32, 16}, 17}; }
Problem<Bf16> windowed() {
  Problem<Bf16> problem = plain();
  problem.options.mask.window = 20;
  return problem;
}
Problem<Bf16> chunked() {
  Problem<Bf16> problem = plain();
  problem.options.mask.chunk = 16;
  return problem;
}
Problem<Bf16> with_sinks() {
  Problem<Bf16> problem = plain();
  problem.add_sinks(18);
  return problem;
}
Problem<Bf16> capped() {
  Problem<Bf16> problem = plain();
  problem.options.soft_cap = 2.0;
  return problem;
}

template <Fault kFault>
double attention_share(const Problem<Bf16>& problem) {
  return test::share_of_bound<float>(problem, FaultProbe<kFault>{});
}

// Split keys merged, against the bound of the whole.
template <Fault kFault>
double split_share() {
  const Problem<Bf16> problem = plain();
  Answer<double, double> exact(problem.shape);
  attention_naive<double>(problem.queries(), problem.source(), problem.options, exact.output);
  const std::vector<KeyRange> ranges = split_keys({0, problem.shape.keys}, 3);
  std::vector<double> o, lse, o_bounds, lse_bounds;
  for (const KeyRange& range : ranges) {
    AttentionOptions options = problem.options;
    options.only = range;
    Answer<double, double> part(problem.shape);
    attention_naive<double>(problem.queries(), problem.source(), options, part.output);
    const AttentionBounds bounds = attention_bounds<float>(problem.queries(), problem.source(), options);
    o.insert(o.end(), part.o.begin(), part.o.end());
    lse.insert(lse.end(), part.lse.begin(), part.lse.end());
    o_bounds.insert(o_bounds.end(), bounds.o.begin(), bounds.o.end());
    lse_bounds.insert(lse_bounds.end(), bounds.lse.begin(), bounds.lse.end());
  }
  const AttentionBounds bounds = merge_bounds({3, o, lse, o_bounds, lse_bounds});
  FaultProbe<kFault> fault;
  const SplitResult split =
      attention_split(problem.queries(), problem.source(), problem.options, ranges, fault);
  return test::worst_share<float>(split.o, exact.o, bounds.o);
}

// The same one after another.
template <Fault kFault>
double ring_share() {
  const std::vector<double> o = {0.5, -0.25, 0.125, 1.0, -1.0, 0.75}, lse = {1.0, 2.0, -3.0};
  const std::vector<double> zeros(6, 0.0);
  double total = 0.0;
  std::vector<double> want(2);
  for (std::size_t i = 0; i < 3; ++i) {
    total += std::exp(lse[i]);
    for (std::size_t c = 0; c < 2; ++c) want[c] += std::exp(lse[i]) * o[2 * i + c];
  }
  for (double& element : want) element /= total;
  std::vector<float> out(2);
  float out_lse = -std::numeric_limits<float>::infinity();
  for (std::size_t i = 0; i < 3; ++i) {
    const std::vector<float> state = {static_cast<float>(o[2 * i]), static_cast<float>(o[2 * i + 1])};
    merge_into<float>(out, out_lse, state, static_cast<float>(lse[i]), FaultProbe<kFault>{});
  }
  return test::worst_share<float>(out, want, ring_bounds({3, o, lse, zeros, std::span(zeros).first(3)}).o);
}

template <Fault kFault>
double latent_share(bool absorbed) {
  return test::latent_share<float>(test::LatentProblem<float>(4), absorbed, FaultProbe<kFault>{});
}

template <Fault kFault>
double delta_share(bool in_chunks) {
  const test::DeltaProblem problem(DeltaSizes{80, 2, 4, 8, 8}, 6, 0.3F);
  return test::delta_share(problem, in_chunks, FaultProbe<kFault>{});
}

struct Mutation {
  const char* name;
  double right;  // share of the bound that the right kernel uses
  double wrong;  // share that the fault uses
};

void check(const std::vector<Mutation>& mutations) {
  for (const Mutation& mutation : mutations) {
    INFO(mutation.name << ": right " << mutation.right << ", wrong " << mutation.wrong);
    CHECK(mutation.right <= 1.0);
    CHECK(mutation.wrong > 1.0);
  }
}

template <Fault kFault>
Mutation attention(const char* name, const Problem<Bf16>& problem) {
  return {name, attention_share<Fault::none>(problem), attention_share<kFault>(problem)};
}

TEST_CASE("the bound of attention notices its faults") {
  check({
      attention<Fault::window_off_by_one>("window one key too long", windowed()),
      attention<Fault::causal_off_by_one>("the next key is seen", plain()),
      attention<Fault::chunk_off_by_one>("chunk of the next position", chunked()),
      attention<Fault::missing_rescale>("values are not rescaled", plain()),
      attention<Fault::missing_denominator_rescale>("the sum is not rescaled", plain()),
      attention<Fault::sink_in_values>("the sink adds to the values", with_sinks()),
      attention<Fault::drop_sink>("no sink", with_sinks()),
      attention<Fault::wrong_group_head>("next KV head", plain()),
      attention<Fault::cap_after_mask>("cap after the mask", capped()),
      attention<Fault::drop_soft_cap>("no soft cap", capped()),
      attention<Fault::scale_twice>("scaled twice", plain()),
      attention<Fault::last_tile_dropped>("last tile dropped", plain()),
  });
}

TEST_CASE("the bound of merged states notices wrong weights") {
  check({
      {"averaged", split_share<Fault::none>(), split_share<Fault::merge_without_weights>()},
      {"powers of two", split_share<Fault::none>(), split_share<Fault::merge_base_two>()},
      {"averaged in a ring", ring_share<Fault::none>(), ring_share<Fault::merge_without_weights>()},
      {"powers of two in a ring", ring_share<Fault::none>(), ring_share<Fault::merge_base_two>()},
  });
}

TEST_CASE("the bounds of latent attention notice its faults") {
  check({
      {"naive without rotated part", latent_share<Fault::none>(false),
       latent_share<Fault::latent_rope_dropped>(false)},
      {"absorbed without rotated part", latent_share<Fault::none>(true),
       latent_share<Fault::latent_rope_dropped>(true)},
      {"values transposed", latent_share<Fault::none>(true),
       latent_share<Fault::absorbed_value_transposed>(true)},
  });
}

TEST_CASE("the bounds of the delta rule notice its faults") {
  check({
      {"no decay", delta_share<Fault::none>(false), delta_share<Fault::delta_decay_dropped>(false)},
      {"no step size", delta_share<Fault::none>(false), delta_share<Fault::delta_beta_dropped>(false)},
      {"no norms", delta_share<Fault::none>(false), delta_share<Fault::delta_norm_dropped>(false)},
      {"no decay in chunks", delta_share<Fault::none>(true), delta_share<Fault::delta_decay_dropped>(true)},
      {"no step size in chunks", delta_share<Fault::none>(true),
       delta_share<Fault::delta_beta_dropped>(true)},
      {"no norms in chunks", delta_share<Fault::none>(true), delta_share<Fault::delta_norm_dropped>(true)},
      {"empty state per chunk", delta_share<Fault::none>(true),
       delta_share<Fault::delta_state_not_carried>(true)},
  });
}

// Wrong parameters, as a caller may slip.
TEST_CASE("the bound of attention notices wrong parameters") {
  const Problem<Bf16> problem = plain();
  Answer<double, double> exact(problem.shape);
  attention_naive<double>(problem.queries(), problem.source(), problem.options, exact.output);
  const AttentionBounds bounds =
      attention_bounds<float>(problem.queries(), problem.source(), problem.options);
  const auto share = [&](AttentionOptions options, bool temperature) {
    Answer<float> got(problem.shape);
    QueryRows<Bf16> queries = problem.queries();
    const std::vector<float> heat(12, 1.0F + 0x1p-12F);
    if (temperature) queries.temperature = heat;
    attention_tiled(queries, problem.source(), options, got.output);
    return test::worst_share<float>(got.o, exact.o, bounds.o);
  };
  CHECK(share(problem.options, false) <= 1.0);
  AttentionOptions options = problem.options;
  options.scale *= 1.0 + 0x1p-12;  // a scale that was rounded to bf16 is off by up to 2^-9
  CHECK(share(options, false) > 1.0);
  options = problem.options;
  options.first_query -= 1;
  CHECK(share(options, false) > 1.0);
  options = problem.options;
  options.bf16_probabilities = true;
  CHECK(share(options, false) > 1.0);
  CHECK(share(problem.options, true) > 1.0);
}

}  // namespace
}  // namespace moesim::reference
