// Kernels, collectives and lanes: every time is a closed form.
#include "sim/execution/kernel_executor.hpp"

#include <cstdint>
#include <numeric>
#include <vector>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/kernel_rig.hpp"

using namespace moesim;
using execution::KernelLane;
using execution::KernelOp;
using execution::Part;
using execution::StepTime;
using test::collective;
using test::kernel;
using test::KernelRig;
using test::program;
using test::same_on_all;
using test::segment;

namespace {

std::int64_t part(const StepTime& time, Part one) { return time.by_part[static_cast<std::size_t>(one)].ps; }

void check_parts(const StepTime& time) {
  const auto sum = [](const auto& parts) {
    return std::accumulate(parts.begin(), parts.end(), core::Duration{});
  };
  CHECK(sum(time.by_part) == time.total);
  CHECK(sum(time.by_resource) == time.total);
  CHECK(sum(time.by_label) == time.total);
}

void check_conserved(const KernelRig& rig) {
  const execution::KernelCounts& counts = rig.executor.counts();
  CHECK(counts.kernels_begun == counts.kernels_ended);
  CHECK(counts.collectives_begun == counts.collectives_ended);
  CHECK((counts.bytes_begun == counts.bytes_ended));
}

// `lanes` lanes of `layers` times the operators, the same on two ranks.
std::int64_t time_of_lanes(std::size_t lanes, const test::Operators& operators, std::int64_t layers) {
  KernelRig rig;
  const std::vector<KernelLane> each(lanes, KernelLane{segment(operators, layers)});
  const StepTime time = rig.time_of(program({0, 1}, {each, each}));
  check_parts(time);
  check_conserved(rig);
  return time.total.ps;
}

}  // namespace

TEST_CASE("a chain of kernels takes the sum of its latencies and works") {
  KernelRig rig;
  const auto time = rig.time_of(program(
      {3},
      {{{segment({kernel(5, 1000, 1000, 10), kernel(7, 0, 0, 0), kernel(0, 333, 1, 333)}, 3), segment({}),
         segment({kernel(11, 4, 4, 4)}, 0), segment({kernel(0, 0, 0, 0), kernel(1, 1, 0, 1)})}}}));
  CHECK(time.total.ps == 3 * (1005 + 7 + 333) + 2);
  CHECK(part(time, Part::attention) == time.total.ps);
  CHECK(part(time, Part::contention) == 0);
  check_parts(time);
  check_conserved(rig);
  CHECK(rig.executor.counts().kernels_ended == 11);
  CHECK(rig.executor.machine().slowed() == 0);
}

TEST_CASE("a step of nothing ends when it begins") {
  KernelRig rig;
  CHECK(rig.time_of(program({0, 1}, {{{}}, {{segment({}), segment({kernel(1, 1, 1, 1)}, 0)}}})).total.ps ==
        0);
  CHECK(rig.simulation.now() == core::Time{});
  CHECK(rig.time_of(same_on_all({0, 1}, {kernel(0, 0, 0, 0), collective(0, 0, 0)}, 1000)).total.ps == 0);
  check_conserved(rig);
}

TEST_CASE("the host's delay comes before a step and is not part of its time") {
  KernelRig rig;
  const std::size_t late = rig.start(same_on_all({0}, {kernel(5, 10, 10, 0)}), 100);
  const std::size_t never = rig.start(same_on_all({1}, {kernel(5, 10, 10, 0)}), core::kEndOfTime.ps);
  rig.run();
  CHECK(rig.ends[late] == 115);
  CHECK(rig.times[late].total.ps == 15);
  CHECK(rig.ends[never] == -1);
}

TEST_CASE("a collective waits for its slowest rank and ends for all") {
  KernelRig rig;
  const KernelOp together = collective(40, 600, 1000);
  const auto time = rig.time_of(
      program({0, 1, 2}, {{{segment({kernel(0, 1000, 1000, 0), together, kernel(0, 500, 500, 0)})}},
                          {{segment({kernel(100, 3000, 3000, 0), together, kernel(0, 100, 100, 0)})}},
                          {{segment({together, kernel(0, 200, 200, 0)})}}}));
  CHECK(time.total.ps == 3100 + 640 + 500);
  CHECK(part(time, Part::all_reduce) == 640);
  CHECK(part(time, Part::contention) == 0);  // a wait for a slower rank is that rank's work
  check_parts(time);
  check_conserved(rig);
  CHECK((rig.executor.counts().bytes_ended == 3000));
}

TEST_CASE("ranks of separate communicators do not wait for each other") {
  KernelRig rig;
  KernelOp second = collective(0, 50, 10);
  second.communicator = 1;
  auto made = program({0, 1, 2, 3}, {{{segment({collective(0, 50, 10)})}},
                                     {{segment({kernel(0, 100, 100, 0), collective(0, 50, 10)})}},
                                     {{segment({second, kernel(0, 70, 70, 0)})}},
                                     {{segment({second})}}});
  made.communicators = {{{0, 1}}, {{2, 3}}};
  CHECK(rig.time_of(made).total.ps == 150);
}

// One lane runs its kernel (all of the multiprocessors) and its collective (all of its links) in turn:
// 4 x (2 x 1000 + 2 x 700). Two lanes with half of the tokens each keep the compute stream busy all the time:
// 8 kernels, and the collective of the last.
TEST_CASE("two lanes hide link-bound collectives behind compute-bound kernels") {
  const std::int64_t one = time_of_lanes(1, {kernel(0, 2000, 2000, 0), collective(0, 1400, 1000)}, 4);
  const std::int64_t two = time_of_lanes(2, {kernel(0, 1000, 1000, 0), collective(0, 700, 500)}, 4);
  CHECK(one == 4 * 3400);
  CHECK(two == 8 * 1000 + 700);
  // The other way round the links are busy all the time.
  CHECK(time_of_lanes(2, {kernel(0, 700, 700, 0), collective(0, 1000, 500)}, 4) == 700 + 8 * 1000);
}

// A kernel that reads its weights takes as long for half of the tokens, so that two lanes read them twice.
// What is hidden (the collective's latency) is less than that.
TEST_CASE("two lanes lose where the weights are read twice") {
  const test::Operators operators{kernel(0, 1000, 10, 1000), collective(200, 0, 0)};
  CHECK(time_of_lanes(1, operators, 4) == 4 * 1200);
  CHECK(time_of_lanes(2, operators, 4) == 8 * 1000 + 200);
}

// A collective of few bytes is all latency, and a rank does one at a time: two lanes pay twice.
TEST_CASE("two lanes lose where collectives are bound by latency") {
  CHECK(time_of_lanes(1, {kernel(0, 200, 200, 0), collective(1000, 0, 0)}, 4) == 4 * 1200);
  CHECK(time_of_lanes(2, {kernel(0, 100, 100, 0), collective(1000, 0, 0)}, 4) == 100 + 8 * 1000);
}

// Lanes of one layer. The first kernel runs alone; the second runs beside the first lane's collective, and
// both want 5/4 of the multiprocessors (or of HBM): both run at 4/5. Then the second lane's collective alone.
TEST_CASE("a collective's multiprocessors and memory traffic slow the kernel beside it") {
  for (const bool memory : {false, true}) {
    for (const std::int64_t busy : {0, 250}) {
      KernelRig rig;
      KernelOp together = collective(0, 1000, 0);
      (memory ? together.hbm_busy : together.multiprocessors_busy) = core::Duration{busy};
      const KernelLane lane{segment({kernel(0, 1000, memory ? 1 : 1000, memory ? 1000 : 1), together})};
      const auto time = rig.time_of(program({0, 1}, {{lane, lane}, {lane, lane}}));
      CHECK(time.total.ps == 1000 + (busy > 0 ? 1250 : 1000) + 1000);
      CHECK(part(time, Part::contention) == time.total.ps - 2000);
      check_parts(time);
    }
  }
}

// Speeds are by bytes: a collective that moves half of what the fastest link does counts double per work. The
// kernel wants all of HBM, the collective a quarter, which it keeps: the kernel gets 3/4.
TEST_CASE("a collective of few bytes per second keeps its speed beside a kernel") {
  KernelRig rig;
  KernelOp together = collective(0, 1'000'000, rig.fastest_link / 2 / 1'000'000);
  together.hbm_busy = core::Duration{250'000};
  const std::size_t kernels = rig.start(same_on_all({0}, {kernel(0, 1'500'000, 1, 1'500'000)}));
  const std::size_t reduced = rig.start(same_on_all({0}, {together}));
  rig.run();
  CHECK(rig.ends[reduced] == 1'000'000);
  CHECK(rig.ends[kernels] == 1'750'000);  // half of its work is left at 1e6
}

TEST_CASE("lanes take turns on the compute stream in the order in which they are ready") {
  KernelRig rig;
  const auto time = rig.time_of(program({0}, {{{segment({kernel(10, 100, 1, 0)}, 2)},
                                               {segment({kernel(10, 300, 1, 0)}, 2)},
                                               {segment({kernel(10, 500, 1, 0)}, 2)}}}));
  CHECK(time.total.ps == 2 * (110 + 310 + 510));
  // The last lane's path: its own two kernels; the rest is waiting for the stream.
  CHECK(part(time, Part::attention) == 2 * 510);
  CHECK(part(time, Part::contention) == 2 * (110 + 310));
  check_parts(time);
}

// Two paths of one length: the kernel of the one is attention, of the other a norm. Which of them ends first
// within the instant depends on when its end was set, at 0 or after its latency.
TEST_CASE("of paths that end together the first rank's is told, and of its lanes the first") {
  for (const std::int64_t latency : {0, 50}) {
    KernelOp attention = kernel(latency, 100 - latency, 1, 1),
             norm = kernel(50 - latency, 50 + latency, 1, 1);
    norm.part = Part::norms;
    const KernelOp together = collective(0, 30, 10);
    KernelRig rig;
    const auto met =
        rig.time_of(program({0, 1}, {{{segment({attention, together})}}, {{segment({norm, together})}}}));
    CHECK(met.total.ps == 130);
    CHECK(part(met, Part::attention) == 100);
    const auto swapped =
        rig.time_of(program({0, 1}, {{{segment({norm, together})}}, {{segment({attention, together})}}}));
    CHECK(part(swapped, Part::norms) == 100);
    const auto apart = rig.time_of(program({0, 1}, {{{segment({attention})}}, {{segment({norm})}}}));
    CHECK(part(apart, Part::attention) == 100);
    const auto parted = rig.time_of(program({0, 1}, {{{segment({norm})}}, {{segment({attention})}}}));
    CHECK(part(parted, Part::norms) == 100);
    const KernelOp alone = collective(50 - latency, 50 + latency, 0);
    const auto lanes = rig.time_of(program({0}, {{{segment({attention})}, {segment({alone})}}}));
    CHECK(part(lanes, Part::attention) == 100);
    const auto turned = rig.time_of(program({0}, {{{segment({alone})}, {segment({attention})}}}));
    CHECK(part(turned, Part::all_reduce) == 100);
  }
}

// Rank 0 is busy until 100 with a collective of its own. At 10 one of both ranks is ready, and has to wait;
// at 20 rank 1, which is free, has another one of its own. It comes last.
TEST_CASE("a collective that waits is not passed by a later one on its ranks") {
  KernelRig rig;
  KernelOp busy = collective(0, 100, 0), own = collective(0, 1000, 0);
  busy.communicator = 1;
  own.communicator = 2;
  const KernelOp both = collective(0, 50, 0);
  auto made = program({0, 1}, {{{segment({busy})}, {segment({kernel(10, 0, 0, 0), both})}},
                               {{segment({kernel(20, 0, 0, 0), own})}, {segment({both})}}});
  made.communicators.push_back({{0}});
  made.communicators.push_back({{1}});
  CHECK(rig.time_of(made).total.ps == 100 + 50 + 1000);
  check_conserved(rig);
}

TEST_CASE("steps of one device share it, those of others do not") {
  KernelRig rig;
  rig.start(same_on_all({0}, {kernel(0, 1000, 1000, 0)}));
  rig.start(same_on_all({0}, {kernel(0, 1000, 1000, 0)}));
  rig.start(same_on_all({1}, {kernel(0, 1000, 1000, 0)}));
  rig.run();
  CHECK(rig.ends == std::vector<std::int64_t>{2000, 2000, 1000});
  CHECK(part(rig.times[0], Part::contention) == 1000);
  check_parts(rig.times[0]);
}

TEST_CASE("a step that starts another at its end does so at that instant") {
  KernelRig rig;
  const std::size_t first = rig.start(same_on_all({0, 1}, {kernel(0, 10, 1, 0), collective(0, 5, 1)}));
  rig.at(15, [&] { rig.start(same_on_all({0, 1}, {collective(0, 5, 1)}, 3)); });
  rig.run();
  CHECK(rig.ends[first] == 15);
  CHECK(rig.ends[1] == 30);
}

TEST_CASE("ranks that call a communicator unequally often are a mistake") {
  const KernelOp together = collective(0, 10, 1);
  const KernelLane never, once{segment({together})}, twice{segment({together}, 2)};
  const auto refused = [](const execution::KernelProgram& made) {
    KernelRig rig;
    CHECK_THROWS_AS(rig.start(made), core::InvariantError);
  };
  refused(program({0, 1}, {{once}, {twice}}));
  refused(program({0, 1}, {{twice}, {once}}));
  refused(program({0, 1}, {{never}, {once}}));
  refused(
      program({0, 1, 2}, {{twice}, {once}, {KernelLane{segment({together}, 3)}}}));  // in the mean as often
  refused(program({0, 1}, {{once, twice}, {twice, once}}));                          // lanes match one by one
  refused(program({0}, {{}}));                                                       // no lane at all
  auto stranger = program({0, 1}, {{once}, {once}});
  stranger.communicators = {{{0}}};
  refused(stranger);
  stranger.communicators.clear();
  refused(stranger);
  KernelRig rig;
  CHECK(rig.time_of(program({0, 1}, {{once, twice}, {once, twice}})).total.ps == 30);
  CHECK(rig.time_of(program({0, 1}, {{once, twice}, {once}})).total.ps == 30);  // a lane of one rank alone
}

TEST_CASE("a step with an operator that never ends has no end") {
  const std::int64_t never = INT64_MAX;
  for (const KernelOp& op :
       {kernel(never, 0, 0, 0), kernel(0, never, never, 1), kernel(never, never, 1, never),
        collective(never, 0, 0), collective(0, never, 1), collective(never, never, 1)}) {
    INFO("latency " << op.latency.ps << " alone " << op.alone.ps << " shape " << static_cast<int>(op.shape));
    KernelRig rig;
    rig.start(same_on_all({0, 1}, {kernel(0, 5, 5, 0), op}));
    rig.start(same_on_all({2, 3}, {kernel(0, 5, 5, 0)}));
    CHECK(rig.run() == core::RunEnd::no_more_events);
    CHECK(rig.ends == std::vector<std::int64_t>{-1, 5});
  }
}

TEST_CASE("the time of a step can be taken once, after its end") {
  KernelRig rig;
  std::uint32_t run = 0;
  const core::Event ended = rig.executor.start(same_on_all({0}, {kernel(0, 5, 5, 0)}), core::Duration{}, run);
  CHECK_THROWS_AS(rig.executor.take_time(run), core::InvariantError);
  rig.run();
  CHECK(ended.triggered());
  CHECK(rig.executor.take_time(run).total.ps == 5);
  CHECK_THROWS_AS(rig.executor.take_time(run), core::InvariantError);
}
