// A Machine with a simulation, and what a test does to it at given instants.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "sim/execution/machine.hpp"

namespace moesim::test {

// Shares of n / d of a resource.
inline constexpr std::int64_t share(std::int64_t n, std::int64_t d = 1) {
  return execution::kWholeResource / d * n;
}

class MachineRig {
 public:
  explicit MachineRig(std::uint32_t resources) : machine(resources, simulation, {1, 2, 3}) {
    machine.verify_every(1);
  }

  // Does something at an instant, in the phase in which processes run unless another is given.
  void at(std::int64_t ps, std::function<void()> action, core::Phase phase = core::Phase::decision) {
    simulation.schedule(core::Time{ps}, phase, Kind::action, static_cast<std::uint32_t>(actions_.size()));
    actions_.push_back(std::move(action));
  }
  // Begins an activity now; owners are numbers from 0 in the order of the calls.
  execution::Machine::ActivityId begin(std::int64_t alone, const std::vector<execution::ResourceShare>& uses,
                                       double weight = 1.0) {
    const auto owner = static_cast<std::uint32_t>(ends.size());
    ends.push_back(-1);
    begun.emplace_back(core::Duration{alone}, weight);
    return machine.begin(core::Duration{alone}, uses, weight, owner);
  }
  core::RunEnd run() {
    return simulation.run([this](core::EventKey key) {
      if (key.kind<Kind>() == Kind::action) {
        actions_[key.target()]();
        return core::Handled::executed;
      }
      core::check(machine.owns(key), "an event of nobody");
      std::vector<std::uint32_t> ended;
      const core::Handled handled = machine.handle(key, ended);
      for (const std::uint32_t owner : ended) {
        core::check(ends[owner] == -1, "an activity ends twice");
        ends[owner] = simulation.now().ps;
        order.push_back(owner);
      }
      return handled;
    });
  }

  core::Simulation<> simulation;
  execution::Machine machine;
  std::vector<std::int64_t> ends;                        // in picoseconds, by owner; -1: has not ended
  std::vector<std::pair<core::Duration, double>> begun;  // alone and weight, in the order of begin()
  std::vector<std::uint32_t> order;                      // owners in the order of their ends

 private:
  enum class Kind : std::uint8_t { action };
  std::vector<std::function<void()>> actions_;
};

}  // namespace moesim::test
