#include "sim/execution/machine.hpp"

#include <cstdint>
#include <vector>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/machine_rig.hpp"

using namespace moesim;
using execution::ResourceShare;
using test::MachineRig;
using test::share;

namespace {

using Ends = std::vector<std::int64_t>;

// All of `use` comes through `port`, of which the activity uses the whole.
ResourceShare through(std::uint32_t resource, std::int64_t use, std::uint32_t port) {
  return {resource, use, port, share(1)};
}

}  // namespace

TEST_CASE("an activity at full speed ends at exactly its begin and the time that it takes alone") {
  MachineRig rig(2);
  rig.at(0, [&] { rig.begin(1, {{0, share(1, 3)}}); });
  rig.at(17, [&] { rig.begin(987'654'321'987, {{0, share(1)}, {1, share(1, 7)}}); });
  rig.at(17, [&] { rig.begin(5, {}); });
  rig.run();
  CHECK(rig.ends == Ends{1, 17 + 987'654'321'987, 22});
  CHECK(rig.machine.slowed() == 0);
  CHECK(rig.machine.running() == 0);
  CHECK(rig.machine.begun() == 3);
}

TEST_CASE("activities that fit in a resource do not touch each other") {
  MachineRig rig(1);
  const core::Duration whole{1000};
  rig.at(0, [&] { rig.begin(1009, {{0, execution::share_of_time(core::Duration{600}, whole)}}); });
  rig.at(3, [&] { rig.begin(2003, {{0, execution::share_of_time(core::Duration{400}, whole)}}); });
  rig.at(500, [&] { CHECK(rig.machine.use(0) == Approx(1.0).epsilon(1e-11)); });
  rig.run();
  CHECK(rig.ends == Ends{1009, 2006});
  CHECK(rig.machine.slowed() == 0);
}

TEST_CASE("two activities that each need all of a resource take twice as long") {
  MachineRig rig(2);
  rig.at(0, [&] {
    rig.begin(1000, {{0, share(1)}});
    rig.begin(1000, {{0, share(1)}});
    rig.begin(1000, {{1, share(1)}});  // uses nothing that is full
  });
  rig.at(100, [&] {
    CHECK(rig.machine.use(0) == 1.0);
    CHECK(rig.machine.use(1) == 1.0);
  });
  rig.at(1500, [&] { CHECK(rig.machine.use(1) == 0.0); });
  rig.run();
  CHECK(rig.ends == Ends{2000, 2000, 1000});
  CHECK(rig.machine.slowed() == 2);
  CHECK(rig.machine.verified() > 0);
  CHECK(rig.machine.use(0) == 0.0);
}

// 3/4 + 1/2 = 5/4 of what there is: both run at 4/5. The second has half of its work left when the first
// ends.
TEST_CASE("activities that do not fit are slowed alike, and the rest goes on at full speed") {
  for (const bool twice : {false, true}) {
    MachineRig rig(1);
    const std::vector<ResourceShare> once{{0, share(3, 4)}}, split{{0, share(3, 8)}, {0, share(3, 8)}};
    rig.at(0, [&] {
      rig.begin(800, twice ? split : once);
      rig.begin(1600, {{0, share(1, 2)}});
    });
    rig.at(10, [&] { CHECK(rig.machine.use(0) == Approx(1.0)); });
    rig.at(1100, [&] { CHECK(rig.machine.use(0) == Approx(0.5)); });
    rig.run();
    CHECK(rig.ends == Ends{1000, 1800});
  }
}

TEST_CASE("speeds are in proportion to weights until one reaches full speed") {
  SECTION("one is at full speed, the other gets what is left: (1 - 3/4) / (1/2) = 1/2") {
    MachineRig rig(1);
    rig.at(0, [&] {
      rig.begin(1000, {{0, share(3, 4)}}, 3.0);
      rig.begin(700, {{0, share(1, 2)}}, 1.0);
    });
    rig.run();
    CHECK(rig.ends == Ends{1000, 1200});
  }
  SECTION("4 : 1 of a resource that both need all of") {
    MachineRig rig(1);
    rig.at(0, [&] {
      rig.begin(800, {{0, share(1)}}, 4.0);
      rig.begin(1000, {{0, share(1)}}, 1.0);
    });
    rig.run();
    CHECK(rig.ends == Ends{1000, 1800});
  }
}

TEST_CASE("late arrivals and early ends change speeds from then on only") {
  SECTION("late arrival") {
    MachineRig rig(1);
    rig.at(0, [&] { rig.begin(1000, {{0, share(1)}}); });
    rig.at(400, [&] { rig.begin(1000, {{0, share(1)}}); });
    rig.run();
    CHECK(rig.ends == Ends{1600, 2000});
  }
  SECTION("early end") {
    MachineRig rig(1);
    rig.at(0, [&] {
      rig.begin(1000, {{0, share(1)}});
      rig.begin(300, {{0, share(1)}});
    });
    rig.run();
    CHECK(rig.ends == Ends{1300, 600});
  }
  // The end of the first and the begin of the third are one instant: the second never has all.
  SECTION("a begin at the instant of an end") {
    MachineRig rig(1);
    rig.at(0, [&] {
      rig.begin(1000, {{0, share(1)}});
      rig.begin(1500, {{0, share(1)}});
    });
    rig.at(2000, [&] { rig.begin(500, {{0, share(1)}}); });
    rig.run();
    CHECK(rig.ends == Ends{2000, 3000, 3000});
  }
  // An activity whose end is due at the instant at which another makes the resource too small.
  SECTION("a begin in the completion phase of an end at full speed") {
    MachineRig rig(1);
    rig.at(
        1000,
        [&] {
          rig.begin(100, {{0, share(1)}});
        },
        core::Phase::completion);
    rig.at(0, [&] { rig.begin(1000, {{0, share(1)}}); });
    rig.run();
    CHECK(rig.ends == Ends{1000, 1100});
  }
}

// Changes come before the end of the instant has been told: the first has no work left then, and ends.
TEST_CASE("what changes at the instant of an end does not touch who has ended") {
  for (const int change : {0, 1, 2, 3}) {
    MachineRig rig(2);
    execution::Machine::ActivityId first = 0;
    rig.at(
        2000,
        [&] {
          const ResourceShare there[] = {{1, share(1)}};
          if (change == 0) rig.begin(500, {{0, share(1)}});
          if (change == 1) rig.machine.set_capacity(0, 0);
          if (change == 2) rig.machine.set_capacity(1, 0);
          if (change >= 2) rig.machine.move(first, core::Duration{1000}, there, 1.0);
        },
        core::Phase::completion);
    rig.at(0, [&] {
      first = rig.begin(1000, {{0, share(1)}});
      rig.begin(1500, {{0, share(1)}});
    });
    rig.run();
    CHECK(rig.ends[0] == 2000);
    // 500 are left: beside 500 others, stopped, or alone.
    CHECK(rig.ends[1] == (change == 0 ? 3000 : change == 1 ? -1 : 2500));
  }
}

TEST_CASE("whoever is still there when a resource becomes too small is slowed") {
  MachineRig rig(1);
  rig.at(0, [&] {
    rig.begin(100, {{0, share(1, 4)}});
    rig.begin(1000, {{0, share(1, 4)}});
    rig.begin(200, {{0, share(1, 4)}});
  });
  rig.at(250, [&] { CHECK(rig.machine.use(0) == 0.25); });
  rig.at(300, [&] { rig.begin(1000, {{0, share(1)}}); });
  rig.run();
  // 5/4 are asked for from 300 on: both at 4/5, until the second's 700 are done.
  CHECK(rig.ends == Ends{100, 1175, 200, 1475});
}

TEST_CASE("what is slowed by one resource leaves room on another") {
  MachineRig rig(2);
  // On 0 each gets a half. The third wants 3/4 of 1, of which the second then uses only a quarter.
  rig.at(0, [&] {
    rig.begin(1000, {{0, share(1)}});
    rig.begin(1000, {{0, share(1)}, {1, share(1, 2)}});
    rig.begin(1000, {{1, share(3, 4)}});
  });
  rig.at(1, [&] { CHECK(rig.machine.use(1) == Approx(1.0)); });
  rig.run();
  CHECK(rig.ends == Ends{2000, 2000, 1000});
}

TEST_CASE("an activity that moves takes the rest of its work along") {
  SECTION("away from a full resource") {
    MachineRig rig(2);
    execution::Machine::ActivityId moved = 0;
    rig.at(0, [&] {
      moved = rig.begin(1000, {{0, share(1)}});
      rig.begin(1000, {{0, share(1)}});
    });
    rig.at(400, [&] {
      const ResourceShare there[] = {{1, share(1)}};
      rig.machine.move(moved, core::Duration{1000}, there, 1.0);
    });
    rig.at(401, [&] { CHECK(rig.machine.use(1) == 1.0); });
    rig.run();
    CHECK(rig.ends == Ends{1200, 1200});
  }
  SECTION("over a way that is half as fast: what is left takes twice as long") {
    MachineRig rig(2);
    execution::Machine::ActivityId moved = 0;
    rig.at(0, [&] { moved = rig.begin(1000, {{0, share(1)}}); });
    rig.at(400, [&] {
      const ResourceShare there[] = {{1, share(1)}};
      rig.machine.move(moved, core::Duration{2000}, there, 1.0);
    });
    rig.at(1000, [&] {
      const ResourceShare back[] = {{0, share(1)}};
      rig.machine.move(moved, core::Duration{1000}, back, 1.0);
    });
    rig.run();
    CHECK(rig.ends == Ends{1300});
  }
  SECTION("to where it is already: nothing happens") {
    MachineRig rig(1);
    execution::Machine::ActivityId moved = 0;
    rig.at(0, [&] {
      moved = rig.begin(1000, {{0, share(1)}});
      rig.begin(1000, {{0, share(1)}});
    });
    for (std::int64_t t = 1; t < 900; ++t) {
      rig.at(t, [&] {
        const ResourceShare here[] = {{0, share(1)}};
        rig.machine.move(moved, core::Duration{1000}, here, 1.0);
      });
    }
    rig.run();
    CHECK(rig.ends == Ends{2000, 2000});
  }
  SECTION("to a resource that is in use") {
    MachineRig rig(2);
    execution::Machine::ActivityId moved = 0;
    rig.at(0, [&] {
      moved = rig.begin(1000, {{0, share(1)}});
      rig.begin(1000, {{1, share(1)}});
    });
    rig.at(400, [&] {
      const ResourceShare there[] = {{1, share(1)}};
      rig.machine.move(moved, core::Duration{1000}, there, 1.0);
    });
    rig.run();
    CHECK(rig.ends == Ends{1600, 1600});
    CHECK(rig.simulation.cancelled() >= 2);  // the ends at 1000 did not happen
  }
  SECTION("at the instant of its end") {
    MachineRig rig(2);
    execution::Machine::ActivityId moved = 0;
    rig.at(
        1000,
        [&] {
          const ResourceShare there[] = {{1, share(1)}};
          rig.machine.move(moved, core::Duration{1000}, there, 1.0);
        },
        core::Phase::completion);
    rig.at(0, [&] { moved = rig.begin(1000, {{0, share(1)}}); });
    rig.run();
    CHECK(rig.ends == Ends{1000});
  }
}

TEST_CASE("a resource that loses capacity slows its users and loses none of their work") {
  SECTION("half for a while: what is done then counts half") {
    MachineRig rig(1);
    rig.at(0, [&] { rig.begin(1000, {{0, share(1)}}); });
    rig.at(200, [&] { rig.machine.set_capacity(0, share(1, 2)); });
    rig.at(300, [&] { CHECK(rig.machine.use(0) == 0.5); });
    rig.at(600, [&] { rig.machine.set_capacity(0, share(1)); });
    rig.run();
    CHECK(rig.ends == Ends{1200});
  }
  SECTION("half is enough for who needs no more") {
    MachineRig rig(1);
    rig.at(0, [&] { rig.begin(1000, {{0, share(1, 2)}}); });
    rig.at(200, [&] { rig.machine.set_capacity(0, share(1, 2)); });
    rig.run();
    CHECK(rig.ends == Ends{1000});
    CHECK(rig.machine.slowed() == 0);
  }
  SECTION("nothing for a while: exactly that later, whether the whole or a part is used") {
    for (const std::int64_t use : {share(1), share(1, 8), share(2)}) {
      MachineRig rig(1);
      rig.at(0, [&] { rig.begin(1001, {{0, use}}); });
      rig.at(200, [&] { rig.machine.set_capacity(0, 0); });
      rig.at(300, [&] { CHECK(rig.machine.use(0) == 0.0); });
      rig.at(700, [&] { rig.machine.set_capacity(0, share(1)); });
      rig.run();
      CHECK(rig.ends == Ends{use > share(1) ? 2502 : 1501});
    }
  }
  SECTION("nothing for ever: no end, and no event") {
    MachineRig rig(1);
    rig.at(0, [&] { rig.begin(1000, {{0, share(1)}}); });
    rig.at(200, [&] { rig.machine.set_capacity(0, 0); });
    CHECK(rig.run() == core::RunEnd::no_more_events);
    CHECK(rig.ends == Ends{-1});
    CHECK(rig.machine.running() == 1);
  }
  SECTION("before anyone uses it") {
    MachineRig rig(1);
    rig.at(0, [&] { rig.machine.set_capacity(0, share(1, 4)); });
    rig.at(5, [&] { rig.begin(1000, {{0, share(1)}}); });
    rig.run();
    CHECK(rig.ends == Ends{4005});
  }
}

TEST_CASE("a use of nothing is no use") {
  MachineRig rig(2);
  rig.at(0, [&] {
    rig.machine.set_capacity(0, 0);
    rig.begin(1000, {{0, 0}, {1, share(1, 2)}});
  });
  rig.run();
  CHECK(rig.ends == Ends{1000});
  CHECK(execution::share_of_time(core::Duration{0}, core::Duration{7}) == 0);
  CHECK(execution::share_of_time(core::Duration{7}, core::Duration{7}) == share(1));
  CHECK(execution::share_of_time(core::Duration{7}, core::Duration{14}, 0.5) == share(1, 4));
  CHECK_THROWS_AS(execution::share_of_time(core::Duration{1}, core::Duration{0}), core::InvariantError);
}

// Resource 0 is a port, 1 the memory behind it. Two flows get half of the port each and so read 1/4 of the
// memory's bandwidth each, not 1/2.
TEST_CASE("uses that come through another resource count no more than what gets through") {
  SECTION("what fits with what gets through is not touched") {
    MachineRig rig(2);
    rig.at(0, [&] {
      rig.begin(600, {{0, share(1)}, through(1, share(1, 2), 0)});
      rig.begin(600, {{0, share(1)}, through(1, share(1, 2), 0)});
      rig.begin(1000, {{1, share(1, 2)}});
    });
    rig.at(10, [&] { CHECK(rig.machine.use(1) == 1.0); });
    rig.run();
    CHECK(rig.ends == Ends{1200, 1200, 1000});
    CHECK(rig.machine.slowed() == 2);
  }
  SECTION("the end is the same where all counts in full, but everyone is solved for") {
    MachineRig rig(2);
    rig.at(0, [&] {
      rig.begin(600, {{0, share(1)}, {1, share(1, 2)}});
      rig.begin(600, {{0, share(1)}, {1, share(1, 2)}});
      rig.begin(1000, {{1, share(1, 2)}});
    });
    rig.run();
    CHECK(rig.ends == Ends{1200, 1200, 1000});
    CHECK(rig.machine.slowed() > 2);
  }
  SECTION("what does not fit is slowed: the flows at 1/2, the rest at (1 - 1/2) / (5/8) = 4/5") {
    MachineRig rig(2);
    rig.at(0, [&] {
      rig.begin(600, {{0, share(1)}, through(1, share(1, 2), 0)});
      rig.begin(600, {{0, share(1)}, through(1, share(1, 2), 0)});
      rig.begin(800, {{1, share(5, 8)}});
    });
    rig.run();
    CHECK(rig.ends == Ends{1200, 1200, 1000});
  }
  SECTION("the most that any of them asks for counts, also after it has gone, until all have") {
    MachineRig rig(2);
    rig.at(0, [&] {
      rig.begin(100, {{0, share(1)}, through(1, share(1, 2), 0)});
      rig.begin(400, {{0, share(1)}, through(1, share(1, 4), 0)});
    });
    rig.at(1000, [&] {
      CHECK(rig.machine.slowed() == 2);
      rig.begin(1000, {{1, share(1)}});
    });
    rig.at(3000, [&] {
      rig.begin(300, {{0, share(1, 2)}, {1, share(1, 2), 0, share(1, 2)}});
      rig.begin(300, {{0, share(1, 2)}, {1, share(1, 4), 0, share(1, 2)}});
    });
    rig.run();
    CHECK(rig.ends == Ends{200, 500, 2000, 3300, 3300});
    CHECK(rig.machine.slowed() == 2);
  }
  SECTION("flows through two ports add up") {
    MachineRig rig(3);
    rig.at(0, [&] {
      rig.begin(800, {{0, share(1)}, through(1, share(3, 4), 0)});
      rig.begin(1600, {{2, share(1)}, through(1, share(1, 2), 2)});
    });
    rig.run();
    CHECK(rig.ends == Ends{1000, 1800});
  }
  SECTION("of nothing there is no part") {
    MachineRig rig(2);
    const std::vector<ResourceShare> uses{{1, share(1, 2), 0, 0}};
    CHECK_THROWS_AS(rig.begin(5, uses), core::InvariantError);
  }
}

TEST_CASE("work that would end after the end of time never ends") {
  MachineRig rig(1);
  const std::int64_t longest = core::FlowNetwork::kMaximumWork;
  rig.at(0, [&] { rig.begin(longest, {{0, share(1)}}); });
  rig.at(longest, [&] { rig.begin(longest, {{0, share(1)}}); });
  CHECK(rig.run() == core::RunEnd::no_more_events);
  CHECK(rig.ends == Ends{longest, -1});
  CHECK(rig.machine.running() == 1);
}

TEST_CASE("the machine refuses what cannot be") {
  MachineRig rig(1);
  CHECK_THROWS_AS(rig.begin(0, {}), core::InvariantError);
  CHECK_THROWS_AS(rig.begin(core::FlowNetwork::kMaximumWork + 1, {}), core::InvariantError);
  CHECK_THROWS_AS(rig.begin(1, {{1, share(1)}}), core::InvariantError);
  CHECK_THROWS_AS(rig.begin(1, {{0, -1}}), core::InvariantError);
  CHECK_THROWS_AS(rig.machine.move(99, core::Duration{1}, {}, 1.0), core::InvariantError);
  CHECK_THROWS_AS(rig.machine.set_capacity(1, 0), core::InvariantError);
  CHECK_THROWS_AS(rig.machine.set_capacity(0, -1), core::InvariantError);
  CHECK_THROWS_AS(rig.machine.set_capacity(0, share(1) + 1), core::InvariantError);
}

TEST_CASE("changes of use are told once, by number, to who watches") {
  MachineRig rig(4);
  rig.machine.watch_changes();
  rig.at(0, [&] {
    rig.begin(100, {{3, share(1)}, {1, share(1, 2)}});
    rig.begin(50, {{3, share(1)}});
  });
  rig.at(20, [&] {
    CHECK(rig.machine.take_changes() == std::vector<std::uint32_t>{1, 3});
    CHECK(rig.machine.take_changes().empty());
  });
  rig.at(120, [&] { CHECK(rig.machine.take_changes() == std::vector<std::uint32_t>{1, 3}); });
  rig.run();
  CHECK(rig.ends == Ends{150, 100});
}

TEST_CASE("every event of a machine is executed or stale, and ends are in order") {
  MachineRig rig(1);
  for (std::int64_t i = 0; i < 50; ++i) rig.at(i * 37, [&] { rig.begin(100, {{0, share(3, 4)}}); });
  rig.run();
  CHECK(rig.simulation.executed() + rig.simulation.cancelled() == rig.simulation.scheduled());
  CHECK(rig.simulation.cancelled() > 0);
  CHECK(rig.order.size() == 50);
  for (std::size_t i = 0; i < 50; ++i) CHECK(rig.order[i] == i);
  // 50 x 100 x 3/4 of work on a resource that is busy from the second on; each end is rounded up once.
  CHECK(rig.ends.back() >= 3750);
  CHECK(rig.ends.back() <= 3800);
}
