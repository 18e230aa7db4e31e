#include "workloads/vidur.hpp"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <iterator>
#include <optional>

#include "sim/io/numbers.hpp"

namespace moesim::workloads {
namespace {

constexpr std::array<std::string_view, 3> kColumns = {"arrived_at", "num_prefill_tokens",
                                                      "num_decode_tokens"};

}  // namespace

VidurReader::VidurReader(const std::filesystem::path& path) : table_(path, kColumns) {}

bool VidurReader::next_row(VidurRow& row) {
  if (!table_.next()) return false;
  const TraceLines& lines = table_.lines();
  const std::optional<double> seconds = io::parse_double(table_.text(0));
  if (!seconds) {
    lines.fail(table_.place(0), "wrong_type",
               fmt::format("arrived_at must be a number of seconds, found \"{:.40}\"", table_.text(0)));
  }
  // The end of simulated time, rounded down so that the picoseconds fit.
  constexpr double kMaxSeconds = 9.2e6;
  if (*seconds < 0.0 || *seconds > kMaxSeconds) {
    lines.fail(table_.place(0), "out_of_range",
               "arrived_at must be from 0 to 9200000 seconds from the start of the trace");
  }
  row.arrived_at = *seconds;
  row.num_prefill_tokens = table_.integer(1, {1, kMaxTokens});
  row.num_decode_tokens = table_.integer(2, {1, kMaxTokens});
  arrival_ = order_.check(lines, table_.place(0), std::llround(*seconds * 1e12), core::Duration{1});
  return true;
}

bool VidurReader::next(TraceRecord& record) {
  if (!next_row(row_)) return false;
  record = TraceRecord{};
  record.arrival = arrival_;
  record.requests.push_back({row_.num_prefill_tokens, row_.num_decode_tokens, {}});
  return true;
}

void append_vidur_header(std::string& out) {
  fmt::format_to(std::back_inserter(out), "{}\n", fmt::join(kColumns, ","));
}

void append_vidur_row(std::string& out, const VidurRow& row) {
  std::string seconds = io::format_double(row.arrived_at);
  // Python, which wrote the published files, shows that a number is no integer.
  if (seconds.find_first_of(".e") == std::string::npos) seconds += ".0";
  fmt::format_to(std::back_inserter(out), "{},{},{}\n", seconds, row.num_prefill_tokens,
                 row.num_decode_tokens);
}

}  // namespace moesim::workloads
