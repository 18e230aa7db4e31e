// One finished run with everything that the writers need to know about it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/serving/results.hpp"
#include "sim/serving/scenario.hpp"

namespace moesim::reports {

// Versions of what is written, as integers that only rise.
inline constexpr std::int64_t kResultSchema = 1;
inline constexpr std::int64_t kScenarioSchema = 1;

// A file that took part in a run. The name is the same on every machine: the path inside the catalogue, the
// trace as the scenario names it, or the bare file name.
struct InputDigest {
  std::string name;
  std::string sha256;
};

// What a result was computed from. Holds nothing about the machine, the time or the place of the files.
struct Manifest {
  std::string tool_version;
  std::string scenario;         // its name, or the name of its file without ".json"
  std::string scenario_sha256;  // of the resolved scenario as compact JSON
  std::vector<InputDigest> inputs;
};

struct RunReport {
  serving::Scenario scenario;
  serving::Results results;
  Manifest manifest;

  [[nodiscard]] bool partial() const { return results.end != serving::RunEnd::complete; }
};

// What stopped a run as one stable word: "complete", "until", "event_limit", "wall_limit", "interrupted".
[[nodiscard]] std::string_view end_name(serving::RunEnd end);

// What stopped a run, in words: "--until was reached".
[[nodiscard]] std::string_view end_words(serving::RunEnd end);

// The sentence about how far the model was compared with silicon. Stands in every summary and result file.
[[nodiscard]] std::string accuracy_sentence(const RunReport& report);

// Share of the step time whose binding number has each label, in the order of config::Label; zeros without
// steps.
[[nodiscard]] std::vector<double> label_shares(const serving::Results& results);

}  // namespace moesim::reports
