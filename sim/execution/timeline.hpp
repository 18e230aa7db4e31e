// What happened when: slices on tracks and values of counters, for traces that people look at.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "sim/core/time.hpp"

namespace moesim::execution {

// A plain value that a simulation fills and that the writers in `reports` read. It holds simulated time only:
// the same simulation fills it the same way.
class Timeline {
 public:
  // Interned text.
  struct Name {
    std::uint32_t index = 0;
  };
  // A device or a replica: it groups tracks and counters.
  struct Process {
    std::uint32_t index = 0;
  };
  struct Track {
    std::uint32_t index = 0;
  };
  struct Counter {
    std::uint32_t index = 0;
  };
  // An integer fact about a slice: {name("tokens"), 512}.
  struct Argument {
    Name name;
    std::int64_t value = 0;
  };

  static constexpr std::size_t kDefaultLimit = 5'000'000;  // slices and counter values together

  // At most 2^32 - 1 slices and counter values are held, whatever the limit.
  explicit Timeline(std::size_t limit = kDefaultLimit);

  // The same text gives the same name.
  [[nodiscard]] Name name(std::string_view text);
  [[nodiscard]] Process add_process(std::string name);               // "node0.gpu3", "replica 0"
  [[nodiscard]] Track add_track(Process process, std::string name);  // "compute", "communication", "copy"
  [[nodiscard]] Counter add_counter(Process process, std::string name, std::string unit);  // "KV use", "%"

  // One slice from `begin` to `end`, which may be the same instant. On one track slices come in the order of
  // their ends and do not overlap except by nesting; among slices with the same begin and end the later one
  // is the parent. `alone` is the time that the work takes when nothing is shared; it is kept where it
  // differs from the length of the slice. Throws core::InvariantError if `end` is before `begin` or before
  // the last end on the track, if a time is negative, or if the slice cuts into the last one on the track
  // (cuts into earlier ones are found by the writers).
  void slice(Track track, Name name, Name category, core::Time begin, core::Time end,
             std::optional<core::Duration> alone = {}) {
    slice(track, name, category, begin, end, alone, {});
  }
  void slice(Track track, Name name, Name category, core::Time begin, core::Time end,
             std::optional<core::Duration> alone, std::span<const Argument> arguments);

  // The value that a counter has from `at` on. In time order for one counter; a value equal to the last one
  // of that counter is dropped. Throws core::InvariantError if `at` is before the last value, and for a value
  // that is not finite.
  void count(Counter counter, core::Time at, double value);

  // Whether something was left out because the limit was reached. Go on recording after that: nothing more
  // is kept, but a slice that began earlier moves truncated_at() back.
  [[nodiscard]] bool full() const { return truncated_at_.has_value(); }
  // The first instant left out: up to there the timeline is complete.
  [[nodiscard]] std::optional<core::Time> truncated_at() const { return truncated_at_; }

  // What was recorded, for the writers. Indices are those of the handles above.
  struct TrackEntry {
    std::string name;
    std::uint32_t process = 0;
  };
  struct CounterEntry {
    std::string name;
    std::string unit;
    std::uint32_t process = 0;
  };
  struct Slice {
    core::Time begin;
    core::Time end;
    core::Duration alone{-1};  // below 0: as long as the slice
    std::uint32_t track = 0;
    std::uint32_t name = 0;
    std::uint32_t category = 0;
    std::uint32_t first_argument = 0;  // up to the first of the next slice
  };
  struct CounterValue {
    core::Time at;
    double value = 0;
    std::uint32_t counter = 0;
  };
  [[nodiscard]] std::span<const std::string> names() const { return names_; }
  [[nodiscard]] std::span<const std::string> processes() const { return processes_; }
  [[nodiscard]] std::span<const TrackEntry> tracks() const { return tracks_; }
  [[nodiscard]] std::span<const CounterEntry> counters() const { return counters_; }
  // In the order in which they were recorded.
  [[nodiscard]] std::span<const Slice> slices() const { return slices_; }
  [[nodiscard]] std::span<const CounterValue> counter_values() const { return values_; }
  // Of slices()[index].
  [[nodiscard]] std::span<const Argument> arguments(std::size_t index) const;

 private:
  // False, and the instant noted, if there is no room.
  bool room(core::Time begin, std::size_t arguments);

  struct LastSlice {
    core::Time begin;
    core::Time end;
  };
  struct LastValue {
    core::Time at;
    std::optional<double> value;
  };

  std::size_t limit_;
  std::optional<core::Time> truncated_at_;
  std::map<std::string, std::uint32_t, std::less<>> name_index_;
  std::vector<std::string> names_;
  std::vector<std::string> processes_;
  std::vector<TrackEntry> tracks_;
  std::vector<CounterEntry> counters_;
  std::vector<LastSlice> last_slices_;  // by track
  std::vector<LastValue> last_values_;  // by counter
  std::vector<Slice> slices_;
  std::vector<Argument> arguments_;
  std::vector<CounterValue> values_;
};

static_assert(sizeof(Timeline::Slice) <= 48, "millions of slices are held at a time");

}  // namespace moesim::execution
