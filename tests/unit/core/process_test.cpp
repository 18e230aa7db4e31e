#include "sim/core/process.hpp"

#include <stdexcept>
#include <string>
#include <vector>

#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

enum class Kind : std::uint8_t { other, wake_up };

// A simulation with nothing but processes, and what they write down.
struct World {
  Simulation<> simulation;
  Processes<Kind> processes{simulation, Kind::wake_up};
  std::vector<std::string> log;

  void note(const std::string& what) { log.push_back(std::to_string(simulation.now().ps) + " " + what); }
  void run() {
    simulation.run([this](EventKey key) { processes.resume(key); });
  }
};
using Log = std::vector<std::string>;

Process ticker(Processes<Kind>& processes, World& world, std::string name, std::int64_t period, int times) {
  const Duration between{period};
  for (int i = 0; i < times; ++i) {
    co_await processes.delay(between);
    world.note(name);
  }
}

TEST_CASE(
    "processes wait side by side, and those of one instant run in the order in which they began to wait") {
  World world;
  world.processes.start(ticker(world.processes, world, "a", 20, 3));
  world.processes.start(ticker(world.processes, world, "b", 30, 2));
  REQUIRE(world.processes.live_processes() == 2);
  world.run();
  // At 60, b has waited since 30 and a since 40.
  REQUIRE(world.log == Log{"20 a", "30 b", "40 a", "60 b", "60 a"});
  REQUIRE(world.processes.live_processes() == 0);
}

Process waiter(ProcessContext&, World& world, Event event, std::string name) {
  co_await event;
  world.note(name);
  co_await event;  // has happened: goes on at once
  world.note(name + " again");
}

TEST_CASE("an event lets all go on that wait, first come first, and never happens twice") {
  World world;
  Event event = world.processes.event();
  world.processes.start(waiter(world.processes, world, event, "a"));
  world.processes.start(waiter(world.processes, world, event, "b"));
  REQUIRE(world.log.empty());
  event.trigger();
  REQUIRE(world.log == Log{"0 a", "0 a again", "0 b", "0 b again"});
  event.trigger();
  REQUIRE(world.log.size() == 4);
  world.processes.start(waiter(world.processes, world, event, "late"));
  REQUIRE(world.log.back() == "0 late again");
}

Process chooser(Processes<Kind>& processes, World& world, Event other) {
  const std::vector<Event> both = {processes.delay(Duration{100}), other};
  const Event first = processes.any_of(both);
  co_await first;
  world.note(other.triggered() ? "other first" : "time out");
  const Event last = processes.all_of(both);
  co_await last;
  world.note("both");
}

TEST_CASE("any_of waits for the first, all_of for the last") {
  for (const std::int64_t at : {40, 140}) {
    World world;
    Event other = world.processes.delay(Duration{at});
    world.processes.start(chooser(world.processes, world, other));
    world.run();
    REQUIRE(world.log == (at == 40 ? Log{"40 other first", "100 both"} : Log{"100 time out", "140 both"}));
  }
  World world;
  REQUIRE(world.processes.all_of({}).triggered());
  REQUIRE_FALSE(world.processes.any_of({}).triggered());
}

Process producer(Processes<Kind>& processes, Store<int>& store, int first) {
  const Duration between{10};
  for (int i = 0; i < 3; ++i) {
    co_await processes.delay(between);
    store.put(first + i);
  }
}
Process consumer(Processes<Kind>& processes, World& world, Store<int>& store, std::string name) {
  const Duration busy{15};
  for (;;) {
    const int item = co_await store.get();
    world.note(name + std::to_string(item));
    co_await processes.delay(busy);
  }
}

TEST_CASE("a store gives its items in order to those who wait, in order") {
  World world;
  Store<int> store(world.processes);
  store.put(1);
  world.processes.start(consumer(world.processes, world, store, "x"));
  world.processes.start(consumer(world.processes, world, store, "y"));
  world.processes.start(producer(world.processes, store, 2));
  world.run();
  REQUIRE(world.log == Log{"0 x1", "10 y2", "20 x3", "30 y4"});
  REQUIRE(store.size() == 0);
  REQUIRE(world.processes.live_processes() == 2);  // they wait for more, and are ended with the context
}

Process failing(Processes<Kind>& processes) {
  const Duration before{5};
  co_await processes.delay(before);
  throw std::runtime_error("no more");
}
Process joiner(ProcessContext&, World& world, Event end) {
  co_await end;
  world.note("ended");
}

TEST_CASE("what a process throws comes out of the simulation; its end is an event all the same") {
  World world;
  const Event end = world.processes.start(failing(world.processes));
  world.processes.start(joiner(world.processes, world, end));
  REQUIRE_THROWS_WITH(world.run(), "no more");
  REQUIRE(end.triggered());
  world.run();
  Event poke = world.processes.event();
  poke.trigger();  // whoever was ready goes on now at the latest
  REQUIRE(world.log == Log{"5 ended"});
}

Process spawner(Processes<Kind>& processes, World& world, int depth) {
  world.note("down " + std::to_string(depth));
  if (depth > 0) {
    const Event child = processes.start(spawner(processes, world, depth - 1));
    co_await child;
  }
  world.note("up " + std::to_string(depth));
}

TEST_CASE("processes start processes and wait for their ends") {
  World world;
  world.processes.start(spawner(world.processes, world, 2));
  REQUIRE(world.log == Log{"0 down 2", "0 down 1", "0 down 0", "0 up 0", "0 up 1", "0 up 2"});
}

TEST_CASE("frames and events are used again: a thousand processes take no more memory than one") {
  World world;
  world.processes.start(ticker(world.processes, world, "x", 1, 1));
  world.run();
  const std::size_t blocks = world.processes.frames().blocks();
  for (int i = 0; i < 1000; ++i) {
    world.processes.start(ticker(world.processes, world, "x", 1, 1));
    world.run();
  }
  REQUIRE(world.processes.frames().blocks() == blocks);
  REQUIRE(world.log.size() == 1001);
}

struct Server {
  Processes<Kind>& processes;
  World& world;
  Process serve(Processes<Kind>& context, Duration time) {
    co_await context.delay(time);
    world.note("served");
  }
};

TEST_CASE("a member function can be a process; one that is never started costs nothing but its frame") {
  World world;
  Server server{world.processes, world};
  { const Process unused = server.serve(world.processes, Duration{1}); }
  world.processes.start(server.serve(world.processes, Duration{7}));
  world.run();
  REQUIRE(world.log == Log{"7 served"});
}

}  // namespace
}  // namespace moesim::core
