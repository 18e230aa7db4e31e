// House rules that the compiler does not know.
#include "tests/support/catch.hpp"
#include "tests/unit/house/house.hpp"

namespace moesim::house {

namespace {

[[nodiscard]] Sources one(const std::string& path, const std::string& text) {
  return {parse_source(path, text)};
}

}  // namespace

TEST_CASE("headers behave") {
  const Offences offences = header_manners(read_sources(MOESIM_SOURCE_DIR));
  INFO(listing(offences));
  CHECK(offences.empty());

  CHECK(header_manners(one("a.hpp", "// x\n#pragma once\n#include <map>\n")).empty());
  CHECK(header_manners(one("a.cpp", "#include <iostream>\nusing namespace std;\n")).empty());
  CHECK(header_manners(one("a.hpp", "// #pragma once\n")) ==
        Offences{"a.hpp:1: a header without #pragma once"});
  CHECK(header_manners(one("a.hpp", "#pragma once\nusing  namespace std;\n")) ==
        Offences{"a.hpp:2: in a header: using  namespace"});
  CHECK(header_manners(one("a.hpp", "#pragma once\n#include <regex>\n#include <iostream>\n")).size() == 2);
}

TEST_CASE("random numbers are the same everywhere") {
  const Offences offences = unportable_random(read_sources(MOESIM_SOURCE_DIR));
  INFO(listing(offences));
  CHECK(offences.empty());

  CHECK(unportable_random(one("a.cpp", "boost::random::normal_distribution<> d;\nint operand(int x);\n"))
            .empty());
  CHECK(
      unportable_random(one("a.cpp", "// std::random_device\nauto s = \"rand()\"; auto r = R\"(rand())\";\n"))
          .empty());
  CHECK(unportable_random(one("a.cpp", "int x = 1'000; // it's\nint y = rand ();\n")) ==
        Offences{"a.cpp:2: not the same everywhere: rand ("});
  CHECK(unportable_random(one("a.cpp", "std::normal_distribution<double> d;\n")).size() == 1);
  CHECK(unportable_random(one("a.cpp", "std::random_device d;\nstd::shuffle(b, e, g);\n")).size() == 2);
}

TEST_CASE("awaitables are named before they are awaited") {
  const Offences offences = braces_in_co_await(read_sources(MOESIM_SOURCE_DIR));
  INFO(listing(offences));
  CHECK(offences.empty());

  CHECK(braces_in_co_await(one("a.cpp", "if (co_await ready) { go(); }\nco_await delay(d);\nauto t = T{};\n"))
            .empty());
  CHECK(braces_in_co_await(one("a.cpp", "Awaiter operator co_await() { return a; }\n")).empty());
  CHECK(braces_in_co_await(one("a.cpp", "auto x = co_await f(a,\n  Time{5});\n")) ==
        Offences{"a.cpp:1: braces inside a co_await expression: give the awaitable a name first"});
  CHECK(braces_in_co_await(one("a.cpp", "\nco_await Delay{5};\n")).size() == 1);
}

TEST_CASE("no file is too long") {
  const Offences offences = long_files(read_sources(MOESIM_SOURCE_DIR));
  INFO(listing(offences));
  CHECK(offences.empty());

  const auto lines = [](std::size_t n) {
    std::string text;
    for (std::size_t i = 0; i < n; ++i) {
      text += "int x;\n";
    }
    return text;
  };
  CHECK(long_files(one("a.cpp", lines(500))).empty());
  CHECK(long_files(one("a.cpp", lines(501))) == Offences{"a.cpp:501: more than 500 lines"});
}

TEST_CASE("nothing is left unfinished") {
  const Offences offences = unfinished_marks(read_sources(MOESIM_SOURCE_DIR));
  INFO(listing(offences));
  CHECK(offences.empty());

  CHECK(unfinished_marks(one("a.cpp", "// hackneyed\nint TODOS;\n")).empty());
  CHECK(unfinished_marks(one("a.cpp",
                             "int x;\n// TODO"
                             ": more\n")) == Offences{"a.cpp:2: finish it or write it down elsewhere: TODO"});
}

TEST_CASE("every folder of the house is there") {
  const Offences offences = missing_folders(MOESIM_SOURCE_DIR);
  INFO(listing(offences));
  CHECK(offences.empty());
  CHECK(missing_folders(MOESIM_SOURCE_DIR "/docs").size() >= 20);
}

}  // namespace moesim::house
