// Every way in which a kernel can be made wrong is planted by some test that must notice it.
#include <filesystem>
#include <fstream>
#include <iterator>
#include <regex>
#include <set>
#include <string>

#include "tests/support/catch.hpp"

namespace {

std::string text_of(const std::filesystem::path& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

std::set<std::string> found(const std::string& text, const std::regex& pattern) {
  std::set<std::string> all;
  for (auto at = std::sregex_iterator(text.begin(), text.end(), pattern); at != std::sregex_iterator(); ++at)
    all.insert((*at)[1]);
  return all;
}

}  // namespace

TEST_CASE("the mutation tests go through all faults of the kernels, 30 and more") {
  const std::filesystem::path root(MOESIM_SOURCE_DIR);
  const std::string header = text_of(root / "models/reference/probe.hpp");
  const std::size_t begin = header.find("enum class Fault"), end = header.find("};", begin);
  REQUIRE(end != std::string::npos);
  std::set<std::string> faults =
      found(header.substr(begin, end - begin), std::regex("\n  ([a-z_0-9]+)(?:,| |\n|$)"));
  CHECK(faults.erase("none") == 1);
  CHECK(faults.size() >= 30);
  std::string tests, kernels;
  for (const auto& entry : std::filesystem::directory_iterator(root / "tests/unit/reference")) {
    if (entry.path().filename() != "mutation_list_test.cpp") tests += text_of(entry.path());
  }
  for (const auto& entry : std::filesystem::directory_iterator(root / "models/reference")) {
    if (entry.path().filename() != "probe.hpp" && entry.is_regular_file()) kernels += text_of(entry.path());
  }
  const std::regex use("Fault::([a-z_0-9]+)");
  const std::set<std::string> planted = found(tests, use), made = found(kernels, use);
  for (const std::string& fault : faults) {
    INFO(fault);
    CHECK(planted.count(fault) == 1);
    CHECK(made.count(fault) == 1);
  }
}
