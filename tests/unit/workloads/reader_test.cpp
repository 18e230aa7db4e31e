// What the trace readers accept and refuse, and where they say the problem is.
#include <string>

#include "sim/io/atomic_file.hpp"
#include "tests/unit/workloads/support.hpp"
#include "workloads/azure.hpp"
#include "workloads/llmservingsim.hpp"
#include "workloads/mooncake.hpp"
#include "workloads/trace_reader.hpp"
#include "workloads/vidur.hpp"

using namespace moesim;
using namespace moesim::workloads;
using moesim::workloads::testing::Problem;
using moesim::workloads::testing::problem_of;
using moesim::workloads::testing::TemporaryFolder;

namespace {

std::vector<TraceRecord> read_all(const std::filesystem::path& path,
                                  TraceFormat format = TraceFormat::automatic) {
  const auto reader = open_trace(path, format);
  std::vector<TraceRecord> records;
  TraceRecord record;
  while (reader->next(record)) records.push_back(record);
  return records;
}

std::vector<TraceRecord> read_text(const std::string& text, TraceFormat format = TraceFormat::automatic) {
  const TemporaryFolder folder;
  return read_all(folder.put("trace", text), format);
}

Problem refused(const std::string& text, TraceFormat format = TraceFormat::automatic) {
  INFO(text);
  return problem_of([&] { static_cast<void>(read_text(text, format)); });
}

const std::string kAzureHeader = "TIMESTAMP,ContextTokens,GeneratedTokens\r\n";
const std::string kAzureRow = "2023-11-16 18:15:46.6805900,374,44\r\n";
const std::string kMooncakeRow =
    R"({"timestamp": 0, "input_length": 600, "output_length": 5, "hash_ids": [0, 1]})"
    "\n";
const std::string kFlatRow = R"({"input_toks": 10, "output_toks": 5, "arrival_time_ns": 1000})"
                             "\n";

}  // namespace

TEST_CASE("an Azure trace is read: times count from the first row") {
  const auto records = read_text(kAzureHeader + kAzureRow + "2023-11-16 18:15:50.9951690,396,109");
  REQUIRE(records.size() == 2);
  CHECK(records[0].arrival.ps == 0);
  CHECK(records[1].arrival.ps == 4'314'579'000'000);
  CHECK(records[1].requests.at(0).input_tokens == 396);
  CHECK(records[1].requests.at(0).output_tokens == 109);
}

TEST_CASE("Azure time stamps: other precisions, zones and column orders") {
  const auto records = read_text(
      "GeneratedTokens,TIMESTAMP,ContextTokens\n1,2024-05-12 00:00:00.001163+00:00,2\n3,2024-05-12 "
      "00:00:00.5+00:00,4\n\n5,2024-05-12 00:00:01Z,6\n7,2024-05-12 02:00:02+02:00,8\n9,2024-05-12 "
      "00:00:03,1\n");
  REQUIRE(records.size() == 5);
  CHECK(records[0].requests.at(0).input_tokens == 2);
  CHECK(records[1].arrival.ps == 498'837'000'000);
  CHECK(records[2].arrival.ps == 998'837'000'000);
  CHECK(records[3].arrival.ps == 1'998'837'000'000);
  for (const char* text : {"2023-11-16 18:15:46.6805900", "2024-05-12 00:00:00.001163+00:00",
                           "2024-02-29 23:59:59Z", "1969-12-31 23:59:59.9", "2024-01-01 00:30:00-01:00"}) {
    CHECK(format_azure_timestamp(parse_azure_timestamp(text).value()) == text);
  }
  for (const char* text : {"2023-11-16", "2023-11-16T18:15:46", "2023-13-16 18:15:46", "2023-02-29 18:15:46",
                           "2023-11-16 24:15:46", "2023-11-16 18:60:46", "2023-11-16 18:15:60",
                           "2023-11-16 18:15:46.", "2023-11-16 18:15:46.12345678", "2023-11-16 18:15:46 UTC",
                           "2023-11-16 18:15:46+0200", "+023-11-16 18:15:46", "", "1700158546"}) {
    INFO(text);
    CHECK_FALSE(parse_azure_timestamp(text));
  }
}

TEST_CASE("errors of Azure traces point at the field") {
  Problem problem = refused("TIMESTAMP,ContextToken,GeneratedTokens\n" + kAzureRow);
  CHECK(problem.code == "unknown_column");
  CHECK(problem.line == 1);
  CHECK(problem.marked == "ContextToken");
  CHECK(problem.suggestion == "ContextTokens");
  CHECK(refused("TIMESTAMP,ContextTokens\n1,2\n").code == "missing_column");
  CHECK(refused("TIMESTAMP,ContextTokens,GeneratedTokens,ContextTokens\n").code == "duplicate_column");
  CHECK(refused(kAzureHeader).code == "empty_file");
  problem = refused(kAzureHeader + kAzureRow + "2023-11-16 18:15:46.0000000,1,1\n");
  CHECK(problem.code == "time_goes_back");
  CHECK(problem.line == 3);
  CHECK(problem.marked == "2023-11-16 18:15:46.0000000");
  CHECK(problem.message.find("line 2") != std::string::npos);
  problem = refused(kAzureHeader + kAzureRow + "2023-11-16 18:15:50,12,0\n");
  CHECK(problem.code == "out_of_range");
  CHECK(problem.line == 3);
  CHECK(problem.marked == "0");
  const auto row = [&](const std::string& text) { return refused(kAzureHeader + text + "\n"); };
  CHECK(row("yesterday,1,1").code == "bad_timestamp");
  CHECK(row("2023-11-16 18:15:46,-5,1").marked == "-5");
  CHECK(row("2023-11-16 18:15:46,-5,1").code == "out_of_range");
  CHECK(row("2023-11-16 18:15:46,nan,1").code == "wrong_type");
  CHECK(row("2023-11-16 18:15:46,,1").code == "wrong_type");
  CHECK(row("2023-11-16 18:15:46, 7,1").code == "wrong_type");
  CHECK(row("2023-11-16 18:15:46,7.0,1").code == "wrong_type");
  CHECK(row("2023-11-16 18:15:46,2147483649,1").code == "out_of_range");
  CHECK(row("2023-11-16 18:15:46,99999999999999999999,1").code == "out_of_range");
  CHECK(row("2023-11-16 18:15:46,7").code == "wrong_field_count");
  CHECK(row("2023-11-16 18:15:46,7,8,9").code == "wrong_field_count");
  CHECK(row("2023-11-16 18:15:46,\"7,8").code == "cannot_read");
  CHECK(row("2023-11-16 18:15:46,2147483648,1\n2024-11-16 18:15:46,1,1").code ==
        "out_of_range");                                                                  // after 53 days
  CHECK(row("2023-11-16 18:15:46,1,1\n2024-01-09 18:15:46,1,1").code == "out_of_range");  // 54 days later
}

TEST_CASE("a Mooncake trace is read with its prefix blocks") {
  const auto records = read_text(
      kMooncakeRow + R"({"hash_ids":[0],"output_length":7,"input_length":512,"timestamp":3000})" + "\n\n");
  REQUIRE(records.size() == 2);
  CHECK(records[0].prefix_blocks == std::vector<std::int64_t>{0, 1});
  CHECK(records[0].prefix_block_tokens == 512);
  CHECK(records[1].arrival.ps == 3 * core::kPicosecondsPerSecond);
  CHECK(records[1].requests.at(0).input_tokens == 512);
}

TEST_CASE("errors of Mooncake traces point at the value") {
  const auto second = [](const std::string& text) {
    return refused(kMooncakeRow + text + "\n", TraceFormat::mooncake);
  };
  Problem problem = second(R"({"timestamp": 5, "input_lenght": 1, "output_length": 5, "hash_ids": [0]})");
  CHECK(problem.code == "unknown_key");
  CHECK(problem.line == 2);
  CHECK(problem.marked == "\"input_lenght\"");
  CHECK(problem.suggestion == "input_length");
  CHECK(problem.pointer == "/input_lenght");
  problem = second(R"({"timestamp": 5, "input_length": 513, "output_length": 5, "hash_ids": [0]})");
  CHECK(problem.code == "wrong_block_count");
  CHECK(problem.marked == "[0]");
  CHECK(problem.pointer == "/hash_ids");
  CHECK(problem.message.find("would be 2") != std::string::npos);
  problem = second(R"({"timestamp": 5, "input_length": 513, "output_length": 5, "hash_ids": [0, -3]})");
  CHECK(problem.marked == "-3");
  CHECK(problem.pointer == "/hash_ids/1");
  CHECK(second(R"({"timestamp": 5, "input_length": 5, "output_length": 5, "hash_ids": ["a"]})").marked ==
        "\"a\"");
  CHECK(second(R"({"timestamp": 5, "input_length": 5, "output_length": 5, "hash_ids": 7})").code ==
        "wrong_type");
  problem = second(R"({"timestamp": 5, "input_length": 5, "hash_ids": [0]})");
  CHECK(problem.code == "missing_key");
  CHECK(problem.message.find("output_length") != std::string::npos);
  problem = second(R"({"timestamp": 5, "input_length": 5, "output_length": 0, "hash_ids": [0]})");
  CHECK(problem.code == "out_of_range");
  CHECK(problem.marked == "0");
  CHECK(second(R"({"timestamp": 5.5, "input_length": 5, "output_length": 5, "hash_ids": [0]})").code ==
        "wrong_type");
  CHECK(second(R"({"timestamp": "5", "input_length": 5, "output_length": 5, "hash_ids": [0]})").marked ==
        "\"5\"");
  CHECK(second(R"({"timestamp": -5, "input_length": 5, "output_length": 5, "hash_ids": [0]})").marked ==
        "-5");
  CHECK(second(R"({"timestamp": 5, "input_length": 1e99, "output_length": 5, "hash_ids": [0]})").code ==
        "out_of_range");
  CHECK(second(R"({"timestamp": 5, "timestamp": 5})").code == "duplicate_key");
  CHECK(second(R"({"timestamp": 5, "input_length": NaN})").code == "syntax");
  CHECK(second(R"([1, 2])").code == "wrong_type");
  // Wall-clock milliseconds: beyond simulated time.
  problem = second(R"({"timestamp": 1700000000000, "input_length": 5, "output_length": 5, "hash_ids": [0]})");
  CHECK(problem.code == "out_of_range");
  CHECK(problem.message.find("start of the trace") != std::string::npos);
  problem = refused(R"({"timestamp": 9, "input_length": 1, "output_length": 1, "hash_ids": [0]})"
                    "\n" +
                    kMooncakeRow);
  CHECK(problem.code == "time_goes_back");
  CHECK(problem.line == 2);
  CHECK(problem.marked == "0");
  const Problem cut = refused(kMooncakeRow + R"({"timestamp": 5, "input_le)");
  CHECK(cut.line == 2);
  CHECK(cut.message.find("cut off") != std::string::npos);
}

TEST_CASE("LLMServingSim traces mix single requests and sessions with tool times") {
  const auto records = read_text(
      kFlatRow +
      R"({"session_id": "agent", "arrival_time_ns": 2000, "sub_requests": [{"input_toks": 1, "output_toks": 2, "tool_duration_ns": 30}, {"input_toks": 2, "output_toks": 1, "input_tok_ids": [8, 9]}]})"
      "\n");
  REQUIRE(records.size() == 2);
  CHECK_FALSE(records[0].session);
  CHECK(records[0].arrival.ps == 1'000'000);
  CHECK(records[1].session);
  REQUIRE(records[1].requests.size() == 2);
  CHECK(records[1].requests[0].pause.ps == 30'000);
  CHECK(records[1].requests[1].input_tokens == 2);
}

TEST_CASE("errors of LLMServingSim traces point at the value") {
  const auto second = [](const std::string& text) { return refused(kFlatRow + text + "\n"); };
  Problem problem = second(R"({"input_toks": 10, "output_tok": 5, "arrival_time_ns": 2000})");
  CHECK(problem.code == "unknown_key");
  CHECK(problem.suggestion == "output_toks");
  CHECK(second(R"({"input_toks": 10, "output_toks": 5, "arrival_time_ns": 999})").code == "time_goes_back");
  CHECK(second(R"({"input_toks": 3, "output_toks": 5, "arrival_time_ns": 2000, "input_tok_ids": [1, 2]})")
            .code == "wrong_token_count");
  CHECK(second(R"({"session_id": 1, "arrival_time_ns": 2000, "sub_requests": []})").marked == "[]");
  CHECK(second(R"({"session_id": null, "arrival_time_ns": 2000, "sub_requests": [{}]})").pointer ==
        "/session_id");
  problem = second(
      R"({"session_id": 1, "arrival_time_ns": 2000, "sub_requests": [{"input_toks": 1, "output_toks": 1}, {"input_toks": 1, "output_toks": 1}]})");
  CHECK(problem.code == "missing_key");
  CHECK(problem.pointer == "/sub_requests/0");
  problem = second(
      R"({"session_id": 1, "arrival_time_ns": 2000, "sub_requests": [{"input_toks": 1, "output_toks": 1, "tool_duration_ns": -1}]})");
  CHECK(problem.pointer == "/sub_requests/0/tool_duration_ns");
  CHECK(problem.marked == "-1");
  CHECK(second(R"({"session_id": 1, "arrival_time_ns": 2000, "sub_requests": [7]})").pointer ==
        "/sub_requests/0");
}

TEST_CASE("a Vidur trace is read, and its errors point at the field") {
  const std::string header = "arrived_at,num_prefill_tokens,num_decode_tokens\n";
  const auto records = read_text(header + "0.0,374,44\n4.314579,396,109\n");
  REQUIRE(records.size() == 2);
  CHECK(records[1].arrival.ps == 4'314'579'000'000);
  CHECK(refused(header + "inf,1,1\n").code == "wrong_type");
  CHECK(refused(header + "-1,1,1\n").code == "out_of_range");
  CHECK(refused(header + "1e12,1,1\n").code == "out_of_range");
  CHECK(refused(header + "2,1,1\n1,1,1\n").code == "time_goes_back");
  // The variant with lengths only has no arrivals.
  const Problem problem =
      refused("num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n1,1,2,1.0\n");
  CHECK(problem.code == "unknown_column");
  CHECK(problem.marked == "num_total_tokens");
}

TEST_CASE("the format is told by the first line, with an error for unknown ones") {
  const TemporaryFolder folder;
  CHECK(detect_format(folder.put("a", kAzureHeader)) == TraceFormat::azure);
  CHECK(detect_format(folder.put("b", kMooncakeRow)) == TraceFormat::mooncake);
  CHECK(detect_format(folder.put("c", "\n" + kFlatRow)) == TraceFormat::llmservingsim);
  CHECK(detect_format(folder.put("d", R"({"session_id": 1, "arrival_time_ns": 1, "sub_requests": []})")) ==
        TraceFormat::llmservingsim);
  CHECK(detect_format(folder.put("e", "arrived_at,num_prefill_tokens,num_decode_tokens\n")) ==
        TraceFormat::vidur);
  CHECK(detect_format(folder.put("f", "\xef\xbb\xbf" + kAzureHeader)) == TraceFormat::azure);
  const Problem problem = refused("a,b,c\n1,2,3\n");
  CHECK(problem.code == "unknown_format");
  CHECK(problem.line == 1);
  CHECK(refused(R"({"prompt": "x"})").code == "unknown_format");
  CHECK(refused("hello").code == "unknown_format");
  CHECK(refused("").code == "empty_file");
  CHECK(refused("\n\n").code == "empty_file");
  CHECK(refused("{").code == "syntax");
}

TEST_CASE("missing files are told with a similar name") {
  const TemporaryFolder folder;
  folder.put("conversation_trace.jsonl", kMooncakeRow);
  const Problem problem =
      problem_of([&] { static_cast<void>(open_trace(folder / "conversation_trase.jsonl")); });
  CHECK(problem.code == "cannot_read");
  CHECK(problem.suggestion == (folder / "conversation_trace.jsonl").string());
  CHECK(problem_of([&] { static_cast<void>(open_trace(folder.path())); }).code == "cannot_read");
  CHECK(problem_of([&] { static_cast<void>(open_trace("/no/such/folder/x")); }).suggestion.empty());
}

TEST_CASE("compressed traces read the same; damaged and truncated ones are errors") {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 2000; ++i) text += kMooncakeRow;
  for (const char* name : {"t.gz", "t.zst"}) {
    io::write_file(folder / name, text);
    CHECK(read_all(folder / name).size() == 2000);
    const std::string bytes = io::testing::raw_bytes(folder / name);
    folder.put("cut", bytes.substr(0, bytes.size() - 5));
    const Problem problem = problem_of([&] { static_cast<void>(read_all(folder / "cut")); });
    INFO(problem.message);
    CHECK(problem.code == "cannot_read");
  }
}

TEST_CASE("a line that is too long is an error") {
  const TemporaryFolder folder;
  folder.put("long", kMooncakeRow + std::string(io::LineReader::kMaxLineBytes + 2, 'x'));
  const Problem problem = problem_of([&] { static_cast<void>(read_all(folder / "long")); });
  CHECK(problem.code == "cannot_read");
  CHECK(problem.line == 2);
}
