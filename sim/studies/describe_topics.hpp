// The topics of `describe`, one function each (internal to sim/studies).
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "models/llm/architecture.hpp"
#include "sim/studies/describe.hpp"

namespace moesim::studies::detail {

// An empty name asks for the list.
[[nodiscard]] Description describe_hardware(const config::Catalogue& catalogue);
[[nodiscard]] Description describe_gpu(std::string_view name, const config::Catalogue& catalogue);
[[nodiscard]] Description describe_node(std::string_view name, const config::Catalogue& catalogue);
[[nodiscard]] Description describe_fabric(std::string_view name, const config::Catalogue& catalogue);
[[nodiscard]] Description describe_engine(std::string_view name, const config::Catalogue& catalogue);
[[nodiscard]] Description describe_kernels(std::string_view name, const config::Catalogue& catalogue);
[[nodiscard]] Description describe_model(std::string_view name, const config::Catalogue& catalogue,
                                         bool dense_twin);
[[nodiscard]] Description describe_metric(std::string_view name);
[[nodiscard]] Description describe_policy(std::string_view name);
[[nodiscard]] Description describe_workload(std::string_view name);
[[nodiscard]] Description describe_scenario(std::string_view name);

// Parts of describe_model. The sections write their numbers into the document too.
struct LayerLines {
  std::string attention;
  std::string feed_forward;
};
[[nodiscard]] LayerLines layer_lines(const llm::Architecture& model);
// The resolved entry of a model, turned into that of its dense twin.
[[nodiscard]] config::Node dense_twin_entry(const llm::Architecture& twin, config::Node entry);
[[nodiscard]] Section flops_section(const llm::Architecture& model, config::Node& document);
[[nodiscard]] Section kv_section(const llm::Architecture& model, config::Node& document);
[[nodiscard]] Section range_section(const llm::Architecture& model, config::Node& document);

// Every number with its source in a resolved catalogue entry, its notes, and the list of sources.
[[nodiscard]] std::vector<Section> sourced_numbers(std::string title, const config::Node& resolved);

[[nodiscard]] config::Node text_node(std::string_view text);
// The whole-number or quoted form of a scalar, for people.
[[nodiscard]] std::string plain_value(const config::Node& value);
[[noreturn]] void fail_unknown(std::string_view noun, std::string_view name,
                               const std::vector<std::string>& known);

}  // namespace moesim::studies::detail
