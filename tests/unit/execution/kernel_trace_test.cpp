// What the executor writes into a timeline, against what it did.
#include "sim/execution/kernel_trace.hpp"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/support/catch.hpp"
#include "tests/support/kernel_rig.hpp"

using namespace moesim;
using execution::Timeline;
using test::collective;
using test::kernel;
using test::KernelRig;
using test::same_on_all;

namespace {

constexpr std::int64_t kMicrosecond = 1'000'000;

std::string counter_name(const Timeline& timeline, std::uint32_t counter) {
  const Timeline::CounterEntry& entry = timeline.counters()[counter];
  return timeline.processes()[entry.process] + " " + entry.name;
}

std::string track_name(const Timeline& timeline, std::uint32_t track) {
  const Timeline::TrackEntry& entry = timeline.tracks()[track];
  return timeline.processes()[entry.process] + " " + entry.name;
}

// The value of each counter from an instant on.
std::map<std::string, double> values_at(const Timeline& timeline, std::int64_t ps) {
  std::map<std::string, double> values;
  for (const Timeline::CounterValue& value : timeline.counter_values()) {
    if (value.at.ps <= ps) values[counter_name(timeline, value.counter)] = value.value;
  }
  return values;
}

execution::CopySpec copy_of(std::int32_t from, std::int32_t to, std::int64_t bytes, std::uint32_t job) {
  execution::CopySpec copy;
  copy.from = hardware::DeviceIndex{from};
  copy.to = hardware::DeviceIndex{to};
  copy.bytes = bytes;
  copy.hbm_rate = 4'000'000'000'000;
  copy.job = job;
  return copy;
}

// How long the last slice of a track takes alone; -1 where that is its length, -2 without a slice.
std::int64_t alone_of(const Timeline& timeline, std::string_view track) {
  std::int64_t alone = -2;
  for (const Timeline::Slice& slice : timeline.slices()) {
    if (track_name(timeline, slice.track) == track) alone = slice.alone.ps;
  }
  return alone;
}

std::int64_t port_rate(const KernelRig& rig) {
  return rig.topology.link(rig.topology.find_link("node0.gpu0.port-out").value()).capacity.value;
}

}  // namespace

// A kernel, a gap of 10 us, a kernel and a collective.
TEST_CASE("counters are 0 in gaps and at the end") {
  Timeline timeline;
  KernelRig rig(test::kernel_cluster(1), &timeline);
  rig.start(same_on_all({0, 1}, {kernel(0, 5 * kMicrosecond, 2 * kMicrosecond, 5 * kMicrosecond)}));
  rig.at(15 * kMicrosecond, [&] {
    rig.start(same_on_all(
        {0, 1}, {kernel(0, 4 * kMicrosecond, 4 * kMicrosecond, 1), collective(0, 4 * kMicrosecond, 10)}));
  });
  rig.run();
  rig.executor.finish_trace();
  const auto first = values_at(timeline, 3 * kMicrosecond);
  REQUIRE(first.count("node0.gpu0 HBM use") == 1);
  CHECK(std::abs(first.at("node0.gpu0 HBM use") - 100) < 1e-3);
  CHECK(std::abs(first.at("node0.gpu1 multiprocessor use") - 40) < 1e-3);
  for (const std::int64_t us : {5, 10, 14, 23, 1000}) {
    for (const auto& [name, value] : values_at(timeline, us * kMicrosecond)) {
      INFO(name << " at " << us << " us");
      CHECK(value == 0);
    }
  }
  const auto moving = values_at(timeline, 21 * kMicrosecond);
  CHECK(std::abs(moving.at("node0.gpu1 port-out use") - 100) < 1e-3);
  CHECK(moving.at("node0.gpu1 multiprocessor use") == 0);
}

// Kernels of 300 ns one after the other, of other uses in turn, and at last one of 100 ns, which ends
// inside the microsecond that follows a sample, before one of another device.
TEST_CASE("a counter is sampled at most once in a microsecond, and sees the last change") {
  Timeline timeline;
  KernelRig rig(test::kernel_cluster(1), &timeline);
  rig.start(same_on_all({0}, {kernel(0, 300'000, 300'000, 10), kernel(0, 300'000, 100'000, 300'000)}, 50));
  rig.at(30 * kMicrosecond, [&] {
    rig.start(same_on_all({0}, {kernel(0, 100'000, 50'000, 50'000)}));
    rig.start(same_on_all({1}, {kernel(0, 300'000, 50'000, 50'000)}));
  });
  rig.run();
  rig.executor.finish_trace();
  std::map<std::uint32_t, std::int64_t> last;
  for (const Timeline::CounterValue& value : timeline.counter_values()) {
    const auto found = last.find(value.counter);
    if (found != last.end()) CHECK(value.at.ps - found->second >= kMicrosecond);
    last[value.counter] = value.at.ps;
  }
  CHECK(last.size() == 4);
  for (const auto& [counter, at] : last) CHECK(at == 31 * kMicrosecond);
  CHECK(timeline.counter_values().size() > 30);
  for (const auto& [name, value] : values_at(timeline, 1'000 * kMicrosecond)) CHECK(value == 0);
}

TEST_CASE("each background job has tracks of its own") {
  Timeline timeline;
  KernelRig rig(test::kernel_cluster(1), &timeline);
  rig.start(same_on_all({0, 1}, {kernel(0, 100, 10, 10), collective(0, 1000, 10)}));
  auto other = same_on_all({0, 1}, {collective(0, 500, 10)});
  other.job = 2;
  rig.start(other);
  rig.copy(copy_of(0, 1, 1'000'000, 3));
  rig.copy(copy_of(2, 3, 1'000'000, 4));
  rig.run();
  std::map<std::string, int> slices;
  for (const Timeline::Slice& slice : timeline.slices()) ++slices[track_name(timeline, slice.track)];
  CHECK(slices == std::map<std::string, int>{{"node0.gpu0 compute", 1},
                                             {"node0.gpu1 compute", 1},
                                             {"node0.gpu0 communication", 1},
                                             {"node0.gpu1 communication", 1},
                                             {"node0.gpu0 communication of background 2", 1},
                                             {"node0.gpu1 communication of background 2", 1},
                                             {"node0.gpu0 copies of background 3", 1},
                                             {"node0.gpu2 copies of background 4", 1}});
}

TEST_CASE("a slice says how long a slowed copy and a slowed drawn exchange take alone") {
  Timeline timeline;
  KernelRig rig(test::kernel_cluster(1), &timeline);
  const std::int64_t bytes = port_rate(rig) / 10'000;  // 100 us
  rig.copy(copy_of(0, 2, bytes, 1));
  rig.copy(copy_of(1, 2, bytes, 2));
  rig.copy(copy_of(5, 6, bytes, 3));
  rig.run();
  CHECK(alone_of(timeline, "node0.gpu0 copies of background 1") == 100 * kMicrosecond);
  CHECK(alone_of(timeline, "node0.gpu1 copies of background 2") == 100 * kMicrosecond);
  CHECK(alone_of(timeline, "node0.gpu5 copies of background 3") == -1);
  // Two flows into one port take 200 us alone, and with a copy into it 300.
  Timeline drawn;
  KernelRig busy(test::kernel_cluster(1), &drawn);
  execution::KernelOp exchange = collective(0, 1, 0);
  exchange.shape = execution::CollectiveShape::exchange;
  exchange.hbm_rate = 4'000'000'000'000;
  auto pairs = std::make_shared<execution::PairBytes>();
  *pairs = {3, {0, 0, bytes, 0, 0, bytes, 0, 0, 0}};
  exchange.pairs = pairs;
  const std::size_t run = busy.start(same_on_all({0, 1, 2}, {exchange}));
  busy.copy(copy_of(3, 2, bytes, 1));
  busy.run();
  CHECK(std::abs(busy.ends[run] - 300 * kMicrosecond) <= 3);
  CHECK(std::abs(alone_of(drawn, "node0.gpu1 communication") - 200 * kMicrosecond) <= 2);
}

TEST_CASE("the compute slices of a device are the time of its kernels") {
  Timeline timeline;
  KernelRig rig(test::kernel_cluster(1), &timeline);
  rig.start(
      same_on_all({0, 1}, {kernel(7, 1000, 1000, 10), collective(5, 400, 10), kernel(3, 90, 10, 90)}, 20));
  rig.run();
  std::map<std::string, std::int64_t> busy;
  std::map<std::uint32_t, std::int64_t> last;
  for (const Timeline::Slice& slice : timeline.slices()) {
    CHECK(slice.begin.ps >= last[slice.track]);
    last[slice.track] = slice.end.ps;
    busy[track_name(timeline, slice.track)] += (slice.end - slice.begin).ps;
  }
  for (const std::string device : {"node0.gpu0", "node0.gpu1"}) {
    CHECK(busy[device + " compute"] == 20 * (1007 + 93));
    CHECK(busy[device + " communication"] == 20 * 405);
  }
  CHECK(rig.ends[0] == 20 * (1007 + 93 + 405));
}

// Each lane waits while the other one computes.
TEST_CASE("compute slices of lanes follow each other and do not count the wait for the stream") {
  Timeline timeline;
  KernelRig rig(test::kernel_cluster(1), &timeline);
  const execution::KernelLane lane{test::segment({kernel(7, 1000, 1000, 10)}, 5)};
  rig.start(test::program({0}, {{lane, lane}}));
  rig.run();
  std::int64_t end = 0;
  for (const Timeline::Slice& slice : timeline.slices()) {
    CHECK(slice.begin.ps == end);
    CHECK((slice.end - slice.begin).ps == 1007);
    CHECK(slice.alone.ps == -1);
    end = slice.end.ps;
  }
  CHECK(end == 10 * 1007);
}
