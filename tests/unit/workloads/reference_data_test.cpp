// The readers against the published traces: counts, sums and percentiles (traces/README.md of the reference
// data).
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "tests/unit/workloads/support.hpp"
#include "workloads/azure.hpp"
#include "workloads/llmservingsim.hpp"
#include "workloads/mooncake.hpp"
#include "workloads/trace_reader.hpp"
#include "workloads/vidur.hpp"

using namespace moesim;
using namespace moesim::workloads;
using moesim::workloads::testing::reference_trace;

namespace {

struct Column {
  std::vector<std::int64_t> values;
  // Linear interpolation between order statistics at q (n - 1), as the README defines it.
  [[nodiscard]] double percentile(double q) {
    std::sort(values.begin(), values.end());
    const double at = q * static_cast<double>(values.size() - 1);
    const auto below = static_cast<std::size_t>(at);
    const std::size_t above = std::min(below + 1, values.size() - 1);
    const double share = at - static_cast<double>(below);
    return static_cast<double>(values[below]) * (1 - share) + static_cast<double>(values[above]) * share;
  }
};

struct Expected {
  const char* file;
  TraceFormat format;
  std::int64_t requests;
  std::int64_t input_tokens;
  std::int64_t output_tokens;
  std::int64_t first_ps;
  std::int64_t last_ps;
  double input[4];  // p50, p90, p99, max
  double output[4];
  std::int64_t longest_context;
};

const Expected kExpected[] = {
    {"azure2023/AzureLLMInferenceTrace_conv.csv",
     TraceFormat::azure,
     19'366,
     22'361'870,
     4'088'665,
     0,
     3'501'721'937'000'000,
     {1020, 2734, 4142, 14050},
     {129, 424, 601, 1000},
     14'089},
    {"mooncake/conversation_trace.jsonl",
     TraceFormat::mooncake,
     12'031,
     144'793'823,
     4'122'048,
     0,
     3'536'999'000'000'000,
     {6909, 27367, 85400, 126195},
     {350, 597, 1119, 2000},
     126'527},
    {"llmservingsim/sharegpt-qwen3-30b-a3b-300-sps10.lengths.jsonl",
     TraceFormat::llmservingsim,
     300,
     258'691,
     199'486,
     46'926'808'000,
     29'183'763'203'000,
     {728, 1452, 2768, 4570},
     {638, 785, 1001, 1224},
     5'445},
    {"llmservingsim/workload_me2_01_mixed.jsonl",
     TraceFormat::llmservingsim,
     608,
     5'604'402,
     1'837'003,
     101'537'000'000,
     61'000'000'000'000,
     {2910, 24418, 28447, 31383},
     {874, 11809, 15039, 15890},
     32'593},
};

std::string bytes_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

}  // namespace

TEST_CASE("the published traces have the published statistics") {
  for (const Expected& expected : kExpected) {
    const auto path = reference_trace(expected.file);
    if (!path) continue;
    INFO(expected.file);
    const TraceSummary summary = summarize_trace(*path);
    CHECK(summary.format == expected.format);
    CHECK(summary.requests == expected.requests);
    CHECK(summary.input_tokens == expected.input_tokens);
    CHECK(summary.output_tokens == expected.output_tokens);
    CHECK(summary.first.ps == expected.first_ps);
    CHECK(summary.last.ps == expected.last_ps);
    CHECK(summary.longest_context == expected.longest_context);
    Column input;
    Column output;
    const auto reader = open_trace(*path);
    TraceRecord record;
    while (reader->next(record)) {
      input.values.push_back(record.requests.at(0).input_tokens);
      output.values.push_back(record.requests.at(0).output_tokens);
    }
    const double quantiles[] = {0.5, 0.9, 0.99, 1.0};
    for (int i = 0; i < 4; ++i) {
      CHECK(std::abs(input.percentile(quantiles[i]) - expected.input[i]) <= 0.5);
      CHECK(std::abs(output.percentile(quantiles[i]) - expected.output[i]) <= 0.5);
    }
  }
}

TEST_CASE("the published traces are written again byte for byte") {
  if (const auto path = reference_trace("azure2023/AzureLLMInferenceTrace_conv.csv")) {
    AzureReader reader(*path);
    std::string text;
    append_azure_header(text);
    for (AzureRow row; reader.next_row(row);) append_azure_row(text, row);
    CHECK((text == bytes_of(*path)));
  }
  if (const auto path = reference_trace("mooncake/conversation_trace.jsonl")) {
    MooncakeReader reader(*path);
    std::string text;
    for (MooncakeRow row; reader.next_row(row);) append_mooncake_row(text, row);
    CHECK((text == bytes_of(*path)));
  }
  if (const auto path = reference_trace("vidur/splitwise_conv.csv")) {
    VidurReader reader(*path);
    std::string text;
    append_vidur_header(text);
    for (VidurRow row; reader.next_row(row);) append_vidur_row(text, row);
    CHECK((text == bytes_of(*path)));
  }
  const std::pair<const char*, JsonSpacing> files[] = {
      {"llmservingsim/example_trace.jsonl", JsonSpacing::compact},
      {"llmservingsim/workload_me2_01_mixed.jsonl", JsonSpacing::spaced},
      {"llmservingsim/sharegpt-qwen3-30b-a3b-300-sps10.lengths.jsonl", JsonSpacing::spaced}};
  for (const auto& [file, spacing] : files) {
    const auto path = reference_trace(file);
    if (!path) continue;
    INFO(file);
    LlmServingSimReader reader(*path);
    std::string text;
    for (LlmServingSimRow row; reader.next_row(row);) append_llmservingsim_row(text, row, spacing);
    CHECK((text == bytes_of(*path)));
  }
}

TEST_CASE("Vidur's copy of the Azure trace has the same requests") {
  const auto azure = reference_trace("azure2023/AzureLLMInferenceTrace_conv.csv");
  const auto vidur = reference_trace("vidur/splitwise_conv.csv");
  if (!azure || !vidur) return;
  const auto a = open_trace(*azure);
  const auto v = open_trace(*vidur);
  TraceRecord left;
  TraceRecord right;
  std::int64_t rows = 0;
  bool same = true;
  while (a->next(left)) {
    REQUIRE(v->next(right));
    ++rows;
    same = same && left.arrival == right.arrival &&
           left.requests[0].input_tokens == right.requests[0].input_tokens &&
           left.requests[0].output_tokens == right.requests[0].output_tokens;
  }
  CHECK(rows == 19'366);
  CHECK(same);
  CHECK_FALSE(v->next(right));
}

TEST_CASE("Mooncake requests fall on ticks, and spreading them makes the hour Poisson-like") {
  const auto path = reference_trace("mooncake/conversation_trace.jsonl");
  if (!path) return;
  const auto gaps_of = [&](bool spread) {
    Workload workload;
    workload.trace = path->string();
    workload.spread_ties = spread;
    const auto source = make_source(workload, 1, {});
    std::vector<double> gaps;
    core::Time last;
    std::int64_t tokens = 0;
    while (const auto request = source->next()) {
      CHECK(request->arrival >= last);
      gaps.push_back((request->arrival - last).seconds());
      last = request->arrival;
      tokens += request->input_tokens;
    }
    CHECK(tokens == 144'793'823);
    return gaps;
  };
  const auto zero_share = [](const std::vector<double>& gaps) {
    return static_cast<double>(std::count(gaps.begin(), gaps.end(), 0.0)) / static_cast<double>(gaps.size());
  };
  CHECK(std::abs(zero_share(gaps_of(false)) - 0.90) < 0.01);
  const std::vector<double> gaps = gaps_of(true);
  CHECK(zero_share(gaps) < 0.001);
  double mean = 0.0;
  double square = 0.0;
  for (const double gap : gaps) {
    mean += gap / static_cast<double>(gaps.size());
    square += gap * gap / static_cast<double>(gaps.size());
  }
  const double cv = std::sqrt(square - mean * mean) / mean;
  CHECK(cv > 0.95);
  CHECK(cv < 1.2);
}
