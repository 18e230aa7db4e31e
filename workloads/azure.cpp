#include "workloads/azure.hpp"

#include <fmt/format.h>

#include <array>
#include <chrono>
#include <iterator>

namespace moesim::workloads {
namespace {

constexpr std::array<std::string_view, 3> kColumns = {"TIMESTAMP", "ContextTokens", "GeneratedTokens"};
constexpr std::int64_t kTicksPerSecond = 10'000'000;
constexpr core::Duration kTick{100'000};
constexpr int kMaxFractionDigits = 7;

// The digits of text[begin, begin + count) as a number, or nullopt.
std::optional<std::int64_t> digits(std::string_view text, std::size_t begin, std::size_t count) {
  if (begin + count > text.size()) return std::nullopt;
  std::int64_t value = 0;
  for (const char c : text.substr(begin, count)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  return value;
}

// Seconds that a zone is ahead of UTC: "", "Z", "+hh:mm" or "-hh:mm".
std::optional<std::int64_t> zone_seconds(std::string_view zone) {
  if (zone.empty() || zone == "Z") return 0;
  if (zone.size() != 6 || (zone[0] != '+' && zone[0] != '-') || zone[3] != ':') return std::nullopt;
  const auto hours = digits(zone, 1, 2);
  const auto minutes = digits(zone, 4, 2);
  if (!hours || !minutes || *hours > 14 || *minutes > 59) return std::nullopt;
  return (zone[0] == '-' ? -1 : 1) * (*hours * 3600 + *minutes * 60);
}

// Seconds since 1970 of "YYYY-MM-DD HH:MM:SS" at the start of the text.
std::optional<std::int64_t> civil_seconds(std::string_view text) {
  if (text.size() < 19 || text[4] != '-' || text[7] != '-' || text[10] != ' ' || text[13] != ':' ||
      text[16] != ':') {
    return std::nullopt;
  }
  const auto year = digits(text, 0, 4);
  const auto month = digits(text, 5, 2);
  const auto day = digits(text, 8, 2);
  const auto hour = digits(text, 11, 2);
  const auto minute = digits(text, 14, 2);
  const auto second = digits(text, 17, 2);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(static_cast<int>(*year)),
                                         std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day))};
  if (!date.ok() || *hour > 23 || *minute > 59 || *second > 59) return std::nullopt;
  const std::int64_t days = std::chrono::sys_days(date).time_since_epoch().count();
  return days * 86'400 + *hour * 3600 + *minute * 60 + *second;
}

}  // namespace

std::optional<AzureTimestamp> parse_azure_timestamp(std::string_view text) {
  const auto seconds = civil_seconds(text);
  if (!seconds) return std::nullopt;
  AzureTimestamp timestamp;
  timestamp.fraction_digits = 0;
  std::size_t at = 19;
  std::int64_t fraction = 0;
  if (at < text.size() && text[at] == '.') {
    ++at;
    for (auto digit = digits(text, at, 1); digit; digit = digits(text, ++at, 1)) {
      fraction = fraction * 10 + *digit;
      if (++timestamp.fraction_digits > kMaxFractionDigits) return std::nullopt;
    }
    if (timestamp.fraction_digits == 0) return std::nullopt;
    for (int digit = timestamp.fraction_digits; digit < kMaxFractionDigits; ++digit) fraction *= 10;
  }
  timestamp.zone = std::string(text.substr(at));
  const auto zone = zone_seconds(timestamp.zone);
  if (!zone) return std::nullopt;
  timestamp.ticks = (*seconds - *zone) * kTicksPerSecond + fraction;
  return timestamp;
}

std::string format_azure_timestamp(const AzureTimestamp& timestamp) {
  const std::int64_t ticks = timestamp.ticks + zone_seconds(timestamp.zone).value_or(0) * kTicksPerSecond;
  const auto whole = std::chrono::floor<std::chrono::seconds>(
      std::chrono::duration<std::int64_t, std::ratio<1, kTicksPerSecond>>(ticks));
  const auto days = std::chrono::floor<std::chrono::days>(whole);
  const std::chrono::year_month_day date{std::chrono::sys_days(days)};
  const std::int64_t second = (whole - days).count();
  std::string text = fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", static_cast<int>(date.year()),
                                 static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()),
                                 second / 3600, second / 60 % 60, second % 60);
  if (timestamp.fraction_digits > 0) {
    const std::string fraction = fmt::format("{:07}", ticks - whole.count() * kTicksPerSecond);
    text += '.';
    text += fraction.substr(0, static_cast<std::size_t>(timestamp.fraction_digits));
  }
  return text + timestamp.zone;
}

AzureReader::AzureReader(const std::filesystem::path& path) : table_(path, kColumns) {}

bool AzureReader::next_row(AzureRow& row) {
  if (!table_.next()) return false;
  const auto timestamp = parse_azure_timestamp(table_.text(0));
  if (!timestamp) {
    table_.lines().fail(table_.place(0), "bad_timestamp",
                        fmt::format("\"{:.40}\" is no time stamp", table_.text(0)),
                        "a time such as \"2023-11-16 18:15:46.6805900\"");
  }
  row.timestamp = *timestamp;
  row.context_tokens = table_.integer(1, {1, kMaxTokens});
  row.generated_tokens = table_.integer(2, {1, kMaxTokens});
  if (!first_ticks_) first_ticks_ = row.timestamp.ticks;
  arrival_ = order_.check(table_.lines(), table_.place(0), row.timestamp.ticks - *first_ticks_, kTick);
  return true;
}

bool AzureReader::next(TraceRecord& record) {
  if (!next_row(row_)) return false;
  record = TraceRecord{};
  record.arrival = arrival_;
  record.requests.push_back({row_.context_tokens, row_.generated_tokens, {}});
  return true;
}

void append_azure_header(std::string& out) {
  fmt::format_to(std::back_inserter(out), "{}", fmt::join(kColumns, ","));
}

void append_azure_row(std::string& out, const AzureRow& row) {
  fmt::format_to(std::back_inserter(out), "\r\n{},{},{}", format_azure_timestamp(row.timestamp),
                 row.context_tokens, row.generated_tokens);
}

}  // namespace moesim::workloads
