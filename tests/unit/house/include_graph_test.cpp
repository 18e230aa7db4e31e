// Who may include whom: part 3 of the design, held against every source file.
#include "tests/support/catch.hpp"
#include "tests/unit/house/house.hpp"

namespace moesim::house {

TEST_CASE("the rooms include only what the table of the house allows") {
  const Sources sources = read_sources(MOESIM_SOURCE_DIR);
  REQUIRE(sources.size() >= 10);
  const Offences offences = forbidden_includes(sources);
  INFO(listing(offences));
  CHECK(offences.empty());
}

TEST_CASE("slow headers stay where they are") {
  const Offences offences = heavy_includes(read_sources(MOESIM_SOURCE_DIR));
  INFO(listing(offences));
  CHECK(offences.empty());
}

TEST_CASE("a forbidden include is found with its file and line") {
  const auto offences_of = [](const std::string& path, const std::string& include) {
    return forbidden_includes(
        {parse_source(path, "#pragma once\n\n  #  include \"" + include + "\"  // why\n")});
  };
  CHECK(offences_of("sim/core/a.hpp", "sim/core/b.hpp").empty());
  CHECK(offences_of("models/cost/a.cpp", "models/llm/b.hpp").empty());
  CHECK(offences_of("models/reference/a.cpp", "models/routing/gate/b.hpp").empty());
  CHECK(offences_of("sim/cli/version.cpp", "moesim_version.hpp").empty());
  CHECK(offences_of("sim/core/a.hpp", "sim/io/b.hpp") ==
        Offences{"sim/core/a.hpp:3: \"sim/io/b.hpp\" is out of bounds: sim/core may not include sim/io"});
  CHECK(offences_of("sim/core/a.hpp", "sim/core_extra/b.hpp").size() == 1);
  CHECK(offences_of("models/llm/a.cpp", "models/routing/b.hpp").size() == 1);
  CHECK(offences_of("models/hardware/a.cpp", "models/llm/b.hpp").size() == 1);
  CHECK(offences_of("models/reference/a.cpp", "models/routing/b.hpp").size() == 1);
  CHECK(offences_of("models/reference/a.cpp", "sim/config/b.hpp").empty());  // readers of files
  CHECK(offences_of("models/reference/a.cpp", "models/llm/b.hpp").size() == 1);
  CHECK(offences_of("workloads/a.cpp", "models/llm/b.hpp").size() == 1);
  CHECK(offences_of("sim/execution/a.cpp", "workloads/b.hpp").size() == 1);
  CHECK(offences_of("reports/a.cpp", "models/cost/b.hpp").size() == 1);
  CHECK(offences_of("sim/studies/a.cpp", "sim/cli/b.hpp").size() == 1);
  CHECK(offences_of("sim/studies/a.cpp", "moesim_version.hpp").size() == 1);
  CHECK(offences_of("sim/cli/a.cpp", "sim/serving/b.hpp").size() == 1);
  CHECK(offences_of("sim/io/a.cpp", "a.hpp").size() == 1);
  CHECK(offences_of("sim/io/a.cpp", "tests/support/catch.hpp").size() == 1);
  CHECK(offences_of("sim/attic/a.cpp", "sim/core/b.hpp").size() == 1);
}

TEST_CASE("an include in a comment does not count and one after a comment does") {
  CHECK(parse_source("a.hpp", "// #include \"x.hpp\"\n/*\n#include \"y.hpp\"\n*/\n").includes.empty());
  const SourceFile file = parse_source("a.hpp", "const char* s = \"//\";\n/* a */ #include <map>\n");
  REQUIRE(file.includes.size() == 1);
  CHECK(file.includes[0].line == 2);
  CHECK(file.includes[0].path == "map");
  CHECK_FALSE(file.includes[0].quoted);
}

TEST_CASE("slow headers are counted") {
  Sources sources;
  for (int i = 0; i < 12; ++i) {
    sources.push_back(
        parse_source("sim/config/" + std::to_string(i) + ".cpp", "#include <nlohmann/json.hpp>\n"));
  }
  sources.push_back(parse_source("sim/config/a.hpp", "#include <nlohmann/json_fwd.hpp>\n"));
  CHECK(heavy_includes(sources).empty());
  sources.push_back(parse_source("sim/cli/main/main.cpp", ""));
  CHECK(heavy_includes(sources) == Offences{"0 files include CLI11; exactly one must"});
  sources.push_back(parse_source("sim/cli/a.cpp", "#include <CLI/CLI.hpp>\n"));
  CHECK(heavy_includes(sources).empty());
  sources.push_back(parse_source("sim/cli/b.cpp", "#include <CLI/CLI.hpp>\n"));
  CHECK(heavy_includes(sources).size() == 3);
  sources.back() = parse_source("sim/config/b.hpp", "\n#include <nlohmann/json.hpp>\n");
  CHECK(heavy_includes(sources) ==
        Offences{"sim/config/b.hpp:2: a header may not include <nlohmann/json.hpp>"});
  sources.back() = parse_source("sim/config/b.cpp", "#include <nlohmann/json.hpp>\n");
  CHECK(heavy_includes(sources).size() == 14);
}

}  // namespace moesim::house
