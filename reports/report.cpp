#include "reports/report.hpp"

#include "sim/config/provenance.hpp"

namespace moesim::reports {

static_assert(execution::kLabels == static_cast<std::size_t>(config::Label::assumed) + 1,
              "StepTime::by_label has one entry per config::Label");

std::string_view end_name(serving::RunEnd end) {
  switch (end) {
    case serving::RunEnd::complete:
      return "complete";
    case serving::RunEnd::until:
      return "until";
    case serving::RunEnd::event_limit:
      return "event_limit";
    case serving::RunEnd::wall_limit:
      return "wall_limit";
    case serving::RunEnd::time_limit:
      return "time_limit";
    case serving::RunEnd::interrupted:
      return "interrupted";
  }
  return "?";
}

std::string_view end_words(serving::RunEnd end) {
  switch (end) {
    case serving::RunEnd::complete:
      return "the run is complete";
    case serving::RunEnd::until:
      return "the limit on simulated time (--until) was reached";
    case serving::RunEnd::event_limit:
      return "the limit on events (--max-events) was reached";
    case serving::RunEnd::wall_limit:
      return "the limit on wall time (--max-wall) was reached";
    case serving::RunEnd::time_limit:
      return "a step passes what can be simulated (53 days, and 106 days of steps of all replicas together)";
    case serving::RunEnd::interrupted:
      return "the run was interrupted";
  }
  return "the run stopped";
}

std::string_view accuracy_sentence(const serving::Results& results) {
  if (results.kernels) {
    return "First roofline: kernel rates are fitted or from datasheets, but whole runs are not calibrated "
           "against end-to-end silicon yet; contention follows from shares of resources and was not compared "
           "with silicon";
  }
  return "First roofline: kernel rates are fitted or from datasheets, but whole runs are not calibrated "
         "against end-to-end silicon yet, and contention between kernels is not modelled";
}

std::vector<double> label_shares(const serving::Results& results) {
  std::vector<double> shares(execution::kLabels, 0.0);
  const auto total = static_cast<double>(results.step_time.total.ps);
  if (total <= 0) return shares;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    shares[i] = static_cast<double>(results.step_time.by_label[i].ps) / total;
  }
  return shares;
}

}  // namespace moesim::reports
