#include "workloads/router_trace.hpp"

#include <fmt/format.h>

#include <string_view>
#include <utility>

#include "sim/core/check.hpp"
#include "workloads/json_record.hpp"

namespace moesim::workloads {
namespace {

// The keys of the object: a record may have more than are read here.
std::vector<std::string_view> keys_of(const JsonLine& json) {
  std::vector<std::string_view> keys;
  const std::vector<JsonValue>& values = json.values();
  if (values[0].kind != JsonKind::object) return keys;
  for (std::uint32_t at = 1; at < values[0].next; at = values[at + 1].next)
    keys.emplace_back(json.text(values[at]));
  return keys;
}

}  // namespace

RouterTraceReader::RouterTraceReader(const std::filesystem::path& path, RouterTraceLimits limits)
    : lines_(path), limits_(limits), seen_in_(static_cast<std::size_t>(limits.experts), 0) {
  core::check(limits.experts >= 1 && limits.experts <= 65536 && limits.top_k >= 1,
              "limits of a routing trace");
}

bool RouterTraceReader::next(RouterTraceRecord& record) {
  if (!lines_.next()) {
    if (!any_)
      throw config::line_error(lines_.file(), 1, "", 0, 0, "empty_file", "the trace holds no record");
    return false;
  }
  any_ = true;
  parse_json_record(lines_, json_);
  const std::vector<std::string_view> keys = keys_of(json_);
  const JsonRecord fields(lines_, json_, 0, "", keys);
  constexpr std::int64_t kMostLayers = 65535;
  record.layer = fields.integer("layer", {0, kMostLayers});
  record.block.clear();
  if (fields.has("block") && fields.required("block").kind == JsonKind::string) {
    record.block = json_.text(fields.required("block"));
  }
  record.embedding_only = fields.has("input") && fields.required("input").kind == JsonKind::string &&
                          json_.text(fields.required("input")) == "embedding_only";
  if (const auto top_k = fields.optional_integer("topk", {0, INT64_MAX}); top_k && *top_k != limits_.top_k) {
    lines_.fail(fields.place("topk"), "wrong_top_k",
                fmt::format("these tokens have {} experts each; the model's have {}", *top_k, limits_.top_k));
  }
  const JsonValue& rows = fields.required("top_indices");
  if (rows.kind != JsonKind::array) {
    lines_.fail(fields.place("top_indices"), "wrong_type", "\"top_indices\" must be a list of lists");
  }
  read_rows(rows, record);
  const auto tokens = fields.optional_integer("num_tokens", {0, INT64_MAX});
  if (tokens && *tokens != record.tokens) {
    lines_.fail(fields.place("num_tokens"), "wrong_count",
                fmt::format("{} tokens, but \"top_indices\" has {} rows", *tokens, record.tokens));
  }
  return true;
}

void RouterTraceReader::read_rows(const JsonValue& list, RouterTraceRecord& record) {
  record.experts.clear();
  record.tokens = 0;
  const std::vector<JsonValue>& values = json_.values();
  const auto self = static_cast<std::uint32_t>(&list - values.data());
  for (std::uint32_t at = self + 1; at < list.next; at = values[at].next) {
    read_row(values[at], record.tokens, record);
    ++record.tokens;
  }
}

void RouterTraceReader::read_row(const JsonValue& row, std::int64_t number, RouterTraceRecord& record) {
  const auto fail = [&](const JsonValue& value, std::string code, std::string message) {
    lines_.fail({value.begin, value.end, fmt::format("/top_indices/{}", number)}, std::move(code),
                std::move(message));
  };
  if (row.kind != JsonKind::array) fail(row, "wrong_type", "the experts of a token must be a list");
  const std::vector<JsonValue>& values = json_.values();
  const auto self = static_cast<std::uint32_t>(&row - values.data());
  ++rows_read_;
  std::int64_t width = 0;
  for (std::uint32_t at = self + 1; at < row.next; at = values[at].next, ++width) {
    const JsonValue& expert = values[at];
    if (expert.kind != JsonKind::integer) fail(expert, "wrong_type", "an expert must be a whole number");
    if (expert.integer < 0 || expert.integer >= limits_.experts) {
      fail(expert, "out_of_range",
           fmt::format("there is no expert {}: the model has experts 0 to {}", expert.integer,
                       limits_.experts - 1));
    }
    std::int64_t& seen = seen_in_[static_cast<std::size_t>(expert.integer)];
    if (seen == rows_read_)
      fail(expert, "duplicate", fmt::format("expert {} is there twice", expert.integer));
    seen = rows_read_;
    record.experts.push_back(static_cast<std::uint16_t>(expert.integer));
  }
  if (width != limits_.top_k) {
    fail(row, "wrong_top_k",
         fmt::format("this token has {} experts; the model's have {} each", width, limits_.top_k));
  }
}

}  // namespace moesim::workloads
