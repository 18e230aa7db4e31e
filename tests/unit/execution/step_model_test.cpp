#include "sim/execution/step_model.hpp"

#include <algorithm>
#include <memory>
#include <numeric>

#include "models/hardware/topology.hpp"
#include "sim/execution/replica_pricer.hpp"
#include "sim/execution/routed_load.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;

namespace {

execution::ReplicaSetup setup_of(std::string_view model, llm::Layout layout, llm::Formats formats = {}) {
  const auto catalogue = test::source_catalogue();
  execution::ReplicaSetup setup;
  setup.architecture = config::load_entry<llm::Architecture>(model, catalogue).value;
  setup.layout = layout;
  setup.formats = formats;
  setup.engine = config::load_entry<cost::EngineProfile>("vllm", catalogue).value;
  hardware::Cluster cluster;
  cluster.node = hardware::load_node("hgx-h200-8", catalogue).value;
  cluster.nodes = (layout.ranks() + 7) / 8;
  cluster.fabric = hardware::load_fabric("ib-ndr400-rail", catalogue).value;
  setup.gpu = cluster.node.gpu;
  const hardware::Topology topology(cluster);
  const auto profile = [&](std::int64_t count, std::int64_t stride) {
    std::vector<hardware::DeviceIndex> devices;
    for (std::int64_t i = 0; i < count; ++i) devices.push_back({static_cast<std::int32_t>(i * stride)});
    return topology.group_profile(devices);
  };
  setup.tensor_group = profile(layout.tp, 1);
  setup.data_group = profile(layout.dp, layout.tp);
  setup.expert_group = profile(layout.ranks(), 1);
  setup.seed = 11;
  return setup;
}

llm::RankBatch batch_of(execution::StepModel& model, std::vector<llm::SequenceChunk> chunks) {
  llm::RankBatch batch;
  for (const llm::SequenceChunk& chunk : chunks) llm::add_chunk(batch, chunk, model.batch_rule());
  return batch;
}

void check_equal(const execution::StepTime& a, const execution::StepTime& b) {
  CHECK(a.total == b.total);
  CHECK(a.by_part == b.by_part);
  CHECK(a.by_resource == b.by_resource);
  CHECK(a.by_label == b.by_label);
  CHECK(a.slowest_shard_rows == b.slowest_shard_rows);
  CHECK(a.all_shard_rows == b.all_shard_rows);
}

}  // namespace

TEST_CASE("memo and folding change no bit of a step's time") {
  const llm::Formats fp8{llm::NumberFormat::fp8_block, std::nullopt, llm::NumberFormat::bf16};
  struct Case {
    std::string_view model;
    llm::Layout layout;
    llm::Formats formats;
  };
  for (const Case& c : {Case{"llama-3.1-8b", {2, 1, 1, 1}, {}}, Case{"llama-3.1-8b", {1, 4, 1, 1}, {}},
                        Case{"mixtral-8x7b", {4, 1, 4, 1}, {}}, Case{"mixtral-8x7b", {2, 2, 1, 1}, {}},
                        Case{"deepseek-v3", {2, 4, 8, 1}, fp8}, Case{"deepseek-v3", {4, 4, 16, 1}, fp8}}) {
    INFO(c.model << " tp " << c.layout.tp << " dp " << c.layout.dp << " ep " << c.layout.ep);
    execution::StepModel fast(setup_of(c.model, c.layout, c.formats), {true, true});
    execution::StepModel no_memo(setup_of(c.model, c.layout, c.formats), {false, true});
    execution::StepModel unfolded(setup_of(c.model, c.layout, c.formats), {true, false});
    std::vector<llm::RankBatch> ranks;
    for (std::int64_t r = 0; r < c.layout.dp; ++r) {
      ranks.push_back(batch_of(fast, {{1, 500 * (r + 1), true}, {300 * (r + 1), 64, true}, {1, 9000, true}}));
    }
    const auto first = fast.price(ranks, 0);
    check_equal(first, fast.price(ranks, 0));
    check_equal(first, no_memo.price(ranks, 0));
    check_equal(first, unfolded.price(ranks, 0));
    const auto sum = [](const auto& parts) {
      return std::accumulate(parts.begin(), parts.end(), core::Duration{});
    };
    CHECK(sum(first.by_part) == first.total);
    CHECK(sum(first.by_resource) == first.total);
    CHECK(sum(first.by_label) == first.total);
  }
}

TEST_CASE("a step of ranks waits for the slowest at every MoE layer") {
  const llm::Formats fp8{llm::NumberFormat::fp8_block, std::nullopt, llm::NumberFormat::bf16};
  execution::StepModel model(setup_of("deepseek-v3", {1, 8, 8, 1}, fp8), {});
  const llm::RankBatch small = batch_of(model, {{1, 1000, true}});
  const llm::RankBatch large = batch_of(model, {{1, 100'000, true}});
  const auto even = model.price(std::vector<llm::RankBatch>(8, small), 0).total;
  std::vector<llm::RankBatch> one(8, small);
  one[5] = large;
  const auto uneven = model.price(one, 0).total;
  const auto all = model.price(std::vector<llm::RankBatch>(8, large), 0).total;
  CHECK(even < uneven);
  CHECK(uneven == all);  // the others' work hides behind the slowest rank
}

TEST_CASE("more context and more tokens never make a step faster") {
  execution::StepModel model(setup_of("qwen3-30b-a3b", {1, 1, 1, 1}), {});
  core::Duration before;
  for (std::int64_t context = 64; context < 40'000; context *= 2) {
    const auto now = model.price(std::vector{batch_of(model, {{1, context, true}})}, 0).total;
    CHECK(now >= before);
    before = now;
  }
}

TEST_CASE("token buckets grow by the fourth root of two and scaling keeps the sum") {
  CHECK(execution::bucket_tokens(execution::token_bucket(1)) == 1);
  CHECK(execution::bucket_tokens(execution::token_bucket(1024)) == 1024);
  for (std::int64_t tokens = 1; tokens < 100'000; tokens = tokens * 5 / 4 + 1) {
    const auto near = static_cast<double>(execution::bucket_tokens(execution::token_bucket(tokens)));
    CHECK(near / static_cast<double>(tokens) < 1.15);
    CHECK(static_cast<double>(tokens) / near < 1.15);
  }
  std::vector<std::int64_t> rows = {10, 0, 3, 100, 7};
  execution::scale_rows(rows, 110, 100);
  CHECK(std::accumulate(rows.begin(), rows.end(), std::int64_t{0}) == 132);
  CHECK(rows[1] == 0);
}

// With many tokens the experts are bound by compute, so the slowest shard is the one with the most rows. Its
// mean share over independent draws is what the model must charge.
TEST_CASE("the slowest expert shard carries the mean of the largest loads") {
  const llm::Formats fp8{llm::NumberFormat::fp8_block, std::nullopt, llm::NumberFormat::bf16};
  auto setup = setup_of("deepseek-v3", {1, 8, 8, 1}, fp8);
  setup.popularity = routing::LognormalPopularity{};
  const auto popularity = setup.popularity;
  execution::StepModel model(std::move(setup), {});
  const std::vector<llm::RankBatch> ranks(8, batch_of(model, {{8192, 0, true}}));
  const auto time = model.price(ranks, 0);
  const double charged =
      static_cast<double>(time.slowest_shard_rows) / static_cast<double>(time.all_shard_rows);
  double sum = 0;
  constexpr std::int64_t kLayers = 58;
  for (std::int64_t layer = 3; layer < 3 + kLayers; ++layer) {
    const auto p = routing::expert_probabilities(popularity, 11, layer, 256, 0);
    std::vector<std::int64_t> counts(256);
    routing::draw_expert_counts(popularity, 11, layer, static_cast<std::uint64_t>(1'000'000 + layer), 65536,
                                8, p, counts);
    std::int64_t busiest = 0;
    for (std::size_t shard = 0; shard < 8; ++shard) {
      const auto first = counts.begin() + static_cast<std::ptrdiff_t>(shard * 32);
      busiest = std::max(busiest, std::accumulate(first, first + 32, std::int64_t{0}));
    }
    sum += static_cast<double>(busiest) / 65536.0;
  }
  CHECK(charged / (sum / kLayers) > 0.97);
  CHECK(charged / (sum / kLayers) < 1.03);
}

// Steps of a routing trace come back as they were: the experts' rows are the counts of a record.
TEST_CASE("a step of as many tokens as a record of the trace has its rows by expert") {
  auto setup = setup_of("qwen3-30b-a3b", {1, 1, 1, 1});
  constexpr std::int64_t kExperts = 128, kTopK = 8;
  auto replay = std::make_shared<routing::Replay>();
  replay->experts = kExperts;
  replay->top_k = kTopK;
  replay->layer_of.assign(48, 0);
  routing::ReplayLayer layer(kExperts, kTopK);
  const auto record = [&](std::int64_t tokens, std::int64_t stride) {
    std::vector<std::uint16_t> experts;
    std::vector<std::int64_t> counts(kExperts);
    for (std::int64_t t = 0; t < tokens; ++t) {
      for (std::int64_t j = 0; j < kTopK; ++j) {
        experts.push_back(static_cast<std::uint16_t>((t * t % 31 + j * stride) % kExperts));
        ++counts[experts.back()];
      }
    }
    layer.add_record(experts);
    return counts;
  };
  // Neither is the number of tokens of a bucket.
  const auto first = record(100, 3), second = record(77, 5);
  replay->layers.push_back(layer);
  setup.popularity = routing::TracePopularity{"x.jsonl", std::move(replay)};
  for (const bool memo : {true, false}) {
    execution::ReplicaPricer pricer(setup, memo);
    CHECK(pricer.routed_load(0, 100, 0).rows_by_expert == first);
    CHECK(pricer.routed_load(0, 77, 3).rows_by_expert == second);
    CHECK(pricer.routed_load(0, 100, 0).rows_by_expert == first);
    // Other steps are drawn for their bucket and scaled.
    CHECK(pricer.routed_load(0, 1000, 0).rows() == 1000 * kTopK);
    CHECK(pricer.routed_load(0, 101, 0).rows() == 101 * kTopK);
  }
}

// Decode at batch 1 streams every active weight once: DeepSeek-V3's 37 B parameters at one byte each.
TEST_CASE("the smallest decode step is bounded below by the bytes it must read") {
  const llm::Formats fp8{llm::NumberFormat::fp8_block, std::nullopt, llm::NumberFormat::bf16};
  execution::StepModel model(setup_of("deepseek-v3", {8, 1, 8, 1}, fp8), {});
  const auto time = model.price(std::vector{batch_of(model, {{1, 128, true}})}, 0).total;
  CHECK(time.seconds() > 37e9 / 8 / 4.8e12 * 0.5);
  CHECK(time.seconds() < 0.05);
}
