// Any file is a trace of one of the formats, or is refused with an InputError that can be printed.
#include <cstddef>
#include <cstdint>
#include <iterator>

#include "sim/config/diagnostics.hpp"
#include "sim/config/render.hpp"
#include "tests/fuzz/io_memory_file.hpp"
#include "workloads/trace_reader.hpp"

namespace config = moesim::config;
namespace workloads = moesim::workloads;
using moesim::io::testing::require;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

void read(const moesim::io::testing::MemoryFile& file, workloads::TraceFormat format) {
  try {
    const auto reader = workloads::open_trace(file.path(), format);
    workloads::TraceRecord record;
    moesim::core::Time last;
    while (reader->next(record)) {
      require(record.arrival >= last);
      require(!record.requests.empty());
      for (const workloads::TraceRequest& request : record.requests) {
        require(request.input_tokens >= 1 && request.input_tokens <= workloads::kMaxTokens);
        require(request.output_tokens >= 1 && request.output_tokens <= workloads::kMaxTokens);
        require(request.pause.ps >= 0);
      }
      last = record.arrival;
    }
  } catch (const config::InputError& error) {
    require(error.diagnostics().has_errors());
    require(!config::render(error, false).empty());
  }
}

}  // namespace

// The first byte picks the format, the rest is the file.
int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size == 0) return 0;
  constexpr workloads::TraceFormat kFormats[] = {
      workloads::TraceFormat::automatic, workloads::TraceFormat::azure, workloads::TraceFormat::mooncake,
      workloads::TraceFormat::llmservingsim, workloads::TraceFormat::vidur};
  const moesim::io::testing::MemoryFile file(moesim::io::testing::as_text(data + 1, size - 1));
  read(file, kFormats[data[0] % std::size(kFormats)]);
  return 0;
}
