// Running prepared scenarios and reporting what came out: shared by `run` and `estimate`.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/cli/command.hpp"
#include "sim/cli/trace_flags.hpp"
#include "sim/studies/run.hpp"

namespace moesim::cli {

// The flags of a run.
class RunFlags {
 public:
  void declare(Arguments& arguments);

  [[nodiscard]] const std::optional<std::string>& output() const { return output_; }
  [[nodiscard]] const TraceFlags& trace() const { return trace_; }
  [[nodiscard]] bool verify() const { return verify_; }
  [[nodiscard]] bool hash() const { return hash_; }
  [[nodiscard]] bool enforce() const { return enforce_; }
  [[nodiscard]] bool expect() const { return expect_; }
  // True for --detail source. Throws config::InputError for any other detail.
  [[nodiscard]] bool source_detail() const;
  // The share of --require-measured, if it was given. Throws config::InputError for what is no share.
  [[nodiscard]] std::optional<double> required_share() const;
  // One of the flags that was given ("--until"), or "" if none was.
  [[nodiscard]] std::string_view any() const;
  // The settings without the callbacks. Throws config::InputError for a value that is no number or duration.
  [[nodiscard]] studies::RunSettings settings(const Context& context) const;
  // The exit code of a finished run; `signal` is what interrupted it, or 0.
  [[nodiscard]] int exit_code(const reports::RunReport& report, int signal) const;

 private:
  std::optional<std::string> output_;
  std::optional<std::string> until_;
  std::optional<std::string> max_events_;
  std::optional<std::string> max_wall_;
  std::optional<std::string> detail_;
  std::optional<std::string> require_measured_;
  TraceFlags trace_;
  bool enforce_ = false;
  bool expect_ = false;
  bool hash_ = false;
  bool no_memo_ = false;
  bool no_fold_ = false;
  bool verify_ = false;
};

// A scenario and where its files go.
struct PlannedRun {
  studies::PreparedRun prepared;
  std::optional<std::filesystem::path> folder;  // no files without one
};

// Runs them on up to `jobs` threads, writes their files and prints the answers in the order of the plan.
// Returns the exit code. With one run, errors are thrown; with several, each is reported with its run.
[[nodiscard]] int run_all(const Context& context, const RunFlags& flags, const std::vector<PlannedRun>& plan,
                          std::size_t jobs);

}  // namespace moesim::cli
