// The first time that KV blocks run out, what would have avoided it, and what paging wastes.
#include "sim/serving/memory_events.hpp"

#include <algorithm>

#include "sim/serving/simulate.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;
using serving::EngineRank;
using serving::MemoryEventKind;
using serving::Sequence;

namespace {

const llm::BatchRule kRule{1, {llm::KeyRule{}}};

void schedule(EngineRank& rank) {
  llm::RankBatch batch;
  rank.take_arrivals();
  static_cast<void>(rank.schedule(kRule, {&batch, 1}));
}

void finish(EngineRank& rank) {
  std::vector<serving::TokenOut> out;
  rank.finish_step(out);
}

Sequence sequence(std::int64_t request, std::int64_t input, std::int64_t output) {
  return {request, input, output, 0, 0, 0, 0};
}

serving::RankRules rules(llm::KvPages pages, std::int64_t budget = 1000, std::int64_t seats = 100) {
  return {budget, seats, std::move(pages), true, true, true};
}

// Eight clients on a GPU whose KV blocks hold 16,000 tokens.
serving::Scenario scenario(const std::vector<std::string>& changes) {
  const auto catalogue = test::source_catalogue();
  auto all = std::vector<std::string>{"memory.utilization=0.25", "deployment.scheduler.max_num_seqs=64",
                                      "workload.arrival.clients=8"};
  all.insert(all.end(), changes.begin(), changes.end());
  return config::read_document<serving::Scenario>(
             config::load_text(std::string(test::kSmallScenario), "test.json", catalogue, test::sets(all)),
             catalogue)
      .value;
}

const serving::MemoryEvent* find(const serving::Results& results, MemoryEventKind kind) {
  const auto event = std::find_if(results.memory_events.begin(), results.memory_events.end(),
                                  [&](const serving::MemoryEvent& e) { return e.kind == kind; });
  return event == results.memory_events.end() ? nullptr : &*event;
}

// Long answers outgrow the blocks that were free when their prompts were admitted.
const std::string kLongAnswers =
    R"(workload.lengths={"input":{"distribution":"fixed","tokens":200},"output":{"distribution":"fixed","tokens":3000}})";
// Prompts that leave no room for others.
const std::string kLongPrompts =
    R"(workload.lengths={"input":{"distribution":"fixed","tokens":3500},"output":{"distribution":"fixed","tokens":50}})";

}  // namespace

TEST_CASE("a rank says who waits for blocks, and not who waits for a seat or for tokens") {
  EngineRank rank(rules(llm::KvPages(16), 1000, 2), 10);
  rank.enqueue(sequence(7, 100, 5));
  rank.enqueue(sequence(8, 100, 5));
  schedule(rank);  // 7 blocks of 10
  CHECK(rank.stalled() == 8);
  CHECK(rank.peak_demand().blocks == 14);
  CHECK(rank.peak_demand().sequences == 2);
  CHECK(rank.peak_demand().tokens == 200);
  EngineRank seats(rules(llm::KvPages(16), 1000, 1), 10);
  seats.enqueue(sequence(7, 100, 5));
  seats.enqueue(sequence(8, 100, 5));
  schedule(seats);
  CHECK_FALSE(seats.stalled());
  EngineRank tokens(rules(llm::KvPages(16), 100), 10);
  tokens.enqueue(sequence(7, 100, 5));
  tokens.enqueue(sequence(8, 100, 5));
  schedule(tokens);
  CHECK_FALSE(tokens.stalled());
  CHECK(tokens.peak_demand().blocks == 0);
}

TEST_CASE("demand beyond the seats is the mean of the queue") {
  EngineRank rank(rules(llm::KvPages(16), 1000, 3), 10);
  rank.enqueue(sequence(1, 100, 5));                                            // 7 blocks
  for (int i = 2; i < 6; ++i) rank.enqueue(sequence(i, i < 4 ? 160 : 320, 5));  // 10, 10, 20, 20
  schedule(rank);
  CHECK(rank.stalled() == 2);
  CHECK(rank.peak_demand().blocks == 7 + 2 * 15);
  CHECK(rank.peak_demand().sequences == 3);
  CHECK(rank.peak_demand().tokens == 100 + 2 * 240);
}

TEST_CASE("the blocks of a rank hold rows and waste") {
  const auto model = config::load_entry<llm::Architecture>("llama-3.1-8b", test::source_catalogue()).value;
  const std::int64_t token = 131'072;
  EngineRank rank(rules(llm::KvPages(model, {}, llm::NumberFormat::bf16, 16)), 4);
  rank.enqueue(sequence(1, 20, 100));
  schedule(rank);
  CHECK(rank.kv_waste_bytes() == 12 * token);
  CHECK(rank.kv_waste_at_peak() == 12 * token);
  finish(rank);
  schedule(rank);  // the first generated token
  CHECK(rank.kv_waste_bytes() == 11 * token);
  CHECK(rank.kv_waste_at_peak() == 12 * token);  // no more blocks than before
  finish(rank);
  rank.enqueue(sequence(2, 30, 2));
  schedule(rank);
  CHECK(rank.kv_waste_bytes() == (10 + 2) * token);
  CHECK(rank.kv_waste_at_peak() == 12 * token);
  // The second leaves, the first outgrows its second block.
  for (int i = 0; i < 11; ++i) {
    finish(rank);
    schedule(rank);
  }
  CHECK(rank.kv().used() == 3);
  CHECK(rank.kv_waste_bytes() == (3 * 16 - 33) * token);
}

TEST_CASE("a sequence that loses its blocks leaves nothing in them") {
  const auto model = config::load_entry<llm::Architecture>("llama-3.1-8b", test::source_catalogue()).value;
  const std::int64_t token = 131'072;
  EngineRank rank(rules(llm::KvPages(model, {}, llm::NumberFormat::bf16, 16)), 2);
  rank.enqueue(sequence(1, 15, 9));
  rank.enqueue(sequence(2, 15, 9));
  schedule(rank);
  CHECK(rank.kv_waste_bytes() == 2 * token);
  finish(rank);
  schedule(rank);
  CHECK(rank.kv_waste_bytes() == 0);
  finish(rank);
  schedule(rank);  // both need a second block
  REQUIRE(rank.preempted() == std::vector<std::int64_t>{2});
  CHECK_FALSE(rank.stalled());
  CHECK(rank.kv_waste_bytes() == (2 * 16 - 17) * token);
  CHECK(rank.peak_demand().blocks == 2 + 2);  // 17 tokens are waiting
  finish(rank);
  schedule(rank);
  CHECK(rank.stalled() == 2);
}

TEST_CASE("the first preemption has a time, and its remedy works") {
  const serving::Results results = serving::simulate(scenario({kLongAnswers}), {});
  REQUIRE(results.preemptions > 0);
  const serving::MemoryEvent* event = find(results, MemoryEventKind::preemption);
  REQUIRE(event != nullptr);
  CHECK(event->pool == "main");
  CHECK(results.requests.at(static_cast<std::size_t>(event->request)).preemptions > 0);
  // The interval of that time is the first with preemptions.
  const auto first = std::find_if(results.timeseries.begin(), results.timeseries.end(),
                                  [](const serving::TimeseriesRow& row) { return row.preemptions > 0; });
  REQUIRE(first != results.timeseries.end());
  CHECK(first->begin <= event->at);
  CHECK(event->at < first->end);
  CHECK(event->blocks_needed > results.memory.at(0).kv_blocks);
  CHECK(event->remedy == "memory.utilization 0.27 instead of 0.25");
  const auto with = [&](const char* utilization) {
    return serving::simulate(scenario({kLongAnswers, std::string("memory.utilization=") + utilization}), {});
  };
  CHECK(find(with("0.27"), MemoryEventKind::preemption) == nullptr);
  CHECK(find(with("0.26"), MemoryEventKind::preemption) != nullptr);
}

TEST_CASE("the first wait for blocks has a time, and its remedy works") {
  const serving::Results results = serving::simulate(scenario({kLongPrompts}), {});
  CHECK(results.preemptions == 0);
  const serving::MemoryEvent* event = find(results, MemoryEventKind::stall);
  REQUIRE(event != nullptr);
  CHECK(results.memory_events.size() == 1);
  const serving::RequestRow& row = results.requests.at(static_cast<std::size_t>(event->request));
  CHECK(row.arrival <= event->at);
  CHECK(event->at < row.scheduled);
  for (const serving::RequestRow& other : results.requests) CHECK(event->at < other.finished);
  CHECK(event->remedy.substr(0, 19) == "memory.utilization ");
  const std::string utilization = event->remedy.substr(19, 4);
  CHECK(find(serving::simulate(scenario({kLongPrompts, "memory.utilization=" + utilization}), {}),
             MemoryEventKind::stall) == nullptr);
  const auto plenty = serving::simulate(scenario({kLongPrompts, "memory.utilization=0.9"}), {});
  CHECK(plenty.memory_events.empty());
}

TEST_CASE("remedies from the smallest change to the largest") {
  const auto remedy = [&](std::int64_t times, MemoryEventKind kind, const std::vector<std::string>& changes) {
    const serving::Scenario s = scenario(changes);
    const serving::Pool& pool = s.deployment.pools.at("main");
    const auto budget = serving::memory_budgets(s).at(0);
    const serving::KvDemand demand{budget.kv_blocks * times / 100, 50, budget.kv_blocks * times / 100 * 16};
    return serving::demand_remedy(s, "main", pool, demand, kind);
  };
  const std::string high = "memory.utilization=0.97";
  CHECK(remedy(105, MemoryEventKind::stall, {}) == "memory.utilization 0.26 instead of 0.25");
  CHECK(remedy(150, MemoryEventKind::stall, {}) == "memory.utilization 0.27 instead of 0.25");
  // One step of the share is too little for twice the blocks: fewer sequences, or half the bytes.
  CHECK(remedy(190, MemoryEventKind::preemption, {high}).substr(0, 37) ==
        "deployment.scheduler.max_num_seqs 26 ");
  CHECK(remedy(190, MemoryEventKind::stall, {high}) == "deployment.formats.kv \"fp8\" instead of \"bf16\"");
  CHECK(remedy(250, MemoryEventKind::stall, {high}) ==
        "deployment.pools.main.replicas 3 instead of 1: 3 GPUs");
  // Two tensor ranks free half of the weights too.
  CHECK(remedy(215, MemoryEventKind::stall, {high, "deployment.formats.kv=fp8"}) ==
        "deployment.pools.main.tp 2 instead of 1: 2 GPUs");
  CHECK(remedy(1000, MemoryEventKind::stall, {high, "deployment.pools.main.replicas=8"})
            .find("(the cluster has 8)") != std::string::npos);
}

TEST_CASE("waste over time is part of the blocks in use") {
  const serving::Results results = serving::simulate(scenario({kLongAnswers}), {});
  CHECK(results.mean_kv_waste_bytes > 0);
  CHECK(results.mean_kv_waste_bytes < results.mean_kv_bytes);
  // Half a block of 16 tokens for each running sequence, in the mean over their lengths.
  const double half_blocks = results.mean_running * 7.5 * 131'072;
  CHECK(std::abs(results.mean_kv_waste_bytes / half_blocks - 1) < 0.1);
  for (const serving::TimeseriesRow& row : results.timeseries) {
    CHECK(row.mean_kv_waste_bytes >= 0);
    CHECK(row.mean_kv_waste_bytes <= row.mean_kv_bytes);
  }
  // Two devices have half of each block.
  const auto two = serving::simulate(scenario({kLongAnswers, "deployment.pools.main.tp=2"}), {});
  CHECK(std::abs(two.mean_kv_waste_bytes / (two.mean_running * 7.5 * 131'072) - 1) < 0.1);
  const serving::MemoryBudget& budget = results.memory.at(0);
  CHECK(budget.kv_peak_waste_bytes > 0);
  CHECK(budget.kv_peak_waste_bytes < 8 * 16 * 131'072);
  REQUIRE(budget.kv_groups.size() == 1);
  CHECK(budget.kv_groups[0] == llm::KvRows{32, 4096, 1, 0});
}
