// The timeline of a run at step fidelity, held against the results of the same run.
#include "sim/serving/step_trace.hpp"

#include <algorithm>
#include <map>
#include <set>
#include <string>

#include "sim/serving/simulate.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;
using execution::Timeline;

namespace {

serving::Scenario scenario(std::string_view text, const std::vector<std::string>& changes = {}) {
  const auto catalogue = test::source_catalogue();
  return config::read_document<serving::Scenario>(
             config::load_text(std::string(text), "test.json", catalogue, test::sets(changes)), catalogue)
      .value;
}

struct Traced {
  explicit Traced(const serving::Scenario& what, serving::RunOptions options = {}) {
    options.timeline = &timeline;
    results = serving::simulate(what, options);
  }
  [[nodiscard]] const std::string& name(const Timeline::Slice& slice) const {
    return timeline.names()[slice.name];
  }
  [[nodiscard]] std::int64_t argument(std::size_t slice, std::string_view key) const {
    for (const auto& argument : timeline.arguments(slice)) {
      if (timeline.names()[argument.name.index] == key) return argument.value;
    }
    FAIL("no argument " << key);
    return 0;
  }
  // The integral of a counter until the end of the time series, in units x seconds.
  [[nodiscard]] double integral(std::string_view name) const {
    double sum = 0;
    core::Time since;
    double held = 0;
    for (const auto& value : timeline.counter_values()) {
      if (timeline.counters()[value.counter].name != name) continue;
      sum += held * (value.at - since).seconds();
      since = value.at;
      held = value.value;
    }
    return sum + held * (results.timeseries.back().end - since).seconds();
  }
  template <class Value>
  [[nodiscard]] double integral_of_rows(Value value) const {
    double sum = 0;
    for (const auto& row : results.timeseries) sum += value(row) * (row.end - row.begin).seconds();
    return sum;
  }

  Timeline timeline;
  serving::Results results;
};

constexpr const char* kDenseRanks = R"(deployment.pools={"main":{"tp":2,"dp_attention":4}})";
constexpr const char* kOpenLoop = R"(workload.arrival={"process":"poisson","rate":"8/s"})";

}  // namespace

TEST_CASE("the timeline has every step with its length, tokens and sequences") {
  for (const auto& what : {scenario(test::kSmallScenario), scenario(test::kMoeScenario),
                           scenario(test::kSmallScenario, {kDenseRanks, kOpenLoop})}) {
    const Traced run(what);
    std::map<std::string, std::int64_t> tokens;
    core::Duration length{};
    const auto slices = run.timeline.slices();
    for (std::size_t i = 0; i < slices.size(); ++i) {
      length += slices[i].end - slices[i].begin;
      tokens[run.name(slices[i])] += run.argument(i, "tokens");
      const std::int64_t sequences = run.argument(i, "sequences");
      CHECK(sequences >= 1);
      if (run.name(slices[i]) == "decode step") {
        CHECK(run.argument(i, "tokens") == sequences);
      } else {
        CHECK(run.argument(i, "tokens") > sequences);
      }
    }
    CHECK(static_cast<std::int64_t>(slices.size()) == run.results.steps);
    CHECK(length == run.results.step_time.total);
    std::int64_t prefills = 0, decodes = 0;
    for (const auto& row : run.results.timeseries) {
      prefills += row.prefill_tokens;
      decodes += row.decode_tokens;
    }
    const std::int64_t mixed = tokens["mixed step"];
    CHECK(tokens["prefill step"] + tokens["decode step"] + mixed == prefills + decodes);
    CHECK(tokens["prefill step"] > 0);
    CHECK(tokens["prefill step"] <= prefills);
    CHECK(tokens["decode step"] > 0);
    CHECK(tokens["decode step"] <= decodes);
    CHECK(tokens.size() == 3);
  }
}

TEST_CASE("groups of ranks that step alone have a process each") {
  const auto processes = [](const serving::Scenario& what) {
    const Traced run(what);
    CHECK(run.timeline.tracks().size() + 1 == run.timeline.processes().size());
    std::set<std::uint32_t> used;
    for (const auto& slice : run.timeline.slices()) used.insert(slice.track);
    CHECK(used.size() == run.timeline.tracks().size());
    return std::vector<std::string>(run.timeline.processes().begin(), run.timeline.processes().end());
  };
  using Names = std::vector<std::string>;
  CHECK(processes(scenario(test::kMoeScenario)) == Names{"cluster", "replica 0"});
  CHECK(processes(scenario(test::kSmallScenario, {R"(deployment.pools={"main":{"tp":2,"replicas":2}})"})) ==
        Names{"cluster", "replica 0", "replica 1"});
  CHECK(
      processes(scenario(test::kSmallScenario, {R"(deployment.pools={"main":{"tp":1,"dp_attention":2}})"})) ==
      Names{"cluster", "replica 0 group 0", "replica 0 group 1"});
}

TEST_CASE("the counters have the integrals of the time series and end at zero") {
  for (const auto& what : {scenario(test::kSmallScenario), scenario(test::kMoeScenario),
                           scenario(test::kSmallScenario, {kDenseRanks, kOpenLoop})}) {
    const Traced run(what);
    using Row = serving::TimeseriesRow;
    CHECK_THAT(run.integral("running sequences"),
               Catch::Matchers::WithinRel(
                   run.integral_of_rows([](const Row& row) { return row.mean_running; }), 1e-9));
    CHECK_THAT(run.integral("waiting requests"),
               Catch::Matchers::WithinRel(
                   run.integral_of_rows([](const Row& row) { return row.mean_waiting; }), 1e-9));
    // Bytes of all devices against the percentage of what they hold together.
    double capacity = 0;
    for (const serving::MemoryBudget& budget : run.results.memory) {
      capacity += static_cast<double>(budget.kv_blocks) * static_cast<double>(budget.kv_block_tokens) *
                  static_cast<double>(budget.kv_bytes_per_token) * static_cast<double>(budget.devices);
    }
    const double bytes = run.integral_of_rows([](const Row& row) { return row.mean_kv_bytes; });
    CHECK_THAT(run.integral("KV use"), Catch::Matchers::WithinRel(100 * bytes / capacity, 1e-9));
    std::map<std::uint32_t, double> last;
    for (const auto& value : run.timeline.counter_values()) last[value.counter] = value.value;
    CHECK(last == std::map<std::uint32_t, double>{{0, 0.0}, {1, 0.0}, {2, 0.0}});
  }
}

TEST_CASE("states that hold for no time leave no mark") {
  const Traced run(scenario(test::kSmallScenario));
  std::map<std::uint32_t, core::Time> last;
  for (const auto& value : run.timeline.counter_values()) {
    const auto before = last.find(value.counter);
    if (before != last.end()) CHECK(value.at > before->second);
    last[value.counter] = value.at;
  }
}

TEST_CASE("a step that the end of the run cuts off says so") {
  const auto what = scenario(test::kSmallScenario);
  const Traced whole(what);
  const auto slices = whole.timeline.slices();
  const Timeline::Slice cut = slices[slices.size() / 2];
  serving::RunOptions options;
  options.until = core::Duration{cut.begin.ps + (cut.end - cut.begin).ps / 2};
  const Traced part(what, options);
  REQUIRE(part.timeline.slices().size() == slices.size() / 2 + 1);
  const Timeline::Slice& last = part.timeline.slices().back();
  CHECK(last.begin == cut.begin);
  CHECK(last.end.ps == options.until->ps);
  CHECK(part.name(last) == whole.name(cut) + " (not finished)");
  CHECK(part.name(part.timeline.slices()[slices.size() / 2 - 1]).find('(') == std::string::npos);
}

TEST_CASE("a timeline changes nothing about the run") {
  const auto what = scenario(test::kMoeScenario);
  const Traced traced(what);
  const auto plain = serving::simulate(what, {});
  CHECK(plain.order_hash == traced.results.order_hash);
  CHECK(plain.events == traced.results.events);
  CHECK(plain.clock_end == traced.results.clock_end);
  CHECK(plain.step_time.total == traced.results.step_time.total);
}
