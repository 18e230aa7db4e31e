// The check of a run's arithmetic, written.
#pragma once

#include <string>

#include "reports/text.hpp"
#include "sim/config/node.hpp"
#include "sim/serving/numerics.hpp"

namespace moesim::reports {

// {"passed", "worst_bound_share", "counts_compared", "counts_equal", "layers": [{layer, form, layout,
// formats, passed, sizes, format_errors, properties, counts, not_checked}]}.
[[nodiscard]] config::Node numerics_node(const serving::NumericsCheck& check);

// "numerics: passed, worst error 0.31 of its bound, 24 properties and 88 counts held; 3 things not checked"
[[nodiscard]] std::string numerics_sentence(const serving::NumericsCheck& check, const Style& style);

// What did not hold: one line each.
[[nodiscard]] std::string numerics_failures(const serving::NumericsCheck& check);

// A share of a bound with its digits, or "infinite".
[[nodiscard]] std::string bound_share_text(double share);

}  // namespace moesim::reports
