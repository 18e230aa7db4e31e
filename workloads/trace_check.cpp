#include "workloads/trace_check.hpp"

#include <fmt/format.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <utility>

#include "workloads/time_limit.hpp"
#include "workloads/trace_reader.hpp"
#include "workloads/window.hpp"

namespace moesim::workloads {
namespace {

// Of the lines that are kept for messages; a line may have io::LineReader::kMaxLineBytes.
constexpr std::size_t kMaxKeptBytes = std::size_t{32} << 20;

class Collector {
 public:
  void add(const config::InputError& error) {
    for (config::Diagnostic problem : error.diagnostics().errors()) {
      if (problem.where.source >= 0) {
        const config::Source& source = error.sources().at(problem.where.source);
        kept_bytes_ += source.text.size();
        problem.where.source = problems_.sources.add(source);
      }
      if (count() + 1 == config::Diagnostics::kMaxErrors || kept_bytes_ > kMaxKeptBytes) {
        problem.note = "the trace was not read any further";
        full_ = true;
      }
      problems_.diagnostics.add(std::move(problem));
    }
  }
  [[nodiscard]] bool full() const { return full_; }
  [[nodiscard]] TraceProblems take() { return std::move(problems_); }

 private:
  [[nodiscard]] std::size_t count() const { return problems_.diagnostics.error_count(); }

  TraceProblems problems_;
  std::size_t kept_bytes_ = 0;
  bool full_ = false;
};

// Decides about one record after the other like ReplaySource, which this must not run behind.
class Pass {
 public:
  explicit Pass(const Workload& workload)
      : rate_scale_(workload.rate_scale),
        records_left_(workload.limit),
        window_(workload.warmup, workload.stop) {}

  // Reads and checks the next record; false at the end of what a run reads.
  bool next(TraceReader& reader) {
    if (records_left_ && *records_left_ == 0) return false;
    if (records_left_) --*records_left_;
    if (!reader.next(record_)) return false;
    const std::optional<core::Time> arrival = scaled_arrival(record_.arrival, rate_scale_);
    if (arrival) return window_.admit(*arrival) != Window::Verdict::past_end;
    // All records after the first one that is too late are too.
    if (!std::exchange(too_late_, true)) fail_too_late(reader, rate_scale_);
    return true;
  }

 private:
  double rate_scale_;
  std::optional<std::int64_t> records_left_;
  Window window_;
  TraceRecord record_;
  bool too_late_ = false;
};

}  // namespace

TraceProblems check_trace_records(const Workload& workload, const std::filesystem::path& file) {
  Collector collector;
  try {
    const std::unique_ptr<TraceReader> reader = open_trace(file, workload.format);
    Pass pass(workload);
    bool more = true;
    while (more && !collector.full()) {
      try {
        more = pass.next(*reader);
      } catch (const config::InputError& error) {
        collector.add(error);
        more = !ends_reading(error);
      }
    }
  } catch (const config::InputError& error) {
    collector.add(error);
  }
  return collector.take();
}

}  // namespace moesim::workloads
