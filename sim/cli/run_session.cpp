#include "sim/cli/run_session.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <exception>
#include <system_error>

#include "reports/detail.hpp"
#include "reports/files.hpp"
#include "reports/results_json.hpp"
#include "reports/summary.hpp"
#include "sim/cli/exit_codes.hpp"
#include "sim/cli/signals.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/io/error.hpp"
#include "sim/io/numbers.hpp"
#include "sim/studies/inputs.hpp"

namespace moesim::cli {

namespace fs = std::filesystem;

using config::Node;

void RunFlags::declare(Arguments& arguments) {
  arguments.value("-o,--output", "DIR", "folder for the result files", output_);
  trace_.declare(arguments);
  arguments.flag("--hash", "print the SHA-256 of each result file", hash_);
  arguments.flag("--enforce", "exit with 1 if an SLO is missed", enforce_);
  arguments.flag("--expect", "exit with 1 if an expectation of the scenario fails", expect_);
  arguments.value(
      "--detail", "source",
      "also print how much of each part of the step time rests on measured, calibrated, derived or "
      "assumed numbers, what binds it and its speed of light",
      detail_);
  arguments.value("--require-measured", "SHARE",
                  "exit with 1 unless so much of the step time rests on measured or calibrated numbers, for "
                  "example 50%",
                  require_measured_);
  arguments.value("--until", "TIME", "stop after so much simulated time, for example 60s", until_);
  arguments.value("--max-events", "N", "stop after so many events", max_events_);
  arguments.value("--max-wall", "TIME", "stop after so much real time", max_wall_);
  arguments.flag(
      "--verify",
      "kernel fidelity: check every 64th sharing of resources for optimality (max-min certificate)", verify_);
  arguments.flag("--no-memo", "price every batch anew (same results, slower)", no_memo_);
  arguments.flag("--no-fold", "price equal layers one by one (same results, slower)", no_fold_);
}

std::string_view RunFlags::any() const {
  if (output_) return "-o";
  if (hash_) return "--hash";
  if (enforce_) return "--enforce";
  if (expect_) return "--expect";
  if (detail_) return "--detail";
  if (require_measured_) return "--require-measured";
  if (until_) return "--until";
  if (max_events_) return "--max-events";
  if (max_wall_) return "--max-wall";
  if (verify_) return "--verify";
  if (no_memo_) return "--no-memo";
  if (no_fold_) return "--no-fold";
  return trace_.any();
}

bool RunFlags::source_detail() const {
  if (!detail_) return false;
  if (*detail_ == "source") return true;
  throw config::InputError("bad_value", fmt::format("--detail: there is no detail \"{}\"", *detail_),
                           "source");
}

std::optional<double> RunFlags::required_share() const {
  if (!require_measured_) return std::nullopt;
  std::string text = *require_measured_;
  const bool percent = text.ends_with('%');
  if (percent) text.pop_back();
  while (text.ends_with(' ')) text.pop_back();
  const auto value = io::parse_double(text);
  const double share = value ? *value / (percent ? 100 : 1) : -1;
  if (!(share >= 0 && share <= 1)) {
    throw config::InputError(
        "bad_value", fmt::format("--require-measured: \"{}\" is no share", *require_measured_), "50% or 0.5");
  }
  return share;
}

studies::RunSettings RunFlags::settings(const Context& context) const {
  // Bad values are told before anything runs.
  static_cast<void>(source_detail());
  static_cast<void>(required_share());
  studies::RunSettings settings;
  settings.data_dir = context.data_dir;
  settings.tool_version = context.facts.version;
  if (until_) settings.until = parse_duration("--until", *until_);
  if (max_events_)
    settings.max_events = static_cast<std::uint64_t>(parse_count("--max-events", *max_events_, 1));
  if (max_wall_) settings.max_wall = parse_duration("--max-wall", *max_wall_);
  settings.memo = !no_memo_;
  settings.fold = !no_fold_;
  settings.verify = verify_;
  return settings;
}

int RunFlags::exit_code(const reports::RunReport& report, int signal) const {
  const serving::Results& results = report.results;
  const auto held = [](const auto& entry) { return entry.held; };
  if (!std::all_of(results.checks.begin(), results.checks.end(), held)) return kExitInternal;
  if (results.end == serving::RunEnd::interrupted) return signal == SIGTERM ? kExitTerminate : kExitInterrupt;
  if (report.partial()) return kExitLimit;
  if (results.numerics && !results.numerics->passed()) return kExitNo;
  if (enforce_ && results.slo_met == false) return kExitNo;
  if (const auto share = required_share(); share && reports::measured_share(results) < *share) return kExitNo;
  if (expect_ && !std::all_of(results.expect.begin(), results.expect.end(), held)) return kExitNo;
  return kExitOk;
}

namespace {

// The answer of one run in the form that was asked for.
struct Answer {
  int code = kExitOk;
  std::string text;     // text or CSV rows
  Node document;        // JSON
  std::string failure;  // for stderr
  std::string note;     // for stderr
};

double seconds_of(clockid_t clock) {
  timespec now{};
  ::clock_gettime(clock, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) * 1e-9;
}

std::string utc_now() {
  const ::time_t now = ::time(nullptr);
  ::tm parts{};
  ::gmtime_r(&now, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", parts.tm_year + 1900, parts.tm_mon + 1,
                     parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string host_name() {
  std::array<char, 256> name{};
  return ::gethostname(name.data(), name.size() - 1) == 0 ? name.data() : "unknown";
}

class Session {
 private:
  // The verdict of --require-measured.
  [[nodiscard]] std::string required_line(const reports::RunReport& report) const {
    const std::optional<double> share = flags_.required_share();
    if (!share) return "";
    const double reached = reports::measured_share(report.results);
    return fmt::format("\n{} rest on measured or calibrated numbers, {} are required: {}\n",
                       reports::percent(reached) + " of the step time", reports::percent(*share),
                       reached < *share ? "NOT MET" : "met");
  }

 public:
  Session(const Context& context, const RunFlags& flags, const std::vector<PlannedRun>& plan)
      : context_(context),
        flags_(flags),
        plan_(plan),
        meter_(*context.err, context.progress, context.quiet, context.err_style, expected(plan)) {}

  // Runs one scenario of the plan; throws what the run throws.
  Answer run(std::size_t index) {
    const PlannedRun& planned = plan_[index];
    if (SignalGuard::received() != 0) return not_run(planned);
    reports::RunInfo info = start_info(planned);
    const double wall = seconds_of(CLOCK_MONOTONIC);
    const double cpu = seconds_of(CLOCK_THREAD_CPUTIME_ID);
    studies::RunSettings settings = flags_.settings(context_);
    std::optional<execution::Timeline> timeline = flags_.trace().timeline();
    if (timeline) settings.timeline = &*timeline;
    settings.keep_going = [&](const serving::Progress& progress) {
      meter_.update(index, progress.simulated_s, progress.requests_finished, progress.events);
      return SignalGuard::received() == 0;
    };
    const reports::RunReport report = studies::execute(planned.prepared, context_.catalogue, settings);
    info.wall_s = seconds_of(CLOCK_MONOTONIC) - wall;
    info.cpu_s = seconds_of(CLOCK_THREAD_CPUTIME_ID) - cpu;
    for (const fs::path& file : studies::input_files(planned.prepared, context_.data_dir)) {
      info.files.push_back(file.string());
    }
    std::vector<reports::WrittenFile> files;
    std::string trace_note;
    try {
      if (planned.folder) files = reports::write_result_files(*planned.folder, report, info);
      if (timeline) trace_note = flags_.trace().write(*timeline, context_);
    } catch (const io::IoError&) {
      return not_written(answer(planned, report, {}), std::current_exception());
    }
    Answer answer = this->answer(planned, report, files);
    answer.note += trace_note;
    return answer;
  }

  Answer failed(std::size_t index, const std::exception_ptr& exception) const {
    Failure failure = describe_failure(exception, context_.facts, context_.err_style.color);
    Answer answer;
    answer.code = failure.exit_code;
    answer.failure = fmt::format("{}:\n{}", plan_[index].prepared.title(), failure.text);
    answer.document = Node::object();
    answer.document.set("scenario", Node::of(std::string_view(plan_[index].prepared.title())));
    answer.document.set("error", std::move(failure.error));
    answer.document.set("exit", exit_node(failure.exit_code));
    return answer;
  }

  void finish() { meter_.finish(); }

 private:
  static std::vector<std::optional<std::int64_t>> expected(const std::vector<PlannedRun>& plan) {
    std::vector<std::optional<std::int64_t>> all;
    for (const PlannedRun& planned : plan)
      all.push_back(studies::expected_requests(planned.prepared.loaded.value));
    return all;
  }

  // The run is done and paid for: its answer is printed, and the failure told after it.
  Answer not_written(Answer answer, const std::exception_ptr& exception) const {
    Failure failure = describe_failure(exception, context_.facts, context_.err_style.color);
    answer.code = failure.exit_code;
    answer.note.clear();
    answer.failure += failure.text;
    if (context_.format == Format::json) {
      answer.document.set("error", std::move(failure.error));
      answer.document.set("exit", exit_node(failure.exit_code));
    }
    return answer;
  }

  static Answer not_run(const PlannedRun& planned) {
    Answer answer;
    answer.code = SignalGuard::received() == SIGTERM ? kExitTerminate : kExitInterrupt;
    answer.failure = fmt::format("{}: not run, interrupted before it began\n", planned.prepared.title());
    answer.document = Node::object();
    answer.document.set("scenario", Node::of(std::string_view(planned.prepared.title())));
    answer.document.set("not_run", Node::of(true));
    answer.document.set("exit", exit_node(answer.code));
    return answer;
  }

  reports::RunInfo start_info(const PlannedRun& planned) const {
    const Build build = build_facts();
    reports::RunInfo info;
    info.tool_version = build.version;
    info.git_commit = build.commit;
    info.compiler = build.compiler;
    info.host = host_name();
    info.started = utc_now();
    info.arguments = context_.facts.arguments;
    std::error_code ignored;
    info.working_folder = fs::current_path(ignored).string();
    info.scenario_path = planned.prepared.file.string();
    info.output_folder = planned.folder ? planned.folder->string() : "";
    return info;
  }

  Answer answer(const PlannedRun& planned, const reports::RunReport& report,
                const std::vector<reports::WrittenFile>& files) const {
    Answer answer;
    answer.code = flags_.exit_code(report, SignalGuard::received());
    switch (context_.format) {
      case Format::text:
        answer.text = reports::text_summary(report, context_.out_style);
        if (flags_.source_detail()) answer.text += reports::source_detail(report, context_.out_style);
        answer.text += required_line(report) + hash_lines(planned, files);
        break;
      case Format::json:
        answer.document = document(report, files, answer.code);
        break;
      case Format::csv:
        answer.text = csv_rows(report);
        break;
    }
    if (planned.folder && !context_.quiet) {
      answer.note =
          fmt::format("wrote {} and five files beside it\n", (*planned.folder / "results.json").string());
    }
    if (flags_.verify() && report.results.kernels && !context_.quiet) {
      answer.note += fmt::format("verified {} sharings of resources: each is max-min fair\n",
                                 report.results.kernels->verified);
    }
    if (answer.code == kExitInternal) {
      answer.failure =
          describe_failure(std::make_exception_ptr(std::logic_error(
                               "a conservation law does not hold (see \"checks\" in the results)")),
                           context_.facts, context_.err_style.color)
              .text;
    }
    return answer;
  }

  std::string hash_lines(const PlannedRun& planned, const std::vector<reports::WrittenFile>& files) const {
    if (!flags_.hash()) return "";
    std::string out = "\n";
    for (const reports::WrittenFile& file : files) {
      const std::string prefix = plan_.size() > 1 ? planned.prepared.name + "/" : "";
      out += fmt::format("{}  {}{}\n", file.sha256, prefix, file.name);
    }
    return out;
  }

  Node document(const reports::RunReport& report, const std::vector<reports::WrittenFile>& files,
                int code) const {
    Node node = reports::results_node(report);
    if (flags_.hash()) {
      Node list = Node::array();
      for (const reports::WrittenFile& file : files) {
        Node entry = Node::object();
        entry.set("name", Node::of(std::string_view(file.name)));
        entry.set("sha256", Node::of(std::string_view(file.sha256)));
        list.items.push_back(std::move(entry));
      }
      node.set("files", std::move(list));
    }
    node.set("exit", exit_node(code));
    return node;
  }

  static std::string csv_rows(const reports::RunReport& report) {
    reports::Table table({{"scenario", false, 0},
                          {"metric", false, 0},
                          {"value", true, 0},
                          {"unit", false, 0},
                          {"better", false, 0},
                          {"partial", true, 0}});
    for (const serving::Metric& metric : serving::metrics(report.results)) {
      table.add({report.manifest.scenario, metric.name, io::format_double(metric.value), metric.unit,
                 metric.lower_is_better ? "lower" : "higher", report.partial() ? "1" : "0"});
    }
    return table.csv();
  }

  const Context& context_;
  const RunFlags& flags_;
  const std::vector<PlannedRun>& plan_;
  ProgressMeter meter_;
};

// The folders that were made for the results; those that are still empty at the end go again.
class MadeFolders {
 public:
  explicit MadeFolders(const std::vector<PlannedRun>& plan) {
    try {
      for (const PlannedRun& planned : plan) {
        if (!planned.folder) continue;
        const auto made = reports::prepare_result_folder(*planned.folder);
        made_.insert(made_.begin(), made.begin(), made.end());
      }
    } catch (...) {
      remove_empty();
      throw;
    }
  }
  ~MadeFolders() { remove_empty(); }
  MadeFolders(const MadeFolders&) = delete;
  MadeFolders& operator=(const MadeFolders&) = delete;

 private:
  void remove_empty() const {
    std::error_code ignored;
    for (const fs::path& folder : made_) {
      // Keeps what is not empty, and what has taken the folder's place.
      if (fs::is_directory(fs::symlink_status(folder, ignored))) fs::remove(folder, ignored);
    }
  }

  std::vector<fs::path> made_;  // innermost first
};

// One document for one run; a list of them for several.
Node combined(std::vector<Answer>& answers, int code) {
  if (answers.size() == 1) return std::move(answers.front().document);
  Node runs = Node::array();
  for (Answer& answer : answers) runs.items.push_back(std::move(answer.document));
  Node document = Node::object();
  document.set("runs", std::move(runs));
  document.set("exit", exit_node(code));
  return document;
}

void print_answers(const Context& context, std::vector<Answer>& answers, int code) {
  if (context.format == Format::json) {
    context.print_json(combined(answers, code));
  }
  bool first = true;
  for (const Answer& answer : answers) {
    if (!answer.text.empty()) {
      std::string_view text = answer.text;
      if (!first && context.format == Format::csv)
        text.remove_prefix(text.find('\n') + 1);  // one header is enough
      if (!first && context.format == Format::text) context.out->write("\n" + std::string(80, '-') + "\n");
      context.out->write(text);
      first = false;
    }
  }
  context.out->flush();
  for (const Answer& answer : answers) context.err->write(answer.note + answer.failure);
  context.err->flush();
}

// A gate without a rule would pass whatever happens.
void warn_before(const Context& context, const RunFlags& flags, const std::vector<PlannedRun>& plan) {
  for (const PlannedRun& planned : plan) {
    const auto& loaded = planned.prepared.loaded;
    context.tell_files({loaded.document.files.begin(), loaded.document.files.end()});
    context.warn(loaded.warnings, loaded.document.sources);
    const auto no_rules = [&](std::string_view flag, std::string_view key) {
      config::Diagnostic warning;
      warning.code = "no_rules";
      warning.message =
          fmt::format("{} has nothing to judge: {} has no \"{}\"", flag, planned.prepared.title(), key);
      warning.warning = true;
      context.warn({warning}, {});
    };
    if (flags.verify() && loaded.value.fidelity != serving::Fidelity::kernel) {
      config::Diagnostic warning;
      warning.code = "nothing_to_verify";
      warning.message =
          fmt::format("--verify has nothing to check: {} runs at step fidelity, where nothing is shared",
                      planned.prepared.title());
      warning.warning = true;
      context.warn({warning}, {});
    }
    if (flags.enforce() && loaded.value.slo.empty()) no_rules("--enforce", "slo");
    if (flags.expect() && loaded.value.expect.empty()) no_rules("--expect", "expect");
  }
}

}  // namespace

int run_all(const Context& context, const RunFlags& flags, const std::vector<PlannedRun>& plan,
            std::size_t jobs) {
  static_cast<void>(flags.settings(context));  // tells of bad values before anything runs
  flags.trace().check_usage(plan.size());
  if (flags.output() && flags.output()->empty()) throw io::IoError("-o", 0, "needs the name of a folder");
  const MadeFolders folders(plan);
  if (flags.trace().wanted()) {
    const PlannedRun& only = plan.front();
    studies::check_trace(only.prepared.loaded, only.prepared.folder, context.data_dir);
    flags.trace().check_file(studies::input_files(only.prepared, context.data_dir), only.folder);
  }
  warn_before(context, flags, plan);
  const SignalGuard signals;
  Session session(context, flags, plan);
  std::vector<Answer> answers(plan.size());
  if (plan.size() == 1) {
    try {
      answers.front() = session.run(0);
    } catch (...) {
      session.finish();
      throw;
    }
  } else {
    studies::for_each_index(plan.size(), jobs, [&](std::size_t index) {
      try {
        answers[index] = session.run(index);
      } catch (...) {
        answers[index] = session.failed(index, std::current_exception());
      }
    });
  }
  session.finish();
  std::vector<int> codes;
  for (const Answer& answer : answers) codes.push_back(answer.code);
  const int code = gravest(codes);
  print_answers(context, answers, code);
  return code;
}

}  // namespace moesim::cli
