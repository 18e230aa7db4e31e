// The flags that change a scenario: --set, --unset, --merge, --seed, and the MOESIM_SET_ variables.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/cli/arguments.hpp"
#include "sim/cli/output.hpp"
#include "sim/config/document.hpp"
#include "sim/studies/run.hpp"

namespace moesim::cli {

class OverrideFlags {
 public:
  void declare(Arguments& arguments);
  // All changes in the order in which they count: merge files, environment, then the flags as they were
  // given.
  [[nodiscard]] std::vector<config::Override> overrides(const Arguments& arguments,
                                                        const Environment& environment) const;

 private:
  std::vector<std::string> sets_;
  std::vector<std::string> unsets_;
  std::vector<std::string> merges_;
  std::optional<std::string> seed_;
};

// The scenario that a word of the command line names: a file, or standard input for "-", which messages call
// "<stdin>" and whose relative paths start in the working folder.
[[nodiscard]] studies::PreparedRun prepare_scenario(const std::string& word,
                                                    const config::Catalogue& catalogue,
                                                    const std::vector<config::Override>& overrides);

}  // namespace moesim::cli
