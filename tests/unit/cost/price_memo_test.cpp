// Remembered prices are the prices, for every kind of operator.
#include "models/cost/price_memo.hpp"

#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;

namespace {

cost::DevicePricer h100() {
  return cost::DevicePricer(hardware::load_gpu("h100-sxm", test::source_catalogue()).value);
}

}  // namespace

TEST_CASE("a remembered price is the price") {
  const cost::DevicePricer pricer = h100();
  cost::PriceMemo memo;
  std::vector<llm::Operator> ops;
  for (std::int64_t i = 1; i <= 300; ++i) {
    ops.emplace_back(llm::Gemm{.rows = i, .columns = 4096, .depth = 512 * i});
    ops.emplace_back(llm::Attention{.phase = llm::Phase::decode,
                                    .sequences = i,
                                    .query_tokens = i,
                                    .pairs = 100 * i,
                                    .kv_tokens = 100 * i,
                                    .query_heads = 8,
                                    .kv_heads = 1,
                                    .qk_dim = 128,
                                    .v_dim = 128});
    ops.emplace_back(
        llm::Elementwise{llm::ElementwiseRole::input_norm, 4096 * i, 8192 * i, 8192 * i, 0, 0, i});
    ops.emplace_back(llm::Router{i, 256, 7168});
    ops.emplace_back(llm::TopK{i, 256, 8});
    ops.emplace_back(llm::Embedding{i, 4096});
    ops.emplace_back(llm::Sampling{i, 128256});
    ops.emplace_back(llm::KeyChoice{1000 * i, 10 * i});
  }
  for (int round = 0; round < 2; ++round) {
    for (const llm::Operator& op : ops) CHECK(memo.price(pricer, op).time == pricer.price(op).time);
    CHECK(memo.size() == ops.size());
  }
}

TEST_CASE("operators that differ in one field have keys of their own") {
  const llm::Gemm gemm{.rows = 1, .columns = 2, .depth = 3};
  llm::Gemm other = gemm;
  other.weights = llm::NumberFormat::fp8;
  CHECK(cost::key_of(gemm) != cost::key_of(other));
  other = gemm;
  other.batch = 2;
  CHECK(cost::key_of(gemm) != cost::key_of(other));
  const llm::Attention attention{.sequences = 1, .query_tokens = 1};
  llm::Attention sinks = attention;
  sinks.sinks = true;
  CHECK(cost::key_of(attention) != cost::key_of(sinks));
  CHECK(cost::key_of(llm::Router{1, 2, 3}) != cost::key_of(llm::TopK{1, 2, 3}));
  CHECK_FALSE(cost::key_of(llm::GroupedGemm{}));
  CHECK_FALSE(cost::key_of(llm::AllReduce{}));
}
