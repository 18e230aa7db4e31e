// Generated workloads: open loops and closed loops of clients.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "workloads/arrivals.hpp"
#include "workloads/lengths.hpp"
#include "workloads/request.hpp"
#include "workloads/window.hpp"
#include "workloads/workload.hpp"

namespace moesim::workloads {

// Requests of an arrival process, made one at a time: memory does not grow with their number.
class OpenLoopSource final : public RequestSource {
 public:
  // `workload` must hold an open-loop arrival, lengths and stop.
  OpenLoopSource(const Workload& workload, std::uint64_t seed);
  std::optional<Request> next() override;
  std::vector<Request> on_finished(const Request& request, core::Time now, Ending ending) override;

 private:
  std::unique_ptr<ArrivalProcess> arrivals_;
  RequestLengthSampler lengths_;
  Window window_;
  std::int64_t next_id_ = 0;
  bool ended_ = false;
};

// C clients. With a warm-up of W requests: min(C, W) of them are sent at time 0 and each end releases the
// next; when all W ended, the measured part starts with a burst of C requests at that instant. Without one
// the burst is at time 0. Then each end releases the next request after the think time until stop.requests
// measured requests were sent, or the next would be sent stop.duration or more after the burst. This is the
// benchmark protocol of InferenceX and vLLM's client with --max-concurrency C. A client that was refused
// waits at least kRefusalBackOff.
class ClosedLoopSource final : public RequestSource {
 public:
  // Without it a client whose every request is refused would send the next one at the same instant for ever.
  // One second is what HTTP clients wait before they repeat a refused call, and it bounds the requests of a
  // loop: at most one per client and second are refused.
  static constexpr core::Duration kRefusalBackOff{core::kPicosecondsPerSecond};

  // `workload` must hold a closed-loop arrival, lengths and stop, and no warm-up by duration.
  ClosedLoopSource(const Workload& workload, std::uint64_t seed);
  std::optional<Request> next() override;
  std::vector<Request> on_finished(const Request& request, core::Time now, Ending ending) override;

 private:
  [[nodiscard]] Request send_warmup(core::Time arrival);
  // The next measured request, or nullopt when the stop rule forbids it.
  [[nodiscard]] std::optional<Request> send_measured(core::Time arrival);
  [[nodiscard]] std::vector<Request> start_measured(core::Time now);

  RequestLengthSampler lengths_;
  std::int64_t clients_;
  core::Duration think_time_;
  std::int64_t warmup_ = 0;
  Stop stop_;
  std::int64_t warmup_sent_ = 0;
  std::int64_t warmup_ended_ = 0;
  std::int64_t measured_sent_ = 0;
  core::Time start_;               // of the measured part
  std::int64_t opening_left_ = 0;  // requests of the burst at time 0 that next() has not given yet
};

}  // namespace moesim::workloads
