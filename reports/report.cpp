#include "reports/report.hpp"

#include <fmt/format.h>

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

std::string accuracy_sentence(const RunReport& report) {
  std::string kernels =
      "Kernel times are a first roofline: datasheet figures times the shares of them that large kernels "
      "reach";
  if (const cost::KernelLibrary* library = report.scenario.kernels.get()) {
    const std::vector<std::string> others = library->stand_ins();
    std::string from;
    if (others.size() == library->families().size()) {
      from = ", where all stand in from other libraries or GPUs";
    } else if (!others.empty()) {
      from = fmt::format(", where {} stand in from other libraries or GPUs", fmt::join(others, ", "));
    }
    kernels = fmt::format(
        "Kernel times are physics with parameters fitted to measured kernels of {} on {}{}; docs/accuracy.md "
        "says how "
        "far off they are on unseen shapes",
        library->name(), library->gpu(), from);
  }
  return kernels +
         (report.results.kernels
              ? ". Whole runs are not compared with end-to-end silicon yet; contention follows from shares "
                "of resources and was not compared with silicon"
              : ". Whole runs are not compared with end-to-end silicon yet, and contention between "
                "kernels is not modelled");
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
