// From the command line to a command.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "sim/cli/command.hpp"
#include "sim/cli/exit_codes.hpp"
#include "sim/cli/places.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/config/render.hpp"

namespace moesim::cli {

using config::InputError;

void Context::warn(const std::vector<config::Diagnostic>& warnings, const config::SourceSet& sources) const {
  if (quiet) return;
  for (const config::Diagnostic& warning : warnings)
    err->print(config::render(warning, sources, err_style.color));
}

void Context::tell_files(const std::vector<std::filesystem::path>& files) const {
  if (!verbose) return;
  for (const std::filesystem::path& file : files)
    err->print(fmt::format("file: {}\n", config::printable(file.lexically_normal().string())));
}

void GlobalFlags::declare(Arguments& arguments) {
  arguments.begin_global();
  arguments.value("--format", "text|json|csv", "form of the answer on standard output", format);
  arguments.flag("--json", "the same as --format json", json);
  arguments.flag("-q,--quiet", "no warnings and no progress", quiet);
  arguments.flag("-v,--verbose", "say which folders and files are used", verbose);
  arguments.value("--color", "auto|always|never", "colours; also NO_COLOR and CLICOLOR_FORCE", color);
  arguments.value("--progress", "auto|never|json", "progress on standard error", progress);
  arguments.value("-C", "DIR", "work in this folder", folder);
  arguments.list("--config-path", "DIR", "a catalogue that goes before all others (repeatable)",
                 config_paths);
  arguments.flag("-h", "short help", short_help);
  arguments.flag("--help", "full help with examples", long_help);
  arguments.flag("--version", "version of this program", version);
}

void require_format(const Context& context, std::string_view command, bool json, bool csv) {
  const bool fine = context.format == Format::text || (context.format == Format::json && json) ||
                    (context.format == Format::csv && csv);
  if (fine) return;
  throw InputError("bad_value", fmt::format("{} does not print that format", command),
                   csv    ? "--format csv"
                   : json ? "--format json"
                          : "--format text");
}

namespace {

std::size_t choice(std::string_view flag, const std::optional<std::string>& given,
                   const std::vector<std::string>& choices) {
  if (!given) return 0;
  const auto found = std::find(choices.begin(), choices.end(), *given);
  if (found != choices.end()) return static_cast<std::size_t>(found - choices.begin());
  throw InputError("bad_value", fmt::format("{} cannot be \"{}\"", flag, *given),
                   config::nearest(*given, choices), fmt::format("one of {}", fmt::join(choices, ", ")));
}

bool takes_value(std::string_view word) {
  static constexpr std::string_view kFlags[] = {"--format", "--color", "--progress", "-C", "--config-path"};
  return std::find(std::begin(kFlags), std::end(kFlags), word) != std::end(kFlags);
}

// Index of the word that names the command, or the line's length.
std::size_t command_index(const std::vector<std::string>& line) {
  for (std::size_t i = 0; i < line.size(); ++i) {
    if (takes_value(line[i])) {
      ++i;
    } else if (line[i].empty() || line[i].front() != '-') {
      return i;
    }
  }
  return line.size();
}

bool contains(const std::vector<std::string>& line, std::string_view word) {
  const auto end = std::find(line.begin(), line.end(), "--");
  return std::find(line.begin(), end, word) != end;
}

// Before anything is parsed: errors of parsing have a form too.
bool wants_json(const std::vector<std::string>& line) {
  for (std::size_t i = 0; i < line.size() && line[i] != "--"; ++i) {
    if (line[i] == "--json" || line[i] == "--format=json") return true;
    if (line[i] == "--format" && i + 1 < line.size() && line[i + 1] == "json") return true;
  }
  return false;
}

ColorMode early_color(const std::vector<std::string>& line) {
  for (std::size_t i = 0; i < line.size() && line[i] != "--"; ++i) {
    const bool split = line[i] == "--color" && i + 1 < line.size();
    if (line[i] == "--color=always" || (split && line[i + 1] == "always")) return ColorMode::always;
    if (line[i] == "--color=never" || (split && line[i + 1] == "never")) return ColorMode::never;
  }
  return ColorMode::automatic;
}

Command* find_command(const std::vector<std::unique_ptr<Command>>& commands, std::string_view name) {
  for (const auto& command : commands) {
    if (command->name() == name) return command.get();
  }
  return nullptr;
}

[[noreturn]] void fail_unknown_command(const std::vector<std::unique_ptr<Command>>& commands,
                                       const std::string& word) {
  std::vector<std::string> known;
  for (const auto& command : commands) known.emplace_back(command->name());
  std::error_code ignored;
  const bool file = std::filesystem::is_regular_file(word, ignored);
  throw InputError("unknown_command", fmt::format("there is no command \"{}\"", word),
                   file ? fmt::format("moesim run {}", word) : config::nearest(word, known),
                   fmt::format("commands: {}", fmt::join(known, ", ")));
}

void change_folder(const std::optional<std::string>& folder) {
  if (!folder) return;
  std::error_code failed;
  std::filesystem::current_path(*folder, failed);
  if (failed) throw InputError("no_folder", fmt::format("-C {}: {}", *folder, failed.message()));
}

// Fills the context from the flags that every command has.
Context make_context(const GlobalFlags& flags, const Environment& environment, Writer& out, Writer& err,
                     const std::vector<std::string>& line) {
  Context context;
  context.out = &out;
  context.err = &err;
  context.environment = &environment;
  context.format = static_cast<Format>(choice("--format", flags.format, {"text", "json", "csv"}));
  if (flags.json) {
    if (flags.format && context.format != Format::json) {
      throw InputError("contradiction",
                       fmt::format("--json and --format {} contradict each other", *flags.format));
    }
    context.format = Format::json;
  }
  const auto color = static_cast<ColorMode>(choice("--color", flags.color, {"auto", "always", "never"}));
  context.progress =
      static_cast<ProgressMode>(choice("--progress", flags.progress, {"auto", "never", "json"}));
  context.out_style = style_for(terminal_facts(STDOUT_FILENO), color, environment);
  context.err_style = style_for(terminal_facts(STDERR_FILENO), color, environment);
  context.quiet = flags.quiet;
  context.verbose = flags.verbose;
  const Build build = build_facts();
  context.facts = {build.version, build.commit, line};
  change_folder(flags.folder);
  context.catalogue = config::Catalogue(catalogue_roots(flags.config_paths, environment, program_file()));
  context.data_dir = data_folder(environment);
  return context;
}

void tell_places(const Context& context) {
  if (!context.verbose) return;
  for (const std::filesystem::path& root : context.catalogue.roots()) {
    context.err->print(fmt::format("catalogue: {}\n", root.empty() ? "." : root.lexically_normal().string()));
  }
  context.err->print(fmt::format("data: {}\n", context.data_dir.lexically_normal().string()));
}

int no_command(const std::vector<std::string>& line, const Environment& environment, Writer& out,
               Writer& err) {
  const reports::Style out_style = style_for(terminal_facts(STDOUT_FILENO), early_color(line), environment);
  if (contains(line, "--version")) {
    out.print(fmt::format("moesim {}\n", build_facts().version));
    return kExitOk;
  }
  if (contains(line, "-h") || contains(line, "--help")) {
    out.print(main_help(out_style));
    return kExitOk;
  }
  GlobalFlags flags;
  Arguments arguments;
  flags.declare(arguments);
  arguments.parse(line);  // an unknown flag is told first
  if (!wants_json(line)) {
    err.print(main_help(style_for(terminal_facts(STDERR_FILENO), early_color(line), environment)));
  }
  throw InputError("no_command", "which command?", "moesim run SCENARIO");
}

int dispatch(const std::vector<std::string>& line, const Environment& environment, Writer& out, Writer& err) {
  const std::size_t at = command_index(line);
  if (at == line.size()) return no_command(line, environment, out, err);
  const auto commands = make_commands();
  Command* command = find_command(commands, line[at]);
  if (command == nullptr) fail_unknown_command(commands, line[at]);
  std::vector<std::string> rest = line;
  rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(at));
  if (contains(rest, "-h") || contains(rest, "--help")) {
    const reports::Style style = style_for(terminal_facts(STDOUT_FILENO), early_color(line), environment);
    out.print(command_help(*command, contains(rest, "--help"), style));
    return kExitOk;
  }
  GlobalFlags flags;
  Arguments arguments;
  command->declare(arguments);
  flags.declare(arguments);
  arguments.parse(rest);
  if (flags.version) {
    out.print(fmt::format("moesim {}\n", build_facts().version));
    return kExitOk;
  }
  const Context context = make_context(flags, environment, out, err, line);
  tell_places(context);
  return command->execute(context, arguments);
}

}  // namespace

int run_program(const std::vector<std::string>& line, const Environment& environment, Writer& out,
                Writer& err) {
  const Build build = build_facts();
  GuardStyle style;
  style.json = wants_json(line);
  style.color = style_for(terminal_facts(STDERR_FILENO), early_color(line), environment).color;
  return run_guarded([&] { return dispatch(line, environment, out, err); }, out, err, style,
                     {build.version, build.commit, line});
}

}  // namespace moesim::cli
