// Collectives: bits of the declared order, bounds, and what composes to what.
#include <cmath>
#include <numeric>
#include <vector>

#include "models/llm/operator.hpp"
#include "models/reference/collectives.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

namespace moesim::reference {
namespace {

double wide(float value) { return static_cast<double>(value); }
double wide(Bf16 value) { return static_cast<double>(to_float(value)); }

template <class Value>
std::vector<Value> any_buffers(std::int64_t ranks, std::int64_t n, int spread) {
  std::vector<Value> values(static_cast<std::size_t>(ranks * n));
  for (Value& value : values) {
    const auto significand = static_cast<float>(*rc::gen::inRange(-1 << 20, 1 << 20));
    value = stored_as<Value>(std::ldexp(significand, -20 + *rc::gen::inRange(-spread, spread + 1)));
  }
  return values;
}

// The declared sum of one value, written down as the definition says.
template <class Value>
Value by_definition(const std::vector<Value>& x, std::int64_t ranks, std::int64_t i, ReduceOrder order,
                    ReduceRounding rounding) {
  const std::int64_t n = std::ssize(x) / ranks;
  const auto at = [&](std::int64_t r) { return to_float(x[static_cast<std::size_t>(r * n + i)]); };
  const auto add = [&](float a, float b) {
    return rounding == ReduceRounding::each_add ? to_float(stored_as<Value>(a + b)) : a + b;
  };
  if (order == ReduceOrder::ring) {
    std::int64_t chunk = 0;
    while ((chunk + 1) * n / ranks <= i) ++chunk;
    float sum = at((chunk + 1) % ranks);
    for (std::int64_t k = 2; k <= ranks; ++k) sum = add(sum, at((chunk + k) % ranks));
    return stored_as<Value>(sum);
  }
  std::vector<float> level;
  for (std::int64_t r = 0; r < ranks; ++r) level.push_back(at(r));
  while (level.size() > 1) {
    std::vector<float> next;
    for (std::size_t k = 0; k < level.size(); k += 2) {
      next.push_back(k + 1 < level.size() ? add(level[k], level[k + 1]) : level[k]);
    }
    level = next;
  }
  return stored_as<Value>(level[0]);
}

template <class Value>
void check_all_reduce(double unit) {
  const auto ranks = *rc::gen::inRange<std::int64_t>(1, 18);
  const auto n = *rc::gen::inRange<std::int64_t>(0, 40);
  const std::vector<Value> x = any_buffers<Value>(ranks, n, *rc::gen::inRange(0, 20));
  for (const ReduceOrder order : {ReduceOrder::ring, ReduceOrder::tree}) {
    for (const ReduceRounding rounding : {ReduceRounding::each_add, ReduceRounding::once}) {
      std::vector<Value> out(x.size());
      CountingProbe probe;
      const SentValues sent = all_reduce<Value>(order, rounding, x, ranks, out, probe);
      for (std::int64_t i = 0; i < n; ++i) {
        const Value want = by_definition(x, ranks, i, order, rounding);
        std::vector<double> terms;
        for (std::int64_t r = 0; r < ranks; ++r) {
          terms.push_back(wide(x[static_cast<std::size_t>(r * n + i)]));
          RC_ASSERT(wide(out[static_cast<std::size_t>(r * n + i)]) == wide(want));
        }
        const double exact = std::accumulate(terms.begin(), terms.end(), 0.0);
        RC_ASSERT(std::fabs(wide(want) - exact) <= reduce_error_bound(terms, order, rounding, unit));
      }
      // Additions, and what passes the links: 2 (P - 1) times the values in all.
      const Counts counts = probe.result();
      RC_ASSERT(counts.other_flops == (ranks - 1) * n);
      RC_ASSERT(std::accumulate(sent.begin(), sent.end(), std::int64_t{0}) == 2 * (ranks - 1) * n);
      if (order == ReduceOrder::ring && n % ranks == 0) {
        for (const std::int64_t one : sent) RC_ASSERT(one == 2 * (ranks - 1) * (n / ranks));
      }
      // Each rank puts in and gets out what the operator calls its bytes.
      const auto bytes = n * std::int64_t{sizeof(Value)};
      const llm::Work work = llm::work_of(llm::AllReduce{bytes, llm::Group::tensor, ranks});
      RC_ASSERT(counts.compulsory(Operand::result) == ranks * work.payload_bytes);
      RC_ASSERT(counts.compulsory(Operand::activations) == ranks * work.payload_bytes);
    }
  }
}

TEST_CASE("all-reduce has the bits of its declared order, and keeps its bound") {
  CHECK(rc::check("f32", [] { check_all_reduce<float>(0x1p-24); }));
  CHECK(rc::check("bf16", [] { check_all_reduce<Bf16>(0x1p-8); }));
}

TEST_CASE("reduce-scatter and all-gather make a ring all-reduce") {
  CHECK(rc::check("bits", [] {
    const auto ranks = *rc::gen::inRange<std::int64_t>(1, 9);
    const auto n = *rc::gen::inRange<std::int64_t>(0, 40);
    const std::vector<float> x = any_buffers<float>(ranks, n, 10);
    NoProbe probe;
    std::vector<float> reduced(x.size());
    (void)all_reduce<float>(ReduceOrder::ring, ReduceRounding::each_add, x, ranks, reduced, probe);
    std::vector<float> scattered(static_cast<std::size_t>(n));
    (void)reduce_scatter<float>(ReduceRounding::each_add, x, ranks, scattered, probe);
    std::vector<std::int64_t> counts;
    for (std::int64_t r = 0; r < ranks; ++r) counts.push_back((r + 1) * n / ranks - r * n / ranks);
    std::vector<float> gathered(x.size());
    const SentValues sent = all_gather<float>(scattered, counts, gathered, probe);
    RC_ASSERT(gathered == reduced);
    RC_ASSERT(std::accumulate(sent.begin(), sent.end(), std::int64_t{0}) == (ranks - 1) * n);
  }));
}

TEST_CASE("an all-to-all and its answer bring every row home") {
  CHECK(rc::check("rows", [] {
    const auto ranks = *rc::gen::inRange<std::int64_t>(1, 6);
    const auto width = *rc::gen::inRange<std::int64_t>(1, 5);
    std::vector<std::int64_t> there(static_cast<std::size_t>(ranks * ranks));
    std::vector<std::int64_t> back(there.size());
    std::int64_t rows = 0;
    std::int64_t leaving = 0;
    for (std::int64_t i = 0; i < ranks; ++i) {
      for (std::int64_t j = 0; j < ranks; ++j) {
        const auto n = *rc::gen::inRange<std::int64_t>(0, 4);
        there[static_cast<std::size_t>(i * ranks + j)] = n;
        back[static_cast<std::size_t>(j * ranks + i)] = n;
        rows += n;
        if (i != j) leaving += n;
      }
    }
    std::vector<float> x(static_cast<std::size_t>(rows * width));
    std::iota(x.begin(), x.end(), 1.0F);
    std::vector<float> moved(x.size());
    std::vector<float> home(x.size());
    CountingProbe probe;
    const SentValues sent = all_to_all<float>(x, there, ranks, width, moved, probe);
    RC_ASSERT(std::accumulate(sent.begin(), sent.end(), std::int64_t{0}) == leaving * width);
    RC_ASSERT(probe.result().compulsory(Operand::result) == rows * width * 4);
    (void)all_to_all<float>(moved, back, ranks, width, home, probe);
    RC_ASSERT(home == x);
    // Rank j's part of the result: from each rank in turn, its rows for j.
    std::size_t at = 0;
    for (std::int64_t j = 0; j < ranks; ++j) {
      for (std::int64_t i = 0; i < ranks; ++i) {
        std::int64_t first = 0;
        for (std::int64_t k = 0; k < i * ranks + j; ++k) first += there[static_cast<std::size_t>(k)];
        for (std::int64_t k = 0; k < there[static_cast<std::size_t>(i * ranks + j)] * width; ++k) {
          RC_ASSERT(moved[at++] == x[static_cast<std::size_t>(first * width + k)]);
        }
      }
    }
  }));
}

}  // namespace
}  // namespace moesim::reference
