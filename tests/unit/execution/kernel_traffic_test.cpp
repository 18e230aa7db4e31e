// What moves over links at kernel fidelity: collectives as they are priced, exchanges of drawn pairs, copies,
// and what they do to each other.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <utility>
#include <vector>

#include "sim/core/check.hpp"
#include "sim/core/integers.hpp"
#include "sim/execution/kernel_planner.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/kernel_rig.hpp"

using namespace moesim;
using execution::CollectiveShape;
using execution::CopySpec;
using execution::KernelOp;
using execution::Part;
using test::collective;
using test::kernel;
using test::KernelRig;
using test::same_on_all;

namespace {

execution::ReplicaSetup setup() {
  const auto catalogue = test::source_catalogue();
  execution::ReplicaSetup setup;
  setup.architecture = config::load_entry<llm::Architecture>("llama-3.1-8b", catalogue).value;
  setup.engine = config::load_entry<cost::EngineProfile>("vllm", catalogue).value;
  setup.gpu = test::kernel_cluster(1).node.gpu;
  setup.tensor_group.size = setup.data_group.size = setup.expert_group.size = 1;
  setup.tensor_group.domain_sizes = setup.data_group.domain_sizes = setup.expert_group.domain_sizes = {1};
  return setup;
}

std::vector<hardware::DeviceIndex> devices_of(std::int32_t count, std::int32_t stride = 1) {
  std::vector<hardware::DeviceIndex> devices;
  for (std::int32_t i = 0; i < count; ++i) devices.push_back({i * stride});
  return devices;
}

// An exchange between ranks that send each other `bytes`, by pair.
KernelOp exchange(std::vector<std::int64_t> bytes) {
  KernelOp op = collective(0, 1, 0);
  op.shape = CollectiveShape::exchange;
  op.hbm_rate = 4'000'000'000'000;
  auto pairs = std::make_shared<execution::PairBytes>();
  pairs->ranks = static_cast<std::int64_t>(std::llround(std::sqrt(static_cast<double>(bytes.size()))));
  pairs->bytes = std::move(bytes);
  op.pairs = std::move(pairs);
  return op;
}

std::int64_t port_rate(const KernelRig& rig) {
  return rig.topology.link(rig.topology.find_link("node0.gpu0.port-out").value()).capacity.value;
}

CopySpec copy_of(std::int32_t from, std::int32_t to, std::int64_t bytes) {
  CopySpec copy;
  copy.from = hardware::DeviceIndex{from};
  copy.to = hardware::DeviceIndex{to};
  copy.bytes = bytes;
  copy.hbm_rate = 1'000'000'000'000'000;
  return copy;
}

constexpr std::int64_t kMicrosecond = 1'000'000;

}  // namespace

// Without a switch that adds, and with tensors so large that a ring is the fastest.
TEST_CASE("a ring all-reduce takes 2 (n - 1) / n S / B and its latency, as it is priced") {
  const auto made = setup();
  for (const std::int32_t n : {3, 4, 8}) {
    KernelRig rig;
    const auto devices = devices_of(n);
    auto profile = rig.topology.group_profile(devices);
    profile.in_switch_reduction = false;
    const std::int64_t bytes = 3 << 28;
    const auto price = cost::CollectivePricer(profile, made.engine).all_reduce(bytes);
    const std::int64_t rate =
        cost::share_of(profile.domain_bandwidth.value, made.engine.comm.all_reduce_fraction.value);
    const std::int64_t moved = core::divide_up(2 * (n - 1) * bytes, std::int64_t{n});
    CHECK(price.time == price.latency + core::duration_for(moved, rate));
    execution::KernelPlanner planner(made, true);
    const auto time = rig.time_of(planner.all_reduce(bytes, devices, profile));
    CHECK(time.total == price.time);
    CHECK(rig.executor.machine().slowed() == 0);
    CHECK((rig.executor.counts().bytes_ended == core::Int128{moved} * n));
  }
}

TEST_CASE("all-reduces of all kinds and groups take what they are priced when they are alone") {
  const auto made = setup();
  for (const auto& devices :
       {devices_of(2), devices_of(8), devices_of(2, 8), devices_of(16), devices_of(8, 2)}) {
    for (const std::int64_t bytes : {1'000LL, 1'000'000LL, 1'000'000'000LL}) {
      KernelRig rig(2);
      const auto profile = rig.topology.group_profile(devices);
      const auto price = cost::CollectivePricer(profile, made.engine).all_reduce(bytes);
      execution::KernelPlanner planner(made, true);
      CHECK(rig.time_of(planner.all_reduce(bytes, devices, profile)).total == price.time);
      CHECK(rig.executor.machine().slowed() == 0);
    }
  }
}

// n ranks send b to each other: each port sends (n - 1) b. As one price and as explicit pairs, each of which
// gets 1 / (n - 1) of its port, and is rounded up once.
TEST_CASE("an exchange of equal bytes takes the same with and without explicit pairs") {
  for (const std::int64_t n : {2, 3, 8}) {
    for (const double efficiency : {1.0, 0.66}) {
      const std::int64_t each = 1'234'567;
      KernelRig rig;
      const std::int64_t rate = cost::share_of(port_rate(rig), efficiency);
      const core::Duration alone = core::duration_for((n - 1) * each, rate);
      std::vector<std::int32_t> devices;
      std::vector<std::int64_t> bytes;
      for (std::int32_t r = 0; r < n; ++r) devices.push_back(r);
      for (std::int64_t pair = 0; pair < n * n; ++pair) bytes.push_back(pair % (n + 1) == 0 ? 0 : each);
      KernelOp pairs = exchange(bytes);
      pairs.latency = core::Duration{1000};
      pairs.scale_up_efficiency = efficiency;
      KernelOp priced = collective(1000, alone.ps, (n - 1) * each);
      priced.shape = CollectiveShape::exchange;
      const auto one = rig.time_of(same_on_all(devices, {priced})).total;
      CHECK(one == core::Duration{1000} + alone);
      KernelRig other;
      const auto two = other.time_of(same_on_all(devices, {pairs})).total;
      CHECK(two >= one);
      CHECK(two.ps <= one.ps + n - 1);
      CHECK((rig.executor.counts().bytes_ended == other.executor.counts().bytes_ended));
    }
  }
}

// 0 sends 2 X to 1 and X to 2; 1 sends X to 2. The port out of 0 and the port into 2 have two flows each, so
// that all have half of a port for the time of 2 X. Then X is left of the first, alone.
TEST_CASE("drawn pairs get max-min fair shares of the ports") {
  KernelRig rig;
  const std::int64_t x = port_rate(rig) / 10'000;  // 100 us of a port
  const auto time = rig.time_of(same_on_all({0, 1, 2}, {exchange({0, 2 * x, x, 0, 0, x, 0, 0, 0})}));
  CHECK(time.total.ps == 300 * kMicrosecond);
  CHECK((rig.executor.counts().bytes_ended == core::Int128{4 * x}));
}

// Three flows into 3, of which each has a third of its port; the sender 0 has 2/3 of its own for rank 1.
TEST_CASE("a pair whose receiver is slow leaves the rest of its port to others") {
  KernelRig rig;
  const std::int64_t x = port_rate(rig) / 10'000;
  std::vector<std::int64_t> bytes(16, 0);
  bytes[0 * 4 + 1] = 4 * x;
  bytes[0 * 4 + 3] = bytes[1 * 4 + 3] = bytes[2 * 4 + 3] = x;
  // 300 us at 2/3: 2 of the 4 are left, at full speed.
  const auto time = rig.time_of(same_on_all({0, 1, 2, 3}, {exchange(bytes)}));
  CHECK(std::abs(time.total.ps - 500 * kMicrosecond) <= 2);
  CHECK(time.by_part[static_cast<std::size_t>(Part::all_reduce)] == time.total);
}

TEST_CASE("an exchange of nothing takes its latency") {
  KernelRig rig;
  KernelOp op = exchange({0, 0, 0, 0});
  op.latency = core::Duration{77};
  CHECK(rig.time_of(same_on_all({0, 1}, {op, op})).total.ps == 154);
}

// The copy alone takes 100 us of its port.
TEST_CASE("a copy and a memory-bound kernel slow each other") {
  KernelRig rig;
  CopySpec copy = copy_of(0, 1, port_rate(rig) / 10'000);
  copy.hbm_rate = port_rate(rig);  // reads as fast as the memory does
  const std::size_t prefill =
      rig.start(same_on_all({0}, {kernel(0, 100 * kMicrosecond, 1, 100 * kMicrosecond)}));
  const std::size_t moved = rig.copy(copy);
  rig.run();
  // Speeds are as 1 to w, where w makes the copy's work comparable by bytes: the copy has w / (1 + w) of the
  // memory, and ends first; the kernel has the rest, and then all: together they are 200 us of memory.
  const double weight = static_cast<double>(rig.fastest_link) / static_cast<double>(port_rate(rig));
  CHECK(weight > 1.0);
  CHECK(std::fabs(static_cast<double>(rig.ends[moved]) - 1e8 * (1 + weight) / weight) <= 2.0);
  CHECK(std::abs(rig.ends[prefill] - 200 * kMicrosecond) <= 2);
  CHECK(rig.times[prefill].by_part[static_cast<std::size_t>(Part::contention)].ps ==
        rig.ends[prefill] - 100 * kMicrosecond);
}

TEST_CASE("a copy and a collective share a port") {
  KernelRig rig;
  const std::int64_t bytes = port_rate(rig) / 10'000;
  const std::size_t reduced = rig.start(same_on_all({0, 1}, {collective(0, 100 * kMicrosecond, bytes)}));
  const std::size_t moved = rig.copy(copy_of(0, 2, bytes / 2));
  const std::size_t elsewhere = rig.copy(copy_of(3, 4, bytes));
  rig.run();
  // Half of the port each until the copy ends at 100 us; half of the collective is left.
  CHECK(rig.ends[moved] == 100 * kMicrosecond);
  CHECK(rig.ends[reduced] == 150 * kMicrosecond);
  CHECK(rig.ends[elsewhere] == 100 * kMicrosecond);
}

TEST_CASE("the copies of one device follow each other, those into one device share its port") {
  KernelRig rig;
  const std::int64_t bytes = port_rate(rig) / 10'000;
  rig.copy(copy_of(0, 1, bytes));
  rig.copy(copy_of(0, 2, bytes));
  rig.copy(copy_of(3, 4, bytes));
  rig.copy(copy_of(5, 4, bytes));
  rig.run();
  const auto us = [](std::int64_t count) { return count * kMicrosecond; };
  CHECK(rig.ends == std::vector<std::int64_t>{us(100), us(200), us(200), us(200)});
  CHECK((rig.executor.counts().bytes_begun == rig.executor.counts().bytes_ended));
}

TEST_CASE("copies to and from the host cross the host's links, and a paused device copies nothing") {
  KernelRig rig;
  const auto link = rig.topology.find_link("node0.gpu0.host-out");
  REQUIRE(link.has_value());
  const std::int64_t bytes = rig.topology.link(*link).capacity.value / 10'000;
  CopySpec out = copy_of(0, 1, bytes), in = copy_of(0, 1, bytes);
  out.to.reset();
  in.to = in.from;
  in.from.reset();
  execution::ResolvedFault pause;
  pause.kind = execution::FaultKind::paused_device;
  pause.device = {0};
  rig.fault(pause, 50 * kMicrosecond, 90 * kMicrosecond);
  rig.copy(out);
  rig.run();
  CHECK(rig.ends[0] == 140 * kMicrosecond);
  rig.copy(in);
  rig.run();
  CHECK(rig.ends[1] == 240 * kMicrosecond);
  CHECK_THROWS_AS(rig.executor.copy({}), core::InvariantError);
  CHECK_THROWS_AS(rig.executor.copy(copy_of(1, 1, 5)), core::InvariantError);
  CHECK_THROWS_AS(rig.executor.copy(copy_of(1, 2, 0)), core::InvariantError);
}

TEST_CASE("a device copies to its host and from it side by side, and one after the other each way") {
  KernelRig rig;
  const auto link = rig.topology.find_link("node0.gpu0.host-out");
  const std::int64_t bytes = rig.topology.link(link.value()).capacity.value / 10'000;
  CopySpec out = copy_of(0, 1, bytes), in = copy_of(1, 0, bytes);
  out.to.reset();
  in.from.reset();
  for (const CopySpec& copy : {out, in, out, in}) rig.copy(copy);
  rig.run();
  const auto us = [](std::int64_t count) { return count * kMicrosecond; };
  CHECK(rig.ends == std::vector<std::int64_t>{us(100), us(100), us(200), us(200)});
}

// The NICs move them: no copy engine puts them in order.
TEST_CASE("copies of one device over the network share its NIC") {
  KernelRig rig(2);
  const std::int64_t bytes = rig.topology.link(rig.topology.nic_out(0, 0)).capacity.value / 10'000;
  rig.copy(copy_of(0, 8, bytes));
  rig.copy(copy_of(0, 9, bytes));
  rig.copy(copy_of(1, 10, bytes));
  rig.run();
  const auto us = [](std::int64_t count) { return count * kMicrosecond; };
  CHECK(rig.ends == std::vector<std::int64_t>{us(200), us(200), us(100)});
}

// Two GPUs to a NIC. The exchange of ranks 0 and 8 has the NICs to itself; an all-reduce of the GPUs beside
// them, over the same NICs, takes half.
TEST_CASE("traffic of others over the same NICs slows an exchange") {
  auto cluster = test::kernel_cluster(2);
  cluster.node.nics->count = 4;
  for (const std::int32_t beside : {1, 2}) {
    KernelRig rig(cluster);
    KernelOp op = collective(0, 1000, 500, true);
    op.shape = CollectiveShape::exchange;
    const std::size_t exchanged = rig.start(same_on_all({0, 8}, {op}));
    auto others = same_on_all({beside, beside + 8}, {collective(0, 400, 200, true)});
    others.job = 1;
    const std::size_t reduced = rig.start(others, 100);
    rig.run();
    // Rounded up once.
    CHECK(std::abs(rig.ends[exchanged] - (beside == 1 ? 1400 : 1000)) <= 1);
    CHECK(std::abs(rig.ends[reduced] - (beside == 1 ? 900 : 500)) <= 1);
    CHECK(rig.times[exchanged].by_part[static_cast<std::size_t>(Part::contention)].ps ==
          rig.ends[exchanged] - 1000);
  }
}
