#include "workloads/router_trace.hpp"

#include "tests/unit/workloads/support.hpp"
#include "workloads/trace_reader.hpp"

namespace moesim::workloads::testing {

namespace {

constexpr RouterTraceLimits kLimits{8, 2};

Problem problem_in(const std::string& line) {
  const TemporaryFolder folder;
  const auto file = folder.put("x.jsonl", line + "\n");
  return problem_of([&] {
    RouterTraceReader reader(file, kLimits);
    RouterTraceRecord record;
    while (reader.next(record)) {
    }
  });
}

}  // namespace

TEST_CASE("records of a routing trace read with the keys of Megatron and others") {
  const TemporaryFolder folder;
  const auto file = folder.put(
      "x.jsonl",
      R"({"step": 3, "stage": "x", "block": "decoder", "layer": 4, "rank": 1, "num_tokens": 2, "topk": 2, "top_indices": [[7, 0], [1, 2]], "logits": "a.bin"})"
      "\n\n"
      R"({"layer": 0, "top_indices": [], "input": "embedding_only"})"
      "\n");
  RouterTraceReader reader(file, kLimits);
  RouterTraceRecord record;
  REQUIRE(reader.next(record));
  CHECK(record.block == "decoder");
  CHECK(record.layer == 4);
  CHECK(record.tokens == 2);
  CHECK(record.experts == std::vector<std::uint16_t>{7, 0, 1, 2});
  CHECK_FALSE(record.embedding_only);
  REQUIRE(reader.next(record));
  CHECK(record.block.empty());
  CHECK(record.tokens == 0);
  CHECK(record.experts.empty());
  CHECK(record.embedding_only);
  CHECK_FALSE(reader.next(record));
}

TEST_CASE("what is wrong with a record of a routing trace is pointed at") {
  struct Case {
    std::string line;
    std::string code;
    std::string marked;
  };
  const Case cases[] = {
      {R"({"layer": 0, "top_indices": [[0, 1], [8, 2]]})", "out_of_range", "8"},
      {R"({"layer": 0, "top_indices": [[-1, 1]]})", "out_of_range", "-1"},
      {R"({"layer": 0, "top_indices": [[0, 1], [3, 3]]})", "duplicate", "3"},
      {R"({"layer": 0, "top_indices": [[0, 1], [3]]})", "wrong_top_k", "[3]"},
      {R"({"layer": 0, "top_indices": [[0, 1, 2]]})", "wrong_top_k", "[0, 1, 2]"},
      {R"({"layer": 0, "topk": 4, "top_indices": []})", "wrong_top_k", "4"},
      {R"({"layer": 0, "num_tokens": 2, "top_indices": [[0, 1]]})", "wrong_count", "2"},
      {R"({"layer": 0, "top_indices": [0, 1]})", "wrong_type", "0"},
      {R"({"layer": 0, "top_indices": [[0, 1.5]]})", "wrong_type", "1.5"},
      {R"({"layer": 0, "top_indices": 1})", "wrong_type", "1"},
      {R"({"layer": 0})", "missing_key", R"({"layer": 0})"},
      {R"({"layer": -1, "top_indices": []})", "out_of_range", "-1"},
      {R"({"top_indices": []})", "missing_key", R"({"top_indices": []})"},
      {R"([])", "wrong_type", "[]"},
      {"", "empty_file", ""},
  };
  for (const Case& one : cases) {
    INFO(one.line);
    const Problem problem = problem_in(one.line);
    CHECK(problem.code == one.code);
    CHECK(problem.marked == one.marked);
    CHECK(problem.line == 1);
  }
  CHECK(problem_in(R"({"layer": 0, "top_indices": [[0, 1], [3, 3]]})").pointer == "/top_indices/1");
}

TEST_CASE("a routing trace is read on after a bad record") {
  const TemporaryFolder folder;
  const auto file = folder.put("x.jsonl",
                               "{\n"
                               R"({"layer": 0, "top_indices": [[1, 1]]})"
                               "\n"
                               R"({"layer": 1, "top_indices": [[1, 2]]})"
                               "\n");
  RouterTraceReader reader(file, kLimits);
  RouterTraceRecord record;
  CHECK_THROWS_AS(reader.next(record), config::InputError);
  CHECK_THROWS_AS(reader.next(record), config::InputError);
  REQUIRE(reader.next(record));
  CHECK(record.layer == 1);
  CHECK_THROWS_AS(RouterTraceReader(folder / "nothing.jsonl", kLimits), config::InputError);
}

}  // namespace moesim::workloads::testing
