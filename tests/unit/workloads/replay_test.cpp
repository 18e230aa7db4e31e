// Traces as sources of requests: clock, limits, sessions, paths.
#include <algorithm>
#include <set>

#include "tests/unit/workloads/support.hpp"
#include "workloads/trace_check.hpp"
#include "workloads/trace_reader.hpp"

using namespace moesim;
using namespace moesim::workloads;
using moesim::workloads::testing::all_of;
using moesim::workloads::testing::problem_of;
using moesim::workloads::testing::read_workload;
using moesim::workloads::testing::taken_apart;
using moesim::workloads::testing::TemporaryFolder;

namespace {

constexpr std::int64_t kSecond = core::kPicosecondsPerSecond;

// One request a second, with 101, 102, ... prompt tokens.
std::string seconds_trace(int rows) {
  std::string text;
  for (int i = 0; i < rows; ++i) {
    text += R"({"input_toks": )" + std::to_string(101 + i) + R"(, "output_toks": 7, "arrival_time_ns": )" +
            std::to_string(i * std::int64_t{1'000'000'000}) + "}\n";
  }
  return text;
}

std::unique_ptr<RequestSource> replay(const TemporaryFolder& folder, const std::string& options,
                                      std::uint64_t seed = 1) {
  return make_source(read_workload(R"({"trace": "t.jsonl")" + options + "}"), seed, {folder.path(), ""});
}

// Sets an environment variable for the life of the object.
class Environment {
 public:
  explicit Environment(const std::string& value) {
    const char* const old = std::getenv("MOESIM_DATA_DIR");
    if (old != nullptr) old_ = old;
    ::setenv("MOESIM_DATA_DIR", value.c_str(), 1);
  }
  ~Environment() { old_ ? ::setenv("MOESIM_DATA_DIR", old_->c_str(), 1) : ::unsetenv("MOESIM_DATA_DIR"); }
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

 private:
  std::optional<std::string> old_;
};

}  // namespace

TEST_CASE("a trace is replayed at its own times, or faster") {
  const TemporaryFolder folder;
  folder.put("t.jsonl", seconds_trace(10));
  const auto requests = all_of(*replay(folder, ""));
  REQUIRE(requests.size() == 10);
  for (std::size_t i = 0; i < 10; ++i) {
    CHECK(requests[i].id == static_cast<std::int64_t>(i));
    CHECK(requests[i].arrival.ps == static_cast<std::int64_t>(i) * kSecond);
    CHECK(requests[i].input_tokens == 101 + static_cast<std::int64_t>(i));
    CHECK(requests[i].session == -1);
    CHECK_FALSE(requests[i].warmup);
  }
  CHECK(all_of(*replay(folder, R"(, "rate_scale": 4)")).back().arrival.ps == 9 * kSecond / 4);
  CHECK(all_of(*replay(folder, R"(, "rate_scale": 0.5)")).back().arrival.ps == 18 * kSecond);
  CHECK(problem_of([&] { static_cast<void>(all_of(*replay(folder, R"(, "rate_scale": 1e-7)"))); }).code ==
        "time_overflow");
}

TEST_CASE("limit, warm-up and stop cut a trace") {
  const TemporaryFolder folder;
  folder.put("t.jsonl", seconds_trace(20));
  CHECK(all_of(*replay(folder, R"(, "limit": 6)")).size() == 6);
  const auto warm = all_of(*replay(folder, R"(, "limit": 9, "warmup": {"requests": 4})"));
  CHECK(warm.size() == 9);
  CHECK(std::count_if(warm.begin(), warm.end(), [](const Request& r) { return r.warmup; }) == 4);
  CHECK(all_of(*replay(folder, R"(, "stop": {"requests": 3}, "warmup": {"requests": 4})")).size() == 7);
  CHECK(all_of(*replay(folder, R"(, "stop": {"duration": "3 s"}, "warmup": {"duration": "4 s"})")).size() ==
        7);
  CHECK(all_of(*replay(folder, R"(, "stop": {"duration": "3 s"}, "rate_scale": 2)")).size() == 6);
}

TEST_CASE("calls of a session are released by the end of the one before plus tool time") {
  const TemporaryFolder folder;
  folder.put(
      "t.jsonl",
      R"({"session_id": "a", "arrival_time_ns": 0, "sub_requests": [{"input_toks": 1, "output_toks": 9, "tool_duration_ns": 500000000}, {"input_toks": 2, "output_toks": 9, "tool_duration_ns": 0}, {"input_toks": 3, "output_toks": 9}]})"
      "\n"
      R"({"input_toks": 50, "output_toks": 9, "arrival_time_ns": 1000000000})"
      "\n"
      R"({"session_id": 7, "arrival_time_ns": 2000000000, "sub_requests": [{"input_toks": 60, "output_toks": 9}]})"
      "\n");
  const auto source = replay(folder, R"(, "rate_scale": 2)");
  const auto first = source->next();
  CHECK(first->session == 0);
  CHECK(first->input_tokens == 1);
  const auto flat = source->next();
  CHECK(flat->session == -1);
  CHECK(flat->arrival.ps == kSecond / 2);
  CHECK(source->next()->session == 1);
  CHECK_FALSE(source->next());
  CHECK(source->on_finished(*flat, core::Time{kSecond}, Ending::served).empty());
  const auto second = source->on_finished(*first, core::Time{3 * kSecond}, Ending::served);
  REQUIRE(second.size() == 1);
  CHECK(second[0].id == 3);
  CHECK(second[0].session == 0);
  CHECK(second[0].input_tokens == 2);
  CHECK(second[0].arrival.ps == 3 * kSecond + kSecond / 2);  // tool time is not scaled
  const auto third = source->on_finished(second[0], core::Time{9 * kSecond}, Ending::served);
  REQUIRE(third.size() == 1);
  CHECK(third[0].arrival.ps == 9 * kSecond);
  CHECK(third[0].input_tokens == 3);
  CHECK(source->on_finished(third[0], core::Time{10 * kSecond}, Ending::served).empty());
}

TEST_CASE("stop cuts sessions too") {
  const TemporaryFolder folder;
  folder.put(
      "t.jsonl",
      R"({"session_id": "a", "arrival_time_ns": 0, "sub_requests": [{"input_toks": 1, "output_toks": 9, "tool_duration_ns": 1}, {"input_toks": 2, "output_toks": 9}]})"
      "\n");
  const auto by_count = replay(folder, R"(, "stop": {"requests": 1})");
  CHECK(by_count->on_finished(*by_count->next(), core::Time{kSecond}, Ending::served).empty());
  const auto by_time = replay(folder, R"(, "stop": {"duration": "1 s"})");
  CHECK(by_time->on_finished(*by_time->next(), core::Time{kSecond}, Ending::served).empty());
}

TEST_CASE("ties are spread inside their tick and depend on the seed only") {
  const TemporaryFolder folder;
  std::string text;
  for (const int ms : {0, 0, 0, 3000, 5000, 5000, 5000, 5000}) {
    text += R"({"timestamp": )" + std::to_string(ms) +
            R"(, "input_length": 10, "output_length": 1, "hash_ids": [1]})"
            "\n";
  }
  folder.put("t.jsonl", text);
  const auto once = all_of(*replay(folder, R"(, "spread_ties": true)"));
  const auto again = all_of(*replay(folder, R"(, "spread_ties": true)"));
  const auto other = all_of(*replay(folder, R"(, "spread_ties": true)", 2));
  REQUIRE(once.size() == 8);
  std::set<std::int64_t> instants;
  bool differs = false;
  for (std::size_t i = 0; i < 8; ++i) {
    CHECK(once[i].arrival == again[i].arrival);
    differs |= once[i].arrival != other[i].arrival;
    instants.insert(once[i].arrival.ps);
    const std::int64_t low = i < 3 ? 0 : i < 4 ? 3 : 5;
    const std::int64_t high = i < 3 ? 3 : i < 4 ? 4 : 7;
    CHECK(once[i].arrival.ps >= low * kSecond);
    CHECK(once[i].arrival.ps < high * kSecond);
    if (i > 0) CHECK(once[i].arrival >= once[i - 1].arrival);
  }
  CHECK(instants.size() == 8);
  CHECK(once[3].arrival.ps == 3 * kSecond);  // alone at its instant
  CHECK(differs);
}

TEST_CASE("each group of ties is spread by its own draws") {
  const TemporaryFolder folder;
  std::string text;
  for (const int ms : {0, 0, 0, 3000, 3000, 3000, 6000}) {
    text += R"({"timestamp": )" + std::to_string(ms) +
            R"(, "input_length": 10, "output_length": 1, "hash_ids": [1]})"
            "\n";
  }
  folder.put("t.jsonl", text);
  const auto requests = all_of(*replay(folder, R"(, "spread_ties": true)"));
  REQUIRE(requests.size() == 7);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(requests[i + 3].arrival - requests[i].arrival != core::Duration{3 * kSecond});
  }
}

TEST_CASE("traces are found beside the scenario, in the data folder and by absolute path") {
  const TemporaryFolder folder;
  const Environment environment(folder.path().string());
  std::filesystem::create_directories(folder / "traces" / "mooncake");
  std::filesystem::create_directories(folder / "mine");
  folder.put("traces/mooncake/x.jsonl", "");
  folder.put("mine/x.jsonl", "");
  const TraceFolders folders{"/scenarios", "/default"};
  CHECK(trace_path("a/b.csv", folders) == "/scenarios/a/b.csv");
  CHECK(trace_path("/a/b.csv", folders) == "/a/b.csv");
  CHECK(trace_path("data:mine/x.jsonl", folders) == folder / "mine/x.jsonl");
  CHECK(trace_path("data:mooncake/x.jsonl", folders) == folder / "traces/mooncake/x.jsonl");
  CHECK(trace_path("data:traces/mooncake/x.jsonl", folders) == folder / "traces/mooncake/x.jsonl");
  CHECK(trace_path("data:none", folders) == folder / "none");
  for (const char* bad : {"data:../x", "data:a/../../x", "data:/etc/passwd", "data:"}) {
    CHECK(problem_of([&] { static_cast<void>(trace_path(bad, folders)); }).code == "out_of_range");
  }
  Workload workload;
  CHECK(files_of(workload, folders).empty());
  workload.trace = "data:mine/x.jsonl";
  CHECK(files_of(workload, folders) == std::vector<std::filesystem::path>{folder / "mine/x.jsonl"});
  const Environment unset("");
  CHECK(data_folder(folders) == "/default");
}

TEST_CASE("a bad record in the middle of a trace is told when it is reached") {
  const TemporaryFolder folder;
  folder.put("t.jsonl",
             seconds_trace(3) + R"({"input_toks": 0, "output_toks": 1, "arrival_time_ns": 9000000000})");
  const auto source = replay(folder, "");
  for (int i = 0; i < 3; ++i) CHECK(source->next());
  const auto problem = problem_of([&] { static_cast<void>(source->next()); });
  CHECK(problem.line == 4);
  CHECK(problem.marked == "0");
}

TEST_CASE("an arrival that rate_scale moves past the end of simulated time is told with its line") {
  const TemporaryFolder folder;
  folder.put("t.jsonl", seconds_trace(12));
  const auto problem = problem_of([&] { all_of(*replay(folder, R"(, "rate_scale": 1e-6)")); });
  CHECK(problem.code == "time_overflow");
  CHECK(problem.line == 6);
  CHECK(problem.pointer == "/arrival_time_ns");
  CHECK(problem.marked == "5000000000");
  // Before a run the line is told whatever the order in which the source reads.
  const Workload tied = read_workload(R"({"trace": "t.jsonl", "rate_scale": 1e-6, "spread_ties": true})");
  const TraceProblems found = check_trace_records(tied, folder / "t.jsonl");
  REQUIRE(found.diagnostics.error_count() == 1);
  CHECK(taken_apart(config::InputError(found.sources, found.diagnostics)).line == 6);
}

TEST_CASE("a check of a trace tells every bad line of every format and goes on after it") {
  struct Case {
    const char* name;
    std::string text;
    std::vector<std::size_t> lines;
  };
  const std::string good_row = R"({"input_toks": 5, "output_toks": 7, "arrival_time_ns": 1})"
                               "\n";
  const std::string good_moon = R"({"timestamp": 1, "input_length": 5, "output_length": 7, "hash_ids": [1]})"
                                "\n";
  const std::vector<Case> cases = {
      {"v.csv",
       "arrived_at,num_prefill_tokens,num_decode_tokens\n1,x,3\n1,1\n2,5,5\n\n9,5,5\n3,5,5\n4,5,0\n",
       {2, 3, 7, 8}},
      {"a.csv",
       "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-01-01 00:00:00,1,1\nnow,1,1\n2024-01-01 00:00:01,0,1",
       {3, 4}},
      {"l.jsonl", good_row + "[1]\n" + good_row + "{\n" + good_row + "{\"input_toks\": 1}\n", {2, 4, 6}},
      {"m.jsonl", good_moon + "{\"timestamp\": 2}\n" + good_moon + "nonsense", {2, 4}},
  };
  const TemporaryFolder folder;
  for (const Case& one : cases) {
    INFO(one.name);
    const auto file = folder.put(one.name, one.text);
    const Workload workload = read_workload(std::string(R"({"trace": ")") + one.name + "\"}");
    const TraceProblems found = check_trace_records(workload, file);
    std::vector<std::size_t> lines;
    for (const config::Diagnostic& error : found.diagnostics.errors()) {
      lines.push_back(found.sources.line_column(error.where).line);
    }
    CHECK(lines == one.lines);
  }
}

TEST_CASE("a check of a trace ends where a run does, at damage, or after 20 errors") {
  const TemporaryFolder folder;
  const auto count = [&](const std::string& text, const std::string& options) {
    const auto file = folder.put("t.jsonl", text);
    const Workload workload = read_workload(R"({"trace": "t.jsonl")" + options + "}");
    return check_trace_records(workload, file).diagnostics;
  };
  const std::string bad_end = seconds_trace(10) + "nonsense\n";
  CHECK(count(bad_end, "").error_count() == 1);
  CHECK(count(bad_end, R"(, "limit": 10)").error_count() == 0);
  CHECK(count(bad_end, R"(, "stop": {"requests": 9})").error_count() == 0);
  CHECK(count(bad_end, R"(, "stop": {"duration": "4 s"}, "rate_scale": 2)").error_count() == 0);
  CHECK(count(bad_end, R"(, "stop": {"duration": "5 s"}, "rate_scale": 2)").error_count() == 1);
  CHECK(count("", "").error_count() == 1);
  CHECK(count("", "").errors()[0].code == "empty_file");

  std::string all_bad = seconds_trace(1);
  for (int i = 0; i < 1000; ++i) all_bad += "nonsense\n";
  const config::Diagnostics many = count(all_bad, "");
  CHECK(many.error_count() == config::Diagnostics::kMaxErrors);
  CHECK(many.errors().back().note.find("not read any further") != std::string::npos);
}
