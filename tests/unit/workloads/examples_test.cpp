// The example traces of the repository are the ones that the code makes. To make them again after a change on
// purpose: MOESIM_UPDATE_EXAMPLES=1 test_unit_workloads "[examples]"
#include "workloads/examples.hpp"

#include <cstdlib>

#include "sim/io/atomic_file.hpp"
#include "tests/unit/workloads/support.hpp"
#include "workloads/trace_reader.hpp"

using namespace moesim;
using namespace moesim::workloads;

namespace {

const std::filesystem::path kFolder = std::filesystem::path(MOESIM_SOURCE_DIR) / "workloads/traces";

}  // namespace

TEST_CASE("the example traces are made again byte for byte", "[examples]") {
  const bool update = std::getenv("MOESIM_UPDATE_EXAMPLES") != nullptr;
  for (const ExampleTrace& example : example_traces()) {
    INFO(example.name);
    if (update) io::write_file(kFolder / example.name, example.text);
    CHECK((io::testing::raw_bytes(kFolder / example.name) == example.text));
  }
}

TEST_CASE("the example traces can be read", "[examples]") {
  const TraceSummary azure = summarize_trace(kFolder / "azure-example.csv");
  CHECK(azure.format == TraceFormat::azure);
  CHECK(azure.requests == 200);
  const TraceSummary mooncake = summarize_trace(kFolder / "mooncake-example.jsonl");
  CHECK(mooncake.format == TraceFormat::mooncake);
  CHECK(mooncake.requests == 100);
  const TraceSummary llmservingsim = summarize_trace(kFolder / "llmservingsim-example.jsonl");
  CHECK(llmservingsim.format == TraceFormat::llmservingsim);
  CHECK(llmservingsim.records == 60);
  CHECK(llmservingsim.sessions == 15);
}
