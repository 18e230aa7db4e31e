// Replays a trace as a source of requests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <unordered_map>
#include <vector>

#include "workloads/request.hpp"
#include "workloads/trace_reader.hpp"
#include "workloads/window.hpp"
#include "workloads/workload.hpp"

namespace moesim::workloads {

// Single requests arrive at their recorded times divided by rate_scale. The first call of a session does too;
// each later one is released when the one before it ended (served or refused) plus its recorded tool time,
// which rate_scale leaves alone: tools do not get faster. Sessions are numbered 0, 1, 2, ... in the order of
// the trace. Memory grows with the sessions in flight only.
class ReplaySource final : public RequestSource {
 public:
  // Takes rate_scale, limit, warmup and stop from the workload.
  ReplaySource(std::unique_ptr<TraceReader> reader, const Workload& workload);
  std::optional<Request> next() override;
  std::vector<Request> on_finished(const Request& request, core::Time now, Ending ending) override;

 private:
  struct Session {
    std::int64_t number = 0;
    std::size_t at = 0;  // the call in flight
    std::vector<TraceRequest> calls;
  };
  [[nodiscard]] core::Time scaled(core::Time recorded) const;
  // A request born now, or nullopt when the stop rule forbids it.
  [[nodiscard]] std::optional<Request> admit(core::Time arrival, const TraceRequest& lengths,
                                             std::int64_t session);

  std::unique_ptr<TraceReader> reader_;
  double rate_scale_;
  std::optional<std::int64_t> records_left_;
  Window window_;
  TraceRecord record_;
  std::int64_t next_id_ = 0;
  std::int64_t next_session_ = 0;
  bool ended_ = false;
  std::unordered_map<std::int64_t, Session>
      in_flight_;  // by request id; only looked up, never walked through
};

}  // namespace moesim::workloads
