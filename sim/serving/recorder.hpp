// Integrals over simulated time: exact, in count-picoseconds.
#pragma once

#include <cstdint>
#include <vector>

#include "sim/core/time.hpp"
#include "sim/serving/results.hpp"

namespace moesim::serving {

// What holds between two events, over all replicas.
struct SystemState {
  std::int64_t running = 0;
  std::int64_t waiting = 0;
  std::int64_t kv_bytes = 0;
  std::int64_t kv_waste_bytes = 0;
  std::int64_t busy_groups = 0;  // of ranks that step together
};

class Recorder {
 public:
  static constexpr std::size_t kMaxRows = 2048;  // then neighbours are joined and the interval doubles

  explicit Recorder(std::int64_t groups) : groups_(groups) {}

  // Brings the integrals up to `now`; `held` is the state that held since the last call.
  void advance(core::Time now, const SystemState& held);
  void count_arrival() { ++at_end().arrivals; }
  void count_finish() { ++at_end().finished; }
  void count_preemptions(std::int64_t count) { at_end().preemptions += count; }
  void count_step(std::int64_t prefill_tokens, std::int64_t decode_tokens);

  // The measured window runs from the first call of open_window() to the last of close_window(), or to now.
  void open_window();
  void close_window();
  struct Load {
    double mean_running = 0, mean_waiting = 0, busy_fraction = 0, mean_kv_bytes = 0, mean_kv_waste_bytes = 0;
  };
  // Means over the measured window; all zero if no time has passed in it.
  [[nodiscard]] Load load() const;

  // Sequences admitted or waiting x picoseconds, from the start.
  [[nodiscard]] core::Int128 residence() const { return total_.running + total_.waiting; }
  [[nodiscard]] core::Int128 busy_integral() const { return total_.busy; }
  [[nodiscard]] core::Time now() const { return now_; }
  [[nodiscard]] std::vector<TimeseriesRow> rows() const;

 private:
  struct Integrals {
    core::Int128 running = 0, waiting = 0, kv_bytes = 0, kv_waste_bytes = 0, busy = 0;
    void add(const SystemState& state, core::Duration time);
    void add(const Integrals& other);
  };
  struct Interval {
    Integrals integrals;
    TimeseriesRow counts;
  };
  struct Mark {
    core::Time at;
    Integrals sums;
  };
  Interval& interval_at(core::Time time);
  TimeseriesRow& at_end() { return interval_at(now_).counts; }
  void join_neighbours();

  std::int64_t groups_;  // that can be busy
  core::Time now_;
  Integrals total_;
  bool window_open_ = false;
  Mark window_begin_, window_end_;
  core::Duration length_{core::kPicosecondsPerSecond};
  std::vector<Interval> intervals_;
};

}  // namespace moesim::serving
