// One command of the program.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "reports/text.hpp"
#include "sim/cli/arguments.hpp"
#include "sim/cli/guard.hpp"
#include "sim/cli/output.hpp"
#include "sim/cli/progress.hpp"
#include "sim/config/document.hpp"

namespace moesim::cli {

enum class Format : std::uint8_t { text, json, csv };

// What every command gets.
struct Context {
  Writer* out = nullptr;
  Writer* err = nullptr;
  const Environment* environment = nullptr;
  reports::Style out_style;
  reports::Style err_style;
  Format format = Format::text;
  ProgressMode progress = ProgressMode::automatic;
  bool quiet = false;
  bool verbose = false;
  config::Catalogue catalogue{{}};
  std::filesystem::path data_dir;
  BugFacts facts;

  // Prints a document as JSON.
  void print_json(const config::Node& document) const { out->print(config::to_json(document) + "\n"); }
  // With --verbose, says on stderr which files were read.
  void tell_files(const std::vector<std::filesystem::path>& files) const;
  // Prints warnings on stderr unless --quiet.
  void warn(const std::vector<config::Diagnostic>& warnings, const config::SourceSet& sources) const;
};

class Command {
 public:
  virtual ~Command() = default;
  [[nodiscard]] virtual std::string_view name() const = 0;
  [[nodiscard]] virtual std::string_view summary() const = 0;   // one line
  [[nodiscard]] virtual std::string_view usage() const = 0;     // "run [flags] SCENARIO..."
  [[nodiscard]] virtual std::string_view examples() const = 0;  // lines
  [[nodiscard]] virtual std::string_view details() const { return ""; }
  virtual void declare(Arguments& arguments) = 0;
  // Does the work after parsing; returns the exit code.
  virtual int execute(const Context& context, const Arguments& arguments) = 0;
};

[[nodiscard]] std::unique_ptr<Command> make_run_command();
[[nodiscard]] std::unique_ptr<Command> make_estimate_command();
[[nodiscard]] std::unique_ptr<Command> make_validate_command();
[[nodiscard]] std::unique_ptr<Command> make_explain_command();
[[nodiscard]] std::unique_ptr<Command> make_accuracy_command();
[[nodiscard]] std::unique_ptr<Command> make_calibrate_command();
[[nodiscard]] std::unique_ptr<Command> make_kernels_command();
[[nodiscard]] std::unique_ptr<Command> make_schema_command();
[[nodiscard]] std::unique_ptr<Command> make_describe_command();
[[nodiscard]] std::unique_ptr<Command> make_init_command();
[[nodiscard]] std::unique_ptr<Command> make_help_command();
[[nodiscard]] std::unique_ptr<Command> make_version_command();

// All commands, in the order of the help page.
[[nodiscard]] std::vector<std::unique_ptr<Command>> make_commands();

// The flags that every command takes.
struct GlobalFlags {
  bool quiet = false;
  bool verbose = false;
  bool json = false;
  bool short_help = false;
  bool long_help = false;
  bool version = false;
  std::optional<std::string> color;
  std::optional<std::string> progress;
  std::optional<std::string> format;
  std::optional<std::string> folder;
  std::vector<std::string> config_paths;

  void declare(Arguments& arguments);
};

// Pages of `moesim`, `moesim help COMMAND`, `moesim COMMAND -h` and `--help`.
[[nodiscard]] std::string main_help(const reports::Style& style);
[[nodiscard]] std::string command_help(Command& command, bool full, const reports::Style& style);
// The page of a topic such as "exit-codes"; an empty text if there is no such topic.
[[nodiscard]] std::string topic_help(std::string_view topic, const reports::Style& style);
[[nodiscard]] std::vector<std::string> help_topics();

// A format that the command does not have is an error that names those it has.
void require_format(const Context& context, std::string_view command, bool json, bool csv);

// Version, commit and compiler of this program.
struct Build {
  std::string version;
  std::string commit;
  std::string compiler;
};
[[nodiscard]] Build build_facts();

// Runs a command line (without the program's name) and returns the exit code.
[[nodiscard]] int run_program(const std::vector<std::string>& line, const Environment& environment,
                              Writer& out, Writer& err);

}  // namespace moesim::cli
