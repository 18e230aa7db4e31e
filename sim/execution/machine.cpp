#include "sim/execution/machine.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::execution {

namespace {

// Work is counted in picoseconds at full speed, so that full speed is 10^12 units a second. A resource's
// capacity is in shares x units a second: both are whole numbers, exact as doubles.
constexpr double kFullSpeed = 1e12;

double network_capacity(std::int64_t share) { return static_cast<double>(share) * kFullSpeed; }

constexpr std::int64_t kMaximumLoad = std::int64_t{1} << 62;

enum class AnyEvent : std::uint8_t {};

}  // namespace

std::int64_t share_of_time(core::Duration busy, core::Duration length, double factor) {
  core::check(length.ps > 0 && busy.ps >= 0 && factor >= 0, "a share needs a length");
  const double part = static_cast<double>(busy.ps) / static_cast<double>(length.ps) * factor;
  const double share = std::floor(part * static_cast<double>(kWholeResource));
  // Beyond this an activity would not end within the run anyway.
  return static_cast<std::int64_t>(std::min(share, 0x1p50));
}

Machine::Machine(std::uint32_t resources, core::Simulation<>& simulation, MachineEvents events)
    : simulation_(&simulation), events_(events), resources_(resources) {
  for (std::uint32_t r = 0; r < resources; ++r) network_.add_resource(network_capacity(kWholeResource));
}

Machine::ActivityId Machine::new_activity() {
  if (!free_.empty()) {
    const ActivityId id = free_.back();
    free_.pop_back();
    return id;
  }
  const auto id = static_cast<ActivityId>(activities_.size());
  core::check(id < core::kEventTargets, "a machine runs fewer than 2^20 activities at a time");
  activities_.emplace_back();
  const std::uint32_t flow_class = network_.add_class({}, kFullSpeed);
  core::check(flow_class == id, "activities and classes have one number");
  return id;
}

Machine::ActivityId Machine::begin(core::Duration alone, std::span<const ResourceShare> uses, double weight,
                                   std::uint32_t owner) {
  core::check(alone.ps > 0 && alone.ps <= core::FlowNetwork::kMaximumWork,
              "the work of an activity is out of range");
  const ActivityId id = new_activity();
  Activity& one = activities_[id];
  one.alone = alone;
  one.weight = weight;
  one.owner = owner;
  ++running_;
  ++begun_;
  add_uses(id, uses);
  run(id, alone);
  return id;
}

void Machine::add_uses(ActivityId id, std::span<const ResourceShare> uses) {
  Activity& one = activities_[id];
  one.uses.clear();
  for (const ResourceShare& wanted : uses) {
    core::check(wanted.resource < resources_.size() && wanted.share >= 0,
                "an activity uses a resource that does not exist, or less than nothing of it");
    if (wanted.share == 0) continue;
    Resource& resource = resources_[wanted.resource];
    const auto use = static_cast<std::uint32_t>(one.uses.size());
    one.uses.push_back(
        {wanted.resource, static_cast<std::uint32_t>(resource.users.size()), wanted.through, wanted.share});
    resource.users.push_back({id, use});
    add_load(resource, wanted);
    mark(wanted.resource);
  }
  for (const Use& use : one.uses) share_if_full(use.resource);
}

void Machine::add_load(Resource& resource, const ResourceShare& wanted) {
  std::int64_t more = wanted.share;
  if (wanted.through != ResourceShare::kNone) {
    core::check(wanted.through_share > 0, "a use comes through a resource that the activity does not use");
    // What passes is at most the whole of the other resource, in the same proportion.
    const core::Int128 whole = core::Int128{wanted.share} * kWholeResource + wanted.through_share - 1;
    const auto most = static_cast<std::int64_t>(
        std::min<core::Int128>(whole / wanted.through_share, core::Int128{1} << 50));
    auto stream = std::find_if(resource.streams.begin(), resource.streams.end(),
                               [&](const Stream& one) { return one.through == wanted.through; });
    if (stream == resource.streams.end()) {
      stream = resource.streams.insert(resource.streams.end(), {wanted.through, 0, 0});
    }
    ++stream->users;
    more = std::max<std::int64_t>(0, most - stream->most);
    stream->most += more;
  }
  core::check(more <= kMaximumLoad - resource.load, "the shares of a resource pass 2^62");
  resource.load += more;
}

void Machine::drop_load(Resource& resource, const Use& use) {
  if (use.through == ResourceShare::kNone) {
    resource.load -= use.share;
    return;
  }
  const auto stream = std::find_if(resource.streams.begin(), resource.streams.end(),
                                   [&](const Stream& one) { return one.through == use.through; });
  if (--stream->users > 0) return;
  resource.load -= stream->most;
  *stream = resource.streams.back();
  resource.streams.pop_back();
}

void Machine::drop_uses(ActivityId id) {
  for (const Use& use : activities_[id].uses) {
    Resource& resource = resources_[use.resource];
    const User last = resource.users.back();
    resource.users[use.position] = last;
    activities_[last.activity].uses[last.use].position = use.position;
    resource.users.pop_back();
    drop_load(resource, use);
    if (resource.users.empty()) resource.shared = false;
    if (resource.shared && resource.load <= resource.capacity) may_fit_.push_back(use.resource);
    mark(use.resource);
  }
  activities_[id].uses.clear();
}

// Whoever uses a resource that has become too small is slowed together with the others that use it.
void Machine::share_if_full(std::uint32_t number) {
  Resource& resource = resources_[number];
  if (resource.shared || resource.load <= resource.capacity) return;
  resource.shared = true;
  for (std::size_t i = 0; i < resource.users.size(); ++i) rerun(resource.users[i].activity);
}

bool Machine::uses_shared(ActivityId id) const {
  const auto& uses = activities_[id].uses;
  return std::any_of(uses.begin(), uses.end(),
                     [this](const Use& use) { return resources_[use.resource].shared; });
}

void Machine::run_at_full_speed(ActivityId id, core::Duration work) {
  Activity& one = activities_[id];
  one.mode = Mode::full_speed;
  const core::Time now = simulation_->now();
  // An end beyond the end of time does not come.
  if (work > core::kEndOfTime - now) {
    one.end = core::kEndOfTime;
    return;
  }
  one.end = now + work;
  one.end_event.arm(simulation_->schedule(one.end, core::Phase::completion,
                                          static_cast<AnyEvent>(events_.activity_end), id));
}

void Machine::run_shared(ActivityId id, core::Duration work) {
  Activity& one = activities_[id];
  network_uses_.clear();
  // Who uses the whole of something is bounded by that.
  double bound = kFullSpeed;
  for (const Use& use : one.uses) {
    if (!resources_[use.resource].shared) continue;
    network_uses_.push_back({use.resource, static_cast<double>(use.share)});
    if (use.share >= kWholeResource) bound = std::numeric_limits<double>::infinity();
  }
  network_.redefine_class(id, network_uses_, bound, one.weight);
  network_.add(simulation_->now(), id, id, work.ps);
  one.mode = Mode::shared;
  ++slowed_;
  settle_later();
}

core::Duration Machine::stop(ActivityId id) {
  Activity& one = activities_[id];
  const Mode mode = std::exchange(one.mode, Mode::none);
  if (mode == Mode::shared) {
    settle_later();
    return {network_.remove(simulation_->now(), id)};
  }
  one.end_event.cancel();
  return one.end - simulation_->now();
}

// Runs an activity anew in the mode that it has to be in.
void Machine::rerun(ActivityId id) {
  if (activities_[id].mode == Mode::none) return;  // it is just being begun or moved
  run(id, stop(id));
}

// One that has no work left is at its end: that comes at this instant.
void Machine::run(ActivityId id, core::Duration work) {
  if (work.ps > 0 && uses_shared(id)) {
    run_shared(id, work);
  } else {
    run_at_full_speed(id, work);
  }
}

bool Machine::has_uses(ActivityId id, std::span<const ResourceShare> uses) const {
  const auto& own = activities_[id].uses;
  std::size_t i = 0;
  for (const ResourceShare& wanted : uses) {
    if (wanted.share == 0) continue;
    if (i == own.size() || own[i].resource != wanted.resource || own[i].share != wanted.share ||
        own[i].through != wanted.through) {
      return false;
    }
    ++i;
  }
  return i == own.size();
}

void Machine::move(ActivityId id, core::Duration alone, std::span<const ResourceShare> uses, double weight) {
  core::check(id < activities_.size() && activities_[id].mode != Mode::none,
              "an activity that does not run is moved");
  core::check(alone.ps > 0 && alone.ps <= core::FlowNetwork::kMaximumWork,
              "the work of an activity is out of range");
  Activity& one = activities_[id];
  if (one.alone == alone && one.weight == weight && has_uses(id, uses)) return;
  const core::Duration left = stop(id);
  const core::Int128 scaled = core::Int128{left.ps} * alone.ps + one.alone.ps - 1;
  const core::Duration work{static_cast<std::int64_t>(
      std::min<core::Int128>(scaled / one.alone.ps, core::FlowNetwork::kMaximumWork))};
  one.alone = alone;
  one.weight = weight;
  drop_uses(id);
  add_uses(id, uses);
  run(id, work);
}

void Machine::set_capacity(std::uint32_t number, std::int64_t share) {
  core::check(number < resources_.size() && share >= 0 && share <= kWholeResource,
              "a resource that does not exist, or a share of it that cannot be");
  Resource& resource = resources_[number];
  resource.capacity = share;
  network_.set_capacity(simulation_->now(), number, network_capacity(share));
  mark(number);
  settle_later();
  if (resource.shared && resource.load <= share) may_fit_.push_back(number);
  share_if_full(number);
}

bool Machine::owns(core::EventKey key) const {
  const auto kind = static_cast<std::uint8_t>(key.kind<AnyEvent>());
  return kind == events_.activity_end || kind == events_.shared_end || kind == events_.settle;
}

core::Handled Machine::handle(core::EventKey key, std::vector<std::uint32_t>& ended) {
  const auto kind = static_cast<std::uint8_t>(key.kind<AnyEvent>());
  if (kind == events_.activity_end) {
    const ActivityId id = key.target();
    if (!activities_[id].end_event.claim(key)) return core::Handled::stale;
    activities_[id].mode = Mode::none;
    finish(id, ended);
    return core::Handled::executed;
  }
  if (kind == events_.shared_end) {
    if (!shared_end_.claim(key)) return core::Handled::stale;
    shared_end_at_ = core::kEndOfTime;
    completed_ = network_.complete(simulation_->now());
    mark_rerated();
    for (const ActivityId id : completed_) activities_[id].mode = Mode::none;
    for (const ActivityId id : completed_) finish(id, ended);
    settle_later();
    return core::Handled::executed;
  }
  if (!settle_.claim(key)) return core::Handled::stale;
  stop_sharing_what_fits();
  schedule_shared_end();
  return core::Handled::executed;
}

void Machine::finish(ActivityId id, std::vector<std::uint32_t>& ended) {
  ended.push_back(activities_[id].owner);
  drop_uses(id);
  free_.push_back(id);
  --running_;
}

// All changes of an instant are solved together.
void Machine::settle_later() {
  if (settle_.armed()) return;
  settle_.arm(simulation_->schedule(simulation_->now(), core::Phase::statistics,
                                    static_cast<AnyEvent>(events_.settle), 0));
}

void Machine::mark_rerated() {
  if (!watching_) return;
  for (const std::uint32_t id : network_.rerated()) {
    for (const Use& use : activities_[id].uses) mark(use.resource);
  }
}

// Whoever uses a resource that has become large enough again runs at full speed, if nothing else slows it.
void Machine::stop_sharing_what_fits() {
  for (std::size_t i = 0; i < may_fit_.size(); ++i) {
    Resource& resource = resources_[may_fit_[i]];
    if (!resource.shared || resource.load > resource.capacity) continue;
    resource.shared = false;
    for (std::size_t user = 0; user < resource.users.size(); ++user) rerun(resource.users[user].activity);
  }
  may_fit_.clear();
}

void Machine::schedule_shared_end() {
  const core::Time at = network_.next_completion();
  mark_rerated();
  if (at == shared_end_at_) return;
  shared_end_.cancel();
  shared_end_at_ = at;
  if (at == core::kEndOfTime) return;
  shared_end_.arm(
      simulation_->schedule(at, core::Phase::completion, static_cast<AnyEvent>(events_.shared_end), 0));
}

void Machine::mark(std::uint32_t number) {
  if (!watching_ || resources_[number].changed) return;
  resources_[number].changed = true;
  changed_.push_back(number);
}

std::vector<std::uint32_t> Machine::take_changes() {
  for (const std::uint32_t number : changed_) resources_[number].changed = false;
  std::sort(changed_.begin(), changed_.end());
  return std::exchange(changed_, {});
}

double Machine::use(std::uint32_t number) const {
  double sum = 0;
  for (const User& user : resources_[number].users) {
    const Activity& one = activities_[user.activity];
    const double speed = one.mode == Mode::shared ? network_.rates().rate(user.activity) / kFullSpeed : 1.0;
    sum += speed * static_cast<double>(one.uses[user.use].share);
  }
  return sum / static_cast<double>(kWholeResource);
}

}  // namespace moesim::execution
