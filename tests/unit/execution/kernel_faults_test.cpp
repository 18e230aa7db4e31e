// Faults of the kernel executor. A device's work is slowed, or stopped, for exactly as long as the fault is.
#include <cstdint>
#include <vector>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/kernel_rig.hpp"

using namespace moesim;
using execution::FaultKind;
using execution::KernelOp;
using execution::Part;
using execution::ResolvedFault;
using test::collective;
using test::kernel;
using test::KernelRig;
using test::same_on_all;

namespace {

ResolvedFault slow_hbm(std::int32_t device, double factor) {
  ResolvedFault fault;
  fault.kind = FaultKind::slow_hbm;
  fault.device = {device};
  fault.factor = factor;
  return fault;
}

ResolvedFault paused(std::int32_t device) {
  ResolvedFault fault;
  fault.kind = FaultKind::paused_device;
  fault.device = {device};
  return fault;
}

ResolvedFault degraded(const KernelRig& rig, std::string_view link, double factor) {
  ResolvedFault fault;
  fault.kind = FaultKind::degraded_link;
  fault.link = rig.topology.find_link(link).value();
  fault.factor = factor;
  return fault;
}

ResolvedFault lost_nic(std::int32_t node, std::int32_t nic) {
  ResolvedFault fault;
  fault.kind = FaultKind::lost_nic;
  fault.node = node;
  fault.nic = nic;
  return fault;
}

// A collective between nodes that moves `bytes` per rank in `alone`; its ranks keep a little of HBM busy.
KernelOp across(std::int64_t alone, std::int64_t bytes = 1'000'000) {
  KernelOp op = collective(0, alone, bytes, true);
  op.hbm_busy = core::Duration{alone / 16};
  return op;
}

std::int64_t end_of(KernelRig& rig, const execution::KernelProgram& made) {
  const std::size_t number = rig.start(made);
  rig.run();
  const execution::KernelCounts& counts = rig.executor.counts();
  CHECK(counts.kernels_begun == counts.kernels_ended);
  CHECK((counts.bytes_begun == counts.bytes_ended));
  CHECK(rig.times[number].total.ps == rig.ends[number]);
  return rig.ends[number];
}

}  // namespace

TEST_CASE("a memory-bound kernel takes 1 / factor as long while its memory is slow") {
  for (const auto& [hbm, want] : {std::pair{1000, 1200}, {500, 1000}, {750, 1000 + 400 / 3}}) {
    KernelRig rig;
    rig.fault(slow_hbm(0, 0.5), 200, 600);
    // 3/4 of HBM where there is 1/2: at 2/3 for 400, and so 133 late, rounded up.
    CHECK(std::abs(end_of(rig, same_on_all({0}, {kernel(0, 1000, 1, hbm)})) - want) <= (hbm == 750 ? 1 : 0));
  }
  KernelRig rig;
  rig.fault(slow_hbm(0, 0.25), 0);  // for ever
  rig.fault(slow_hbm(1, 0.125), 0);
  CHECK(end_of(rig, same_on_all({0}, {kernel(8, 1000, 1, 1000), kernel(0, 100, 100, 1)})) == 8 + 4000 + 100);
  CHECK(rig.times[0].by_part[static_cast<std::size_t>(Part::contention)].ps == 3000);
}

TEST_CASE("two faults of one memory multiply, and end one by one") {
  KernelRig rig;
  rig.fault(slow_hbm(0, 0.5), 100, 500);
  rig.fault(slow_hbm(0, 0.25), 300, 700);
  // 100, then 200 x 1/2, 200 x 1/8, 200 x 1/4; 1000 - 275 are left at 700.
  CHECK(end_of(rig, same_on_all({0}, {kernel(0, 1000, 1, 1000)})) == 700 + 725);
}

TEST_CASE("a degraded link slows the collectives that cross it, and all of their ranks") {
  KernelRig rig;
  rig.fault(degraded(rig, "node0.gpu2.port-out", 0.5), 250, 1250);
  rig.fault(degraded(rig, "node0.gpu4.port-out", 0.125), 0);
  CHECK(end_of(rig, same_on_all({0, 1, 2, 3}, {collective(50, 1000, 10)})) == 1050 + 500);
  KernelRig inward;
  inward.fault(degraded(inward, "node0.gpu2.port-in", 0.25), 0);
  CHECK(end_of(inward, same_on_all({0, 1, 2, 3}, {collective(50, 1000, 10)})) == 4050);
}

TEST_CASE("a degraded NIC slows what it sends and what it gets") {
  for (const std::string_view link : {"node0.nic0.out", "node0.nic0.in", "node1.nic0.out", "node1.nic0.in"}) {
    for (const auto shape : {execution::CollectiveShape::ring, execution::CollectiveShape::exchange}) {
      KernelRig rig(2);
      rig.fault(degraded(rig, link, 0.5), 0);
      KernelOp op = across(1000);
      op.shape = shape;
      CHECK(end_of(rig, same_on_all({0, 8}, {op})) == 2000);
    }
  }
}

// The ranks 0 and 1 of each node have a NIC each. With NIC 0 of node 0 lost both use NIC 1 there, so that the
// ring, which goes at the pace of its slowest rank, has half of its speed.
TEST_CASE("what a lost NIC carried goes over the next one") {
  KernelRig rig(2);
  rig.fault(lost_nic(0, 0), 400, 800);
  CHECK(end_of(rig, same_on_all({0, 1, 8, 9}, {across(1000)})) == 1200);
  SECTION("an idle one: nobody is slower") {
    KernelRig idle(2);
    idle.fault(lost_nic(0, 0), 400, 800);
    idle.fault(lost_nic(1, 3), 0);
    CHECK(end_of(idle, same_on_all({0, 8}, {across(1000)})) == 1000);
    CHECK(idle.executor.machine().slowed() > 0);  // it was stopped, and moved within the instant
  }
  SECTION("where it is lost before the collective begins") {
    KernelRig before(2);
    before.fault(lost_nic(0, 0), 0);
    CHECK(end_of(before, same_on_all({0, 1, 8, 9}, {kernel(0, 100, 1, 1), across(1000)})) == 2100);
  }
}

// From 200 on, the eight ranks of node 0 share one NIC.
TEST_CASE("the last NIC of a node carries everything") {
  KernelRig rig(2);
  std::vector<std::int32_t> devices;
  for (std::int32_t device = 0; device < 16; ++device) devices.push_back(device);
  for (std::int32_t nic = 0; nic < 8; ++nic) {
    if (nic != 5) rig.fault(lost_nic(0, nic), 200);
  }
  const std::int64_t end = end_of(rig, same_on_all(devices, {across(1000)}));
  CHECK(end >= 200 + 8 * 800);
  CHECK(end <= 200 + 8 * 800 + 1);  // rounded up
}

TEST_CASE("a node that has lost all its NICs waits for one to come back") {
  KernelRig rig(2);
  for (std::int32_t nic = 0; nic < 8; ++nic) rig.fault(lost_nic(1, nic), 300, nic == 2 ? 900 : 5000);
  // From 900 on NIC 2 carries both rails of the node: 700 of work at half speed.
  CHECK(end_of(rig, same_on_all({0, 1, 8, 9}, {across(1000)})) == 900 + 1400);
}

TEST_CASE("drawn pairs that cross a lost NIC lose no byte") {
  KernelRig rig(2);
  const std::int64_t rate = rig.topology.link(rig.topology.nic_out(0, 0)).capacity.value;
  const std::int64_t bytes = rate / 1'000'000;  // 1 us alone
  KernelOp op = collective(0, 1'000'000, 0, true);
  op.shape = execution::CollectiveShape::exchange;
  op.hbm_rate = 4'000'000'000'000;
  auto pairs = std::make_shared<execution::PairBytes>();
  pairs->ranks = 4;
  pairs->bytes.assign(16, 0);
  pairs->bytes[0 * 4 + 2] = bytes;  // rail 0
  pairs->bytes[1 * 4 + 3] = bytes;  // rail 1
  op.pairs = pairs;
  rig.fault(lost_nic(0, 0), 200'000);
  // The rest of the first shares NIC 1: 0.8 of each over what does 1 at a time.
  CHECK(end_of(rig, same_on_all({0, 1, 8, 9}, {op})) == 200'000 + 1'600'000);
  CHECK((rig.executor.counts().bytes_ended == core::Int128{2 * bytes}));
}

TEST_CASE("a paused device holds its work still and goes on where it was") {
  SECTION("inside the work of a kernel") {
    KernelRig rig;
    rig.fault(paused(0), 300, 10'300);
    CHECK(end_of(rig, same_on_all({0}, {kernel(100, 1000, 1000, 0), kernel(0, 7, 0, 7)})) == 11'107);
    CHECK(rig.times[0].by_part[static_cast<std::size_t>(Part::contention)].ps == 10'000);
  }
  SECTION("inside a latency") {
    KernelRig rig;
    rig.fault(paused(0), 10, 90);
    CHECK(end_of(rig, same_on_all({0}, {kernel(100, 1000, 1000, 0)})) == 1180);
  }
  SECTION("inside a latency after which another kernel follows") {
    KernelRig rig;
    rig.fault(paused(0), 50, 500);
    CHECK(end_of(rig, same_on_all({0}, {kernel(100, 0, 0, 0), kernel(30, 10, 1, 1)})) == 590);
  }
  SECTION("twice at once: until the later end") {
    KernelRig rig;
    rig.fault(paused(0), 200, 600);
    rig.fault(paused(0), 400, 900);
    CHECK(end_of(rig, same_on_all({0}, {kernel(0, 1000, 1000, 0)})) == 1700);
  }
  SECTION("a collective waits for the rank that is held") {
    KernelRig rig;
    rig.fault(paused(2), 300, 800);
    KernelOp together = collective(0, 1000, 10);
    together.hbm_busy = core::Duration{100};
    CHECK(end_of(rig, same_on_all({0, 1, 2}, {together})) == 1500);
  }
  SECTION("a collective waits for a rank that is held before it") {
    KernelRig rig;
    rig.fault(paused(2), 3, 800);
    CHECK(end_of(rig, same_on_all({0, 1, 2}, {kernel(5, 0, 0, 0), collective(10, 100, 10)})) == 912);
  }
  SECTION("inside the latency of a collective") {
    KernelRig rig;
    rig.fault(paused(2), 3, 800);
    CHECK(end_of(rig, same_on_all({0, 1, 2}, {collective(10, 100, 10)})) == 907);
  }
  SECTION("a step that begins in the pause waits") {
    KernelRig rig;
    rig.fault(paused(0), 0, 700);
    rig.at(100, [&] { rig.start(same_on_all({0}, {kernel(0, 50, 50, 0)})); });
    rig.run();
    CHECK(rig.ends == std::vector<std::int64_t>{750});
    CHECK(rig.times[0].total.ps == 650);
  }
  SECTION("lanes that wait go on one after the other") {
    for (const std::int64_t busy : {100, 10}) {
      KernelRig rig;
      rig.fault(paused(0), 50, 500);
      const execution::KernelLane lane{test::segment({kernel(0, 100, busy, 0)})};
      CHECK(end_of(rig, test::program({0}, {{lane, lane, lane}})) == 750);
    }
  }
}

// A latency is part of a kernel: a paused device does not begin one. A mistake would let it run in the pause,
// and the kernel would end that much too early.
TEST_CASE("no kernel or collective begins in a pause") {
  SECTION("the first of a step that starts in the pause") {
    KernelRig rig;
    rig.fault(paused(0), 0, 700);
    rig.at(100, [&] { rig.start(same_on_all({0}, {kernel(20, 50, 50, 0)})); });
    rig.run();
    CHECK(rig.ends == std::vector<std::int64_t>{770});
  }
  SECTION("the next of a lane") {
    KernelRig rig;
    rig.fault(paused(0), 50, 500);
    // The first uses nothing of the device, and so ends in the pause.
    CHECK(end_of(rig, same_on_all({0}, {kernel(0, 100, 0, 0), kernel(20, 50, 50, 0)})) == 570);
  }
  SECTION("that of another lane, which waits for the stream") {
    KernelRig rig;
    rig.fault(paused(0), 50, 500);
    CHECK(end_of(rig, test::program({0}, {{{test::segment({kernel(0, 100, 0, 0)})},
                                           {test::segment({kernel(20, 50, 50, 0)})}}})) == 570);
  }
  SECTION("a collective whose last rank comes in the pause of another") {
    KernelRig rig;
    rig.fault(paused(1), 50, 500);
    const KernelOp together = collective(20, 100, 10);
    CHECK(end_of(rig, test::program({0, 1}, {{{test::segment({kernel(0, 100, 100, 0), together})}},
                                             {{test::segment({together})}}})) == 620);
  }
}

TEST_CASE("a latency that ends at the instant at which a pause begins is over") {
  for (const bool together : {false, true}) {
    KernelRig rig;
    ResolvedFault pause = paused(0);
    // Before the end of the latency, in its phase.
    rig.at(
        100, [&rig, pause] { rig.executor.begin_fault(pause); }, core::Phase::completion);
    rig.at(900, [&rig, pause] { rig.executor.end_fault(pause); });
    CHECK(end_of(rig, same_on_all({0, 1}, {together ? collective(100, 0, 0) : kernel(100, 0, 0, 0)})) == 100);
  }
}

TEST_CASE("the latency of a collective goes on when its last paused rank does") {
  for (const auto& [first, second] : {std::pair{300, 500}, {500, 300}}) {
    KernelRig rig;
    rig.fault(paused(0), 10, first);
    rig.fault(paused(1), 20, second);
    CHECK(end_of(rig, same_on_all({0, 1, 2}, {collective(100, 1000, 10)})) == 500 + 90 + 1000);
  }
}

TEST_CASE("a pause holds the latencies of its own device alone") {
  KernelRig rig;
  rig.fault(paused(0), 10, 300);
  rig.fault(paused(1), 20, 500);
  rig.start(same_on_all({0}, {kernel(100, 50, 50, 0)}));
  rig.start(same_on_all({1}, {kernel(100, 50, 50, 0)}));
  rig.start(same_on_all({2}, {kernel(100, 50, 50, 0)}));
  rig.start(same_on_all({3, 4}, {collective(100, 1000, 10)}));
  rig.run();
  CHECK(rig.ends == std::vector<std::int64_t>{300 + 90 + 50, 500 + 80 + 50, 150, 1100});
}

// A leaf has a quarter of a NIC towards the spine (two nodes, 8 to 1). On its own rail the copy takes 100 us;
// over the NIC of another rail it crosses the spine and moves at a quarter.
TEST_CASE("a copy whose NIC is lost goes over the spine, and back when the NIC returns") {
  constexpr std::int64_t kMicrosecond = 1'000'000;
  auto cluster = test::kernel_cluster(2);
  cluster.fabric->oversubscription.value = 8.0;
  for (const auto& [until, want] : {std::pair{-1, 250}, {150, 175}}) {
    for (const std::int32_t node : {0, 1}) {
      KernelRig rig(cluster);
      execution::CopySpec copy;
      copy.from = hardware::DeviceIndex{0};
      copy.to = hardware::DeviceIndex{8};
      copy.bytes = rig.topology.link(rig.topology.nic_out(0, 0)).capacity.value / 10'000;
      copy.hbm_rate = 4'000'000'000'000;
      rig.fault(lost_nic(node, 0), 50 * kMicrosecond, until < 0 ? -1 : until * kMicrosecond);
      rig.copy(copy);
      rig.run();
      CHECK(std::abs(rig.ends[0] - want * kMicrosecond) <= 2);  // rounded up at each change
      CHECK((rig.executor.background_counts().bytes_ended == core::Int128{copy.bytes}));
    }
  }
}

// Three copies of uneven bytes share a NIC of node 2, each at a third; a NIC of node 0 comes and goes.
TEST_CASE("a lost NIC leaves the flows between other nodes as they are, to the tick") {
  std::vector<std::int64_t> ends[2];
  std::uint64_t slowed[2];
  for (const std::size_t lost : {0U, 1U}) {
    KernelRig rig(4);
    if (lost != 0) {
      for (std::int64_t i = 0; i < 20; ++i)
        rig.fault(lost_nic(0, 0), 1'000'003 + 700'001 * i, 1'300'001 + 700'001 * i);
    }
    for (const std::int64_t bytes : {333'333, 500'009, 777'777}) {
      execution::CopySpec copy;
      copy.from = hardware::DeviceIndex{16};
      copy.to = hardware::DeviceIndex{24};
      copy.bytes = bytes;
      copy.hbm_rate = 4'000'000'000'000;
      rig.copy(copy);
    }
    rig.start(same_on_all({17, 25}, {across(20'000'003)}));
    rig.run();
    ends[lost] = rig.ends;
    slowed[lost] = rig.executor.machine().slowed();
  }
  CHECK(ends[0] == ends[1]);
  CHECK(ends[0].back() == 20'000'003);
  CHECK(slowed[0] == slowed[1]);
}

TEST_CASE("a slow memory and a pause on one device") {
  KernelRig rig;
  rig.fault(slow_hbm(0, 0.5), 100, 900);
  rig.fault(paused(0), 300, 500);
  // 100, then 200 x 1/2, none, 400 x 1/2; 600 are left at 900.
  CHECK(end_of(rig, same_on_all({0}, {kernel(0, 1000, 1, 1000)})) == 1500);
  SECTION("that ends in the pause") {
    KernelRig inside;
    inside.fault(slow_hbm(0, 0.5), 100, 400);
    inside.fault(paused(0), 300, 500);
    CHECK(end_of(inside, same_on_all({0}, {kernel(0, 1000, 1, 1000)})) == 500 + 800);
  }
}

TEST_CASE("a degraded link and a lost NIC of one node") {
  KernelRig rig(2);
  rig.fault(degraded(rig, "node0.nic1.out", 0.5), 0);
  rig.fault(lost_nic(0, 0), 200, 600);
  // Until 200 at half the speed, then both rails of node 0 share half a NIC: 400 x 1/4.
  CHECK(end_of(rig, same_on_all({0, 1, 8, 9}, {across(1000)})) == 600 + 2 * 800);
}

TEST_CASE("a fault that did not begin cannot end") {
  KernelRig rig;
  CHECK_THROWS_AS(rig.executor.end_fault(slow_hbm(0, 0.5)), core::InvariantError);
  rig.executor.begin_fault(slow_hbm(0, 0.5));
  CHECK_THROWS_AS(rig.executor.end_fault(slow_hbm(0, 0.25)), core::InvariantError);
  rig.executor.end_fault(slow_hbm(0, 0.5));
}
