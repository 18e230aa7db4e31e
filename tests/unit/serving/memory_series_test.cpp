// Memory over time: what the KV blocks of a device hold, and stacks that add up to it.
#include "sim/serving/memory_series.hpp"

#include <algorithm>
#include <cmath>
#include <map>

#include "sim/serving/simulate.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;
using serving::MemoryPart;
using serving::Results;

namespace {

Results run(const std::vector<std::string>& changes) {
  const auto catalogue = test::source_catalogue();
  const auto scenario =
      config::read_document<serving::Scenario>(
          config::load_text(std::string(test::kSmallScenario), "test.json", catalogue, test::sets(changes)),
          catalogue)
          .value;
  return serving::simulate(scenario, {});
}

// One request that runs for two steps: its prompt of `tokens` tokens, and one token more.
std::vector<std::string> one_request(const std::string& model, std::int64_t tokens) {
  return {"model=" + model, "workload.arrival.clients=1", "workload.stop.requests=1",
          "workload.lengths={\"input\":{\"distribution\":\"fixed\",\"tokens\":" + std::to_string(tokens) +
              "},\"output\":{\"distribution\":\"fixed\",\"tokens\":2}}"};
}

std::map<std::string, MemoryPart> stack_of(const serving::MemoryBudget& budget,
                                           const std::vector<serving::KvPart>& kv,
                                           const std::vector<serving::KvPeak>& peaks) {
  std::map<std::string, MemoryPart> stack;
  for (MemoryPart& part : serving::memory_stack(budget, kv, peaks)) stack.emplace(part.category, part);
  return stack;
}

std::map<std::string, MemoryPart> stack_of(const Results& results) {
  const serving::MemoryUse& use = results.memory_use.at(0);
  return stack_of(results.memory.at(0), use.kv, use.peaks);
}

void check_part(const MemoryPart& part, std::int64_t used, std::int64_t waste) {
  INFO(part.category);
  CHECK(part.bytes.worst_bytes == used);
  CHECK(part.bytes.worst_waste_bytes == waste);
  CHECK(part.peak.bytes == used);
}

}  // namespace

TEST_CASE("window and full rows of one sequence") {
  // 12 layers each, rows of 8 heads x (64 + 64) x 2 B, pages of 16 tokens.
  const Results results = run(one_request("gpt-oss-20b", 1000));
  const std::int64_t row = 12 * 2048;
  auto stack = stack_of(results);
  check_part(stack.at("kv_full"), 63 * 16 * row, (63 * 16 - 1000) * row);
  check_part(stack.at("kv_window_128"), 9 * 16 * row, (9 * 16 - 128) * row);
  CHECK(stack.count("recurrent_state") == 0);
  CHECK(results.memory_use.at(0).fullest.used == (63 + 9) * 16 * row);
  CHECK(results.memory.at(0).kv_peak.value == (63 + 9) * 16 * row);
  CHECK(stack.at("kv_free").bytes.worst_bytes ==
        results.memory.at(0).kv_budget.value - results.memory.at(0).kv_peak.value);
  CHECK(stack.at("kv_free").peak.bytes == results.memory.at(0).kv_budget.value);
  // The token of the second step needs no page: the first was as full.
  CHECK(results.memory_use.at(0).fullest.at == stack.at("kv_full").peak.at);
  CHECK(stack.at("kv_full").peak.at >= results.requests.at(0).scheduled);
  CHECK(stack.at("kv_full").peak.at < results.requests.at(0).first_token);
}

TEST_CASE("rows and recurrent states of one sequence, on two tensor ranks") {
  auto changes = one_request("qwen3-next-80b-a3b", 100);
  changes.insert(changes.end(), {"deployment.pools.main={\"tp\":2,\"ep\":2}",
                                 "deployment.formats.weights=fp8", "deployment.formats.kv=bf16"});
  const Results results = run(changes);
  auto stack = stack_of(results);
  // 12 layers of 1 of 2 heads x 2 x 256 x 2 B.
  check_part(stack.at("kv_full"), 7 * 16 * 12 * 1024, (7 * 16 - 100) * 12 * 1024);
  // 36 layers: 16 of 32 matrices of 128 x 128 in fp32, 3 columns of 4,096 of 8,192 channels in bf16.
  const std::int64_t state = 36 * (16 * 128 * 128 * 4 + 4096 * 3 * 2);
  CHECK(results.memory.at(0).kv_state_bytes == state);
  check_part(stack.at("recurrent_state"), state, 0);
}

TEST_CASE("pooled rows, their index keys and a window of one sequence") {
  auto changes = one_request("deepseek-v4-flash", 1000);
  changes.insert(changes.end(), {"cluster.node=hgx-h200-8", "deployment.pools.main={\"tp\":8,\"ep\":8}",
                                 "deployment.formats.weights=fp8", "deployment.formats.kv=bf16"});
  const Results results = run(changes);
  auto stack = stack_of(results);
  // Rows of 512 elements of bf16 and keys of 128; pages of 256 tokens, so 4 of all tokens and 2 of a window.
  check_part(stack.at("kv_window_128"), 43 * 1024 * 512, 43 * 1024 * (512 - 128));
  check_part(stack.at("kv_pooled_4"), 21 * 1024 * 256, 21 * 1024 * (256 - 250));
  check_part(stack.at("kv_pooled_4_index_keys"), 21 * 256 * 256, 21 * 256 * (256 - 250));
  check_part(stack.at("kv_pooled_128"), 20 * 1024 * 8, 20 * 1024 * (8 - 7));
}

TEST_CASE("the worst device and the mean over devices") {
  // Two replicas of two data-parallel ranks; the one request is on one of the four.
  auto changes = one_request("mixtral-8x7b", 1599);
  changes.emplace_back("deployment.pools.main={\"tp\":2,\"dp_attention\":2,\"ep\":4,\"replicas\":2}");
  const Results results = run(changes);
  const serving::MemoryUse& use = results.memory_use.at(0);
  const std::int64_t bytes = 32 * 4 * 2 * 128 * 2 * std::int64_t{1600};
  CHECK(use.kv.at(0).worst_bytes == bytes);
  CHECK(use.fullest.replica == results.requests.at(0).replica);
  CHECK(use.fullest.dp_rank == results.requests.at(0).dp_rank);
  // It holds them while its two steps run: nearly all of the measured time.
  CHECK(use.kv.at(0).mean_bytes <= static_cast<double>(bytes) / 4);
  CHECK(use.kv.at(0).mean_bytes > static_cast<double>(bytes) / 4 * 0.8);
  CHECK(std::abs(use.kv.at(0).mean_bytes * 8 / results.mean_kv_bytes - 1) < 1e-12);
}

TEST_CASE("the fullest device is the one with the longest of four requests") {
  const Results results = run(
      {"model=mixtral-8x7b", "workload.stop.requests=4",
       "deployment.pools.main={\"tp\":2,\"dp_attention\":2,\"ep\":4,\"replicas\":2}",
       R"(workload.lengths={"input":{"distribution":"uniform","tokens":4000,"ratio":0.5},"output":{"distribution":"fixed","tokens":2}})",
       "seed=10"});
  REQUIRE(results.requests.size() == 4);
  const auto longest =
      std::max_element(results.requests.begin(), results.requests.end(),
                       [](const auto& a, const auto& b) { return a.input_tokens < b.input_tokens; });
  const serving::KvMoment& fullest = results.memory_use.at(0).fullest;
  CHECK(longest->replica == 1);
  CHECK(longest->dp_rank == 1);
  CHECK(fullest.replica == longest->replica);
  CHECK(fullest.dp_rank == longest->dp_rank);
  CHECK(fullest.used == (longest->input_tokens + 15) / 16 * 16 * 32 * 4 * 2 * 128 * 2);
  CHECK(fullest.at == longest->scheduled);
}

TEST_CASE("parts that a budget has no bytes for are left out, and the rest adds up") {
  const Results results =
      run({"model=qwen3-30b-a3b", "deployment.pools.main={\"tp\":1,\"dp_attention\":4,\"ep\":4}",
           "deployment.engine.comm.all_to_all=per-expert-messages"});
  const auto stack = stack_of(results);
  for (const char* category : {"weights", "kv_full", "kv_free", "activations", "exchange_buffers",
                               "communicators", "graphs", "runtime", "reserved"}) {
    CHECK(stack.count(category) == 1);
  }
  CHECK(stack.size() == 9);
  const Results alone = run({});
  CHECK(stack_of(alone).count("communicators") == 0);
  CHECK(stack_of(alone).count("exchange_buffers") == 0);
  for (const Results* all : {&results, &alone}) {
    REQUIRE_FALSE(all->memory_series.empty());
    REQUIRE(all->memory_series.size() == all->timeseries.size());
    for (const serving::MemoryBin& bin : all->memory_series) {
      std::int64_t worst = 0;
      for (const MemoryPart& part : serving::memory_stack(all->memory.at(0), bin.kv, {}))
        worst += part.bytes.worst_bytes;
      CHECK(worst == all->memory.at(0).total.value);
    }
  }
}

TEST_CASE("stops of admission are counted when they happen") {
  const std::string prompts =
      R"(workload.lengths={"input":{"distribution":"fixed","tokens":3500},"output":{"distribution":"fixed","tokens":50}})";
  const auto with = [&](const char* utilization) {
    return run({prompts, "workload.arrival.clients=8", "deployment.scheduler.max_num_seqs=64",
                std::string("memory.utilization=") + utilization});
  };
  const Results tight = with("0.25");
  REQUIRE_FALSE(tight.memory_events.empty());
  const auto first = std::find_if(tight.timeseries.begin(), tight.timeseries.end(),
                                  [](const serving::TimeseriesRow& row) { return row.admission_stops > 0; });
  REQUIRE(first != tight.timeseries.end());
  CHECK(first->begin <= tight.memory_events.front().at);
  CHECK(tight.memory_events.front().at < first->end);
  const Results plenty = with("0.9");
  for (const serving::TimeseriesRow& row : plenty.timeseries) CHECK(row.admission_stops == 0);
}
