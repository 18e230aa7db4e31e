#include "workloads/mooncake.hpp"

#include <fmt/format.h>

#include <array>
#include <iterator>

#include "workloads/json_record.hpp"

namespace moesim::workloads {
namespace {

constexpr std::array<std::string_view, 4> kKeys = {"timestamp", "input_length", "output_length", "hash_ids"};
constexpr core::Duration kMillisecond{1'000'000'000};

}  // namespace

bool MooncakeReader::next_row(MooncakeRow& row) {
  if (!lines_.next()) {
    if (!any_) lines_.fail_empty();
    return false;
  }
  any_ = true;
  parse_json_record(lines_, json_);
  const JsonRecord record(lines_, json_, 0, "", kKeys);
  row.timestamp_ms = record.integer("timestamp", {0, INT64_MAX});
  row.input_length = record.integer("input_length", {1, kMaxTokens});
  row.output_length = record.integer("output_length", {1, kMaxTokens});
  record.integers("hash_ids", {0, INT64_MAX}, row.hash_ids);
  const std::int64_t blocks = (row.input_length + kMooncakeBlockTokens - 1) / kMooncakeBlockTokens;
  if (static_cast<std::int64_t>(row.hash_ids.size()) != blocks) {
    lines_.fail(
        record.place("hash_ids"), "wrong_block_count",
        fmt::format("{} hash_ids for {} prompt tokens; one for each started block of {} tokens would be {}",
                    row.hash_ids.size(), row.input_length, kMooncakeBlockTokens, blocks));
  }
  arrival_ = order_.check(lines_, record.place("timestamp"), row.timestamp_ms, kMillisecond);
  return true;
}

bool MooncakeReader::next(TraceRecord& record) {
  if (!next_row(row_)) return false;
  record.arrival = arrival_;
  record.session = false;
  record.requests.assign(1, TraceRequest{row_.input_length, row_.output_length, {}});
  record.prefix_blocks = row_.hash_ids;
  record.prefix_block_tokens = kMooncakeBlockTokens;
  return true;
}

void append_mooncake_row(std::string& out, const MooncakeRow& row) {
  fmt::format_to(std::back_inserter(out),
                 "{{\"timestamp\": {}, \"input_length\": {}, \"output_length\": {}, \"hash_ids\": [{}]}}\n",
                 row.timestamp_ms, row.input_length, row.output_length, fmt::join(row.hash_ids, ", "));
}

}  // namespace moesim::workloads
