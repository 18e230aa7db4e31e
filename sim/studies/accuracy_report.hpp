// Accuracy reports as text, JSON, CSV and Markdown.
#pragma once

#include <string>

#include "reports/text.hpp"
#include "sim/config/node.hpp"
#include "sim/studies/kernel_accuracy.hpp"

namespace moesim::studies {

// {"overall": {n, mape, median, p90, bias}, "groups": [...], "skipped": [...]}; errors are fractions of 1.
[[nodiscard]] config::Node accuracy_json(const AccuracyReport& report);
// A table by operator, GPU and library; `by_variant`: and by format and code path.
[[nodiscard]] std::string accuracy_text(const AccuracyReport& report, bool by_variant,
                                        const reports::Style& style);
[[nodiscard]] std::string accuracy_csv(const AccuracyReport& report);
[[nodiscard]] std::string accuracy_markdown(const AccuracyReport& report, bool by_variant);

}  // namespace moesim::studies
