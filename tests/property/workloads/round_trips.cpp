// What the writers write reads back the same, for any rows; a reader of any bytes reads or throws InputError.
#include <rapidcheck.h>

#include <algorithm>
#include <string>
#include <type_traits>
#include <vector>

#include "sim/config/diagnostics.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"
#include "workloads/azure.hpp"
#include "workloads/llmservingsim.hpp"
#include "workloads/mooncake.hpp"
#include "workloads/vidur.hpp"

using namespace moesim;
using namespace moesim::workloads;
using moesim::io::testing::TemporaryFolder;

namespace {

rc::Gen<std::int64_t> tokens() {
  return rc::gen::oneOf(rc::gen::inRange<std::int64_t>(1, 5000), rc::gen::just(kMaxTokens),
                        rc::gen::inRange<std::int64_t>(1, kMaxTokens));
}

// Sorted numbers from 0 to `most`, at least one.
std::vector<std::int64_t> sorted_times(std::int64_t most) {
  auto times = *rc::gen::nonEmpty(rc::gen::container<std::vector<std::int64_t>>(
      rc::gen::oneOf(rc::gen::inRange<std::int64_t>(0, 100), rc::gen::inRange<std::int64_t>(0, most))));
  std::sort(times.begin(), times.end());
  return times;
}

template <class Reader, class Row>
void check_reads_back(const std::string& text, const std::vector<Row>& rows) {
  const TemporaryFolder folder;
  Reader reader(folder.put("trace", text));
  for (const Row& expected : rows) {
    Row row;
    RC_ASSERT(reader.next_row(row));
    RC_ASSERT(row == expected);
  }
  Row extra;
  RC_ASSERT_FALSE(reader.next_row(extra));
}

LlmServingSimCall any_call(bool last, bool session) {
  LlmServingSimCall call;
  call.input_toks = *tokens();
  call.output_toks = *rc::gen::inRange<std::int64_t>(1, 20);
  if (session && (!last || *rc::gen::arbitrary<bool>())) {
    call.tool_duration_ns = *rc::gen::inRange<std::int64_t>(0, 4'000'000'000'000'000);
  }
  if (*rc::gen::arbitrary<bool>()) {
    call.output_tok_ids = *rc::gen::container<std::vector<std::int64_t>>(
        static_cast<std::size_t>(call.output_toks), rc::gen::positive<std::int64_t>());
  }
  return call;
}

}  // namespace

TEST_CASE("Azure rows survive writing and reading") {
  CHECK(rc::check([] {
    static const std::vector<std::string> zones = {"", "Z", "+00:00", "-08:30", "+14:00"};
    const std::int64_t first = *rc::gen::inRange<std::int64_t>(0, 40'000'000'000'000'000);
    std::vector<AzureRow> rows;
    for (const std::int64_t ticks : sorted_times(40'000'000'000'000)) {
      AzureRow row;
      row.timestamp.fraction_digits = *rc::gen::inRange(0, 8);
      std::int64_t unit = 1;
      for (int digit = row.timestamp.fraction_digits; digit < 7; ++digit) unit *= 10;
      row.timestamp.ticks = (first + ticks) / unit * unit;
      row.timestamp.zone = *rc::gen::elementOf(zones);
      row.context_tokens = *tokens();
      row.generated_tokens = *tokens();
      rows.push_back(row);
    }
    std::sort(rows.begin(), rows.end(),
              [](const AzureRow& a, const AzureRow& b) { return a.timestamp.ticks < b.timestamp.ticks; });
    std::string text;
    append_azure_header(text);
    for (const AzureRow& row : rows) append_azure_row(text, row);
    check_reads_back<AzureReader>(text, rows);
  }));
}

TEST_CASE("Mooncake rows survive writing and reading") {
  CHECK(rc::check([] {
    std::vector<MooncakeRow> rows;
    for (const std::int64_t ms : sorted_times(4'500'000'000)) {
      MooncakeRow row;
      row.timestamp_ms = ms;
      row.input_length = *rc::gen::inRange<std::int64_t>(1, 9000);
      row.output_length = *tokens();
      row.hash_ids = *rc::gen::container<std::vector<std::int64_t>>(
          static_cast<std::size_t>((row.input_length + 511) / 512), rc::gen::positive<std::int64_t>());
      rows.push_back(row);
    }
    std::string text;
    for (const MooncakeRow& row : rows) append_mooncake_row(text, row);
    check_reads_back<MooncakeReader>(text, rows);
  }));
}

TEST_CASE("LLMServingSim rows survive writing and reading") {
  CHECK(rc::check([] {
    std::vector<LlmServingSimRow> rows;
    for (const std::int64_t ns : sorted_times(4'500'000'000'000'000)) {
      LlmServingSimRow row;
      row.arrival_time_ns = ns;
      const bool session = *rc::gen::arbitrary<bool>();
      if (session && *rc::gen::arbitrary<bool>()) {
        row.session_id = *rc::gen::arbitrary<std::int64_t>();
      } else if (session) {
        row.session_id = *rc::gen::string<std::string>();
        // JSON text is UTF-8: keep to ASCII, quotes and control characters included.
        for (char& c : std::get<std::string>(*row.session_id)) c = static_cast<char>(c & 0x7f);
      }
      const int calls = session ? *rc::gen::inRange(1, 5) : 1;
      for (int i = 0; i < calls; ++i) row.calls.push_back(any_call(i + 1 == calls, session));
      rows.push_back(row);
    }
    const auto spacing = *rc::gen::element(JsonSpacing::spaced, JsonSpacing::compact);
    std::string text;
    for (const LlmServingSimRow& row : rows) append_llmservingsim_row(text, row, spacing);
    check_reads_back<LlmServingSimReader>(text, rows);
  }));
}

TEST_CASE("Vidur rows survive writing and reading") {
  CHECK(rc::check([] {
    std::vector<VidurRow> rows;
    for (const std::int64_t us : sorted_times(4'500'000'000'000)) {
      rows.push_back({static_cast<double>(us) * 1e-6, *tokens(), *tokens()});
    }
    std::string text;
    append_vidur_header(text);
    for (const VidurRow& row : rows) append_vidur_row(text, row);
    check_reads_back<VidurReader>(text, rows);
  }));
}

TEST_CASE("a trace with damage anywhere is read or refused, never anything else") {
  CHECK(rc::check([](std::uint8_t damage) {
    static const std::vector<std::string> texts = {
        "TIMESTAMP,ContextTokens,GeneratedTokens\r\n2023-11-16 18:15:46.6805900,374,44\r\n2023-11-16 "
        "18:15:50,3,4",
        "{\"timestamp\": 0, \"input_length\": 600, \"output_length\": 5, \"hash_ids\": [0, 1]}\n",
        "{\"session_id\": \"a\", \"arrival_time_ns\": 2, \"sub_requests\": [{\"input_toks\": 1, "
        "\"output_toks\": 2}]}\n",
        "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,1,2\n"};
    std::string text = *rc::gen::elementOf(texts);
    const auto at = *rc::gen::inRange<std::size_t>(0, text.size());
    text[at] = static_cast<char>(damage);
    if (*rc::gen::arbitrary<bool>()) text.resize(at);
    const TemporaryFolder folder;
    const auto path = folder.put("trace", text);
    try {
      const auto reader = open_trace(path);
      TraceRecord record;
      while (reader->next(record)) {
        RC_ASSERT(!record.requests.empty());
        RC_ASSERT(record.requests.front().input_tokens >= 1);
      }
    } catch (const config::InputError& error) {
      RC_ASSERT(error.diagnostics().has_errors());
    }
  }));
}
