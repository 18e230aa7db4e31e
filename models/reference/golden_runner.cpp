#include <fmt/format.h>

#include <algorithm>
#include <exception>
#include <system_error>

#include "models/reference/golden.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/core/check.hpp"
#include "sim/io/error.hpp"

namespace moesim::reference {

namespace {

// What a kernel threw, in words about the case: without the "(file:line)" of the kernel that
// core::InvariantError ends with.
std::string kernel_failure(const GoldenCase& golden, const std::exception& error) {
  std::string text = error.what();
  if (dynamic_cast<const core::InvariantError*>(&error) != nullptr) {
    const std::size_t source = text.rfind(" (");
    if (source != std::string::npos && text.ends_with(')') && text.find(':', source) != std::string::npos) {
      text.erase(source);
    }
  }
  if (text.starts_with("case ")) return text;
  return text.starts_with(golden.name() + ": ") ? "case " + text
                                                : fmt::format("case {}: {}", golden.name(), text);
}

// "FILE:LINE:COLUMN: " of the first mistake in a document, or "".
std::string document_place(const config::InputError& error) {
  if (error.diagnostics().errors().empty() || error.sources().size() == 0) return "";
  const config::LineColumn place = error.sources().line_column(error.diagnostics().errors().front().where);
  return fmt::format("{}:{}:{}: ", error.sources().at(0).name, place.line, place.column);
}

bool nothing_compared(const GoldenCase& golden) {
  return std::all_of(golden.results().begin(), golden.results().end(),
                     [](const GoldenCase::Result& result) { return result.informative; });
}

}  // namespace

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
    verdict.failure = kernel_failure(golden, error);
  }
  for (const GoldenCase::Result& result : golden.results()) {
    verdict.worst = std::max(verdict.worst, result.worst);
    if (verdict.failure.empty() && !result.failure.empty()) {
      verdict.failure = fmt::format("{}: {}", result.output, result.failure);
    }
  }
  if (verdict.failure.empty() && nothing_compared(golden)) verdict.failure = "nothing compared";
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

std::vector<GoldenVerdict> check_golden_file(const std::filesystem::path& json_file,
                                             const std::vector<std::string>& wanted,
                                             std::vector<std::string>& known) {
  const auto unread = [&](const std::string& words) {
    return std::vector<GoldenVerdict>{
        {json_file.stem().string(), "", "", false, "cannot be read: " + words, 0.0, {}}};
  };
  GoldenFamily family;
  try {
    family = read_golden_family(json_file);
  } catch (const GoldenError& error) {
    return unread(error.what());
  } catch (const config::InputError& error) {
    return unread(document_place(error) + error.what());
  } catch (const io::IoError& error) {
    return unread(error.what());
  }
  std::vector<GoldenVerdict> verdicts;
  for (GoldenCase& golden : family.cases) {
    known.push_back(golden.name());
    if (!wanted.empty() && std::find(wanted.begin(), wanted.end(), golden.name()) == wanted.end()) continue;
    verdicts.push_back(run_golden_case(family.name, golden));
  }
  return verdicts;
}

std::vector<GoldenVerdict> check_golden_folder(const std::filesystem::path& folder) {
  const std::vector<std::filesystem::path> files = golden_files(folder);
  if (files.empty()) {
    throw GoldenError(fmt::format("{}: the folder holds no golden vectors (FAMILY.json)", folder.string()));
  }
  std::vector<GoldenVerdict> verdicts;
  for (const std::filesystem::path& file : files) {
    std::vector<std::string> known;
    for (GoldenVerdict& verdict : check_golden_file(file, {}, known)) verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

}  // namespace moesim::reference
