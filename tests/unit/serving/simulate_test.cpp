#include "sim/serving/simulate.hpp"

#include <algorithm>

#include "sim/serving/memory.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"
#include "tests/unit/io/temporary_folder.hpp"

using namespace moesim;

namespace {

serving::Scenario scenario(std::string_view text, const std::vector<std::string>& changes = {}) {
  const auto catalogue = test::source_catalogue();
  return config::read_document<serving::Scenario>(
             config::load_text(std::string(text), "test.json", catalogue, test::sets(changes)), catalogue)
      .value;
}

serving::Results run(const serving::Scenario& s, serving::RunOptions options = {}) {
  const serving::Results results = serving::simulate(s, options);
  for (const serving::CheckResult& check : results.checks) {
    INFO(check.name << ": " << check.detail);
    CHECK(check.held);
  }
  return results;
}

}  // namespace

TEST_CASE("a closed loop serves every request and never has more than its clients running") {
  const auto results = run(scenario(test::kSmallScenario));
  CHECK(results.end == serving::RunEnd::complete);
  CHECK(results.served == 24);
  CHECK(results.mean_running + results.mean_waiting <= 4.0);
  CHECK(results.checks.size() >= 12);
  CHECK(results.goodput_per_s == results.requests_per_s);
}

TEST_CASE("an MoE model with DP attention is served and its experts are counted") {
  const auto results = run(scenario(test::kMoeScenario));
  CHECK(results.served == 30);
  CHECK(results.experts.size() == 58U * 256U);
  CHECK(results.slowest_expert_shard > 1.0);
  CHECK(results.expert_imbalance > results.slowest_expert_shard);
}

// serving_engines 1.7: only MoE models step their data-parallel ranks together.
TEST_CASE("data-parallel ranks of a dense model are as good as replicas") {
  const std::vector<std::string> load = {"workload.arrival={\"process\":\"poisson\",\"rate\":\"8/s\"}",
                                         "workload.stop.requests=100", "deployment.balancer=least-loaded"};
  const auto with = [&](const std::string& pool) {
    std::vector<std::string> changes = load;
    changes.push_back("deployment.pools={\"main\":" + pool + "}");
    return run(scenario(test::kSmallScenario, changes));
  };
  const auto ranks = with(R"({"tp":2,"dp_attention":4})");
  const auto replicas = with(R"({"tp":2,"replicas":4})");
  REQUIRE(ranks.requests.size() == replicas.requests.size());
  for (std::size_t i = 0; i < ranks.requests.size(); ++i) {
    CHECK(ranks.requests[i].dp_rank == replicas.requests[i].replica);
    CHECK(ranks.requests[i].first_token == replicas.requests[i].first_token);
    CHECK(ranks.requests[i].finished == replicas.requests[i].finished);
  }
  CHECK(ranks.gpus == 8);
  CHECK(ranks.step_time.total == replicas.step_time.total);
  CHECK(ranks.busy_fraction == replicas.busy_fraction);
  CHECK(ranks.busy_fraction < 1.0);
}

// serving_engines 1.6 and 6: with async scheduling step N+1 is decided when step N starts.
TEST_CASE("an arrival during a step joins the step after the next one with an async engine") {
  const io::testing::TemporaryFolder folder;
  // The second request arrives while the first one decodes.
  folder.put("t.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n0,100,1000\n1,100,1\n");
  serving::RunOptions options;
  options.scenario_dir = folder.path();
  const auto steps_waited = [&](const std::string& async) {
    const auto results =
        run(scenario(R"({"version": 1, "cluster": {"node": "hgx-h100-8", "nodes": 1},
        "model": "llama-3.1-8b", "deployment": {"engine": "vllm", "pools": {"main": {"tp": 1}}},
        "workload": {"trace": "t.csv"}})",
                     {"deployment.engine.host.async=" + async, "deployment.engine.host.http.value=0 s"}),
            options);
    const serving::RequestRow& late = results.requests[1];
    return (late.scheduled - late.arrival).seconds() / results.tpot.p50;
  };
  const double direct = steps_waited("false");
  CHECK(direct > 0.0);
  CHECK(direct < 1.01);  // steps are equal but for the growing context
  const double lagging = steps_waited("true");
  CHECK(lagging > 0.99);
  CHECK(lagging < 2.01);
}

TEST_CASE("memo, folding and a second run change nothing") {
  for (const std::string_view text : {test::kSmallScenario, test::kMoeScenario}) {
    const serving::Scenario s = scenario(text, {"workload.stop.requests=10"});
    const auto base = run(s);
    serving::RunOptions no_memo, no_fold;
    no_memo.step.memo = false;
    no_fold.step.fold = false;
    for (const serving::RunOptions& options : {serving::RunOptions{}, no_memo, no_fold}) {
      const auto other = run(s, options);
      CHECK(other.order_hash == base.order_hash);
      CHECK(other.step_time.total == base.step_time.total);
      CHECK(other.clock_end == base.clock_end);
      CHECK(other.ttft.p99 == base.ttft.p99);
    }
  }
}

TEST_CASE("two policies under one seed see the same requests") {
  const auto one = run(scenario(test::kMoeScenario));
  const auto two = run(scenario(test::kMoeScenario, {"deployment.scheduler.max_num_batched_tokens=1024"}));
  REQUIRE(one.requests.size() == two.requests.size());
  for (std::size_t i = 0; i < one.requests.size(); ++i) {
    CHECK(one.requests[i].input_tokens == two.requests[i].input_tokens);
    CHECK(one.requests[i].arrival == two.requests[i].arrival);
  }
  CHECK(one.order_hash != two.order_hash);
}

TEST_CASE("a model that does not fit is infeasible and the remedy fits") {
  const serving::Scenario s = scenario(
      test::kMoeScenario,
      {"deployment.pools.main.ep=1", "deployment.pools.main.dp_attention=1", "deployment.pools.main.tp=1"});
  CHECK(serving::memory_budgets(s)[0].kv_blocks == 0);
  try {
    static_cast<void>(serving::simulate(s, {}));
    FAIL("it ran");
  } catch (const serving::InfeasibleError& error) {
    CHECK(std::string(error.what()).find("does not fit") != std::string::npos);
    CHECK(error.remedy().find("fits") != std::string::npos);
  }
}

TEST_CASE("graphs that were not counted and find no room end the run before it starts") {
  const serving::Scenario s =
      scenario(test::kSmallScenario,
               {"memory.utilization=0.999", "deployment.engine.memory.cudagraph_accounting=none"});
  try {
    static_cast<void>(serving::simulate(s, {}));
    FAIL("it ran");
  } catch (const serving::InfeasibleError& error) {
    CHECK(std::string(error.what())
              .find("graphs of 0.4 GiB that it did not count, and its budget rule keeps 0.1") !=
          std::string::npos);
    CHECK(error.remedy().find("memory.utilization 0.999 keeps") != std::string::npos);
  }
}

TEST_CASE("the remedy names the setting that is to blame and the largest part") {
  const auto remedy = [](const std::vector<std::string>& changes, std::string_view base) {
    try {
      static_cast<void>(serving::simulate(scenario(base, changes), {}));
    } catch (const serving::InfeasibleError& error) {
      return error.remedy();
    }
    return std::string("it ran");
  };
  const auto says = [&](const std::vector<std::string>& changes, std::string_view words,
                        std::string_view base = test::kSmallScenario) {
    INFO(remedy(changes, base));
    CHECK(remedy(changes, base).find(words) != std::string::npos);
  };
  says({"memory.utilization=0.1"}, "memory.utilization 0.1 keeps");
  const std::string tokens = "deployment.scheduler.max_num_batched_tokens=9000000";
  says({tokens}, "max_num_batched_tokens 9000000 needs");
  says({"memory.utilization=0.1", tokens}, ", and max_num_batched_tokens");
  // The sampler holds rows of sequences, at most one for each token.
  const std::string seqs = "deployment.scheduler.max_num_seqs=100000";
  const std::string enough = "deployment.scheduler.max_num_batched_tokens=100000";
  says({seqs, enough}, "max_num_seqs 100000 needs 454.7 GiB for activations: with the engine's 1024 it fits");
  says({"memory.utilization=0.1", seqs, enough}, ", and max_num_seqs 100000 needs");
  // The engine's own limits are too large, whatever the layout.
  says({"deployment.engine.scheduler.max_num_batched_tokens.value=9000000"},
       "use a smaller deployment.scheduler.max_num_batched_tokens or a GPU with more memory");
  says({"deployment.engine.scheduler.max_num_batched_tokens.value=100000",
        "deployment.engine.scheduler.max_num_seqs.value=100000"},
       "use a smaller deployment.scheduler.max_num_seqs or a GPU with more memory (the largest part besides "
       "the weights is activations of steps with logits of 100000 sequences");
  says({"model.max_context_tokens=1000000000",
        "deployment.engine.memory.latent_context_tokens.value=1000000000"},
       "use a GPU with more memory (the largest part besides the weights is activations", test::kMoeScenario);
  // Neither the engine's settings nor more GPUs make room: the largest part besides the weights is named.
  const std::string runtime = "deployment.engine.memory.runtime.value=90 GiB";
  says({runtime}, "the engine's runtime, 92.0 GiB");  // and its share of the device
  says({runtime}, "use a GPU with more memory (the");
}

TEST_CASE("scheduler defaults of other GPUs are a warning that suggests no profile that may not exist") {
  const auto catalogue = test::source_catalogue();
  const auto loaded = config::read_document<serving::Scenario>(
      config::load_text(
          std::string(test::kSmallScenario), "test.json", catalogue,
          test::sets({"cluster.node=l40s-pcie-8", "deployment.engine.scheduler.otherwise=gone"})),
      catalogue);
  const auto warning = std::find_if(loaded.warnings.begin(), loaded.warnings.end(),
                                    [](const auto& one) { return one.pointer == "/deployment/engine"; });
  REQUIRE(warning != loaded.warnings.end());
  CHECK(warning->message.find("it names \"gone\" for those") != std::string::npos);
  CHECK(warning->suggestion.empty());
}

TEST_CASE("the memory of a device is divided without a rest") {
  for (const char* rule : {"total-times-fraction", "free-times-fraction"}) {
    const serving::Scenario s = scenario(test::kMoeScenario, {std::string("memory.rule=") + rule});
    for (const serving::MemoryBudget& b : serving::memory_budgets(s)) {
      CHECK(b.weights + b.activations + b.exchange_buffers + b.communicators + b.graphs + b.runtime +
                b.reserved + b.kv_budget ==
            b.total);
      CHECK(b.kv_blocks * b.kv_block_tokens * b.kv_bytes_per_token <= b.kv_budget.value);
      CHECK((b.kv_blocks + 1) * b.kv_block_tokens * b.kv_bytes_per_token > b.kv_budget.value);
    }
  }
}

TEST_CASE("requests that can never be served are refused with a reason") {
  const auto results = run(scenario(
      test::kSmallScenario, {"workload.lengths.input={\"distribution\":\"fixed\",\"tokens\":200000}"}));
  CHECK(results.served == 0);
  CHECK(results.refused == 24);
  CHECK(results.requests[0].reason.find("context") != std::string::npos);
}

TEST_CASE("refused clients of a closed loop do not stop the clock") {
  const auto results =
      run(scenario(test::kSmallScenario,
                   {"workload.lengths.input={\"distribution\":\"fixed\",\"tokens\":200000}",
                    "workload.stop={\"duration\":\"10 s\"}", "deployment.engine.host.http.value=0 s"}));
  CHECK(results.end == serving::RunEnd::complete);
  CHECK(results.refused == 4 * 10);  // four clients, one request a second
}

TEST_CASE("KV pressure preempts and everything is still served") {
  const auto results = run(scenario(test::kSmallScenario,
                                    {"memory.utilization=0.2895", "workload.arrival.clients=24",
                                     "workload.lengths.output={\"distribution\":\"fixed\",\"tokens\":600}"}));
  CHECK(results.served == 24);
  CHECK(results.preemptions > 0);
  CHECK(results.binds.find("KV") != std::string::npos);
}

TEST_CASE("a run that is cut short says so and its laws still hold") {
  serving::RunOptions until;
  until.until = core::Duration{200'000'000'000};
  const auto results = run(scenario(test::kSmallScenario), until);
  CHECK(results.end == serving::RunEnd::until);
  CHECK(results.unfinished > 0);
  serving::RunOptions events;
  events.max_events = 100;
  CHECK(run(scenario(test::kSmallScenario), events).end == serving::RunEnd::event_limit);
  serving::RunOptions stop;
  stop.keep_going = [](const serving::Progress&) { return false; };
  CHECK(run(scenario(test::kSmallScenario, {"workload.stop.requests=5000"}), stop).end ==
        serving::RunEnd::interrupted);
}

TEST_CASE("a run that passes the limit of simulated time stops in good order") {
  const std::string answers = R"(workload.lengths.output={"distribution":"fixed","tokens":2000})";
  const std::string slow_host = "deployment.engine.host.step_base.value=1 h";
  const auto long_run = run(scenario(test::kSmallScenario, {slow_host, answers}));
  CHECK(long_run.end == serving::RunEnd::time_limit);
  CHECK(long_run.unfinished > 0);
  CHECK(long_run.clock_end.seconds() > 52.0 * 86400);
  CHECK(long_run.clock_end.seconds() < 54.0 * 86400);
  // A step that never ends: the weights at 1 byte a second.
  const auto endless =
      run(scenario(test::kSmallScenario, {"cluster.node.gpu.achievable.hbm_fraction.value=1e-12"}));
  CHECK(endless.end == serving::RunEnd::time_limit);
  CHECK(endless.served == 0);
  CHECK(endless.step_time.total.ps == 0);
  // Eight replicas work for more than 106 days together.
  const auto wide =
      run(scenario(test::kSmallScenario,
                   {slow_host, answers, "deployment.pools.main.replicas=8", "workload.arrival.clients=8"}));
  CHECK(wide.end == serving::RunEnd::time_limit);
  CHECK(wide.clock_end.seconds() < 14.0 * 86400);
}

TEST_CASE("any number of records of a trace may come at one instant") {
  constexpr std::size_t kRecords = (std::size_t{1} << 20) + 100;
  std::string rows = "arrived_at,num_prefill_tokens,num_decode_tokens\n";
  for (std::size_t i = 0; i < kRecords; ++i) rows += "0,1,1\n";
  const io::testing::TemporaryFolder folder;
  folder.put("t.csv", rows);
  serving::RunOptions options;
  options.scenario_dir = folder.path();
  options.max_events = kRecords;
  const auto results = run(
      scenario(test::kSmallScenario, {"workload={\"trace\":\"t.csv\"}", "deployment.pools.main.replicas=2"}),
      options);
  REQUIRE(results.requests.size() == kRecords);
  // They reach the balancer in the order of the trace.
  CHECK(std::all_of(results.requests.begin(), results.requests.end(),
                    [](const auto& row) { return row.replica == row.id % 2; }));
}

TEST_CASE("a partial run counts the tokens of unfinished requests in rates and cost") {
  serving::RunOptions until;
  until.until = core::Duration{400'000'000'000};
  const auto results = run(scenario(test::kSmallScenario), until);
  std::int64_t generated = 0, prompts = 0, of_served = 0;
  for (const auto& row : results.requests) {
    generated += row.generated_tokens;
    if (row.generated_tokens > 0) prompts += row.input_tokens;
    if (row.status == serving::RequestStatus::served) of_served += row.generated_tokens;
  }
  REQUIRE(results.unfinished > 0);
  REQUIRE(generated > of_served);
  CHECK(results.generated_tokens == generated);
  CHECK(results.input_tokens == prompts);
  const double seconds = (results.clock_end - results.clock_start).seconds();
  CHECK(results.output_tokens_per_s == static_cast<double>(generated) / seconds);
  REQUIRE(results.cost_usd_per_mtok_output);
  CHECK(*results.cost_usd_per_mtok_output == *results.cost_usd / static_cast<double>(generated) * 1e6);
}

TEST_CASE("replicas behind a balancer share the load") {
  for (const char* balancer : {"round-robin", "least-loaded"}) {
    const auto results = run(scenario(
        test::kSmallScenario, {"deployment.pools.main.replicas=4", "workload.arrival.clients=16",
                               "workload.stop.requests=64", std::string("deployment.balancer=") + balancer}));
    std::array<int, 4> served{};
    for (const auto& row : results.requests) ++served.at(static_cast<std::size_t>(row.replica));
    CHECK(*std::min_element(served.begin(), served.end()) >= 10);
  }
}

TEST_CASE("a request goes to a replica that can hold it, and is refused only if none can") {
  const std::vector<std::string> pools = {"deployment.pools={\"narrow\":{\"tp\":1},\"wide\":{\"tp\":2}}",
                                          "memory.utilization=0.3", "workload.stop.requests=8"};
  const serving::Scenario probe = scenario(test::kSmallScenario, pools);
  const auto budgets = serving::memory_budgets(probe);
  const auto capacity = [&](std::size_t pool) {
    return budgets[pool].kv_blocks * budgets[pool].kv_block_tokens;
  };
  REQUIRE(capacity(0) > 0);
  REQUIRE(capacity(0) + 100 < std::min(capacity(1), probe.model.max_context_tokens));
  for (const char* balancer : {"round-robin", "least-loaded"}) {
    std::vector<std::string> changes = pools;
    changes.push_back(std::string("deployment.balancer=") + balancer);
    changes.push_back("workload.lengths.output={\"distribution\":\"fixed\",\"tokens\":10}");
    changes.push_back(
        "workload.lengths.input={\"distribution\":\"fixed\",\"tokens\":" + std::to_string(capacity(0)) + "}");
    const auto results = run(scenario(test::kSmallScenario, changes));
    CHECK(results.served == 8);
    for (const auto& row : results.requests) CHECK(row.replica == 1);
  }
}

TEST_CASE("refused requests miss the SLO unless it says how many may be refused") {
  const std::string too_long = "workload.lengths.input={\"distribution\":\"fixed\",\"tokens\":200000}";
  const auto implied = run(scenario(test::kSmallScenario, {too_long, "slo=[\"preemptions <= 5\"]"}));
  REQUIRE(implied.slo.size() == 2);
  CHECK(implied.slo[1].text == "refused <= 0");
  CHECK(implied.slo[1].value == 24.0);
  CHECK(implied.slo_met == false);
  const auto own = run(scenario(test::kSmallScenario, {too_long, "slo=[\"refused <= 100\"]"}));
  CHECK(own.slo.size() == 1);
  CHECK(own.slo_met == true);
  // Without a rule there is neither a met nor a missed SLO.
  CHECK_FALSE(run(scenario(test::kSmallScenario, {too_long})).slo_met.has_value());
}

TEST_CASE("warm-up requests are served but not measured") {
  const auto results = run(scenario(test::kSmallScenario, {"workload.warmup={\"requests\":8}"}));
  CHECK(results.served == 24);
  CHECK(results.requests.size() == 32);
  CHECK(results.clock_start > core::Time{});
  const std::string nothing = "the warm-up covers all requests: nothing was measured";
  const auto has = [&](const serving::Results& r) {
    return std::find(r.warnings.begin(), r.warnings.end(), nothing) != r.warnings.end();
  };
  CHECK_FALSE(has(results));
  serving::RunOptions early;
  early.until = core::Duration{1'000'000'000'000};
  CHECK(
      has(serving::simulate(scenario(test::kSmallScenario, {"workload.warmup={\"requests\":800}"}), early)));
}

TEST_CASE("rules are judged, and goodput counts requests that meet them") {
  const auto results = run(scenario(test::kSmallScenario, {"slo=[\"ttft.p99 <= 1 ns\", \"tpot.p50 <= 10 s\"]",
                                                           "expect=[\"served >= 24\"]"}));
  REQUIRE(results.slo.size() == 2);
  CHECK_FALSE(results.slo[0].held);
  CHECK(results.slo[1].held);
  CHECK(results.slo_met == false);
  CHECK(results.goodput_per_s == 0);
  CHECK(results.expect[0].held);
}

TEST_CASE("without chunked prefill only the prompt has to fit in the budget of a step") {
  const std::vector<std::string> changes = {
      "deployment.engine.scheduler.chunked_prefill=false", "deployment.scheduler.max_num_batched_tokens=1000",
      "workload.lengths.output={\"distribution\":\"fixed\",\"tokens\":50}"};
  for (const auto& [prompt, served] : {std::pair{1000, 24}, std::pair{1001, 0}}) {
    std::vector<std::string> all = changes;
    all.push_back("workload.lengths.input={\"distribution\":\"fixed\",\"tokens\":" + std::to_string(prompt) +
                  "}");
    const auto results = run(scenario(test::kSmallScenario, all));
    CHECK(results.served == served);
    CHECK(results.refused == 24 - served);
  }
}
