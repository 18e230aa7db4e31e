// Any file is a routing trace whose records keep to the model's limits, or is refused with an InputError that
// can be printed.
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>

#include "sim/config/diagnostics.hpp"
#include "sim/config/render.hpp"
#include "tests/fuzz/io_memory_file.hpp"
#include "workloads/router_trace.hpp"
#include "workloads/trace_reader.hpp"

namespace config = moesim::config;
namespace workloads = moesim::workloads;
using moesim::io::testing::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  constexpr workloads::RouterTraceLimits kLimits{16, 2};
  const moesim::io::testing::MemoryFile file(moesim::io::testing::as_text(data, size));
  try {
    workloads::RouterTraceReader reader(file.path(), kLimits);
    workloads::RouterTraceRecord record;
    bool more = true;
    while (more) {
      try {
        more = reader.next(record);
        if (!more) break;
        require(record.layer >= 0);
        require(std::cmp_equal(record.experts.size(), record.tokens * kLimits.top_k));
        for (std::size_t i = 0; i < record.experts.size(); i += 2) {
          require(record.experts[i] < kLimits.experts && record.experts[i] != record.experts[i + 1]);
        }
      } catch (const config::InputError& error) {
        require(error.diagnostics().has_errors());
        require(!config::render(error, false).empty());
        more = !workloads::ends_reading(error);
      }
    }
  } catch (const config::InputError& error) {
    require(!config::render(error, false).empty());
  }
  return 0;
}
