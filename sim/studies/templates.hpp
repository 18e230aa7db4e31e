// Commented scenarios to start from.
#pragma once

#include <span>
#include <string_view>

namespace moesim::studies {

struct Template {
  std::string_view name;
  std::string_view sentence;
  std::string_view text;  // JSON with comments
};

[[nodiscard]] std::span<const Template> templates();

// The template of that name. Throws config::InputError with a suggestion for any other name.
[[nodiscard]] const Template& template_by_name(std::string_view name);

}  // namespace moesim::studies
