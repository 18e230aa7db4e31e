// The help pages.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "sim/cli/command.hpp"
#include "sim/cli/exit_codes.hpp"
#include "sim/config/quantity.hpp"

namespace moesim::cli {

namespace {

using reports::Style;
using reports::Tone;

std::string heading(std::string_view text, const Style& style) {
  return reports::paint(text, Tone::heading, style) + "\n";
}

std::string indented(std::string_view lines) {
  std::string out;
  while (!lines.empty()) {
    const std::size_t end = std::min(lines.find('\n'), lines.size());
    out += fmt::format("  {}\n", lines.substr(0, end));
    lines.remove_prefix(std::min(end + 1, lines.size()));
  }
  return out;
}

std::string flag_list(const std::vector<Arguments::Spec>& specs, bool global, const Style& style) {
  constexpr std::size_t kColumn = 30;
  std::string out;
  for (const Arguments::Spec& spec : specs) {
    if (spec.global != global) continue;
    std::string names = fmt::format("{}", fmt::join(split_names(spec.names), ", "));
    if (!spec.placeholder.empty()) names += " " + spec.placeholder;
    std::string label = fmt::format("  {:<{}}", names, kColumn - 2);
    if (label.size() > kColumn) {
      out += label + "\n";
      label.assign(kColumn, ' ');
    }
    out += reports::hanging(label, spec.help, style.width) + "\n";
  }
  return out;
}

std::string exit_code_page(const Style& style) {
  std::string out = heading("Exit codes", style);
  for (const ExitCode& entry : exit_codes()) {
    out += reports::hanging(fmt::format("  {:>3}  {:<12}", entry.code, entry.reason), entry.meaning,
                            style.width) +
           "\n";
  }
  return out +
         reports::wrapped(
             "Several scenarios: the gravest code of all. With --format json the code is also "
             "exit.code in the document.",
             style.width) +
         "\n";
}

std::string unit_page(const Style& style) {
  using config::Dimension;
  static constexpr Dimension kAll[] = {Dimension::bytes,
                                       Dimension::bytes_per_second,
                                       Dimension::flops_per_second,
                                       Dimension::hertz,
                                       Dimension::duration,
                                       Dimension::per_second,
                                       Dimension::watts,
                                       Dimension::usd};
  std::string out = heading("Units", style);
  out += reports::wrapped(
             "Numbers with a dimension are strings with a unit, one space between: \"80 GiB\". GB is 10^9 "
             "bytes, GiB is 2^30. Results are SI numbers with the unit in the name: ttft_s, kv_peak_bytes.",
             style.width) +
         "\n";
  for (const Dimension dimension : kAll) {
    const std::string label = fmt::format("  {:<13} {:<16}", config::dimension_noun(dimension),
                                          fmt::format("\"{}\"", config::dimension_example(dimension)));
    out += reports::hanging(label, fmt::format("{}", fmt::join(config::unit_names(dimension), ", ")),
                            style.width) +
           "\n";
  }
  return out;
}

std::string entries_page(std::string_view title,
                         const std::vector<std::pair<std::string_view, std::string_view>>& rows,
                         const Style& style) {
  std::string out = heading(title, style);
  for (const auto& [name, text] : rows)
    out += reports::hanging(fmt::format("  {:<22}", name), text, style.width) + "\n";
  return out;
}

std::string environment_page(const Style& style) {
  return entries_page(
      "Environment",
      {
          {"MOESIM_SET_a__b=value",
           "the same as --set a.b=value, but weaker; two underscores separate the parts of a path"},
          {"MOESIM_HOME", "folder with hw_configs/, models/ and workloads/; goes before the installed one"},
          {"MOESIM_DATA_DIR", "where \"data:\" traces are looked for"},
          {"NO_COLOR", "no colours; --color and CLICOLOR_FORCE win over it"},
          {"CLICOLOR_FORCE", "colours also without a terminal"},
          {"TERM=dumb", "no colours and no bars"},
          {"COLUMNS", "width, where the terminal does not tell"},
      },
      style);
}

std::string file_page(const Style& style) {
  return entries_page(
      "Result files",
      {
          {"results.json",
           "metrics, verdicts, memory, where the time goes, how good the numbers are; the same bytes for "
           "the same scenario, seed and version"},
          {"requests.csv", "one row per request; times are exact decimal seconds"},
          {"timeseries.csv",
           "arrivals, tokens, running and waiting requests, preemptions and admission stops over time"},
          {"memory.csv",
           "bytes of a device by category over time: mean and worst device of each pool, and the part of "
           "them that holds nothing"},
          {"experts.csv", "tokens per expert and MoE layer"},
          {"run_info.json", "wall time, host, paths, compiler: what is not part of the result"},
          {"--trace FILE",
           "when every step ran and what waited, for https://ui.perfetto.dev; .pftrace has whole "
           "nanoseconds, "
           ".json exact picoseconds"},
      },
      style);
}

std::string layer_page(const Style& style) {
  return entries_page(
      "Where values come from, weakest first",
      {
          {"defaults", "of the field tables: moesim describe scenario"},
          {"catalogue", "entries that the scenario names: moesim describe hardware"},
          {"scenario", "the file, and what it \"extends\""},
          {"--merge FILE", "JSON merge patch (RFC 7396)"},
          {"MOESIM_SET_...", "environment: moesim help environment"},
          {"--set, --unset", "paths with dots or JSON pointers; --set '/slo/-=\"e2e.p99 <= 20 s\"' appends"},
          {"explain", "moesim explain SCENARIO prints each value with its origin"},
      },
      style);
}

struct Topic {
  std::string_view name;
  std::string (*page)(const Style&);
};

constexpr std::array<Topic, 5> kTopics = {{{"exit-codes", exit_code_page},
                                           {"units", unit_page},
                                           {"environment", environment_page},
                                           {"files", file_page},
                                           {"layers", layer_page}}};

}  // namespace

std::vector<std::string> help_topics() {
  std::vector<std::string> names;
  for (const Topic& topic : kTopics) names.emplace_back(topic.name);
  return names;
}

std::string topic_help(std::string_view name, const Style& style) {
  for (const Topic& topic : kTopics) {
    if (topic.name == name) return topic.page(style);
  }
  return "";
}

std::string main_help(const Style& given) {
  Style style = given;
  style.width = std::min<std::size_t>(given.width, 100);
  std::string out =
      "moesim: projects latency, throughput, memory and cost of LLM inference on GPU clusters\n\n";
  out += heading("Examples", style);
  out += indented(
      "moesim init chat -o chat.json                   a commented scenario\n"
      "moesim run chat.json                            run it\n"
      "moesim run chat.json --set deployment.pools.chat.replicas=3\n"
      "moesim estimate --model llama-3.1-8b --gpu h100-sxm --concurrency 64\n"
      "moesim explain chat.json                        where every value comes from");
  out += "\n" + heading("Commands", style);
  for (const auto& command : make_commands()) {
    out += reports::hanging(fmt::format("  {:<10}", command->name()), command->summary(), style.width) + "\n";
  }
  out += "\n" + heading("Global flags", style);
  GlobalFlags flags;
  Arguments arguments;
  flags.declare(arguments);
  out += flag_list(arguments.flags(), true, style);
  out += fmt::format("\nOne command:  moesim COMMAND --help\nTopics:       moesim help {}\n",
                     fmt::join(help_topics(), " | "));
  return out;
}

std::string command_help(Command& command, bool full, const Style& given) {
  Style style = given;
  style.width = std::min<std::size_t>(given.width, 100);
  Arguments arguments;
  command.declare(arguments);
  GlobalFlags globals;
  globals.declare(arguments);
  std::string out = fmt::format("moesim {}: {}\n\n", command.name(), command.summary());
  if (full) out += heading("Examples", style) + indented(command.examples()) + "\n";
  out += heading("Usage", style) + indented(fmt::format("moesim {}", command.usage())) + "\n";
  if (full && !command.details().empty()) out += reports::wrapped(command.details(), style.width) + "\n\n";
  const std::string flags = flag_list(arguments.flags(), false, style);
  if (!flags.empty()) out += heading("Flags", style) + flags;
  if (full) {
    out += (flags.empty() ? "" : "\n") + heading("Global flags", style) +
           flag_list(arguments.flags(), true, style);
  } else {
    out += fmt::format("{}moesim {} --help: examples and global flags\n", flags.empty() ? "" : "\n",
                       command.name());
  }
  return out;
}

}  // namespace moesim::cli
