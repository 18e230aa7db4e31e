// Kernel fidelity: one decode step of DeepSeek-V3 over 32 H200 (EP32, DP attention, 128 sequences of 4,096
// tokens on each rank) from its batches to the bytes of its Perfetto file, the draw of the experts' loads
// included. `ns` is of one step. Gates: 3 s with drawn routing (one flow per pair of ranks), 0.3 s with
// balanced routing.
#include <string>
#include <string_view>
#include <vector>

#include "reports/perfetto.hpp"
#include "sim/config/document.hpp"
#include "sim/core/process.hpp"
#include "sim/execution/kernel_executor.hpp"
#include "sim/execution/kernel_planner.hpp"
#include "tests/bench/interleaved.hpp"

namespace moesim::bench {
namespace {

enum class Kind : std::uint8_t { wake_up, kernels };

struct Deployment {
  hardware::Cluster cluster;
  execution::ReplicaSetup setup;
  std::vector<hardware::DeviceIndex> devices;
};

Deployment ep32(const routing::Popularity& popularity) {
  const config::Catalogue catalogue({std::string(MOESIM_SOURCE_DIR)});
  Deployment made;
  made.cluster.node = hardware::load_node("hgx-h200-8", catalogue).value;
  made.cluster.nodes = 4;
  made.cluster.fabric = hardware::load_fabric("ib-ndr400-rail", catalogue).value;
  const hardware::Topology topology(made.cluster);
  for (std::int32_t i = 0; i < topology.devices(); ++i) made.devices.push_back({i});
  execution::ReplicaSetup& setup = made.setup;
  setup.architecture = config::load_entry<llm::Architecture>("deepseek-v3", catalogue).value;
  setup.layout = {1, 32, 32, 1};
  setup.formats = {llm::NumberFormat::fp8_block, std::nullopt, llm::NumberFormat::bf16};
  setup.engine = config::load_entry<cost::EngineProfile>("vllm", catalogue).value;
  setup.engine.comm.all_to_all = cost::AllToAll::per_expert_messages;
  setup.gpu = made.cluster.node.gpu;
  setup.tensor_group = topology.group_profile(std::vector{made.devices.front()});
  setup.data_group = setup.expert_group = topology.group_profile(made.devices);
  setup.popularity = popularity;
  return made;
}

// Returns the bytes of the trace.
std::size_t run_step(const Deployment& deployment) {
  execution::KernelPlanner planner(deployment.setup, true);
  llm::RankBatch batch;
  for (int i = 0; i < 128; ++i) llm::add_chunk(batch, {1, 4096, true}, planner.batch_rule());
  const std::vector<llm::RankBatch> batches(32, batch);
  const hardware::Topology topology(deployment.cluster);
  core::Simulation<> simulation;
  core::Processes<Kind> processes(simulation, Kind::wake_up);
  execution::Timeline timeline;
  execution::KernelExecutor executor(topology, simulation, processes, execution::KernelEvents::from(1),
                                     &timeline);
  std::uint32_t run = 0;
  const core::Event ended =
      executor.start(planner.plan(batches, 1, 0, deployment.devices), core::Duration{}, run);
  simulation.run([&](core::EventKey key) { return executor.handle(key); });
  core::check(ended.triggered(), "the step ends");
  std::size_t bytes = 0;
  reports::write_perfetto(timeline, [&](std::string_view chunk) { bytes += chunk.size(); });
  return bytes;
}

void kernel_step(benchmark::State& state, const routing::Popularity& popularity, double goal_ns) {
  const Deployment deployment = ep32(popularity);
  std::size_t bytes = 0;
  against_clock(state, 1, goal_ns, [&] { bytes = run_step(deployment); });
  state.counters["trace_bytes"] = static_cast<double>(bytes);
}

void drawn(benchmark::State& state) { kernel_step(state, routing::LognormalPopularity{}, 3e9); }
void balanced(benchmark::State& state) { kernel_step(state, routing::BalancedPopularity{}, 0.3e9); }

BENCHMARK(drawn)->Name("kernel_step/deepseek-v3-ep32/drawn")->Iterations(1);
BENCHMARK(balanced)->Name("kernel_step/deepseek-v3-ep32/balanced")->Iterations(1);

}  // namespace
}  // namespace moesim::bench
