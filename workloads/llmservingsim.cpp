#include "workloads/llmservingsim.hpp"

#include <fmt/format.h>

#include <array>
#include <iterator>
#include <string_view>
#include <utility>

#include "sim/config/node.hpp"
#include "workloads/time_limit.hpp"

namespace moesim::workloads {
namespace {

constexpr core::Duration kNanosecond{1000};
constexpr std::array<std::string_view, 5> kFlatKeys = {"input_toks", "output_toks", "arrival_time_ns",
                                                       "input_tok_ids", "output_tok_ids"};
constexpr std::array<std::string_view, 3> kSessionKeys = {"session_id", "arrival_time_ns", "sub_requests"};
constexpr std::array<std::string_view, 5> kCallKeys = {"input_toks", "output_toks", "tool_duration_ns",
                                                       "input_tok_ids", "output_tok_ids"};

std::optional<std::vector<std::int64_t>> read_ids(const TraceLines& lines, const JsonRecord& record,
                                                  std::string_view key, std::int64_t count) {
  if (!record.has(key)) return std::nullopt;
  std::vector<std::int64_t> ids;
  record.integers(key, {0, INT64_MAX}, ids);
  if (static_cast<std::int64_t>(ids.size()) != count) {
    lines.fail(record.place(key), "wrong_token_count",
               fmt::format("{} token ids for {} tokens", ids.size(), count));
  }
  return ids;
}

LlmServingSimCall read_call(const TraceLines& lines, const JsonRecord& record) {
  LlmServingSimCall call;
  call.input_toks = record.integer("input_toks", {1, kMaxTokens});
  call.output_toks = record.integer("output_toks", {1, kMaxTokens});
  call.input_tok_ids = read_ids(lines, record, "input_tok_ids", call.input_toks);
  call.output_tok_ids = read_ids(lines, record, "output_tok_ids", call.output_toks);
  return call;
}

// Writes one JSON object with the wanted separators.
class ObjectWriter {
 public:
  ObjectWriter(std::string& out, JsonSpacing spacing)
      : out_(&out),
        comma_(spacing == JsonSpacing::spaced ? ", " : ","),
        colon_(spacing == JsonSpacing::spaced ? ": " : ":") {
    out_->push_back('{');
  }
  void close() { out_->push_back('}'); }
  void key(std::string_view name) {
    if (!first_) out_->append(comma_);
    first_ = false;
    fmt::format_to(std::back_inserter(*out_), "\"{}\"{}", name, colon_);
  }
  void integer(std::string_view name, std::int64_t value) {
    key(name);
    fmt::format_to(std::back_inserter(*out_), "{}", value);
  }
  void integers(std::string_view name, const std::optional<std::vector<std::int64_t>>& values) {
    if (!values) return;
    key(name);
    fmt::format_to(std::back_inserter(*out_), "[{}]", fmt::join(*values, comma_));
  }

 private:
  std::string* out_;
  std::string_view comma_;
  std::string_view colon_;
  bool first_ = true;
};

}  // namespace

LinePlace LlmServingSimReader::read_flat(LlmServingSimRow& row) const {
  const JsonRecord record(lines_, json_, 0, "", kFlatKeys);
  row.arrival_time_ns = record.integer("arrival_time_ns", {0, INT64_MAX});
  row.calls.push_back(read_call(lines_, record));
  return record.place("arrival_time_ns");
}

LinePlace LlmServingSimReader::read_session(LlmServingSimRow& row) const {
  const JsonRecord record(lines_, json_, 0, "", kSessionKeys);
  row.arrival_time_ns = record.integer("arrival_time_ns", {0, INT64_MAX});
  const JsonValue& id = record.required("session_id");
  if (id.kind == JsonKind::string) {
    row.session_id = json_.text(id);
  } else {
    row.session_id = record.integer("session_id", {INT64_MIN, INT64_MAX});
  }
  const std::vector<std::uint32_t> items = record.items("sub_requests");
  if (items.empty()) {
    lines_.fail(record.place("sub_requests"), "out_of_range", "a session needs at least one sub-request");
  }
  for (std::size_t i = 0; i < items.size(); ++i) {
    const JsonRecord item(lines_, json_, items[i], fmt::format("/sub_requests/{}", i), kCallKeys);
    LlmServingSimCall call = read_call(lines_, item);
    const IntegerRange range{0, kLatestArrival.ps / kNanosecond.ps};
    const bool last = i + 1 == items.size();
    call.tool_duration_ns =
        last ? item.optional_integer("tool_duration_ns", range) : item.integer("tool_duration_ns", range);
    row.calls.push_back(std::move(call));
  }
  return record.place("arrival_time_ns");
}

bool LlmServingSimReader::next_row(LlmServingSimRow& row) {
  if (!lines_.next()) {
    if (!any_) lines_.fail_empty();
    return false;
  }
  any_ = true;
  parse_json_record(lines_, json_);
  row = LlmServingSimRow{};
  bool session = false;
  const std::vector<JsonValue>& values = json_.values();
  if (values[0].kind == JsonKind::object) {
    for (std::uint32_t at = 1; at < values[0].next; at = values[at + 1].next) {
      session |= json_.text(values[at]) == "sub_requests";
    }
  }
  const LinePlace arrival = session ? read_session(row) : read_flat(row);
  arrival_ = order_.check(lines_, arrival, row.arrival_time_ns, kNanosecond);
  return true;
}

bool LlmServingSimReader::next(TraceRecord& record) {
  if (!next_row(row_)) return false;
  record = TraceRecord{};
  record.arrival = arrival_;
  record.session = row_.session_id.has_value();
  for (const LlmServingSimCall& call : row_.calls) {
    record.requests.push_back(
        {call.input_toks, call.output_toks, call.tool_duration_ns.value_or(0) * kNanosecond});
  }
  return true;
}

void append_llmservingsim_row(std::string& out, const LlmServingSimRow& row, JsonSpacing spacing) {
  const auto write_lengths = [](ObjectWriter& object, const LlmServingSimCall& call) {
    object.integer("input_toks", call.input_toks);
    object.integer("output_toks", call.output_toks);
  };
  const auto write_ids = [](ObjectWriter& object, const LlmServingSimCall& call) {
    object.integers("input_tok_ids", call.input_tok_ids);
    object.integers("output_tok_ids", call.output_tok_ids);
  };
  ObjectWriter line(out, spacing);
  if (!row.session_id) {
    write_lengths(line, row.calls.front());
    line.integer("arrival_time_ns", row.arrival_time_ns);
    write_ids(line, row.calls.front());
  } else {
    line.key("session_id");
    const auto* number = std::get_if<std::int64_t>(&*row.session_id);
    out += number != nullptr ? std::to_string(*number)
                             : config::to_json(config::Node::of(std::get<std::string>(*row.session_id)), -1);
    line.integer("arrival_time_ns", row.arrival_time_ns);
    line.key("sub_requests");
    out += '[';
    for (std::size_t i = 0; i < row.calls.size(); ++i) {
      if (i > 0) out += spacing == JsonSpacing::spaced ? ", " : ",";
      ObjectWriter item(out, spacing);
      write_lengths(item, row.calls[i]);
      if (row.calls[i].tool_duration_ns) item.integer("tool_duration_ns", *row.calls[i].tool_duration_ns);
      write_ids(item, row.calls[i]);
      item.close();
    }
    out += ']';
  }
  line.close();
  out += '\n';
}

}  // namespace moesim::workloads
