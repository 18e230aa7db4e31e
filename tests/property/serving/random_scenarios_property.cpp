// Laws that hold for any scenario: conservation, Little's law, equality of two ways.
#include <fmt/format.h>
#include <rapidcheck.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>

#include "models/cost/kernel_file.hpp"
#include "sim/serving/memory_series.hpp"
#include "sim/serving/simulate.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;

namespace {

struct Drawn {
  std::vector<std::string> changes;
};

Drawn draw() {
  const auto number = [](int low, int high) { return *rc::gen::inRange(low, high + 1); };
  Drawn drawn;
  const auto add = [&](std::string text) { drawn.changes.push_back(std::move(text)); };
  struct Shape {
    const char* model;
    int tp, dp, ep;
    const char* weights;
  };
  const Shape shape = *rc::gen::element(
      Shape{"llama-3.1-8b", 1, 1, 1, "bf16"}, Shape{"llama-3.1-8b", 4, 2, 1, "fp8"},
      Shape{"mixtral-8x7b", 2, 1, 2, "bf16"}, Shape{"mixtral-8x7b", 1, 4, 4, "fp8"},
      Shape{"mixtral-8x7b", 2, 4, 2, "fp8"}, Shape{"qwen3-30b-a3b", 1, 1, 1, "bf16"},
      Shape{"qwen3-30b-a3b", 2, 4, 8, "fp8_block"}, Shape{"deepseek-v3", 8, 1, 8, "fp8_block"},
      Shape{"gpt-oss-20b", 2, 2, 4, "mxfp4"}, Shape{"llama-4-scout", 4, 1, 1, "fp8"},
      Shape{"qwen3-next-80b-a3b", 2, 2, 4, "fp8"}, Shape{"deepseek-v3.2", 8, 1, 8, "fp8_block"},
      Shape{"deepseek-v4-flash", 2, 4, 8, "fp8"}, Shape{"nemotron-3-super", 2, 4, 8, "fp8"});
  add(fmt::format("model={}", shape.model));
  add("cluster.node=hgx-h200-8");
  add(fmt::format("deployment.formats.weights={}", shape.weights));
  add(fmt::format("deployment.pools.main={{\"tp\":{},\"dp_attention\":{},\"ep\":{}}}", shape.tp, shape.dp,
                  shape.ep));
  if (std::string_view(shape.model) == "deepseek-v3.2") {
    add(fmt::format("deployment.pools.main.dcp={}", 1 << number(0, 3)));
  }
  add(fmt::format("deployment.pools.main.sequence_parallel={}", number(0, 2) == 0));
  if (shape.tp * shape.dp <= 4) add(fmt::format("deployment.pools.main.replicas={}", number(1, 2)));
  add(fmt::format("deployment.balancer={}", number(0, 1) == 0 ? "round-robin" : "least-loaded"));
  add(fmt::format("deployment.scheduler.max_num_batched_tokens={}", number(64, 8192)));
  add(fmt::format("deployment.scheduler.max_num_seqs={}", number(1, 64)));
  add(fmt::format("deployment.engine.scheduler.mixed_steps={}", number(0, 1) == 0));
  add(fmt::format("deployment.engine.scheduler.chunked_prefill={}", number(0, 3) > 0));
  add(fmt::format("deployment.engine.host.async={}", number(0, 1) == 0));
  add(fmt::format("deployment.engine.comm.all_to_all={}",
                  number(0, 1) == 0 ? "all-gather-reduce-scatter" : "per-expert-messages"));
  add(fmt::format("kv.block_tokens={}", 1 << number(0, 7)));
  add(fmt::format("routing.popularity={{\"family\":\"lognormal\",\"sigma\":1,\"drift\":{}}}",
                  number(0, 1) * 0.1));
  if (number(0, 1) == 0) {
    add(fmt::format("workload.arrival={{\"process\":\"closed-loop\",\"clients\":{}}}", number(1, 20)));
  } else {
    add(fmt::format("workload.arrival={{\"process\":\"gamma\",\"rate\":\"{}/s\",\"cv\":{}}}", number(1, 50),
                    number(0, 3)));
  }
  add(fmt::format("workload.lengths.input={{\"distribution\":\"uniform\",\"tokens\":{},\"ratio\":0.1}}",
                  number(1, 6000)));
  add(fmt::format("workload.lengths.output={{\"distribution\":\"uniform\",\"tokens\":{},\"ratio\":0.1}}",
                  number(1, 80)));
  add(fmt::format("workload.stop.requests={}", number(1, 16)));
  add(fmt::format("seed={}", number(0, 1'000'000)));
  return drawn;
}

serving::Scenario load(const std::vector<std::string>& changes) {
  const auto catalogue = test::source_catalogue();
  return config::read_document<serving::Scenario>(
             config::load_text(std::string(test::kSmallScenario), "random.json", catalogue,
                               test::sets(changes)),
             catalogue)
      .value;
}

// A kernel library on the scenario's GPU, read once.
std::shared_ptr<const cost::KernelLibrary> library(const std::string& name, const hardware::Node& node) {
  static std::map<std::string, cost::KernelFile> files;
  const auto catalogue = test::source_catalogue();
  if (!files.contains(name)) files[name] = config::load_entry<cost::KernelFile>(name, catalogue).value;
  return std::make_shared<const cost::KernelLibrary>(
      cost::library_of(files[name], cost::figures_of(node), cost::Conditions::serving));
}

// Half of the scenarios are priced by fitted kernels, the others by the roofline.
void choose_kernels(serving::Scenario& scenario) {
  if (!*rc::gen::arbitrary<bool>()) return;
  const char* name = *rc::gen::element("trtllm-h200-sxm", "vllm-h100-sxm", "sglang-b200-sxm");
  scenario.kernels = library(name, scenario.cluster.node);
  scenario.collectives = library("nccl-h100-sxm", scenario.cluster.node);
  RC_LOG() << "kernels " << name << "\n";
}

serving::Results run(const serving::Scenario& scenario, bool memo, bool fold) {
  serving::RunOptions options;
  options.step = {memo, fold};
  return serving::simulate(scenario, options);
}

bool same(const serving::KvPart& a, const serving::KvPart& b) {
  return a.mean_bytes == b.mean_bytes && a.mean_waste_bytes == b.mean_waste_bytes &&
         a.worst_bytes == b.worst_bytes && a.worst_waste_bytes == b.worst_waste_bytes;
}

bool same_memory(const serving::Results& a, const serving::Results& b) {
  if (a.memory_series.size() != b.memory_series.size()) return false;
  for (std::size_t i = 0; i < a.memory_series.size(); ++i) {
    const serving::MemoryBin &x = a.memory_series[i], &y = b.memory_series[i];
    if (x.pool != y.pool || x.begin != y.begin || x.end != y.end) return false;
    if (!std::equal(x.kv.begin(), x.kv.end(), y.kv.begin(), y.kv.end(), same)) return false;
  }
  return true;
}

bool near(double a, double b) { return std::abs(a - b) <= 1e-9 * std::max(std::abs(a), std::abs(b)); }

// One pool: the parts of each interval fill the device, and their KV is that of the time series.
void check_memory(const serving::Results& results) {
  const serving::MemoryBudget& budget = results.memory.front();
  RC_ASSERT(results.memory_series.size() == results.timeseries.size());
  std::int64_t fullest = 0;
  for (std::size_t i = 0; i < results.memory_series.size(); ++i) {
    const serving::MemoryBin& bin = results.memory_series[i];
    const serving::TimeseriesRow& row = results.timeseries[i];
    RC_ASSERT(bin.begin == row.begin);
    RC_ASSERT(bin.end == row.end);
    std::int64_t worst = 0;
    double mean = 0;
    for (const serving::MemoryPart& part : serving::memory_stack(budget, bin.kv, {})) {
      worst += part.bytes.worst_bytes;
      mean += part.bytes.mean_bytes;
      RC_ASSERT(part.bytes.worst_bytes >= part.bytes.worst_waste_bytes);
      RC_ASSERT(part.bytes.worst_waste_bytes >= 0);
      RC_ASSERT(part.bytes.mean_waste_bytes >= 0);
    }
    RC_ASSERT(worst == budget.total.value);
    RC_ASSERT(near(mean, budget.total.as_double()));
    double used = 0, waste = 0;
    worst = 0;
    for (const serving::KvPart& part : bin.kv) {
      used += part.mean_bytes;
      waste += part.mean_waste_bytes;
      worst += part.worst_bytes;
    }
    const auto devices = static_cast<double>(budget.devices);
    RC_ASSERT(near(used * devices, row.mean_kv_bytes));
    RC_ASSERT(near(waste * devices, row.mean_kv_waste_bytes));
    RC_ASSERT(static_cast<double>(worst) >= used * (1 - 1e-9));
    RC_ASSERT(worst <= budget.kv_peak.value);
    fullest = std::max(fullest, worst);
  }
  RC_ASSERT(results.memory_use.front().fullest.used == fullest);
  if (results.preemptions == 0) RC_ASSERT(fullest == budget.kv_peak.value);
}

}  // namespace

TEST_CASE("random scenarios obey the laws, and memo and folding change no bit") {
  REQUIRE(rc::check([] {
    const Drawn drawn = draw();
    RC_LOG() << fmt::format("{}", fmt::join(drawn.changes, " "));
    serving::Scenario scenario = load(drawn.changes);
    choose_kernels(scenario);
    const serving::Results base = run(scenario, true, true);
    for (const serving::CheckResult& check : base.checks) {
      RC_LOG() << check.name << ": " << check.detail << "\n";
      RC_ASSERT(check.held);
    }
    check_memory(base);
    RC_ASSERT(base.served + base.refused == *scenario.workload.stop->requests);
    RC_ASSERT(base.refused == 0 || !scenario.deployment.engine.scheduler.chunked_prefill);
    for (const auto& other : {run(scenario, false, true), run(scenario, true, false)}) {
      RC_ASSERT(other.order_hash == base.order_hash);
      RC_ASSERT(other.step_time.by_part == base.step_time.by_part);
      RC_ASSERT(other.step_time.by_resource == base.step_time.by_resource);
      RC_ASSERT(other.clock_end == base.clock_end);
      RC_ASSERT(same_memory(other, base));
    }
  }));
}

// Nothing is shared: the replicas have devices of their own, kernels run one after the other, and the ranks
// of a collective do the same. The exception is an exchange whose rows are drawn: its flows share ports, so
// those runs have a balanced popularity.
TEST_CASE("where nothing is shared, kernel fidelity is step fidelity to the tick") {
  REQUIRE(rc::check([] {
    Drawn drawn = draw();
    struct Cluster {
      const char* node;
      int nodes;
    };
    const Cluster cluster =
        *rc::gen::element(Cluster{"hgx-h200-8", 1}, Cluster{"gb200-nvl72", 4}, Cluster{"mi300x-8", 1},
                          Cluster{"l40s-pcie-8", 1}, Cluster{"hgx-b200-8", 2});
    drawn.changes.push_back(fmt::format("cluster={{\"node\":\"{}\",\"nodes\":{},\"fabric\":\"{}\"}}",
                                        cluster.node, cluster.nodes, "ib-ndr400-rail"));
    if (cluster.nodes == 2) {
      drawn.changes.push_back("model=deepseek-v3");
      drawn.changes.push_back("deployment.formats.weights=fp8_block");
      const char* pool =
          *rc::gen::element(R"({"tp":2,"dp_attention":8,"ep":16})", R"({"tp":1,"dp_attention":16,"ep":16})",
                            R"({"tp":16,"dp_attention":1,"ep":16})", R"({"tp":8,"dp_attention":2,"ep":8})");
      drawn.changes.push_back(fmt::format("deployment.pools.main={}", pool));
    }
    drawn.changes.push_back("workload.stop.requests=6");
    serving::Scenario scenario = load(drawn.changes);
    if (scenario.deployment.engine.comm.all_to_all == cost::AllToAll::per_expert_messages) {
      scenario.routing.popularity = routing::BalancedPopularity{};
    }
    choose_kernels(scenario);
    RC_LOG() << fmt::format("{}", fmt::join(drawn.changes, " "));
    if (serving::memory_budgets(scenario).front().kv_blocks < 4096) RC_DISCARD("the model does not fit");
    const serving::Results step = run(scenario, true, true);
    scenario.fidelity = serving::Fidelity::kernel;
    const serving::Results kernel = run(scenario, *rc::gen::arbitrary<bool>(), true);
    for (const serving::CheckResult& check : kernel.checks) {
      RC_LOG() << check.name << ": " << check.detail << "\n";
      RC_ASSERT(check.held);
    }
    if (kernel.kernels->slowed > 0) {
      // Two groups of one replica whose rings cross the link between the sockets of a PCIe box share it.
      RC_ASSERT(scenario.cluster.node.name == "l40s-pcie-8");
      RC_ASSERT(kernel.step_time.total > step.step_time.total);
      return;
    }
    RC_ASSERT(kernel.clock_end == step.clock_end);
    RC_ASSERT(kernel.steps == step.steps);
    RC_ASSERT(same_memory(kernel, step));
    RC_ASSERT(kernel.step_time.total == step.step_time.total);
    RC_ASSERT(kernel.step_time.by_part == step.step_time.by_part);
    RC_ASSERT(kernel.step_time.by_resource == step.step_time.by_resource);
    RC_ASSERT(kernel.step_time.by_label == step.step_time.by_label);
    RC_ASSERT(kernel.step_time.slowest_shard_rows == step.step_time.slowest_shard_rows);
    RC_ASSERT(kernel.requests.size() == step.requests.size());
    for (std::size_t i = 0; i < step.requests.size(); ++i) {
      RC_ASSERT(kernel.requests[i].first_token == step.requests[i].first_token);
      RC_ASSERT(kernel.requests[i].finished == step.requests[i].finished);
    }
  }));
}
