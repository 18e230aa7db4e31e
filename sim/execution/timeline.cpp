#include "sim/execution/timeline.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "sim/core/check.hpp"

namespace moesim::execution {

namespace {

constexpr std::size_t kMostEntries = UINT32_MAX;  // what an index can tell apart

std::uint32_t next_index(std::size_t size) {
  core::check(size < kMostEntries, "a timeline has too many names or tracks");
  return static_cast<std::uint32_t>(size);
}

}  // namespace

Timeline::Timeline(std::size_t limit) : limit_(std::min(limit, kMostEntries)) {}

Timeline::Name Timeline::name(std::string_view text) {
  const auto found = name_index_.find(text);
  if (found != name_index_.end()) return {found->second};
  const std::uint32_t index = next_index(names_.size());
  names_.emplace_back(text);
  name_index_.emplace(text, index);
  return {index};
}

Timeline::Process Timeline::add_process(std::string name) {
  const std::uint32_t index = next_index(processes_.size());
  processes_.push_back(std::move(name));
  return {index};
}

Timeline::Track Timeline::add_track(Process process, std::string name) {
  core::check(process.index < processes_.size(), "a track of a process that the timeline does not have");
  const std::uint32_t index = next_index(tracks_.size());
  tracks_.push_back({std::move(name), process.index});
  last_slices_.emplace_back();
  return {index};
}

Timeline::Counter Timeline::add_counter(Process process, std::string name, std::string unit) {
  core::check(process.index < processes_.size(), "a counter of a process that the timeline does not have");
  const std::uint32_t index = next_index(counters_.size());
  counters_.push_back({std::move(name), std::move(unit), process.index});
  last_values_.emplace_back();
  return {index};
}

bool Timeline::room(core::Time begin, std::size_t arguments) {
  if (!full() && slices_.size() + values_.size() < limit_ && arguments <= kMostEntries - arguments_.size()) {
    return true;
  }
  truncated_at_ = std::min(truncated_at_.value_or(begin), begin);
  return false;
}

void Timeline::slice(Track track, Name name, Name category, core::Time begin, core::Time end,
                     std::optional<core::Duration> alone, std::span<const Argument> arguments) {
  core::check(track.index < tracks_.size(), "a slice on a track that the timeline does not have");
  core::check(std::max(name.index, category.index) < names_.size(), "a slice with an unknown name");
  core::check(begin.ps >= 0 && begin <= end, "a slice ends before it begins");
  LastSlice& last = last_slices_[track.index];
  core::check(end >= last.end, "slices of a track are not in the order of their ends");
  core::check(begin <= last.begin || begin >= last.end || end == last.end,
              "slices of a track overlap without nesting");
  last = {begin, end};
  if (!room(begin, arguments.size())) return;
  Slice entry{begin, end, core::Duration{-1}, track.index, name.index, category.index, 0};
  if (alone && *alone != end - begin) {
    core::check(alone->ps >= 0, "work that takes a negative time");
    entry.alone = *alone;
  }
  entry.first_argument = static_cast<std::uint32_t>(arguments_.size());
  for (const Argument& argument : arguments) {
    core::check(argument.name.index < names_.size(), "an argument with an unknown name");
    arguments_.push_back(argument);
  }
  slices_.push_back(entry);
}

void Timeline::count(Counter counter, core::Time at, double value) {
  core::check(counter.index < counters_.size(), "a value of a counter that the timeline does not have");
  core::check(std::isfinite(value), "a counter value that is not finite");
  LastValue& last = last_values_[counter.index];
  core::check(at >= last.at, "values of a counter are not in the order of time");
  last.at = at;
  if (last.value == value) return;
  last.value = value;
  if (!room(at, 0)) return;
  values_.push_back({at, value, counter.index});
}

std::span<const Timeline::Argument> Timeline::arguments(std::size_t index) const {
  const std::size_t begin = slices_[index].first_argument;
  const std::size_t end = index + 1 < slices_.size() ? slices_[index + 1].first_argument : arguments_.size();
  return std::span<const Argument>(arguments_).subspan(begin, end - begin);
}

}  // namespace moesim::execution
