// Where every value of a resolved configuration comes from.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/config/document.hpp"

namespace moesim::studies {

struct ExplainedValue {
  std::string pointer;  // JSON pointer: "/cluster/node/gpu/hbm/bandwidth/value"
  std::string path;     // the same with dots, as --set takes it
  config::Node value;   // a scalar, or an empty list or object
  config::OriginKind origin = config::OriginKind::default_value;
  std::string source;        // the file, the variable or the argument; empty for a default
  config::LineColumn place;  // in the file
  std::string label;         // of a sourced number: "datasheet"
};

// The JSON pointer that a path with dots ("a.b.0") or a pointer means; "" is the whole document.
[[nodiscard]] std::string pointer_of_path(std::string_view path);

// The values at and below `path` in the order of the document. With `folded`, a number with a source is one
// row (its value, with its label) and the lists of "sources" are left out. Throws config::InputError if there
// is no such path.
[[nodiscard]] std::vector<ExplainedValue> explain(const config::Node& resolved,
                                                  const config::SourceSet& sources, std::string_view path,
                                                  bool folded);

// One line about the origin: "default", "catalogue hw_configs/gpus/h200-sxm.json:12", "--set seed=3".
[[nodiscard]] std::string origin_words(const ExplainedValue& value);

}  // namespace moesim::studies
