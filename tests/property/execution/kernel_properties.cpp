// Laws of kernel fidelity that hold for every program of symmetric ranks, and for every program.
#include <algorithm>
#include <cstdint>
#include <numeric>
#include <string_view>
#include <vector>

#include "rapidcheck.h"
#include "tests/support/catch.hpp"
#include "tests/support/kernel_rig.hpp"

namespace moesim::execution {
namespace {

std::int64_t arbitrary_time() {
  return *rc::gen::element<std::int64_t>(0, 1, 700, 1000, 3'456'789, 20'000'000);
}

// Ranks of a program move bytes both ways by `shape`, in proportion to what they keep busy.
KernelOp arbitrary_operator(bool network) {
  const std::int64_t latency = arbitrary_time(), alone = arbitrary_time();
  const auto part_of_alone = [&] { return alone / 8 * *rc::gen::inRange<std::int64_t>(0, 9); };
  if (*rc::gen::inRange(0, 3) > 0) return test::kernel(latency, alone, part_of_alone(), part_of_alone());
  KernelOp op = test::collective(latency, alone, *rc::gen::inRange<std::int64_t>(0, 1'000'000), network);
  op.multiprocessors_busy = core::Duration{part_of_alone() / 4};
  op.hbm_busy = core::Duration{part_of_alone() / 2};
  if (*rc::gen::inRange(0, 2) == 0) op.shape = CollectiveShape::exchange;
  return op;
}

// Every lane of every rank does the same.
std::vector<KernelLane> arbitrary_lanes(bool network) {
  std::vector<KernelLane> lanes(*rc::gen::inRange<std::size_t>(1, 4));
  for (KernelLane& lane : lanes) {
    const int segments = *rc::gen::inRange(1, 3);
    for (int s = 0; s < segments; ++s) {
      test::Operators operators(*rc::gen::inRange<std::size_t>(1, 5));
      for (KernelOp& op : operators) op = arbitrary_operator(network);
      lane.push_back(test::segment(operators, *rc::gen::inRange<std::int64_t>(1, 4)));
    }
  }
  return lanes;
}

struct Setting {
  std::vector<std::int32_t> devices;
  std::vector<KernelLane> lanes;
  [[nodiscard]] KernelProgram program() const {
    return test::program(devices, std::vector<std::vector<KernelLane>>(devices.size(), lanes));
  }
};

Setting arbitrary_setting() {
  Setting setting;
  const bool network = *rc::gen::inRange(0, 2) == 0;
  using Devices = std::vector<std::int32_t>;
  setting.devices = network ? *rc::gen::element(Devices{0, 8}, Devices{0, 1, 8, 9}, Devices{2, 5, 10, 13})
                            : *rc::gen::element(Devices{0}, Devices{0, 1}, Devices{1, 3, 4, 7});
  setting.lanes = arbitrary_lanes(network);
  return setting;
}

const hardware::Cluster& cluster() {
  static const hardware::Cluster made = test::kernel_cluster(2);
  return made;
}

void check_sums(const StepTime& time) {
  const auto sum = [](const auto& parts) {
    return std::accumulate(parts.begin(), parts.end(), core::Duration{});
  };
  RC_ASSERT(sum(time.by_part) == time.total);
  RC_ASSERT(sum(time.by_resource) == time.total);
  RC_ASSERT(sum(time.by_label) == time.total);
}

void check_idle(const test::KernelRig& rig) {
  const KernelCounts& counts = rig.executor.counts();
  RC_ASSERT(counts.kernels_begun == counts.kernels_ended);
  RC_ASSERT(counts.collectives_begun == counts.collectives_ended);
  RC_ASSERT((counts.bytes_begun == counts.bytes_ended));
}

// Every program here is run on machines whose certificate is checked at every solution.
TEST_CASE("the parts of a step add up, all that begins ends, and a step takes at least its longest lane") {
  REQUIRE(rc::check([] {
    const Setting setting = arbitrary_setting();
    test::KernelRig rig(cluster());
    const StepTime time = rig.time_of(setting.program());
    check_sums(time);
    check_idle(rig);
    core::Duration longest, all;
    for (const KernelLane& lane : setting.lanes) {
      core::Duration sum;
      for (const KernelSegment& segment : lane) {
        for (const KernelOp& op : *segment.operators) sum += (op.latency + op.alone) * segment.repeat;
      }
      longest = std::max(longest, sum);
      all += sum;
    }
    RC_ASSERT(time.total >= longest);
    // One lane meets nobody on its device.
    if (setting.lanes.size() == 1) RC_ASSERT(time.total == all);
  }));
}

TEST_CASE("a step takes the same whenever it begins") {
  REQUIRE(rc::check([] {
    const Setting setting = arbitrary_setting();
    const std::int64_t begin = *rc::gen::element<std::int64_t>(1, 999'999'999'999, 1'000'000'000'000'000'001);
    test::KernelRig rig(cluster());
    const StepTime now = rig.time_of(setting.program());
    test::KernelRig later(cluster());
    const std::size_t number = later.start(setting.program(), begin);
    later.run();
    RC_ASSERT(later.ends[number] == begin + now.total.ps);
    RC_ASSERT(later.times[number].by_part == now.by_part);
    RC_ASSERT(later.times[number].by_resource == now.by_resource);
  }));
}

// Ranks of one program that all do the same may change places.
TEST_CASE("the order of symmetric ranks does not matter") {
  REQUIRE(rc::check([] {
    Setting setting = arbitrary_setting();
    test::KernelRig rig(cluster());
    const StepTime time = rig.time_of(setting.program());
    std::reverse(setting.devices.begin(), setting.devices.end());
    test::KernelRig reversed(cluster());
    RC_ASSERT(reversed.time_of(setting.program()).total == time.total);
    std::rotate(setting.devices.begin(), setting.devices.begin() + 1, setting.devices.end());
    test::KernelRig rotated(cluster());
    RC_ASSERT(rotated.time_of(setting.program()).total == time.total);
  }));
}

// So may ranks that do not all do the same, with what they do: a single lane leaves nobody to come first.
TEST_CASE("the order of ranks does not matter") {
  REQUIRE(rc::check([] {
    Setting setting = arbitrary_setting();
    std::vector<std::vector<KernelLane>> lanes;
    for (std::size_t rank = 0; rank < setting.devices.size(); ++rank) {
      const std::int64_t before = arbitrary_time(), after = arbitrary_time();
      KernelLane lane{test::segment({test::kernel(7, before, before, 0)})};
      lane.insert(lane.end(), setting.lanes[0].begin(), setting.lanes[0].end());
      lane.push_back(test::segment({test::kernel(0, after, 0, after)}));
      lanes.push_back({lane});
    }
    test::KernelRig rig(cluster());
    const StepTime time = rig.time_of(test::program(setting.devices, lanes));
    for (std::size_t turn = 1; turn < lanes.size(); ++turn) {
      std::rotate(setting.devices.begin(), setting.devices.begin() + 1, setting.devices.end());
      std::rotate(lanes.begin(), lanes.begin() + 1, lanes.end());
      test::KernelRig rotated(cluster());
      RC_ASSERT(rotated.time_of(test::program(setting.devices, lanes)).total == time.total);
    }
  }));
}

TEST_CASE("steps on other devices change nothing") {
  REQUIRE(rc::check([] {
    const Setting setting = arbitrary_setting();
    test::KernelRig alone(cluster());
    const StepTime time = alone.time_of(setting.program());
    test::KernelRig rig(cluster());
    const std::size_t number = rig.start(setting.program());
    // On GPU 6 of each node nobody else is.
    rig.start({test::same_on_all({6, 14},
                                 {test::collective(0, 5000, 100, true), test::kernel(3, 777, 777, 9)}, 9)});
    rig.run();
    RC_ASSERT(rig.times[number].total == time.total);
    RC_ASSERT(rig.times[number].by_part == time.by_part);
    check_idle(rig);
  }));
}

// All activities that run are held by a pause of all devices, latencies are not: with none of these a step is
// late by exactly the pause.
TEST_CASE("a pause of all devices inside a step of works makes it exactly so much longer") {
  REQUIRE(rc::check([] {
    const std::int64_t works = *rc::gen::inRange<std::int64_t>(1, 6);
    test::Operators operators;
    std::int64_t total = 0;
    for (std::int64_t i = 0; i < works; ++i) {
      const std::int64_t alone = *rc::gen::inRange<std::int64_t>(16, 100'000);
      total += alone;
      operators.push_back(test::kernel(0, alone, alone / 2, alone));
      if (*rc::gen::inRange(0, 2) == 0) continue;
      operators.back() = test::collective(0, alone, 1000);
      operators.back().hbm_busy = core::Duration{alone / 16};
    }
    const std::int64_t from = *rc::gen::inRange<std::int64_t>(0, total),
                       length = *rc::gen::inRange(1, 1'000'000);
    test::KernelRig rig(cluster());
    ResolvedFault pause;
    pause.kind = FaultKind::paused_device;
    for (const std::int32_t device : {0, 1, 2}) {
      pause.device = {device};
      rig.fault(pause, from, from + length);
    }
    const std::size_t number = rig.start(test::same_on_all({0, 1, 2}, operators));
    rig.run();
    RC_ASSERT(rig.ends[number] == total + length);
    check_sums(rig.times[number]);
    check_idle(rig);
  }));
}

// Random faults, all of which end: everything that was begun ends, and nothing is faster than without them.
TEST_CASE("faults lose nothing and make no single lane faster") {
  REQUIRE(rc::check([] {
    Setting setting = arbitrary_setting();
    setting.lanes.resize(1);  // with more, a delay may change who comes first
    test::KernelRig whole(cluster());
    const StepTime time = whole.time_of(setting.program());
    test::KernelRig rig(cluster());
    const int faults = *rc::gen::inRange(1, 8);
    for (int i = 0; i < faults; ++i) {
      ResolvedFault fault;
      fault.kind = *rc::gen::element(FaultKind::slow_hbm, FaultKind::degraded_link, FaultKind::lost_nic,
                                     FaultKind::paused_device);
      fault.device = {*rc::gen::element(0, 1, 3, 8, 10)};
      fault.link = *rig.topology.find_link(
          *rc::gen::element<std::string_view>("node0.gpu0.port-out", "node0.gpu1.port-in", "node0.nic0.out",
                                              "node1.nic1.in", "node0.gpu0.host-out"));
      fault.node = *rc::gen::inRange(0, 2);
      fault.nic = *rc::gen::inRange(0, 3);
      fault.factor = *rc::gen::element(0.5, 0.1, 0.875);
      const auto from = *rc::gen::inRange<std::int64_t>(0, time.total.ps + 2);
      rig.fault(fault, from, from + *rc::gen::inRange<std::int64_t>(1, time.total.ps + 1000));
    }
    const std::size_t number = rig.start(setting.program());
    rig.run();
    RC_ASSERT(rig.ends[number] >= time.total.ps);
    RC_ASSERT(rig.times[number].total.ps == rig.ends[number]);
    check_sums(rig.times[number]);
    check_idle(rig);
    RC_ASSERT(rig.executor.machine().running() == 0U);
  }));
}

}  // namespace
}  // namespace moesim::execution
