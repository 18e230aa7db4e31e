// --trace: a file with what happened when, of a single run.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "reports/trace_file.hpp"
#include "sim/cli/arguments.hpp"
#include "sim/cli/command.hpp"

namespace moesim::cli {

class TraceFlags {
 public:
  void declare(Arguments& arguments);
  [[nodiscard]] bool wanted() const { return file_.has_value(); }
  // One of the flags that was given, or "".
  [[nodiscard]] std::string_view any() const;
  // Throws config::InputError for a name that asks for no form, a limit that is no number, a limit without a
  // trace, and a trace of several scenarios.
  void check_usage(std::size_t scenarios) const;
  // For a wanted trace: tries whether the file can be written, before the run: the folder must be there.
  // Throws io::IoError, also where the trace would replace one of the run's `inputs` or a result file in
  // `folder`.
  void check_file(const std::vector<std::filesystem::path>& inputs,
                  const std::optional<std::filesystem::path>& folder) const;
  // An empty timeline if a trace is wanted.
  [[nodiscard]] std::optional<execution::Timeline> timeline() const;
  // Writes the file and returns the lines about it for stderr, "" with --quiet. Throws io::IoError.
  [[nodiscard]] std::string write(const execution::Timeline& timeline, const Context& context) const;

 private:
  std::optional<std::string> file_;
  std::optional<std::string> limit_;
};

}  // namespace moesim::cli
