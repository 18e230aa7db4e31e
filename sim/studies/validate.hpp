// Checks a document without running anything.
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "sim/config/document.hpp"
#include "sim/studies/kinds.hpp"

namespace moesim::studies {

struct Validation {
  std::string file;  // as it was given
  DocumentKind kind = DocumentKind::scenario;
  config::SourceSet sources;
  std::vector<config::Diagnostic> errors;  // at most config::Diagnostics::kMaxErrors
  std::size_t error_count = 0;
  std::vector<config::Diagnostic> warnings;
};

// Reads the file with the field table of its kind. A sound scenario is also asked whether its model fits; if
// not, that is a warning "does_not_fit". Its trace is read to the end; that a "data:" trace is missing is
// only a warning where there is no data folder. Never throws for what is in the files.
[[nodiscard]] Validation validate_file(const std::filesystem::path& file, std::optional<DocumentKind> kind,
                                       const config::Catalogue& catalogue,
                                       const std::filesystem::path& data_dir);

// The same for a text that is already in memory; its relative paths start in the working folder.
[[nodiscard]] Validation validate_text(std::string text, const std::string& name,
                                       std::optional<DocumentKind> kind, const config::Catalogue& catalogue,
                                       const std::filesystem::path& data_dir);

// {"file", "kind", "errors": [...], "warnings": [...]}; "more_errors" if not all are listed.
[[nodiscard]] config::Node to_node(const Validation& validation);

}  // namespace moesim::studies
