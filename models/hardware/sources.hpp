// Helpers of the record checks: every number must name an entry of the file's "sources".
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "sim/config/record.hpp"

namespace moesim::hardware {

// Reports numbers whose source is not listed in the file.
class SourceCheck {
 public:
  SourceCheck(const std::map<std::string, std::string>& sources, config::Problems& problems)
      : sources_(&sources), problems_(&problems) {}

  // `pointer` is the place of the sourced number in the record: "/hbm/capacity".
  template <class T>
  void operator()(std::string_view pointer, const config::Sourced<T>& number) {
    if (!number.overridden) check(pointer, number.source);
  }
  template <class T>
  void operator()(std::string_view pointer, const std::optional<config::Sourced<T>>& number) {
    if (number) (*this)(pointer, *number);
  }

 private:
  void check(std::string_view pointer, const std::string& source);
  const std::map<std::string, std::string>* sources_;
  config::Problems* problems_;
};

// Reports a name that is no identifier: lower case letters, digits and dots, with single dashes between.
void check_identifier(std::string_view name, config::Problems& problems);

}  // namespace moesim::hardware
