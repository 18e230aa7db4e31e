// Running a scenario.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "sim/execution/replica_setup.hpp"
#include "sim/execution/timeline.hpp"
#include "sim/serving/results.hpp"
#include "sim/serving/scenario.hpp"

namespace moesim::serving {

// The deployment cannot exist: the model does not fit, or the cluster has too few GPUs (exit code 3).
class InfeasibleError : public std::runtime_error {
 public:
  InfeasibleError(const std::string& what, std::string remedy)
      : std::runtime_error(what), remedy_(std::move(remedy)) {}
  [[nodiscard]] const std::string& remedy() const { return remedy_; }

 private:
  std::string remedy_;
};

struct Progress {
  double simulated_s = 0;
  std::int64_t requests_finished = 0;
  std::uint64_t events = 0;
};

struct RunOptions {
  std::filesystem::path scenario_dir;   // relative trace paths start here
  std::filesystem::path data_dir;       // "data:" paths start here
  std::optional<core::Duration> until;  // stop after so much simulated time
  std::uint64_t max_events = UINT64_MAX;
  execution::StepOptions step;
  execution::Timeline* timeline = nullptr;  // gets what happened when; nothing is recorded without one
  // Kernel fidelity: checks the certificate of every n-th solution of shared resources; 0: none.
  std::uint32_t verify_every = 0;
  // Called now and then; false stops the run in good order with partial results.
  std::function<bool(const Progress&)> keep_going;
};

// Runs the scenario. A pure function of the scenario, the traces it names and until/max_events.
// Throws InfeasibleError, config::InputError (a broken trace) or core::InvariantError.
[[nodiscard]] Results simulate(const Scenario& scenario, const RunOptions& options);

// The memory of one device of each pool, without running anything. kv_budget is negative if the model does
// not fit.
[[nodiscard]] std::vector<MemoryBudget> memory_budgets(const Scenario& scenario);

}  // namespace moesim::serving
