// What a plan asks of the resources, beside its prices.
#include "sim/execution/kernel_planner.hpp"

#include <algorithm>
#include <cstdint>
#include <string_view>
#include <variant>
#include <vector>

#include "sim/core/integers.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/kernel_rig.hpp"

using namespace moesim;
using execution::KernelOp;
using execution::KernelPlanner;
using execution::KernelProgram;
using execution::PairBytes;
using execution::ReplicaSetup;

namespace {

std::vector<hardware::DeviceIndex> devices_of(std::int64_t count, std::int64_t stride = 1) {
  std::vector<hardware::DeviceIndex> devices;
  for (std::int64_t i = 0; i < count; ++i) devices.push_back({static_cast<std::int32_t>(i * stride)});
  return devices;
}

// A replica that exchanges rows between its ranks.
ReplicaSetup setup_of(std::string_view model, llm::Layout layout) {
  const auto catalogue = test::source_catalogue();
  ReplicaSetup setup;
  setup.architecture = config::load_entry<llm::Architecture>(model, catalogue).value;
  setup.layout = layout;
  setup.engine = config::load_entry<cost::EngineProfile>("vllm", catalogue).value;
  setup.engine.comm.all_to_all = cost::AllToAll::per_expert_messages;
  const hardware::Cluster cluster = test::kernel_cluster((layout.ranks() + 7) / 8);
  setup.gpu = cluster.node.gpu;
  const hardware::Topology topology(cluster);
  setup.tensor_group = topology.group_profile(devices_of(layout.tp));
  setup.data_group = topology.group_profile(devices_of(layout.dp, layout.tp));
  setup.expert_group = topology.group_profile(devices_of(layout.ranks()));
  setup.seed = 11;
  return setup;
}

// Batches of sequences of one token.
KernelProgram plan(KernelPlanner& planner, const std::vector<std::int64_t>& tokens, std::int64_t ranks,
                   std::size_t lanes = 1, std::int64_t epoch = 0) {
  std::vector<llm::RankBatch> batches(tokens.size());
  for (std::size_t i = 0; i < tokens.size(); ++i) {
    for (std::int64_t t = 0; t < tokens[i]; ++t)
      llm::add_chunk(batches[i], {1, 100, true}, planner.batch_rule());
  }
  return planner.plan(batches, lanes, epoch, devices_of(ranks));
}

// The n-th operator of that name in a lane of rank 0.
const KernelOp& find(const KernelProgram& program, std::string_view name, std::size_t n = 0,
                     std::size_t lane = 0) {
  for (const execution::KernelSegment& segment : program.ranks[0].lanes[lane]) {
    for (const KernelOp& op : *segment.operators) {
      if (op.name == name && n-- == 0) return op;
    }
  }
  throw std::runtime_error("no such operator");
}

std::int64_t sent(const PairBytes& pairs, std::int64_t from) {
  std::int64_t sum = 0;
  for (std::int64_t to = 0; to < pairs.ranks; ++to) sum += pairs.from_to(from, to);
  return sum;
}

// Every token goes to every expert, so that the load is known and only the pairs are drawn.
ReplicaSetup all_experts() {
  ReplicaSetup setup = setup_of("mixtral-8x7b", {1, 8, 8, 1});
  std::get<llm::MoeFfn>(setup.architecture.layers[0].ffn).top_k = 8;
  setup.architecture.layers.push_back(setup.architecture.layers[0]);
  return setup;
}

}  // namespace

TEST_CASE("a collective reads and writes its bytes in HBM, on the multiprocessors that the engine gives it") {
  ReplicaSetup setup = setup_of("llama-3.1-8b", {1, 1, 1, 1});
  hardware::GroupProfile profile = hardware::Topology(test::kernel_cluster(1)).group_profile(devices_of(4));
  profile.in_switch_reduction = false;
  const std::int64_t bytes = 3 << 28, rate = cost::DevicePricer(setup.gpu).hbm_rate();
  for (const std::int64_t multiprocessors : {20, 1000, 0}) {
    if (multiprocessors > 0) setup.engine.comm.multiprocessors.value().value = multiprocessors;
    if (multiprocessors == 0) setup.engine.comm.multiprocessors.reset();
    const KernelPlanner planner(setup, true);
    const KernelOp op = find(planner.all_reduce(bytes, devices_of(4), profile), "all-reduce");
    CHECK(op.bytes == bytes * 2 * 3 / 4);
    CHECK(op.hbm_rate == rate);
    CHECK(op.hbm_busy == core::duration_for(bytes * 2 * 3 / 4, rate) * 2);
    const double share = multiprocessors == 1000 ? 1.0
                                                 : static_cast<double>(multiprocessors) /
                                                       static_cast<double>(setup.gpu.sm_count.value);
    CHECK(std::abs(op.multiprocessor_share - share) < 1e-12);
    const double want = share * static_cast<double>(op.alone.ps);
    CHECK(std::abs(static_cast<double>(op.multiprocessors_busy.ps) - want) <= 1.0);
  }
}

TEST_CASE("a kernel keeps the multiprocessors busy with the longer of its tensor and vector work") {
  const ReplicaSetup setup = setup_of("llama-3.1-8b", {1, 1, 1, 1});
  KernelPlanner planner(setup, true);
  const KernelProgram program = plan(planner, {64}, 1);
  llm::RankBatch batch;
  for (int i = 0; i < 64; ++i) llm::add_chunk(batch, {1, 100, true}, planner.batch_rule());
  llm::StepOperators lowered;
  llm::lower(setup.architecture, setup.layout, setup.formats, batch, 64, lowered);
  const cost::DevicePricer pricer(setup.gpu);
  const auto& kernels = *program.ranks[0].lanes[0][1].operators;
  int vector = 0, tensor = 0;
  for (std::size_t i = 0; i < kernels.size(); ++i) {
    if (kernels[i].shape != execution::CollectiveShape::none) continue;
    const cost::Price price = pricer.price(lowered.layers[0].operators[i]);
    const auto busy = [&](cost::Resource resource) {
      const cost::Demand& demand = price.demand[cost::index(resource)];
      return core::saturating_duration_for(demand.work, demand.rate);
    };
    const core::Duration of_vector = busy(cost::Resource::vector), of_tensor = busy(cost::Resource::tensor);
    (of_vector > of_tensor ? vector : tensor) += 1;
    CHECK(kernels[i].multiprocessors_busy == std::max(of_vector, of_tensor));
    CHECK(kernels[i].hbm_busy == busy(cost::Resource::hbm));
  }
  CHECK(vector > 0);
  CHECK(tensor > 0);
}

// Ranks 0 and 1 share the tokens of the first data-parallel rank, and so on. Of one token the second has none
// to send; of three it has one, whose rows all together are fewer than those of the first by half.
TEST_CASE("the tokens of a rank that do not divide go to its first tensor ranks") {
  KernelPlanner planner(setup_of("deepseek-v3", {2, 4, 8, 1}), true);
  const KernelProgram program = plan(planner, {1, 41, 1, 9}, 8);
  const KernelOp& dispatch = find(program, "dispatch");
  REQUIRE(dispatch.pairs);
  const PairBytes& pairs = *dispatch.pairs;
  std::int64_t row = INT64_MAX;  // the smallest number of bytes is that of one row
  for (const std::int64_t bytes : pairs.bytes) {
    if (bytes > 0) row = std::min(row, bytes);
  }
  for (const std::int64_t bytes : pairs.bytes) CHECK(bytes % row == 0);
  const std::int64_t tokens[] = {1, 0, 21, 20, 1, 0, 5, 4};
  std::int64_t away = 0;
  for (std::int64_t rank = 0; rank < 8; ++rank) {
    INFO("rank " << rank);
    CHECK(sent(pairs, rank) <= tokens[rank] * 8 * row);
    CHECK((sent(pairs, rank) > 0) == (tokens[rank] > 0));
    away += sent(pairs, rank) / row;
  }
  CHECK(away <= 52 * 8);
  CHECK(away >= 52 * 4);
}

// The exchange of the fullest rank's rows, of which 7/8 leave it: 100 tokens per tensor rank, or 32. All
// together have 256 tokens, and so every expert 8 rows.
TEST_CASE("the ranks meet at the price of the fullest batch") {
  ReplicaSetup setup = setup_of("deepseek-v3", {2, 4, 8, 1});
  setup.popularity = routing::BalancedPopularity{};
  KernelPlanner planner(setup, true);
  const KernelOp first = find(plan(planner, {200, 18, 18, 20}, 8), "combine");
  const KernelOp middle = find(plan(planner, {18, 18, 200, 20}, 8), "combine");
  const KernelOp even = find(plan(planner, {64, 64, 64, 64}, 8), "combine");
  const KernelOp last = find(plan(planner, {20, 18, 18, 200}, 8), "combine");
  CHECK(first.alone == middle.alone);
  CHECK(first.alone == last.alone);
  CHECK(first.bytes == middle.bytes);
  CHECK(std::abs(first.bytes * 32 - even.bytes * 100) <= 100);
  CHECK(even.bytes > 0);
}

TEST_CASE("combine sends back what dispatch has sent") {
  KernelPlanner planner(setup_of("deepseek-v3", {2, 4, 8, 1}), true);
  const KernelProgram program = plan(planner, {30, 41, 7, 9}, 8);
  const PairBytes& out = *find(program, "dispatch").pairs;
  const PairBytes& back = *find(program, "combine").pairs;
  std::int64_t all_out = 0, all_back = 0;
  for (const std::int64_t bytes : out.bytes) all_out += bytes;
  for (const std::int64_t bytes : back.bytes) all_back += bytes;
  std::int64_t uneven = 0;
  for (std::int64_t from = 0; from < 8; ++from) {
    for (std::int64_t to = 0; to < 8; ++to) {
      CHECK(core::Int128{out.from_to(from, to)} * all_back == core::Int128{back.from_to(to, from)} * all_out);
      uneven += out.from_to(from, to) != out.from_to(to, from) ? 1 : 0;
    }
  }
  CHECK(uneven > 0);
}

TEST_CASE("lanes, layer groups and epochs of a drifting popularity draw their own pairs") {
  for (const double drift : {0.0, 0.5}) {
    ReplicaSetup setup = all_experts();
    setup.popularity = routing::LognormalPopularity{1.0, drift};
    KernelPlanner planner(setup, true);
    const std::vector<std::int64_t> tokens(16, 32);  // two lanes on each rank
    const KernelProgram program = plan(planner, tokens, 8, 2);
    const auto& base = find(program, "dispatch").pairs->bytes;
    CHECK(base == find(plan(planner, tokens, 8, 2), "dispatch").pairs->bytes);
    CHECK(base != find(program, "dispatch", 0, 1).pairs->bytes);  // the other lane
    CHECK(base != find(program, "dispatch", 1).pairs->bytes);     // the other group
    const KernelProgram later = plan(planner, tokens, 8, 2, 1);
    CHECK((base == find(later, "dispatch").pairs->bytes) == (drift == 0.0));
  }
}
