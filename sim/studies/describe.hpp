// What the catalogues, the metrics, the policies and the configuration hold.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "reports/text.hpp"
#include "sim/config/document.hpp"

namespace moesim::studies {

// A term with what there is to say about it, for text that is read from top to bottom.
struct Entry {
  std::string term;
  std::string detail;
};

// One part of an answer. For people: the entries where there are any, else the table. For CSV: the table.
struct Section {
  std::string title;
  reports::Table table;
  std::vector<Entry> entries;
};

struct Description {
  std::vector<Section> sections;
  config::Node document;                       // the same for programs
  std::vector<config::Diagnostic> warnings{};  // about what was read; their places are in `sources`
  config::SourceSet sources{};
};

struct TopicInfo {
  std::string_view name;
  std::string_view sentence;
};
[[nodiscard]] std::span<const TopicInfo> describe_topics();

// One topic ("gpu", "metric"), or one thing of it ("gpu", "h200-sxm"). With `dense_twin` the dense model with
// as many parameters, of a model with experts. Throws config::InputError with a suggestion for unknown names,
// and where there is no dense twin.
[[nodiscard]] Description describe(std::string_view topic, std::string_view name,
                                   const config::Catalogue& catalogue, bool dense_twin = false);

// As lines of at most style.width characters.
[[nodiscard]] std::string to_text(const Description& description, const reports::Style& style);
// The first section's table.
[[nodiscard]] std::string to_csv(const Description& description);

}  // namespace moesim::studies
