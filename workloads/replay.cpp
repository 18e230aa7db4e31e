#include "workloads/replay.hpp"

#include <utility>

#include "workloads/time_limit.hpp"

namespace moesim::workloads {

ReplaySource::ReplaySource(std::unique_ptr<TraceReader> reader, const Workload& workload)
    : reader_(std::move(reader)),
      rate_scale_(workload.rate_scale),
      records_left_(workload.limit),
      window_(workload.warmup, workload.stop) {}

core::Time ReplaySource::scaled(core::Time recorded) const {
  const std::optional<core::Time> arrival = scaled_arrival(recorded, rate_scale_);
  if (!arrival) fail_too_late(*reader_, rate_scale_);
  return *arrival;
}

std::optional<Request> ReplaySource::admit(core::Time arrival, const TraceRequest& lengths,
                                           std::int64_t session) {
  const Window::Verdict verdict = window_.admit(arrival);
  if (verdict == Window::Verdict::past_end) return std::nullopt;
  Request request;
  request.id = next_id_++;
  request.arrival = arrival;
  request.input_tokens = lengths.input_tokens;
  request.output_tokens = lengths.output_tokens;
  request.session = session;
  request.warmup = verdict == Window::Verdict::warmup;
  return request;
}

std::optional<Request> ReplaySource::next() {
  if (ended_ || (records_left_ && *records_left_ == 0) || !reader_->next(record_)) {
    ended_ = true;
    return std::nullopt;
  }
  if (records_left_) --*records_left_;
  const std::int64_t session = record_.session ? next_session_++ : -1;
  std::optional<Request> request = admit(scaled(record_.arrival), record_.requests.front(), session);
  if (!request) {
    ended_ = true;
    return std::nullopt;
  }
  request->prefix_blocks = std::move(record_.prefix_blocks);
  request->prefix_block_tokens = record_.prefix_block_tokens;
  if (record_.requests.size() > 1) {
    in_flight_.emplace(request->id, Session{session, 0, std::move(record_.requests)});
  }
  return request;
}

std::vector<Request> ReplaySource::on_finished(const Request& request, core::Time now, Ending) {
  auto node = in_flight_.extract(request.id);
  if (node.empty()) return {};
  Session& session = node.mapped();
  const core::Time arrival = later(now, session.calls[session.at].pause, "/workload/trace");
  ++session.at;
  std::optional<Request> released = admit(arrival, session.calls[session.at], session.number);
  if (!released) return {};
  if (session.at + 1 < session.calls.size()) {
    node.key() = released->id;
    in_flight_.insert(std::move(node));
  }
  return {std::move(*released)};
}

}  // namespace moesim::workloads
