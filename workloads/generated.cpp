#include "workloads/generated.hpp"

#include <algorithm>
#include <string_view>
#include <utility>

#include "sim/core/check.hpp"
#include "workloads/time_limit.hpp"

namespace moesim::workloads {
namespace {

constexpr std::string_view kThinkTime = "/workload/arrival/think_time";

const Lengths& lengths_of(const Workload& workload) {
  core::check(workload.lengths.has_value() && workload.arrival.has_value(),
              "a generated workload needs arrival and lengths");
  return *workload.lengths;
}

Request make_request(std::int64_t id, core::Time arrival, RequestLengths lengths, bool warmup) {
  Request request;
  request.id = id;
  request.arrival = arrival;
  request.input_tokens = lengths.input;
  request.output_tokens = lengths.output;
  request.warmup = warmup;
  return request;
}

}  // namespace

OpenLoopSource::OpenLoopSource(const Workload& workload, std::uint64_t seed)
    : lengths_(lengths_of(workload), seed), window_(workload.warmup, workload.stop) {
  core::check(workload.stop.has_value(), "an open loop needs a stop");
  arrivals_ = make_arrivals(*workload.arrival, seed);
}

std::optional<Request> OpenLoopSource::next() {
  if (ended_) return std::nullopt;
  const std::optional<core::Time> arrival = arrivals_->next();
  const auto verdict = arrival ? window_.admit(*arrival) : Window::Verdict::past_end;
  if (verdict == Window::Verdict::past_end) {
    ended_ = true;
    return std::nullopt;
  }
  const std::int64_t id = next_id_++;
  return make_request(id, *arrival, lengths_.measured(id), verdict == Window::Verdict::warmup);
}

std::vector<Request> OpenLoopSource::on_finished(const Request&, core::Time, Ending) { return {}; }

ClosedLoopSource::ClosedLoopSource(const Workload& workload, std::uint64_t seed)
    : lengths_(lengths_of(workload), seed) {
  const auto* loop = std::get_if<ClosedLoopArrivals>(&*workload.arrival);
  core::check(loop != nullptr && loop->clients > 0, "a closed loop needs clients");
  core::check(workload.stop.has_value(), "a closed loop needs a stop");
  clients_ = loop->clients;
  think_time_ = loop->think_time;
  stop_ = *workload.stop;
  if (workload.warmup) {
    core::check(!workload.warmup->duration.has_value(), "a closed loop warms up by requests");
    warmup_ = workload.warmup->requests.value_or(0);
  }
  opening_left_ = warmup_ > 0 ? std::min(clients_, warmup_) : clients_;
}

Request ClosedLoopSource::send_warmup(core::Time arrival) {
  const std::int64_t number = warmup_sent_++;
  return make_request(number, arrival, lengths_.extra_warmup(number), true);
}

std::optional<Request> ClosedLoopSource::send_measured(core::Time arrival) {
  if (stop_.requests && measured_sent_ >= *stop_.requests) return std::nullopt;
  if (stop_.duration && arrival - start_ >= *stop_.duration) return std::nullopt;
  const std::int64_t number = measured_sent_++;
  return make_request(warmup_ + number, arrival, lengths_.measured(number), false);
}

// Only the opening burst needs no completion. It is counted by itself: a request may be refused, and so end
// and release another one, before the whole burst was asked for.
std::optional<Request> ClosedLoopSource::next() {
  if (opening_left_ == 0) return std::nullopt;
  --opening_left_;
  if (warmup_ == 0) return send_measured(core::Time{});
  if (warmup_sent_ == warmup_) return std::nullopt;
  return send_warmup(core::Time{});
}

std::vector<Request> ClosedLoopSource::start_measured(core::Time now) {
  opening_left_ = 0;
  start_ = now;
  std::vector<Request> burst;
  for (std::int64_t client = 0; client < clients_; ++client) {
    std::optional<Request> request = send_measured(now);
    if (!request) break;
    burst.push_back(std::move(*request));
  }
  return burst;
}

std::vector<Request> ClosedLoopSource::on_finished(const Request& request, core::Time now, Ending ending) {
  const core::Duration pause =
      ending == Ending::refused ? std::max(think_time_, kRefusalBackOff) : think_time_;
  if (request.warmup) {
    ++warmup_ended_;
    core::check(warmup_ended_ <= warmup_sent_, "more warm-up requests ended than were sent");
    if (warmup_ended_ == warmup_) return start_measured(now);
    if (warmup_sent_ == warmup_) return {};
    return {send_warmup(later(now, pause, kThinkTime))};
  }
  std::optional<Request> next_request = send_measured(later(now, pause, kThinkTime));
  if (!next_request) return {};
  return {std::move(*next_request)};
}

}  // namespace moesim::workloads
