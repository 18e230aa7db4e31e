// Prices of kernels: a new shape, and one that was asked for before.
#include "models/cost/kernel_file.hpp"
#include "models/cost/price_memo.hpp"
#include "sim/studies/kernel_accuracy.hpp"
#include "tests/bench/interleaved.hpp"

namespace {

using namespace moesim;

constexpr double kNewShape_ns = 3000;
constexpr double kMemoHit_ns = 60;
constexpr std::int64_t kShapes = 512;

const cost::DevicePricer& pricer() {
  static const cost::DevicePricer one = [] {
    const config::Catalogue catalogue({MOESIM_SOURCE_DIR});
    const studies::KernelCatalogue kernels(catalogue);
    return cost::DevicePricer(hardware::load_gpu("h100-sxm", catalogue).value,
                              std::make_shared<const cost::KernelLibrary>(
                                  kernels.library("trtllm", "h100-sxm", cost::Conditions::serving).value()));
  }();
  return one;
}

llm::Operator gemm(std::int64_t i) {
  return llm::Gemm{.rows = 1 + 7 * i, .columns = 4096 + 64 * (i % 32), .depth = 4096 + 128 * (i % 16)};
}
llm::Operator prefill(std::int64_t i) {
  const std::int64_t queries = 100 + 17 * i, pairs = queries * (queries + 1) / 2;
  return llm::Attention{.sequences = 1,
                        .query_tokens = queries,
                        .pairs = pairs,
                        .kv_tokens = queries,
                        .query_heads = 32,
                        .kv_heads = 8,
                        .qk_dim = 128,
                        .v_dim = 128};
}
llm::Operator decode(std::int64_t i) {
  return llm::Attention{.phase = llm::Phase::decode,
                        .sequences = 1 + i % 64,
                        .query_tokens = 1 + i % 64,
                        .pairs = (1 + i % 64) * (1000 + 100 * i),
                        .kv_tokens = (1 + i % 64) * (1000 + 100 * i),
                        .query_heads = 32,
                        .kv_heads = 8,
                        .qk_dim = 128,
                        .v_dim = 128};
}
llm::Operator experts(std::int64_t i) {
  static std::vector<std::vector<std::int64_t>> rows;
  while (static_cast<std::int64_t>(rows.size()) <= i) {
    std::vector<std::int64_t> one(32);
    for (std::size_t e = 0; e < one.size(); ++e)
      one[e] = static_cast<std::int64_t>((rows.size() * 31 + e * 17) % 97);
    rows.push_back(std::move(one));
  }
  return llm::GroupedGemm{
      .experts = 32, .columns = 4096, .depth = 7168, .rows_by_expert = rows[static_cast<std::size_t>(i)]};
}

template <llm::Operator (*Make)(std::int64_t)>
void new_shape(benchmark::State& state) {
  std::vector<llm::Operator> ops;
  for (std::int64_t i = 0; i < kShapes; ++i) ops.push_back(Make(i));
  bench::against_clock(state, kShapes, kNewShape_ns, [&] {
    for (const llm::Operator& op : ops) benchmark::DoNotOptimize(pricer().price(op));
  });
}

void memo_hit(benchmark::State& state) {
  std::vector<llm::Operator> ops;
  for (std::int64_t i = 0; i < kShapes; ++i) ops.push_back(i % 2 == 0 ? gemm(i) : decode(i));
  cost::PriceMemo memo;
  for (const llm::Operator& op : ops) benchmark::DoNotOptimize(memo.price(pricer(), op));
  bench::against_clock(state, kShapes, kMemoHit_ns, [&] {
    for (const llm::Operator& op : ops) benchmark::DoNotOptimize(memo.price(pricer(), op).time);
  });
}

BENCHMARK(new_shape<gemm>)->Name("price/new/gemm")->Iterations(1);
BENCHMARK(new_shape<experts>)->Name("price/new/experts")->Iterations(1);
BENCHMARK(new_shape<prefill>)->Name("price/new/prefill")->Iterations(1);
BENCHMARK(new_shape<decode>)->Name("price/new/decode")->Iterations(1);
BENCHMARK(memo_hit)->Name("price/memo_hit")->Iterations(1);

}  // namespace
