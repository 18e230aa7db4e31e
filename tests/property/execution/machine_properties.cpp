// The machine against a fluid that is solved anew, for all activities and all resources, at every change.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "rapidcheck.h"
#include "sim/core/max_min.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/machine_rig.hpp"

namespace moesim::execution {
namespace {

struct Action {
  enum class Kind { begin, move, capacity } kind = Kind::begin;
  std::int64_t at = 0;
  std::int64_t alone = 0;
  std::vector<ResourceShare> uses;
  double weight = 1.0;
  std::size_t activity = 0;    // that moves, by order of begin
  std::uint32_t resource = 0;  // whose capacity changes
  std::int64_t capacity = 0;
};

// Everything in doubles, as the definition says. Time is that since the begin.
class Fluid {
 public:
  explicit Fluid(std::uint32_t resources) : capacities_(resources, static_cast<double>(kWholeResource)) {}

  // Advances to the action and past all instants at which an activity ends within `slack` of it, so that
  // rounding to the picosecond cannot decide whether it still runs.
  void apply(Action& action, double slack) {
    advance(static_cast<double>(action.at));
    while (near_an_end(slack)) {
      action.at += static_cast<std::int64_t>(slack) + 1;
      advance(static_cast<double>(action.at));
    }
    if (action.kind == Action::Kind::begin) {
      flows_.push_back(flow(action.uses, action.weight));
      left_.push_back(static_cast<double>(action.alone));
      ends.push_back(std::numeric_limits<double>::infinity());
    } else if (action.kind == Action::Kind::move) {
      if (action.activity < flows_.size()) {
        flows_[action.activity] = flow(action.uses, flows_[action.activity].weight);
      }
    } else {
      capacities_[action.resource] = static_cast<double>(action.capacity);
    }
  }
  void finish() { advance(std::numeric_limits<double>::infinity()); }
  [[nodiscard]] bool runs(std::size_t activity) const {
    return activity < left_.size() && left_[activity] > 0;
  }
  [[nodiscard]] std::size_t begun() const { return left_.size(); }

  std::vector<double> ends;

 private:
  static core::FlowClass flow(const std::vector<ResourceShare>& uses, double weight) {
    core::FlowClass one;
    for (const ResourceShare& use : uses) one.uses.push_back({use.resource, static_cast<double>(use.share)});
    one.bound = 1.0;
    one.weight = weight;
    return one;
  }
  [[nodiscard]] bool near_an_end(double slack) const {
    for (std::size_t i = 0; i < left_.size(); ++i) {
      if (left_[i] > 0 ? left_[i] < slack : now_ - ends[i] < slack) return true;
    }
    return false;
  }
  void advance(double to) {
    for (;;) {
      std::vector<core::FlowClass> running;
      std::vector<std::size_t> numbers;
      for (std::size_t i = 0; i < left_.size(); ++i) {
        if (left_[i] <= 0) continue;
        running.push_back(flows_[i]);
        numbers.push_back(i);
      }
      const std::vector<double> rates = core::max_min_rates(capacities_, running);
      double next = to;
      for (std::size_t k = 0; k < numbers.size(); ++k) {
        if (rates[k] > 0) next = std::min(next, now_ + left_[numbers[k]] / rates[k]);
      }
      if (std::isinf(next)) return;
      bool ended = false;
      for (std::size_t k = 0; k < numbers.size(); ++k) {
        double& left = left_[numbers[k]];
        // Those that end at this very instant, whatever the rounding of their remainder.
        if (rates[k] > 0 && now_ + left / rates[k] <= next * (1 + 1e-15)) {
          left = 0;
          ends[numbers[k]] = next;
          ended = true;
        } else {
          left -= rates[k] * (next - now_);
        }
      }
      now_ = next;
      if (!ended && now_ >= to) return;
    }
  }

  double now_ = 0;
  std::vector<double> capacities_;
  std::vector<core::FlowClass> flows_;
  std::vector<double> left_;
};

std::int64_t arbitrary_share() {
  return kWholeResource / *rc::gen::element<std::int64_t>(1, 2, 3, 4, 7, 16, 30, 60) *
         *rc::gen::element<std::int64_t>(1, 1, 2, 3);
}

// Odd resources are the memories behind the ports before them: some activities read from memory what they
// send, in proportion, and say so.
std::vector<ResourceShare> arbitrary_uses(std::uint32_t resources) {
  std::vector<ResourceShare> uses;
  const int count = *rc::gen::inRange(0, 4);
  for (int i = 0; i < count; ++i) {
    const auto resource = *rc::gen::inRange<std::uint32_t>(0, resources);
    const std::int64_t share = arbitrary_share();
    const bool sends = *rc::gen::inRange(0, 2) == 0;
    uses.push_back({resource, share});
    if (!sends || resource % 2 != 0 || resource + 1 >= resources) continue;
    const std::int64_t memory = share / *rc::gen::element<std::int64_t>(1, 2, 3, 8);
    uses.push_back({resource + 1, memory, resource, share});
  }
  return uses;
}

Action arbitrary_action(std::uint32_t resources) {
  Action action;
  const int kind = *rc::gen::inRange(0, 8);
  if (kind < 5) {
    action.alone = *rc::gen::inRange<std::int64_t>(1, 1000) *
                   *rc::gen::element<std::int64_t>(10'000'000'019, 100'000'000'000, 1'000'000'000'039);
    action.uses = arbitrary_uses(resources);
    action.weight = *rc::gen::element(1.0, 1.0, 2.0, 0.5, 3.0);
  } else if (kind == 5) {
    action.kind = Action::Kind::move;
    action.activity = *rc::gen::inRange<std::size_t>(0, 12);
    action.uses = arbitrary_uses(resources);
  } else {
    action.kind = Action::Kind::capacity;
    action.resource = *rc::gen::inRange<std::uint32_t>(0, resources);
    action.capacity = kWholeResource / 4 * *rc::gen::inRange<std::int64_t>(0, 5);
  }
  return action;
}

std::vector<Action> arbitrary_script(std::uint32_t resources) {
  std::vector<Action> script;
  const int length = *rc::gen::inRange(1, 40);
  std::int64_t at = 0;
  for (int i = 0; i < length; ++i) {
    at += *rc::gen::element<std::int64_t>(0, 0, 1, 50'000'000'000, 7'000'000'000'001, 90'000'000'000'000);
    script.push_back(arbitrary_action(resources));
    script.back().at = at;
  }
  // Nobody waits for ever.
  for (std::uint32_t r = 0; r < resources; ++r) {
    Action whole;
    whole.kind = Action::Kind::capacity;
    whole.at = at;
    whole.resource = r;
    whole.capacity = kWholeResource;
    script.push_back(whole);
  }
  return script;
}

void do_action(test::MachineRig& rig, std::vector<Machine::ActivityId>& ids, const Action& action) {
  if (action.kind == Action::Kind::begin) {
    ids.push_back(rig.begin(action.alone, action.uses, action.weight));
  } else if (action.kind == Action::Kind::capacity) {
    rig.machine.set_capacity(action.resource, action.capacity);
  } else if (action.activity < ids.size() && rig.ends[action.activity] < 0) {
    const auto& [alone, weight] = rig.begun[action.activity];
    rig.machine.move(ids[action.activity], alone, action.uses, weight);
  }
}

TEST_CASE("a machine ends activities when a fluid that is solved as a whole does") {
  REQUIRE(rc::check([] {
    const auto resources = *rc::gen::inRange<std::uint32_t>(1, 7);
    std::vector<Action> script = arbitrary_script(resources);
    const auto phase = *rc::gen::element(core::Phase::completion, core::Phase::decision);

    Fluid fluid(resources);
    std::int64_t last = 0;
    for (Action& action : script) {
      action.at = std::max(action.at, last);
      fluid.apply(action, 1e6);
      last = action.at;
    }
    fluid.finish();

    test::MachineRig rig(resources);
    std::vector<Machine::ActivityId> ids;
    for (const Action& action : script)
      rig.at(
          action.at, [&] { do_action(rig, ids, action); }, phase);
    rig.run();

    RC_ASSERT(rig.ends.size() == fluid.ends.size());
    RC_ASSERT(rig.machine.running() == 0U);
    RC_ASSERT(rig.machine.slowed() == 0U || rig.machine.verified() > 0U);
    // Work that is interrupted is rounded up to the picosecond, and served at the speed of then.
    const auto tolerance = [&](std::uint32_t i) { return 2.0 + 1e-9 * fluid.ends[i]; };
    for (std::uint32_t i = 0; i < rig.ends.size(); ++i) {
      RC_ASSERT(std::fabs(static_cast<double>(rig.ends[i]) - fluid.ends[i]) <= tolerance(i));
    }
    for (std::size_t k = 1; k < rig.order.size(); ++k) {
      const std::uint32_t before = rig.order[k - 1], after = rig.order[k];
      RC_ASSERT(fluid.ends[before] <= fluid.ends[after] + tolerance(before) + tolerance(after));
    }
  }));
}

// The ends of a script, all of whose capacities and shares are divided.
std::vector<std::int64_t> ends_of(std::uint32_t resources, const std::vector<Action>& script,
                                  std::int64_t divisor) {
  test::MachineRig rig(resources);
  std::vector<Machine::ActivityId> ids;
  for (std::uint32_t r = 0; r < resources; ++r) {
    rig.at(0, [&rig, r, divisor] { rig.machine.set_capacity(r, kWholeResource / divisor); });
  }
  for (Action action : script) {
    action.capacity /= divisor;
    for (ResourceShare& use : action.uses) {
      // Without `through`, which counts in parts of a whole resource.
      use = {use.resource, use.share / 4 * 4 / divisor};
    }
    rig.at(action.at, [&rig, &ids, action] { do_action(rig, ids, action); });
  }
  rig.run();
  return rig.ends;
}

TEST_CASE("half or a quarter of all capacities and all uses changes nothing") {
  REQUIRE(rc::check([] {
    const auto resources = *rc::gen::inRange<std::uint32_t>(1, 7);
    const std::vector<Action> script = arbitrary_script(resources);
    const auto ends = ends_of(resources, script, 1);
    RC_ASSERT(ends == ends_of(resources, script, 2));
    RC_ASSERT(ends == ends_of(resources, script, 4));
  }));
}

}  // namespace
}  // namespace moesim::execution
