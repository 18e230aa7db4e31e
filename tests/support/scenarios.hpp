// Small scenarios for tests.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/config/document.hpp"

namespace moesim::test {

inline config::Catalogue source_catalogue() { return config::Catalogue({std::string(MOESIM_SOURCE_DIR)}); }

// One replica of a small model that a closed loop of 4 clients keeps busy. Change it with --set style texts.
inline constexpr std::string_view kSmallScenario = R"({
  "version": 1,
  "cluster": {"node": "hgx-h100-8", "nodes": 1},
  "model": "llama-3.1-8b",
  "deployment": {"engine": "vllm", "pools": {"main": {"tp": 1}}},
  "workload": {
    "arrival": {"process": "closed-loop", "clients": 4},
    "lengths": {"input": {"distribution": "uniform", "tokens": 2000, "ratio": 0.5},
                "output": {"distribution": "uniform", "tokens": 60, "ratio": 0.5}},
    "stop": {"requests": 24}
  }
})";

// DeepSeek-V3 with DP attention on one node: every exchange of the MoE layers is used.
inline constexpr std::string_view kMoeScenario = R"({
  "version": 1,
  "cluster": {"node": "hgx-h200-8", "nodes": 1},
  "model": "deepseek-v3",
  "deployment": {"engine": "vllm", "pools": {"main": {"tp": 2, "dp_attention": 4, "ep": 8}},
                 "formats": {"weights": "fp8_block"}},
  "workload": {
    "arrival": {"process": "poisson", "rate": "4/s"},
    "lengths": {"input": {"distribution": "lognormal", "median": 3000, "sigma": 1.0, "max": 30000},
                "output": {"distribution": "fixed", "tokens": 20}},
    "stop": {"requests": 30}
  }
})";

inline std::vector<config::Override> sets(const std::vector<std::string>& texts) {
  std::vector<config::Override> changes;
  for (const std::string& text : texts) {
    changes.push_back({config::Override::Kind::set, text, config::OriginKind::command_line, "--set"});
  }
  return changes;
}

}  // namespace moesim::test
