// Scores of finite queries and keys that overflow to -infinity are seen keys of weight 0, not hidden ones,
// and counts are of what ran.
#include <limits>

#include "tests/support/catch.hpp"
#include "tests/unit/reference/attention_problem.hpp"

namespace moesim::reference {
namespace {

enum class Kernel { tiled, decode, naive };
constexpr std::int64_t kKeyDim = 4;
constexpr std::int64_t kValueDim = 3;
constexpr float kMinus = -std::numeric_limits<float>::infinity();

struct Result {
  std::vector<float> o = std::vector<float>(kValueDim, 9.0F);
  float lse = 9.0F;
  Counts counts;
};

// One query of 1e30 per element over keys whose elements are all `elements[j]`; values of key j are all j
// + 1.
Result attend_to(Kernel kernel, const std::vector<float>& elements, const AttentionOptions& options) {
  const std::vector<float> q(kKeyDim, 1e30F);
  std::vector<float> k, v;
  for (std::size_t j = 0; j < elements.size(); ++j) {
    k.insert(k.end(), kKeyDim, elements[j]);
    v.insert(v.end(), kValueDim, static_cast<float>(j + 1));
  }
  const auto keys = std::ssize(elements);
  QueryRows<float> queries;
  queries.rows = heads_first(std::span<const float>(q), 1, 1, kKeyDim);
  ContiguousKeyValues<float> source;
  source.key_rows = heads_first(std::span<const float>(k), 1, keys, kKeyDim);
  source.value_rows = heads_first(std::span<const float>(v), 1, keys, kValueDim);
  Result result;
  const AttentionOutput<float> output{heads_first(std::span<float>(result.o), 1, 1, kValueDim),
                                      std::span<float>(&result.lse, 1)};
  CountingProbe probe;
  switch (kernel) {
    case Kernel::tiled:
      attention_tiled(queries, source, options, output, probe);
      break;
    case Kernel::decode:
      attention_decode(queries, source, options, output, probe);
      break;
    case Kernel::naive:
      attention_naive<float>(queries, source, options, output, probe);
      break;
  }
  result.counts = probe.result();
  return result;
}

AttentionOptions options_of(std::int64_t keys, std::int64_t tile) {
  AttentionOptions options;
  options.scale = 1.0;
  options.first_query = keys - 1;
  options.tile = {1, tile};
  return options;
}

void expect_counts(const Counts& counts, std::int64_t scored, std::int64_t weighed, std::int64_t divided) {
  CHECK(counts.useful_macs == scored * kKeyDim + weighed * kValueDim);
  CHECK(counts.other_flops == 2 * scored + 2 * weighed + divided);
  CHECK(counts.specials == weighed);
}

constexpr Kernel kKernels[] = {Kernel::tiled, Kernel::decode, Kernel::naive};

TEST_CASE("where all scores overflow to -infinity no exponential and no value is counted") {
  for (const Kernel kernel : kKernels) {
    for (const std::int64_t tile : {1, 2, 8}) {
      const Result result = attend_to(kernel, {-1e30F, -1e30F}, options_of(2, tile));
      CHECK(result.o == std::vector<float>(kValueDim, 0.0F));
      CHECK(result.lse == kMinus);
      expect_counts(result.counts, 2, 0, 0);
    }
  }
}

TEST_CASE("a key whose score overflowed to -infinity has weight 0 beside others and is worked on") {
  for (const Kernel kernel : kKernels) {
    const Result after = attend_to(kernel, {0.0F, -1e30F}, options_of(2, 1));
    CHECK(after.o == std::vector<float>(kValueDim, 1.0F));
    CHECK(after.lse == 0.0F);
    expect_counts(after.counts, 2, 2, kValueDim);
    const Result beside = attend_to(kernel, {-1e30F, 0.0F}, options_of(2, 2));
    CHECK(beside.o == std::vector<float>(kValueDim, 2.0F));
    CHECK(beside.lse == 0.0F);
    expect_counts(beside.counts, 2, 2, kValueDim);
  }
  // In a tile before the first finite score there is no maximum to be weighed against.
  for (const Kernel kernel : {Kernel::tiled, Kernel::decode}) {
    const Result before = attend_to(kernel, {-1e30F, 0.0F}, options_of(2, 1));
    CHECK(before.o == std::vector<float>(kValueDim, 2.0F));
    CHECK(before.lse == 0.0F);
    expect_counts(before.counts, 2, 1, kValueDim);
  }
}

TEST_CASE("a hidden key is neither scored nor weighed, whatever its score would be") {
  for (const Kernel kernel : kKernels) {
    AttentionOptions options = options_of(3, 2);
    options.mask.window = 2;
    const Result result = attend_to(kernel, {0.0F, -1e30F, 0.0F}, options);
    CHECK(result.o == std::vector<float>(kValueDim, 3.0F));
    // The overflowed key 1 stands alone in the first tile of the online kernels.
    expect_counts(result.counts, 2, kernel == Kernel::naive ? 2 : 1, kValueDim);
  }
}

}  // namespace
}  // namespace moesim::reference
