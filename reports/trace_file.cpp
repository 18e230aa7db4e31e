#include "reports/trace_file.hpp"

#include <string_view>

#include "reports/chrome_trace.hpp"
#include "reports/perfetto.hpp"
#include "sim/core/check.hpp"
#include "sim/io/atomic_file.hpp"

namespace moesim::reports {

std::optional<TraceForm> trace_form(const std::filesystem::path& file) {
  const std::filesystem::path packed = file.extension();
  const std::filesystem::path form =
      packed == ".gz" || packed == ".zst" ? file.stem().extension() : file.extension();
  if (form == ".pftrace") return TraceForm::perfetto;
  if (form == ".json") return TraceForm::chrome;
  return std::nullopt;
}

void write_trace_file(const std::filesystem::path& file, const execution::Timeline& timeline) {
  const std::optional<TraceForm> form = trace_form(file);
  core::check(form.has_value(), "a trace file without a form");
  io::AtomicFile out(file);
  const Sink sink = [&](std::string_view bytes) { out.write(bytes); };
  if (*form == TraceForm::perfetto) {
    write_perfetto(timeline, sink);
  } else {
    write_chrome_trace(timeline, sink);
  }
  out.commit();
}

}  // namespace moesim::reports
