#include "sim/core/max_min.hpp"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::core {
namespace {

void check_problem(std::span<const double> capacities, std::span<const FlowClass> flows) {
  for (const double capacity : capacities) {
    check(std::isfinite(capacity) && capacity >= 0.0, "a capacity must be finite and not negative");
  }
  for (const FlowClass& flow : flows) {
    check(std::isfinite(flow.weight) && flow.weight > 0.0,
          "the weight of a flow must be finite and positive");
    check(flow.bound >= 0.0, "the bound of a flow must not be negative");
    check(flow.multiplicity >= 1, "a class of flows needs at least one flow");
    bool limited = std::isfinite(flow.bound);
    for (const ResourceUse& use : flow.uses) {
      check(use.resource < capacities.size(), "a flow uses a resource that does not exist");
      check(std::isfinite(use.coefficient) && use.coefficient >= 0.0,
            "the coefficient of a use must be finite and not negative");
      limited = limited || use.coefficient > 0.0;
    }
    check(limited, "nothing limits the rate of a flow");
  }
}

// Adds what a whole class at `rate` takes of each of its resources.
void add_use(const FlowClass& flow, double rate, std::vector<double>& used) {
  const double class_rate = static_cast<double>(flow.multiplicity) * rate;
  for (const ResourceUse& use : flow.uses) {
    used[use.resource] += class_rate * use.coefficient;
  }
}

// One run of progressive filling. The level is the common rate / weight of the flows that still grow.
class Filling {
 public:
  Filling(std::span<const double> capacities, std::span<const FlowClass> flows)
      : capacities_(capacities), flows_(flows), rates_(flows.size(), 0.0), growing_(flows.size(), true) {}

  std::vector<double> run() {
    std::size_t left = flows_.size();
    while (left > 0) {
      measure();
      // Rounding must not lower the level: rates of flows that stop later are never below those that stopped.
      level_ = std::max(level_, next_level());
      check(std::isfinite(level_), "a fair rate passes the range of a double");
      left -= stop_flows();
    }
    return std::move(rates_);
  }

 private:
  // Sums afresh what stopped flows use and how fast growing flows fill each resource, so that errors do not
  // pile up.
  void measure() {
    fixed_.assign(capacities_.size(), 0.0);
    slope_.assign(capacities_.size(), 0.0);
    for (std::size_t i = 0; i < flows_.size(); ++i) {
      if (growing_[i]) {
        add_use(flows_[i], flows_[i].weight, slope_);
      } else {
        add_use(flows_[i], rates_[i], fixed_);
      }
    }
    full_at_.assign(capacities_.size(), std::numeric_limits<double>::infinity());
    for (std::size_t r = 0; r < capacities_.size(); ++r) {
      if (slope_[r] > 0.0) {
        full_at_[r] = std::max(0.0, capacities_[r] - fixed_[r]) / slope_[r];
      }
    }
  }

  // The lowest level at which a resource is full or a growing flow reaches its bound.
  [[nodiscard]] double next_level() const {
    double level = std::numeric_limits<double>::infinity();
    for (const double full : full_at_) {
      level = std::min(level, full);
    }
    for (std::size_t i = 0; i < flows_.size(); ++i) {
      if (growing_[i]) {
        level = std::min(level, flows_[i].bound / flows_[i].weight);
      }
    }
    return level;
  }

  // Stops the flows that are at their bound or on a full resource at this level; at least one, or it throws.
  std::size_t stop_flows() {
    std::size_t stopped = 0;
    for (std::size_t i = 0; i < flows_.size(); ++i) {
      if (!growing_[i]) {
        continue;
      }
      const FlowClass& flow = flows_[i];
      const bool at_bound = flow.bound / flow.weight <= level_;
      if (at_bound || on_full_resource(flow)) {
        rates_[i] = at_bound ? flow.bound : level_ * flow.weight;
        growing_[i] = false;
        ++stopped;
      }
    }
    check(stopped > 0, "max-min filling does not advance");
    return stopped;
  }

  [[nodiscard]] bool on_full_resource(const FlowClass& flow) const {
    return std::any_of(flow.uses.begin(), flow.uses.end(), [this](const ResourceUse& use) {
      return use.coefficient > 0.0 && full_at_[use.resource] <= level_;
    });
  }

  std::span<const double> capacities_;
  std::span<const FlowClass> flows_;
  std::vector<double> rates_;
  std::vector<bool> growing_;
  std::vector<double> fixed_;    // by resource: use by stopped flows
  std::vector<double> slope_;    // by resource: use by growing flows for each unit of level
  std::vector<double> full_at_;  // by resource: the level at which it is full
  double level_ = 0.0;
};

// By resource: whether it is full, and the highest rate / weight of a flow that uses it.
struct ResourceState {
  bool full = false;
  double highest_level = 0.0;
};

}  // namespace

std::vector<double> max_min_rates(std::span<const double> capacities, std::span<const FlowClass> flows) {
  check_problem(capacities, flows);
  return Filling(capacities, flows).run();
}

bool is_max_min_fair(std::span<const double> capacities, std::span<const FlowClass> flows,
                     std::span<const double> rates, double tolerance) {
  check_problem(capacities, flows);
  check(rates.size() == flows.size(), "a certificate needs one rate for each class of flows");
  std::vector<double> used(capacities.size(), 0.0);
  std::vector<ResourceState> resources(capacities.size());
  for (std::size_t i = 0; i < flows.size(); ++i) {
    if (!(rates[i] >= 0.0) || rates[i] > flows[i].bound * (1.0 + tolerance)) {
      return false;
    }
    add_use(flows[i], rates[i], used);
    for (const ResourceUse& use : flows[i].uses) {
      if (use.coefficient > 0.0) {
        double& highest = resources[use.resource].highest_level;
        highest = std::max(highest, rates[i] / flows[i].weight);
      }
    }
  }
  for (std::size_t r = 0; r < capacities.size(); ++r) {
    if (used[r] > capacities[r] * (1.0 + tolerance)) {
      return false;
    }
    resources[r].full = used[r] >= capacities[r] * (1.0 - tolerance);
  }
  for (std::size_t i = 0; i < flows.size(); ++i) {
    const FlowClass& flow = flows[i];
    const bool at_bound = rates[i] >= flow.bound * (1.0 - tolerance);
    const bool at_bottleneck = std::any_of(flow.uses.begin(), flow.uses.end(), [&](const ResourceUse& use) {
      const ResourceState& resource = resources[use.resource];
      return use.coefficient > 0.0 && resource.full &&
             rates[i] / flow.weight >= resource.highest_level * (1.0 - tolerance);
    });
    if (!at_bound && !at_bottleneck) {
      return false;
    }
  }
  return true;
}

}  // namespace moesim::core
