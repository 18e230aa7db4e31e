#include "workloads/window.hpp"

namespace moesim::workloads {

Window::Window(const std::optional<Warmup>& warmup, const std::optional<Stop>& stop) {
  if (warmup && warmup->requests) warmup_requests_left_ = *warmup->requests;
  if (warmup && warmup->duration) warmup_end_ = core::Time{warmup->duration->ps};
  if (stop) {
    measured_left_ = stop->requests;
    measured_duration_ = stop->duration;
  }
  if (warmup_requests_left_ == 0) start_ = warmup_end_;
}

Window::Verdict Window::admit(core::Time arrival) {
  if (warmup_requests_left_ > 0) {
    --warmup_requests_left_;
    return Verdict::warmup;
  }
  if (arrival < warmup_end_) return Verdict::warmup;
  if (!start_) start_ = arrival;
  if (measured_left_ && *measured_left_ == 0) return Verdict::past_end;
  if (measured_duration_ && arrival - *start_ >= *measured_duration_) return Verdict::past_end;
  if (measured_left_) --*measured_left_;
  return Verdict::measured;
}

}  // namespace moesim::workloads
