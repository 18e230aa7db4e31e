#include "sim/cli/command.hpp"

namespace moesim::cli {

std::vector<std::unique_ptr<Command>> make_commands() {
  std::vector<std::unique_ptr<Command>> all;
  all.push_back(make_run_command());
  all.push_back(make_estimate_command());
  all.push_back(make_validate_command());
  all.push_back(make_explain_command());
  all.push_back(make_describe_command());
  all.push_back(make_accuracy_command());
  all.push_back(make_calibrate_command());
  all.push_back(make_kernels_command());
  all.push_back(make_schema_command());
  all.push_back(make_init_command());
  all.push_back(make_help_command());
  all.push_back(make_version_command());
  return all;
}

}  // namespace moesim::cli
