#include "workloads/trace_reader.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "sim/core/check.hpp"
#include "workloads/azure.hpp"
#include "workloads/json_line.hpp"
#include "workloads/llmservingsim.hpp"
#include "workloads/mooncake.hpp"
#include "workloads/trace_lines.hpp"
#include "workloads/vidur.hpp"

namespace moesim::workloads {
namespace {

// Names by which a format is told from the others.
struct FormatNames {
  TraceFormat format;
  std::array<std::string_view, 4> names;
};
constexpr std::array<FormatNames, 2> kCsvFormats = {{
    {TraceFormat::azure, {"TIMESTAMP", "ContextTokens", "GeneratedTokens", ""}},
    {TraceFormat::vidur, {"arrived_at", "num_prefill_tokens", "num_decode_tokens", ""}},
}};
constexpr std::array<FormatNames, 2> kJsonFormats = {{
    {TraceFormat::mooncake, {"timestamp", "input_length", "output_length", "hash_ids"}},
    {TraceFormat::llmservingsim, {"input_toks", "output_toks", "arrival_time_ns", "sub_requests"}},
}};

// The format with most of its names among `found`; `automatic` if no name is.
TraceFormat best_match(std::span<const FormatNames> formats, const std::vector<std::string>& found) {
  TraceFormat best = TraceFormat::automatic;
  std::ptrdiff_t most = 0;
  for (const FormatNames& candidate : formats) {
    const auto hits =
        std::count_if(candidate.names.begin(), candidate.names.end(), [&](std::string_view name) {
          return !name.empty() && std::find(found.begin(), found.end(), name) != found.end();
        });
    if (hits > most) {
      best = candidate.format;
      most = hits;
    }
  }
  return best;
}

std::vector<std::string> keys_of_first_record(const TraceLines& lines) {
  JsonLine json;
  parse_json_record(lines, json);
  const std::vector<JsonValue>& values = json.values();
  std::vector<std::string> keys;
  for (std::uint32_t at = 1; at < values[0].next; at = values[at + 1].next)
    keys.push_back(json.text(values[at]));
  return keys;
}

std::vector<std::string> columns_of_header(const std::filesystem::path& path) {
  TraceLines lines(path);
  std::vector<io::CsvField> fields;
  std::vector<std::string> columns;
  if (lines.next(fields)) {
    for (io::CsvField& field : fields) columns.push_back(std::move(field.text));
  }
  return columns;
}

}  // namespace

TraceFormat detect_format(const std::filesystem::path& path) {
  TraceLines lines(path);
  if (!lines.next()) lines.fail_empty();
  const std::size_t start = lines.text().find_first_not_of(" \t");
  const bool json = lines.text()[start] == '{';
  const TraceFormat format = json ? best_match(kJsonFormats, keys_of_first_record(lines))
                                  : best_match(kCsvFormats, columns_of_header(path));
  if (format == TraceFormat::automatic) {
    lines.fail(
        {start, lines.text().size(), ""}, "unknown_format", "this is the first line of no known trace format",
        json ? "Mooncake (timestamp, input_length, output_length, hash_ids) or LLMServingSim (input_toks, "
               "output_toks, arrival_time_ns)"
             : "a CSV header (Azure: TIMESTAMP,ContextTokens,GeneratedTokens; Vidur: "
               "arrived_at,num_prefill_tokens,num_decode_tokens) or JSON lines");
  }
  return format;
}

std::unique_ptr<TraceReader> open_trace(const std::filesystem::path& path, TraceFormat format) {
  switch (format == TraceFormat::automatic ? detect_format(path) : format) {
    case TraceFormat::azure:
      return std::make_unique<AzureReader>(path);
    case TraceFormat::mooncake:
      return std::make_unique<MooncakeReader>(path);
    case TraceFormat::llmservingsim:
      return std::make_unique<LlmServingSimReader>(path);
    case TraceFormat::vidur:
      return std::make_unique<VidurReader>(path);
    case TraceFormat::automatic:
      break;
  }
  core::fail_invariant("a trace without a format");
}

bool ends_reading(const config::InputError& error) {
  const std::string& code = error.diagnostics().errors().front().code;
  return code == "cannot_read" || code == "empty_file";
}

void fail_too_late(const TraceReader& reader, double rate_scale) {
  throw reader.error_at_arrival(
      "time_overflow",
      fmt::format("with a rate_scale of {} this arrival is after the 53 days that a run can last",
                  rate_scale),
      "a higher rate_scale or fewer records");
}

TraceSummary summarize_trace(const std::filesystem::path& path, TraceFormat format) {
  TraceSummary summary;
  summary.format = format == TraceFormat::automatic ? detect_format(path) : format;
  const std::unique_ptr<TraceReader> reader = open_trace(path, summary.format);
  TraceRecord record;
  while (reader->next(record)) {
    if (summary.records == 0) summary.first = record.arrival;
    summary.last = record.arrival;
    ++summary.records;
    summary.sessions += record.session ? 1 : 0;
    for (const TraceRequest& request : record.requests) {
      ++summary.requests;
      summary.input_tokens += request.input_tokens;
      summary.output_tokens += request.output_tokens;
      summary.longest_input = std::max(summary.longest_input, request.input_tokens);
      summary.longest_output = std::max(summary.longest_output, request.output_tokens);
      summary.longest_context =
          std::max(summary.longest_context, request.input_tokens + request.output_tokens);
    }
  }
  return summary;
}

}  // namespace moesim::workloads
