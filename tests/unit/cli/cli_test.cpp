#include <stdexcept>

#include "sim/cli/arguments.hpp"
#include "sim/cli/command.hpp"
#include "sim/cli/exit_codes.hpp"
#include "sim/cli/guard.hpp"
#include "sim/cli/output.hpp"
#include "sim/cli/places.hpp"
#include "sim/cli/progress.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/config/document.hpp"
#include "sim/core/check.hpp"
#include "sim/io/error.hpp"
#include "sim/serving/simulate.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"

namespace moesim::cli {

namespace {

struct Guarded {
  int code = 0;
  std::string out;
  std::string err;
};

Guarded guarded(const std::function<int()>& body, GuardStyle style = {}) {
  Guarded result;
  Writer out(result.out);
  Writer err(result.err);
  result.code = run_guarded(body, out, err, style, {"0.1.0", "abc", {"run", "x.json"}});
  return result;
}

Guarded program(const std::vector<std::string>& line, std::vector<const char*> variables = {}) {
  variables.push_back(nullptr);
  Guarded result;
  Writer out(result.out);
  Writer err(result.err);
  result.code = run_program(line, Environment(variables.data()), out, err);
  return result;
}

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const config::InputError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("every exception becomes its exit code") {
  CHECK(guarded([] { return 1; }).code == 1);
  CHECK(guarded([]() -> int { throw config::InputError("x", "bad"); }).code == 2);
  CHECK(guarded([]() -> int { throw io::IoError("f", 3, "broken"); }).code == 2);
  CHECK(guarded([]() -> int { throw serving::InfeasibleError("too big", "more GPUs"); }).code == 3);
  CHECK(guarded([]() -> int { throw config::InputError("too_few_gpus", "12 of 8"); }).code == 3);
  CHECK(guarded([]() -> int { core::fail_invariant("lost bytes"); }).code == 4);
  CHECK(guarded([]() -> int { throw std::bad_alloc(); }).code == 5);
  CHECK(guarded([]() -> int { throw 7; }).code == 4);
}

TEST_CASE("an internal error asks for a report with what is needed") {
  const Guarded result = guarded([]() -> int { core::fail_invariant("lost bytes"); });
  CHECK(result.out.empty());
  for (const char* part : {"lost bytes", "report", "0.1.0", "abc", "moesim run x.json"}) {
    CHECK(result.err.find(part) != std::string::npos);
  }
}

TEST_CASE("with --format json an error is one document on standard output") {
  GuardStyle style;
  style.json = true;
  const Guarded result =
      guarded([]() -> int { throw serving::InfeasibleError("too big", "more GPUs"); }, style);
  const config::Node node = config::parse_text(result.out, "out").root;
  CHECK(config::resolve_pointer(node, "/error/code")->text == "infeasible");
  CHECK(config::resolve_pointer(node, "/error/suggestion")->text == "more GPUs");
  CHECK(config::resolve_pointer(node, "/exit/code")->integer == 3);
  CHECK(result.err.find("what would help: more GPUs") != std::string::npos);
}

TEST_CASE("the gravest code of several counts") {
  CHECK(gravest({}) == 0);
  CHECK(gravest({0, 1, 0}) == 1);
  CHECK(gravest({1, 5}) == 5);
  CHECK(gravest({3, 5, 2}) == 2);
  CHECK(gravest({130, 2}) == 130);
  CHECK(gravest({130, 4}) == 4);
  CHECK(exit_reason(5) == "limit");
  CHECK(exit_codes().size() == 8);
}

TEST_CASE("flags and words are parsed as declared") {
  bool quiet = false;
  std::optional<std::string> seed;
  std::vector<std::string> sets, files;
  const auto parse = [&](const std::vector<std::string>& line) {
    quiet = false;
    seed.reset();
    sets.clear();
    files.clear();
    Arguments arguments;
    arguments.flag("-q,--quiet", "", quiet);
    arguments.value("--seed", "N", "", seed);
    arguments.list("--set", "P=V", "", sets);
    arguments.words("FILE", "files", files, 1, 2);
    arguments.parse(line);
    return arguments.given();
  };
  using Given = std::vector<std::pair<std::string, std::string>>;
  CHECK(parse({"--set", "a=1", "x.json", "--seed=3", "--set", "b=[1, 2]", "-q"}) ==
        Given{{"--set", "a=1"}, {"--seed", "3"}, {"--set", "b=[1, 2]"}});
  CHECK(quiet);
  CHECK(seed == "3");
  CHECK(sets == std::vector<std::string>{"a=1", "b=[1, 2]"});
  CHECK(files == std::vector<std::string>{"x.json"});
  parse({"--set", "a=[1,2]", "--set", "c=", "x", "--", "-y"});
  CHECK(files == std::vector<std::string>{"x", "-y"});
  CHECK(sets == std::vector<std::string>{"a=[1,2]", "c="});
  CHECK(message_of([&] { parse({"x", "--quit"}); }) == "unknown flag \"--quit\"");
  CHECK(message_of([&] { parse({"a", "b", "c"}); }) == "\"c\" is one word too many");
  CHECK(message_of([&] { parse({"-q"}); }) == "FILE is missing: files");
  CHECK_FALSE(message_of([&] { parse({"x", "--seed"}); }).empty());
}

TEST_CASE("numbers on the command line are strict") {
  CHECK(parse_count("--seed", "12", 0) == 12);
  CHECK_FALSE(message_of([] { static_cast<void>(parse_count("--seed", "1e3", 0)); }).empty());
  CHECK_FALSE(message_of([] { static_cast<void>(parse_count("--seed", "-1", 0)); }).empty());
  CHECK(parse_duration("--until", "60s").ps == 60 * core::kPicosecondsPerSecond);
  CHECK(parse_duration("--until", "1.5 min").ps == 90 * core::kPicosecondsPerSecond);
  CHECK_FALSE(message_of([] { static_cast<void>(parse_duration("--until", "60")); }).empty());
  CHECK_FALSE(message_of([] { static_cast<void>(parse_duration("--until", "0 s")); }).empty());
  CHECK_FALSE(message_of([] { static_cast<void>(parse_duration("--until", "5 parsec")); }).empty());
  CHECK(parse_fraction("-r", "0.8") == 0.8);
  CHECK_FALSE(message_of([] { static_cast<void>(parse_fraction("-r", "1.1")); }).empty());
}

TEST_CASE("colour, bars and width follow the stream and the environment") {
  const auto style = [](TerminalFacts facts, ColorMode mode, std::vector<const char*> variables) {
    variables.push_back(nullptr);
    return style_for(facts, mode, Environment(variables.data()));
  };
  const TerminalFacts tty{true, 120};
  const TerminalFacts pipe{};
  CHECK(style(tty, ColorMode::automatic, {}).color);
  CHECK(style(tty, ColorMode::automatic, {}).bars);
  CHECK(style(tty, ColorMode::automatic, {}).width == 120);
  CHECK_FALSE(style(pipe, ColorMode::automatic, {"LANG=C.UTF-8"}).color);
  CHECK_FALSE(style(pipe, ColorMode::automatic, {}).bars);
  CHECK(style(pipe, ColorMode::automatic, {}).width == 100);
  CHECK(style(pipe, ColorMode::always, {}).color);
  CHECK_FALSE(style(tty, ColorMode::automatic, {"NO_COLOR=1"}).color);
  CHECK(style(tty, ColorMode::automatic, {"NO_COLOR="}).color);
  CHECK_FALSE(style(tty, ColorMode::automatic, {"TERM=dumb"}).color);
  CHECK(style(pipe, ColorMode::automatic, {"CLICOLOR_FORCE=1"}).color);
  CHECK_FALSE(style(tty, ColorMode::never, {"CLICOLOR_FORCE=1"}).color);
  CHECK(style(tty, ColorMode::automatic, {"LC_ALL=en_GB.UTF-8"}).unicode);
  CHECK_FALSE(style(tty, ColorMode::automatic, {"LC_ALL=C", "LANG=en_GB.UTF-8"}).unicode);
  CHECK(style({true, 0}, ColorMode::automatic, {"COLUMNS=90"}).width == 90);
}

TEST_CASE("progress says how far, how fast and how long") {
  ProgressState state{31.2, 520, 1000, 8'200'000, 2.0};
  CHECK(progress_line(state) == "[#####.....]  52%  520 requests  sim 31.2 s  4.10 M events/s  ETA 2 s");
  state.expected = std::nullopt;
  CHECK(progress_line(state) == "520 requests  sim 31.2 s  4.10 M events/s");
  CHECK(
      progress_json(state) ==
      R"({"progress": null, "simulated_s": 31.2, "requests_finished": 520, "events": 8200000, "elapsed_s": 2})");
}

TEST_CASE("catalogues are found, and a wrong home is told") {
  const io::testing::TemporaryFolder folder;
  const std::string home = std::string("MOESIM_HOME=") + MOESIM_SOURCE_DIR;
  const char* variables[] = {home.c_str(), nullptr};
  const auto roots = catalogue_roots({folder.path().string()}, Environment(variables), {});
  REQUIRE(roots.size() == 2);
  CHECK(roots.front() == std::filesystem::canonical(folder.path()));
  const char* wrong[] = {"MOESIM_HOME=/nowhere", nullptr};
  CHECK_FALSE(message_of([&] { static_cast<void>(catalogue_roots({}, Environment(wrong), {})); }).empty());
  CHECK_FALSE(message_of([&] {
                static_cast<void>(catalogue_roots({"/nowhere"}, Environment(variables), {}));
              }).empty());
}

TEST_CASE("the program answers and explains itself") {
  CHECK(program({"--version"}).out.starts_with("moesim "));
  CHECK(program({"version", "--json"}).code == 0);
  CHECK(program({"--help"}).out.find("estimate") != std::string::npos);
  CHECK(program({"run", "-h"}).out.find("--set PATH=VALUE") != std::string::npos);
  CHECK(program({"help", "exit-codes"}).out.find("130") != std::string::npos);
  CHECK(program({"help", "units"}).out.find("GiB") != std::string::npos);
  CHECK(program({}).code == 2);
  const Guarded unknown = program({"rnu"});
  CHECK(unknown.code == 2);
  CHECK(unknown.err.find("did you mean run?") != std::string::npos);
  CHECK(program({"help", "unit"}).err.find("did you mean units?") != std::string::npos);
  CHECK(program({"version", "--colour", "never"}).err.find("did you mean --color?") != std::string::npos);
  CHECK(program({"describe", "--format", "jsn"}).err.find("did you mean json?") != std::string::npos);
  for (const std::string& topic : help_topics()) CHECK(program({"help", topic}).code == 0);
  for (const auto& command : make_commands()) {
    const std::string page = program({std::string(command->name()), "--help"}).out;
    CHECK(page.find("Examples") < page.find("Usage"));
  }
}

}  // namespace moesim::cli
