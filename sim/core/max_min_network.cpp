#include "sim/core/max_min_network.hpp"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "sim/core/check.hpp"

namespace moesim::core {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// A slope that has fallen to this share of its first value is summed afresh: what was taken away may have
// left little but rounding.
constexpr double kTrustedShare = 1e-3;
// A part is collected anew after so many solves, in case it has come apart.
constexpr std::uint64_t kSolvesPerPart = 256;

void check_capacity(double capacity) {
  check(std::isfinite(capacity) && capacity >= 0.0, "a capacity must be finite and not negative");
}

}  // namespace

std::uint32_t MaxMinNetwork::add_resource(double capacity) {
  check_capacity(capacity);
  resources_.emplace_back();
  resources_.back().capacity = capacity;
  filling_.emplace_back();
  starts_.emplace_back();
  full_at_.push_back(kInfinity);
  return static_cast<std::uint32_t>(resources_.size() - 1);
}

void MaxMinNetwork::set_capacity(std::uint32_t resource, double capacity) {
  check(resource < resources_.size(), "a resource that does not exist");
  check_capacity(capacity);
  resources_[resource].capacity = capacity;
  mark(resource);
}

void MaxMinNetwork::mark(std::uint32_t resource) {
  dirty_.push_back(resource);
  starts_[resource].stale = true;
  part_serves_ = part_serves_ && resources_[resource].part == part_number_;
}

void MaxMinNetwork::check_class(std::span<const ResourceUse> uses, double bound, double weight) const {
  check(std::isfinite(weight) && weight > 0.0, "the weight of a flow must be finite and positive");
  check(bound >= 0.0, "the bound of a flow must not be negative");
  bool limited = std::isfinite(bound);
  for (const ResourceUse& use : uses) {
    check(use.resource < resources_.size(), "a flow uses a resource that does not exist");
    check(std::isfinite(use.coefficient) && use.coefficient >= 0.0,
          "the coefficient of a use must be finite and not negative");
    limited = limited || use.coefficient > 0.0;
  }
  check(limited, "nothing limits the rate of a flow");
}

std::uint32_t MaxMinNetwork::add_class(std::span<const ResourceUse> uses, double bound, double weight) {
  check_class(uses, bound, weight);
  const auto id = static_cast<std::uint32_t>(classes_.size());
  classes_.emplace_back();
  places_.push_back({uses_.size(), 0, 0});
  growth_.push_back(0.0);
  stopped_in_.push_back(kEmpty);
  stopping_.resize(classes_.size() + 1);
  changing_.resize(classes_.size() + 1);
  define(id, uses, bound, weight);
  return id;
}

void MaxMinNetwork::redefine_class(std::uint32_t flow_class, std::span<const ResourceUse> uses, double bound,
                                   double weight) {
  check(flow_class < classes_.size(), "a class of flows that does not exist");
  check(classes_[flow_class].flows == 0, "a class that has flows is redefined");
  check_class(uses, bound, weight);
  forget_uses(flow_class);
  define(flow_class, uses, bound, weight);
}

// Takes a class without flows out of everything that knows it.
void MaxMinNetwork::forget_uses(std::uint32_t flow_class) {
  if (part_serves_) {
    const auto at = std::lower_bound(bounded_.begin(), bounded_.end(), flow_class,
                                     [this](std::uint32_t a, std::uint32_t b) { return bound_before(a, b); });
    if (at != bounded_.end() && *at == flow_class) bounded_.erase(at);
  }
  for (const ResourceUse& use : uses_of(flow_class)) {
    std::vector<User>& users = resources_[use.resource].users;
    const auto first =
        std::lower_bound(users.begin(), users.end(), flow_class,
                         [](const User& user, std::uint32_t id) { return user.flow_class < id; });
    auto last = first;
    while (last != users.end() && last->flow_class == flow_class) ++last;
    users.erase(first, last);
  }
  places_[flow_class].count = 0;
}

// Gives a class that uses nothing its uses, each behind those of classes before it. A class that outgrows its
// place gets one of twice the room at the end of uses_, so that what it leaves behind stays below what it
// has.
void MaxMinNetwork::define(std::uint32_t flow_class, std::span<const ResourceUse> uses, double bound,
                           double weight) {
  Place& place = places_[flow_class];
  if (uses.size() > place.room) {
    place.first = uses_.size();
    place.room = static_cast<std::uint32_t>(std::max(uses.size(), std::size_t{2} * place.room));
    uses_.resize(place.first + place.room);
  }
  for (const ResourceUse& use : uses) {
    if (use.coefficient == 0.0) continue;
    uses_[place.first + place.count++] = use;
    std::vector<User>& users = resources_[use.resource].users;
    const auto at = std::upper_bound(users.begin(), users.end(), flow_class,
                                     [](std::uint32_t id, const User& user) { return id < user.flow_class; });
    users.insert(at, {flow_class, use.coefficient});
  }
  Class& one = classes_[flow_class];
  one = {};
  one.bound = bound;
  one.weight = weight;
  if (part_serves_ && bound < kInfinity && in_part(flow_class)) {
    const auto at = std::lower_bound(bounded_.begin(), bounded_.end(), flow_class,
                                     [this](std::uint32_t a, std::uint32_t b) { return bound_before(a, b); });
    bounded_.insert(at, flow_class);
  }
}

bool MaxMinNetwork::in_part(std::uint32_t flow_class) const {
  const std::span<const ResourceUse> uses = uses_of(flow_class);
  return std::any_of(uses.begin(), uses.end(), [this](const ResourceUse& use) {
    return resources_[use.resource].part == part_number_;
  });
}

// Whether class a reaches its bound at a lower level than class b, ties by index.
bool MaxMinNetwork::bound_before(std::uint32_t a, std::uint32_t b) const {
  const double level_a = classes_[a].bound / classes_[a].weight;
  const double level_b = classes_[b].bound / classes_[b].weight;
  return level_a != level_b ? level_a < level_b : a < b;
}

void MaxMinNetwork::set_flows(std::uint32_t flow_class, std::int64_t flows) {
  check(flow_class < classes_.size() && flows >= 0,
        "a class of flows that does not exist, or a negative number of flows");
  Class& one = classes_[flow_class];
  if (one.flows == flows) return;
  one.flows = flows;
  growth_[flow_class] = static_cast<double>(flows) * one.weight;
  stopped_in_[flow_class] = flows > 0 ? 0 : kEmpty;
  for (const ResourceUse& use : uses_of(flow_class)) mark(use.resource);
  if (uses_of(flow_class).empty()) dirty_classes_.push_back(flow_class);
}

const std::vector<std::uint32_t>& MaxMinNetwork::solve() {
  changed_.clear();
  for (const std::uint32_t id : dirty_classes_) {
    Class& one = classes_[id];
    if (one.flows > 0 && uses_of(id).empty() && one.rate != one.bound) {
      one.rate = one.bound;
      changed_.push_back(id);
    }
  }
  dirty_classes_.clear();
  if (dirty_.empty()) return changed_;
  ++solve_;
  if (!part_serves_ || solve_ - part_collected_in_ >= kSolvesPerPart) collect_part();
  sum_starts();
  dirty_.clear();
  part_serves_ = true;
  start_filling();
  rates_changed_ = 0;
  fill();
  changed_.insert(changed_.end(), changing_.begin(),
                  changing_.begin() + static_cast<std::ptrdiff_t>(rates_changed_));
  return changed_;
}

void MaxMinNetwork::meet(std::uint32_t resource) {
  if (resources_[resource].part == part_number_) return;
  resources_[resource].part = part_number_;
  part_.push_back(resource);
}

// Follows the classes that have flows from the resources next to a change.
void MaxMinNetwork::collect_part() {
  ++part_number_;
  part_collected_in_ = solve_;
  part_.clear();
  for (const std::uint32_t resource : dirty_) meet(resource);
  for (std::size_t i = 0; i < part_.size(); ++i) {
    for (const User& user : resources_[part_[i]].users) {
      if (growth_[user.flow_class] == 0.0) continue;
      for (const ResourceUse& use : uses_of(user.flow_class)) meet(use.resource);
    }
  }
  // By index, so that no sum depends on which change came first.
  std::sort(part_.begin(), part_.end());
  sort_bounds();
}

// Also of classes without flows: they may get some while the part serves.
void MaxMinNetwork::sort_bounds() {
  bounded_.clear();
  for (const std::uint32_t resource : part_) {
    for (const User& user : resources_[resource].users) {
      if (classes_[user.flow_class].bound < kInfinity) bounded_.push_back(user.flow_class);
    }
  }
  std::sort(bounded_.begin(), bounded_.end(),
            [this](std::uint32_t a, std::uint32_t b) { return bound_before(a, b); });
  bounded_.erase(std::unique(bounded_.begin(), bounded_.end()), bounded_.end());
}

void MaxMinNetwork::sum_starts() {
  for (const std::uint32_t id : dirty_) {
    Start& start = starts_[id];
    if (!start.stale) continue;
    start = {};
    for (const User& user : resources_[id].users) {
      const double growth = growth_[user.flow_class];
      start.slope += growth * user.coefficient;
      start.growing += growth != 0.0 ? 1 : 0;
    }
  }
}

void MaxMinNetwork::start_filling() {
  level_ = 0.0;
  next_bounded_ = 0;
  for (const std::uint32_t id : part_) {
    const Start& start = starts_[id];
    filling_[id] = {0.0, start.slope, start.slope * kTrustedShare, start.growing, 0};
    find_level(id);
  }
}

// Rounding must not lower the level of a resource: who stops later has no less.
void MaxMinNetwork::find_level(std::uint32_t resource) {
  const Filling& one = filling_[resource];
  full_at_[resource] =
      one.growing > 0 ? std::max(level_, (resources_[resource].capacity - one.fixed) / one.slope) : kInfinity;
}

void MaxMinNetwork::sum_afresh(std::uint32_t resource) {
  Filling& sums = filling_[resource];
  sums = {};
  for (const User& user : resources_[resource].users) {
    const double growth = growth_[user.flow_class];
    if (growth == 0.0) continue;
    if (is_growing(user.flow_class)) {
      sums.slope += growth * user.coefficient;
      ++sums.growing;
    } else {
      const Class& one = classes_[user.flow_class];
      sums.fixed += static_cast<double>(one.flows) * one.rate * user.coefficient;
    }
  }
  sums.trusted = sums.slope * kTrustedShare;
}

// The lowest level at which a resource is full or a class that grows reaches its bound. Four minima side by
// side keep the processor from waiting for each comparison.
double MaxMinNetwork::next_level() const {
  std::array<double, 4> lowest{kInfinity, kInfinity, kInfinity, kInfinity};
  for (std::size_t i = 0; i < part_.size(); ++i) {
    lowest[i % 4] = std::min(lowest[i % 4], full_at_[part_[i]]);
  }
  double level = std::min(std::min(lowest[0], lowest[1]), std::min(lowest[2], lowest[3]));
  for (std::size_t i = next_bounded_; i < bounded_.size(); ++i) {
    if (!is_growing(bounded_[i])) continue;
    const Class& one = classes_[bounded_[i]];
    level = std::min(level, one.bound / one.weight);
    break;
  }
  return level;
}

// Stops the classes that are at their bound or on a full resource at this level.
void MaxMinNetwork::stop_full_and_bounded() {
  full_.clear();
  for (const std::uint32_t id : part_) {
    if (full_at_[id] <= level_) full_.push_back(id);
  }
  stopped_ = 0;
  stop_bounded();
  stop_users_of_full();
}

void MaxMinNetwork::stop_bounded() {
  for (; next_bounded_ < bounded_.size(); ++next_bounded_) {
    const std::uint32_t id = bounded_[next_bounded_];
    Class& one = classes_[id];
    if (one.bound / one.weight > level_) return;
    if (!is_growing(id)) continue;
    stopped_in_[id] = solve_;
    stopping_[stopped_++] = id;
    if (one.rate != one.bound) changing_[rates_changed_++] = id;
    one.rate = one.bound;
  }
}

// Whether a class has stopped before, and whether its rate is new, no predictor knows: both lists are filled
// without a branch.
void MaxMinNetwork::stop_users_of_full() {
  const std::size_t bounded = stopped_;
  std::size_t stopped = bounded;
  const std::uint64_t solve = solve_;
  std::uint32_t* const stopping = stopping_.data();
  std::uint64_t* const stopped_in = stopped_in_.data();
  for (const std::uint32_t full : full_) {
    for (const User& user : resources_[full].users) {
      const std::uint64_t last = stopped_in[user.flow_class];
      const std::uint64_t grows = last < solve ? 1U : 0U;
      stopping[stopped] = user.flow_class;
      stopped += grows;
      stopped_in[user.flow_class] = last ^ ((last ^ solve) & (0 - grows));  // solve if it grows
    }
  }
  std::size_t changed = rates_changed_;
  const double level = level_;
  Class* const classes = classes_.data();
  for (std::size_t i = bounded; i < stopped; ++i) {
    const std::uint32_t id = stopping[i];
    const double rate = level * classes[id].weight;
    changing_[changed] = id;
    changed += std::bit_cast<std::uint64_t>(classes[id].rate) != std::bit_cast<std::uint64_t>(rate) ? 1U : 0U;
    classes[id].rate = rate;
  }
  stopped_ = stopped;
  rates_changed_ = changed;
}

// Counts the uses that stop in this round, by resource: over the classes that stop, or over all users of the
// resources that are not full, whichever are fewer. Of a full resource all users stop.
void MaxMinNetwork::count_stopping() {
  touched_.clear();
  std::size_t users = 0;
  for (const std::uint32_t id : part_) {
    if (full_at_[id] > level_ && filling_[id].growing > 0) users += resources_[id].users.size();
  }
  const std::span<const std::uint32_t> stopped(stopping_.data(), stopped_);
  if (2 * stopped.size() <= users) {
    for (const std::uint32_t id : stopped) {
      for (const ResourceUse& use : uses_of(id)) {
        Filling& sums = filling_[use.resource];
        if (sums.stopping == 0) touched_.push_back(use.resource);
        ++sums.stopping;
        --sums.growing;
      }
    }
    return;
  }
  for (const std::uint32_t id : part_) {
    Filling& sums = filling_[id];
    if (sums.growing == 0) continue;
    std::int64_t growing = 0;
    if (full_at_[id] > level_) {
      for (const User& user : resources_[id].users) growing += is_growing(user.flow_class) ? 1 : 0;
    }
    sums.stopping = sums.growing - growing;
    sums.growing = growing;
    if (sums.stopping > 0) touched_.push_back(id);
  }
}

// Brings the resources of the classes that have stopped up to date. A resource of which more stopped than
// still grows is summed afresh, others have it taken away; that depends on the resource alone, so that the
// rates do not depend on what else is in the part.
void MaxMinNetwork::take_from_resources() {
  count_stopping();
  bool any_differences = false;
  for (const std::uint32_t id : touched_) {
    any_differences = any_differences || filling_[id].by_difference();
  }
  if (any_differences) {
    for (const std::uint32_t id : std::span<const std::uint32_t>(stopping_.data(), stopped_)) {
      const double class_rate = static_cast<double>(classes_[id].flows) * classes_[id].rate;
      for (const ResourceUse& use : uses_of(id)) {
        Filling& sums = filling_[use.resource];
        if (!sums.by_difference()) continue;
        sums.fixed += class_rate * use.coefficient;
        sums.slope -= growth_[id] * use.coefficient;
      }
    }
  }
  for (const std::uint32_t id : touched_) {
    Filling& sums = filling_[id];
    if (sums.growing > 0 && (!sums.by_difference() || sums.slope < sums.trusted)) sum_afresh(id);
    sums.stopping = 0;
    find_level(id);
  }
}

// All rates grow together in proportion to their weights; a class stops at its bound or when a resource is
// full.
void MaxMinNetwork::fill() {
  while ((level_ = next_level()) < kInfinity) {
    stop_full_and_bounded();
    check(stopped_ > 0, "max-min filling does not advance");
    take_from_resources();
  }
}

double MaxMinNetwork::use(std::uint32_t resource) const {
  check(resource < resources_.size(), "a resource that does not exist");
  double used = 0.0;
  for (const User& user : resources_[resource].users) {
    const Class& one = classes_[user.flow_class];
    used += static_cast<double>(one.flows) * one.rate * user.coefficient;
  }
  return used;
}

}  // namespace moesim::core
