// Shared by the tests of the workloads room.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/config/document.hpp"
#include "sim/io/line_reader.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"
#include "workloads/request.hpp"
#include "workloads/source.hpp"
#include "workloads/workload.hpp"

namespace moesim::workloads::testing {

using io::testing::TemporaryFolder;

// The workload of a JSON text; throws InputError.
inline Workload read_workload(const std::string& json) {
  const config::Catalogue catalogue({});
  return config::read_document<Workload>(config::parse_text(json, "test.json"), catalogue).value;
}

// An error of input, taken apart.
struct Problem {
  std::string code;
  std::string pointer;
  std::size_t line = 0;
  std::string marked;  // the text that the error points at
  std::string message;
  std::string suggestion;
};

inline Problem taken_apart(const config::InputError& error, std::size_t index = 0) {
  const config::Diagnostic& first = error.diagnostics().errors().at(index);
  Problem problem{first.code, first.pointer, 0, "", first.message, first.suggestion};
  if (first.where.source >= 0) {
    problem.line = error.sources().line_column(first.where).line;
    const std::string& text = error.sources().at(first.where.source).text;
    problem.marked = text.substr(first.where.begin, first.where.end - first.where.begin);
  }
  return problem;
}

// The first error that `body` throws; fails the test if it throws none.
template <class Body>
Problem problem_of(Body&& body) {
  try {
    body();
  } catch (const config::InputError& error) {
    return taken_apart(error);
  }
  FAIL("no InputError was thrown");
  return {};
}

inline std::vector<Request> all_of(RequestSource& source, std::size_t most = SIZE_MAX) {
  std::vector<Request> requests;
  while (requests.size() < most) {
    auto request = source.next();
    if (!request) break;
    requests.push_back(std::move(*request));
  }
  return requests;
}

inline std::vector<Request> generate(const std::string& json, std::uint64_t seed = 1) {
  return all_of(*make_source(read_workload(json), seed, {}));
}

// Lengths of no interest.
inline const std::string kLengths =
    R"("lengths": {"input": {"distribution": "fixed", "tokens": 100},
                   "output": {"distribution": "fixed", "tokens": 10}})";

// The reference data, if this machine has it.
inline std::optional<std::filesystem::path> reference_trace(std::string_view relative) {
#ifdef MOESIM_TEST_DATA_DIR
  const TraceFolders folders{"", MOESIM_TEST_DATA_DIR};
#else
  const TraceFolders folders{"", ""};
#endif
  std::error_code ignored;
  std::filesystem::path path = trace_path("data:" + std::string(relative), folders);
  if (!std::filesystem::exists(path, ignored)) {
    WARN("skipped: no data (" << relative << ")");
    return std::nullopt;
  }
  return path;
}

}  // namespace moesim::workloads::testing
