// The certificates of a MaxMinNetwork (see is_max_min_fair).
#include <algorithm>
#include <array>
#include <cstdio>
#include <string>

#include "sim/core/check.hpp"
#include "sim/core/max_min_network.hpp"

namespace moesim::core {
namespace {

std::string digits(double value) {
  std::array<char, 40> text{};
  std::snprintf(text.data(), text.size(), "%.17g", value);
  return text.data();
}

}  // namespace

bool MaxMinNetwork::is_fair(double tolerance) const {
  std::vector<double> capacities;
  for (const Resource& resource : resources_) capacities.push_back(resource.capacity);
  std::vector<FlowClass> present;
  std::vector<double> rates;
  for (std::uint32_t id = 0; id < classes_.size(); ++id) {
    const Class& one = classes_[id];
    if (one.flows == 0) continue;
    const std::span<const ResourceUse> uses = uses_of(id);
    present.push_back({{uses.begin(), uses.end()}, one.bound, one.weight, one.flows});
    rates.push_back(one.rate);
  }
  return is_max_min_fair(capacities, present, rates, tolerance);
}

// The classes that have flows in the part, and those of `also` that use no resource; others that changed are
// in the part.
void MaxMinNetwork::collect_members(std::span<const std::uint32_t> also) {
  members_.clear();
  for (const std::uint32_t id : part_) {
    for (const User& user : resources_[id].users) {
      if (classes_[user.flow_class].flows > 0) members_.push_back(user.flow_class);
    }
  }
  for (const std::uint32_t id : also) {
    if (classes_[id].flows > 0 && uses_of(id).empty()) members_.push_back(id);
  }
  std::sort(members_.begin(), members_.end());
  members_.erase(std::unique(members_.begin(), members_.end()), members_.end());
}

void MaxMinNetwork::verify(std::span<const std::uint32_t> also, double tolerance) {
  check(dirty_.empty() && dirty_classes_.empty(), "rates are verified before they are solved");
  collect_members(also);
  sums_.resize(resources_.size());
  for (const std::uint32_t id : part_) sums_[id] = {};
  for (const std::uint32_t id : members_) {
    const Class& one = classes_[id];
    for (const ResourceUse& use : uses_of(id)) {
      check(resources_[use.resource].part == part_number_, "a class with flows reaches out of its part");
      Sums& sums = sums_[use.resource];
      sums.used += static_cast<double>(one.flows) * one.rate * use.coefficient;
      sums.highest_level = std::max(sums.highest_level, one.rate / one.weight);
    }
  }
  for (const std::uint32_t id : part_) {
    if (sums_[id].used <= resources_[id].capacity * (1.0 + tolerance)) continue;
    fail_invariant("max-min rates pass a capacity: resource " + std::to_string(id) + " can do " +
                   digits(resources_[id].capacity) + " a second and is used for " + digits(sums_[id].used));
  }
  for (const std::uint32_t id : members_) verify_class(id, tolerance);
}

// A class is at its bound, or has the highest level on a resource that is full.
void MaxMinNetwork::verify_class(std::uint32_t flow_class, double tolerance) const {
  const Class& one = classes_[flow_class];
  const auto name = [&] { return "class " + std::to_string(flow_class) + " at rate " + digits(one.rate); };
  if (!(one.rate >= 0.0) || one.rate > one.bound * (1.0 + tolerance)) {
    fail_invariant("max-min rates are out of bounds: " + name() + " has the bound " + digits(one.bound));
  }
  if (one.rate >= one.bound * (1.0 - tolerance)) return;
  const std::span<const ResourceUse> uses = uses_of(flow_class);
  const bool at_bottleneck = std::any_of(uses.begin(), uses.end(), [&](const ResourceUse& use) {
    const Sums& sums = sums_[use.resource];
    return sums.used >= resources_[use.resource].capacity * (1.0 - tolerance) &&
           one.rate / one.weight >= sums.highest_level * (1.0 - tolerance);
  });
  if (at_bottleneck) return;
  std::string resources;
  for (const ResourceUse& use : uses) {
    const Sums& sums = sums_[use.resource];
    resources += "; resource " + std::to_string(use.resource) + " is used for " + digits(sums.used) + " of " +
                 digits(resources_[use.resource].capacity) + " a second, by rates / weights up to " +
                 digits(sums.highest_level);
  }
  fail_invariant("max-min rates are not fair: " + name() + ", weight " + digits(one.weight) + " and bound " +
                 digits(one.bound) + " could have more" + resources);
}

}  // namespace moesim::core
