#include "workloads/examples.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

#include "sim/core/check.hpp"
#include "sim/core/random.hpp"
#include "workloads/azure.hpp"
#include "workloads/generated.hpp"
#include "workloads/llmservingsim.hpp"
#include "workloads/mooncake.hpp"
#include "workloads/streams.hpp"

namespace moesim::workloads {
namespace {

constexpr std::uint64_t kSeed = 1;

LengthDistribution lognormal(double median, double sigma, std::int64_t min, std::int64_t max) {
  LognormalLength length;
  length.median = median;
  length.sigma = sigma;
  length.min = min;
  length.max = max;
  return length;
}

std::vector<Request> generate(const Arrival& arrival, const Lengths& lengths, std::int64_t count) {
  Workload workload;
  workload.arrival = arrival;
  workload.lengths = lengths;
  workload.stop = Stop{count, std::nullopt};
  OpenLoopSource source(workload, kSeed);
  std::vector<Request> requests;
  while (auto request = source.next()) requests.push_back(std::move(*request));
  return requests;
}

std::string azure_example() {
  const auto start = parse_azure_timestamp("2024-01-01 00:00:00.0000000");
  core::check(start.has_value(), "the start of the Azure example");
  std::string text;
  append_azure_header(text);
  const Lengths lengths{lognormal(1020, 0.77, 3, 16384), lognormal(129, 0.93, 1, 1000)};
  for (const Request& request : generate(GammaArrivals{{5.5}, 1.09}, lengths, 200)) {
    AzureTimestamp at = *start;
    at.ticks += request.arrival.ps / 100'000;
    append_azure_row(text, {at, request.input_tokens, request.output_tokens});
  }
  return text;
}

// Every prompt starts with one common block; some continue an earlier prompt and share its full blocks.
std::string mooncake_example() {
  constexpr double kFollowUpShare = 0.387;
  constexpr std::int64_t kTickMs = 3000;
  constexpr std::int64_t kPicosecondsPerMs = 1'000'000'000;
  const Lengths lengths{lognormal(4000, 1.0, 600, 24000), lognormal(350, 0.42, 1, 2000)};
  const std::vector<Request> requests = generate(PoissonArrivals{{3.4}}, lengths, 100);
  std::vector<MooncakeRow> rows;
  std::int64_t next_block = 1;
  std::string text;
  for (const Request& request : requests) {
    core::Draws draws(kSeed, kExampleStream, static_cast<std::uint64_t>(request.id));
    MooncakeRow row;
    row.timestamp_ms = request.arrival.ps / kPicosecondsPerMs / kTickMs * kTickMs;
    row.input_length = request.input_tokens;
    row.output_length = request.output_tokens;
    const auto blocks =
        static_cast<std::size_t>((row.input_length + kMooncakeBlockTokens - 1) / kMooncakeBlockTokens);
    row.hash_ids.push_back(0);
    if (!rows.empty() && draws.uniform() < kFollowUpShare) {
      const auto last = static_cast<std::int64_t>(rows.size()) - 1;
      const MooncakeRow& parent = rows[static_cast<std::size_t>(core::draw_integer(draws, 0, last))];
      const auto full = static_cast<std::size_t>(parent.input_length / kMooncakeBlockTokens);
      row.hash_ids.assign(parent.hash_ids.begin(),
                          parent.hash_ids.begin() + static_cast<std::ptrdiff_t>(std::min(full, blocks)));
    }
    while (row.hash_ids.size() < blocks) row.hash_ids.push_back(next_block++);
    append_mooncake_row(text, row);
    rows.push_back(std::move(row));
  }
  return text;
}

// Every fourth row is an agent's session: each call's prompt holds the one before and its answer.
std::string llmservingsim_example() {
  constexpr std::int64_t kSessionEvery = 4;
  constexpr double kMeanToolSeconds = 2.0;
  const Lengths lengths{lognormal(728, 0.6, 16, 8192), lognormal(200, 0.5, 8, 1024)};
  std::string text;
  for (const Request& request : generate(PoissonArrivals{{2.0}}, lengths, 60)) {
    core::Draws draws(kSeed, kExampleStream, static_cast<std::uint64_t>(request.id));
    LlmServingSimRow row;
    row.arrival_time_ns = request.arrival.ps / 1000;
    row.calls.push_back({request.input_tokens, request.output_tokens, {}, {}, {}});
    if (request.id % kSessionEvery == kSessionEvery - 1) {
      row.session_id = "agent-" + std::to_string(request.id / kSessionEvery);
      const std::int64_t calls = core::draw_integer(draws, 2, 5);
      while (static_cast<std::int64_t>(row.calls.size()) < calls) {
        LlmServingSimCall& before = row.calls.back();
        before.tool_duration_ns =
            core::duration_from_seconds(core::draw_exponential(draws, kMeanToolSeconds)).ps / 1000;
        const std::int64_t context = before.input_toks + before.output_toks;
        row.calls.push_back(
            {context + core::draw_integer(draws, 20, 400), core::draw_integer(draws, 20, 300), {}, {}, {}});
      }
      row.calls.back().tool_duration_ns = 0;
    }
    append_llmservingsim_row(text, row);
  }
  return text;
}

}  // namespace

std::vector<ExampleTrace> example_traces() {
  return {{"azure-example.csv", azure_example()},
          {"mooncake-example.jsonl", mooncake_example()},
          {"llmservingsim-example.jsonl", llmservingsim_example()}};
}

}  // namespace moesim::workloads
