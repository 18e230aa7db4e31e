// Golden vectors run through the reference kernels.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "models/reference/golden.hpp"
#include "reports/text.hpp"
#include "sim/config/node.hpp"

namespace moesim::studies {

struct GoldenCheckOptions {
  std::filesystem::path folder;
  std::vector<std::string> families;  // only these files, without ".json"; empty: all
  std::vector<std::string> cases;     // only these cases; empty: all
};

struct GoldenCheck {
  std::vector<reference::GoldenVerdict> verdicts;
  [[nodiscard]] std::int64_t failed() const;
};

// Runs the wanted cases. A file that cannot be read is a failed verdict without a case. Throws
// config::InputError for a folder without golden vectors or without one that can be read, and for names that
// no file or case has; io::IoError for a folder that cannot be read.
[[nodiscard]] GoldenCheck check_golden(const GoldenCheckOptions& options);

// A line for each family or, with `each_case`, for each case and its outputs; then every failure in words.
[[nodiscard]] std::string golden_check_text(const GoldenCheck& check, bool each_case,
                                            const reports::Style& style);
// {"passed", "failed", "cases": [{family, case, kind, passed, failure, tolerance_used, outputs: [...]}]}.
// tolerance_used is null where it is infinite.
[[nodiscard]] config::Node golden_check_json(const GoldenCheck& check);
[[nodiscard]] std::string golden_check_csv(const GoldenCheck& check);

}  // namespace moesim::studies
