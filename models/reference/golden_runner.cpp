#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <system_error>

#include "models/reference/golden.hpp"
#include "sim/io/error.hpp"

namespace moesim::reference {

std::vector<GoldenKind> golden_kinds() {
  std::vector<GoldenKind> all;
  for (const std::span<const GoldenKind> kinds :
       {golden_codec_kinds(), golden_router_kinds(), golden_expert_kinds(), golden_attention_kinds(),
        golden_elementwise_kinds(), golden_collective_kinds()}) {
    all.insert(all.end(), kinds.begin(), kinds.end());
  }
  return all;
}

GoldenVerdict run_golden_case(std::string_view family, GoldenCase& golden) {
  GoldenVerdict verdict{std::string(family), golden.name(), golden.kind(), false, "", 0.0, {}};
  const std::vector<GoldenKind> kinds = golden_kinds();
  const auto found = std::find_if(kinds.begin(), kinds.end(),
                                  [&](const GoldenKind& one) { return one.kind == golden.kind(); });
  if (found == kinds.end()) {
    verdict.failure = fmt::format("no kernel runs cases of the kind \"{}\"", golden.kind());
    return verdict;
  }
  try {
    found->run(golden);
    golden.finish();
  } catch (const std::exception& error) {
    verdict.failure = error.what();
  }
  for (const GoldenCase::Result& result : golden.results()) {
    verdict.worst = std::max(verdict.worst, result.worst);
    if (verdict.failure.empty() && !result.failure.empty()) {
      verdict.failure = fmt::format("{}: {}", result.output, result.failure);
    }
  }
  verdict.results = golden.results();
  verdict.passed = verdict.failure.empty();
  return verdict;
}

std::vector<std::filesystem::path> golden_files(const std::filesystem::path& folder) {
  std::error_code failed;
  std::vector<std::filesystem::path> files;
  for (std::filesystem::directory_iterator at(folder, failed), end; !failed && at != end;
       at.increment(failed)) {
    if (at->path().extension() == ".json") files.push_back(at->path());
  }
  if (failed) throw io::IoError(folder.string(), 0, "cannot read the folder: " + failed.message());
  std::sort(files.begin(), files.end());
  return files;
}

std::vector<GoldenVerdict> check_golden_folder(const std::filesystem::path& folder) {
  const std::vector<std::filesystem::path> files = golden_files(folder);
  if (files.empty()) {
    throw GoldenError(fmt::format("{}: the folder holds no golden vectors (FAMILY.json)", folder.string()));
  }
  std::vector<GoldenVerdict> verdicts;
  for (const std::filesystem::path& file : files) {
    GoldenFamily family = read_golden_family(file);
    for (GoldenCase& golden : family.cases) verdicts.push_back(run_golden_case(family.name, golden));
  }
  return verdicts;
}

}  // namespace moesim::reference
