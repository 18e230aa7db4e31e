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
  // Parts of the KV blocks, pool after pool: summed over data-parallel ranks, one device of each.
  std::vector<llm::KvBytes> kv{};
  std::vector<KvMoment> fullest{};  // device of each pool, without its time
};

// Where the parts of one pool are in such a list.
struct PoolParts {
  std::size_t first = 0, count = 0;
  std::int64_t ranks = 0;  // data-parallel ranks of all replicas
  std::int64_t tp = 1;     // devices of each
  // Groups of ranks, side by side in the list of the fleet.
  std::size_t first_group = 0, groups = 0;
};

// Bytes x picoseconds.
struct KvSum {
  core::Int128 used = 0, held = 0;
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
  void count_admission_stops(std::int64_t count) { at_end().admission_stops += count; }
  void count_step(std::int64_t prefill_tokens, std::int64_t decode_tokens);

  // The measured window runs from the first call of open_window() to the last of close_window(), or to now.
  void open_window();
  void close_window();
  struct Load {
    double mean_running = 0, mean_waiting = 0, busy_fraction = 0, mean_kv_bytes = 0, mean_kv_waste_bytes = 0;
    std::vector<KvSum> kv{};  // of the parts, over a window of `picoseconds`
    double picoseconds = 0;
  };
  // Means over the measured window; all zero if no time has passed in it.
  [[nodiscard]] Load load() const;

  // Sequences admitted or waiting x picoseconds, from the start.
  [[nodiscard]] core::Int128 residence() const { return total_.running + total_.waiting; }
  [[nodiscard]] core::Int128 busy_integral() const { return total_.busy; }
  [[nodiscard]] core::Time now() const { return now_; }
  [[nodiscard]] std::vector<TimeseriesRow> rows() const;
  // The memory of the same intervals. A list is empty where nothing held for any time.
  struct MemoryInterval {
    core::Time begin, end;
    const std::vector<KvSum>* kv = nullptr;
    const std::vector<KvMoment>* fullest = nullptr;
  };
  [[nodiscard]] std::vector<MemoryInterval> memory() const;
  // From the start: of the blocks in use on all devices, and of the parts.
  [[nodiscard]] core::Int128 kv_integral() const { return total_.kv_bytes; }
  [[nodiscard]] const std::vector<KvSum>& kv_parts() const { return total_.kv; }

 private:
  struct Integrals {
    core::Int128 running = 0, waiting = 0, kv_bytes = 0, kv_waste_bytes = 0, busy = 0;
    std::vector<KvSum> kv;
    void add(const SystemState& state, core::Duration time);
    void add(const Integrals& other);
  };
  struct Interval {
    Integrals integrals;
    TimeseriesRow counts;
    std::vector<KvMoment> fullest;
    void see(const std::vector<KvMoment>& held, core::Time from);
    void see(const std::vector<KvMoment>& later);
  };
  struct Mark {
    core::Time at;
    Integrals sums;
  };
  Interval& interval_at(core::Time time);
  [[nodiscard]] core::Time end_of(core::Time begin) const;
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
