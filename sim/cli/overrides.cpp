#include "sim/cli/overrides.hpp"

#include <fmt/format.h>

#include "sim/cli/standard_input.hpp"

namespace moesim::cli {

void OverrideFlags::declare(Arguments& arguments) {
  arguments.list("--set", "PATH=VALUE", "change a value: --set deployment.pools.main.tp=8 (repeatable)",
                 sets_);
  arguments.list("--unset", "PATH", "remove a value (repeatable)", unsets_);
  arguments.list("--merge", "FILE", "lay a JSON file over the scenario, RFC 7396 (repeatable)", merges_);
  arguments.value("--seed", "N", "the same as --set seed=N", seed_);
}

std::vector<config::Override> OverrideFlags::overrides(const Arguments& arguments,
                                                       const Environment& environment) const {
  using config::OriginKind;
  using config::Override;
  std::vector<Override> all = config::overrides_from_environment(environment.raw());
  for (const auto& [flag, value] : arguments.given()) {
    if (flag == "--merge") {
      all.push_back({Override::Kind::merge_file, value, OriginKind::merge, flag});
    } else if (flag == "--set") {
      all.push_back({Override::Kind::set, value, OriginKind::command_line, flag});
    } else if (flag == "--unset") {
      all.push_back({Override::Kind::unset, value, OriginKind::command_line, flag});
    } else if (flag == "--seed") {
      all.push_back({Override::Kind::set, fmt::format("seed={}", parse_count(flag, value, 0)),
                     OriginKind::command_line, flag});
    }
  }
  return all;
}

studies::PreparedRun prepare_scenario(const std::string& word, const config::Catalogue& catalogue,
                                      const std::vector<config::Override>& overrides) {
  if (!is_standard_input(word)) return studies::prepare_file(word, catalogue, overrides);
  studies::PreparedRun prepared =
      studies::prepare_text(read_standard_input(), std::string(config::kStandardInput), catalogue, overrides);
  prepared.name = "stdin";  // of the folder for its results
  return prepared;
}

}  // namespace moesim::cli
