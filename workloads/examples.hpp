// The small example traces in workloads/traces: made here, so that they can be made again byte for byte.
#pragma once

#include <string>
#include <vector>

namespace moesim::workloads {

struct ExampleTrace {
  std::string name;  // file name in workloads/traces
  std::string text;
};

// One example per format with an example file (Azure, Mooncake, LLMServingSim). Synthetic: no line comes from
// a recorded trace; the parameters are near the statistics of the published ones.
[[nodiscard]] std::vector<ExampleTrace> example_traces();

}  // namespace moesim::workloads
