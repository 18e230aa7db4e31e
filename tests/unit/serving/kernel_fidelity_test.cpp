// Whole runs at kernel fidelity: where they differ from step fidelity, and why.
#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <string>
#include <vector>

#include "sim/serving/simulate.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;

namespace {

using Changes = std::vector<std::string>;

serving::Results run(std::string_view text, const Changes& changes, serving::RunOptions options = {}) {
  const auto catalogue = test::source_catalogue();
  const auto scenario =
      config::read_document<serving::Scenario>(
          config::load_text(std::string(text), "test.json", catalogue, test::sets(changes)), catalogue)
          .value;
  options.verify_every = 1;
  serving::Results results = serving::simulate(scenario, options);
  for (const serving::CheckResult& check : results.checks) {
    INFO(check.name << ": " << check.detail);
    CHECK(check.held);
  }
  return results;
}

// One step of 4 sequences of one token on 8 GPUs, tensor parallel.
constexpr std::string_view kOneStep = R"({
  "version": 1,
  "cluster": {"node": "hgx-h100-8", "nodes": 1},
  "model": "mixtral-8x7b",
  "deployment": {"engine": "vllm", "pools": {"main": {"tp": 8}}},
  "workload": {
    "arrival": {"process": "closed-loop", "clients": 4},
    "lengths": {"input": {"distribution": "fixed", "tokens": 1},
                "output": {"distribution": "fixed", "tokens": 1}},
    "stop": {"requests": 4}
  },
  "fidelity": "kernel"
})";

// One step of 128 sequences on each of 16 GPUs, with experts over all of them.
constexpr std::string_view kExchange = R"({
  "version": 1,
  "cluster": {"node": "hgx-h200-8", "nodes": 2, "fabric": "ib-ndr400-rail"},
  "model": "deepseek-v3",
  "deployment": {"engine": {"extends": "vllm", "comm": {"all_to_all": "per-expert-messages"}},
                 "pools": {"main": {"tp": 1, "dp_attention": 16, "ep": 16}}},
  "workload": {
    "arrival": {"process": "closed-loop", "clients": 2048},
    "lengths": {"input": {"distribution": "fixed", "tokens": 1},
                "output": {"distribution": "fixed", "tokens": 1}},
    "stop": {"requests": 2048}
  },
  "routing": {"popularity": {"family": "balanced"}},
  "fidelity": "kernel"
})";

core::Duration total(const serving::Results& results) { return results.step_time.total; }
core::Duration part(const serving::Results& results, execution::Part part) {
  return results.step_time.by_part[static_cast<std::size_t>(part)];
}

}  // namespace

TEST_CASE("a pause in the middle of a step delays it by exactly its length") {
  const serving::Results calm = run(kOneStep, {});
  REQUIRE(part(calm, execution::Part::contention) == core::Duration{});
  const std::string pause =
      R"(faults=[{"kind":"paused-device","target":"node0.gpu5","from":"2 ms","until":"5 ms"}])";
  const serving::Results paused = run(kOneStep, {pause});
  CHECK(total(paused) == total(calm) + core::Duration{3'000'000'000});
  CHECK(part(paused, execution::Part::contention) == core::Duration{3'000'000'000});
}

TEST_CASE("slow HBM of one device slows all that wait for it, by no more than its factor") {
  const serving::Results calm = run(kOneStep, {});
  const serving::Results slow =
      run(kOneStep, {R"(faults=[{"kind":"slow-hbm","target":"node0.gpu5","factor":0.5}])"});
  CHECK(total(slow) > total(calm));
  CHECK(total(slow) < total(calm) * 2);
  CHECK(slow.kernels->slowed > 0);
  CHECK(slow.served == 4);
}

TEST_CASE("a fault on a device that no replica uses changes nothing") {
  const Changes half = {"deployment.pools.main.tp=4"};
  const serving::Results calm = run(kOneStep, half);
  Changes broken = half;
  broken.emplace_back(R"(faults=[{"kind":"slow-hbm","target":"node0.gpu5","factor":0.5}])");
  CHECK(total(run(kOneStep, broken)) == total(calm));
}

TEST_CASE("a lost NIC doubles the exchange across nodes, and its bytes arrive") {
  const serving::Results calm = run(kExchange, {});
  REQUIRE(part(calm, execution::Part::contention) == core::Duration{});
  const serving::Results lost = run(kExchange, {R"(faults=[{"kind":"lost-nic","target":"node1.nic3"}])"});
  // Two GPUs share the next NIC: what is bound by the network takes twice as long, the start-up does not.
  const auto network = static_cast<std::size_t>(cost::Resource::network);
  const core::Duration exchange = calm.step_time.by_resource[network];
  CHECK(total(lost) > total(calm));
  CHECK(total(lost) <= total(calm) + exchange);
  CHECK(part(lost, execution::Part::contention) == total(lost) - total(calm));
  CHECK(lost.kernels->steps.bytes_ended == calm.kernels->steps.bytes_ended);
  // Lost in the middle, what is on its way goes on over the next NIC.
  const serving::Results later =
      run(kExchange, {R"(faults=[{"kind":"lost-nic","target":"node1.nic3","from":"5 ms","until":"10 ms"}])"});
  CHECK(total(later) > total(calm));
  CHECK(total(later) < total(lost));
  CHECK(later.kernels->steps.bytes_ended == calm.kernels->steps.bytes_ended);
}

TEST_CASE("a device that stays paused leaves a partial run, not a hanging one") {
  const serving::Results stuck =
      run(kOneStep, {R"(faults=[{"kind":"paused-device","target":"node0.gpu5","from":"2 ms"}])"});
  CHECK(stuck.end == serving::RunEnd::time_limit);
  CHECK(stuck.unfinished == 4);
  const auto says = [](const std::string& warning) {
    return warning.find("faults have stopped") != warning.npos;
  };
  CHECK(std::count_if(stuck.warnings.begin(), stuck.warnings.end(), says) == 1);
}

// Two micro-batches are a gain where one communicates while the other computes.
TEST_CASE("micro-batches hide the exchange across nodes behind attention and experts") {
  Changes prefill = {"workload.lengths.input.tokens=64"};
  const serving::Results one = run(kExchange, prefill);
  prefill.emplace_back("deployment.micro_batches=2");
  const serving::Results two = run(kExchange, prefill);
  CHECK(total(two) < total(one));
  CHECK(two.kernels->steps.collectives_ended == 2 * one.kernels->steps.collectives_ended);
  CHECK(two.kernels->steps.bytes_ended == one.kernels->steps.bytes_ended);
}

// And a loss where kernels read weights: each micro-batch reads them anew, and pays every latency again.
TEST_CASE("micro-batches of a few tokens read the weights twice") {
  const serving::Results one = run(kOneStep, {"model=llama-3.1-8b"});
  const serving::Results two = run(kOneStep, {"model=llama-3.1-8b", "deployment.micro_batches=2"});
  CHECK(total(two) > total(one));
}

TEST_CASE("a step that cannot give every micro-batch a sequence runs as one") {
  const serving::Results one = run(kOneStep, {"workload.arrival.clients=1"});
  const serving::Results two = run(kOneStep, {"workload.arrival.clients=1", "deployment.micro_batches=2"});
  CHECK(total(two) == total(one));
}

TEST_CASE("a KV transfer under prefill slows the prefill, and the run ends with its last request") {
  const Changes prefill = {"workload.lengths.input.tokens=8000", "workload.stop.requests=8"};
  const serving::Results alone = run(kOneStep, prefill);
  Changes busy = prefill;
  busy.emplace_back(
      R"(background=[{"kind":"transfer","from":"node0.gpu2","to":"node0.gpu3","bytes":"1 GiB","every":"1 us"}])");
  const serving::Results shared = run(kOneStep, busy);
  CHECK(shared.end == serving::RunEnd::complete);
  CHECK(shared.served == 8);
  CHECK(part(shared, execution::Part::contention) > core::Duration{});
  CHECK(total(shared) == total(alone) + part(shared, execution::Part::contention));
  CHECK(shared.kernels->background.bytes_begun > shared.kernels->steps.bytes_begun / 100);
}

TEST_CASE("a background all-reduce shares the links of the replica's own") {
  const serving::Results alone = run(kOneStep, {});
  const serving::Results shared = run(
      kOneStep,
      {R"(background=[{"kind":"all-reduce","devices":["node0.gpu0","node0.gpu1","node0.gpu2"],"bytes":"256 MiB","every":"1 us"}])"});
  CHECK(shared.end == serving::RunEnd::complete);
  CHECK(shared.kernels->background.collectives_ended > 0);
  CHECK(total(shared) > total(alone));
}

TEST_CASE("kernel fidelity is deterministic, and a timeline changes nothing") {
  const Changes drawn = {"routing.popularity.family=lognormal"};
  const serving::Results first = run(kExchange, drawn);
  execution::Timeline timeline;
  serving::RunOptions options;
  options.timeline = &timeline;
  const serving::Results second = run(kExchange, drawn, options);
  CHECK(first.step_time.total == second.step_time.total);
  CHECK(first.step_time.by_part == second.step_time.by_part);
  CHECK(first.clock_end == second.clock_end);
  CHECK(first.order_hash == second.order_hash);
  CHECK(first.events == second.events);
  CHECK(timeline.slices().size() > 16 * 61 * 20);
  CHECK(run(kExchange, drawn).order_hash == first.order_hash);
  CHECK(first.kernels->verified > 0);
}

// An exchange of drawn rows takes as long as its busiest port needs, and no less than the price of an even
// one.
TEST_CASE("drawn rows make an exchange wait for its busiest port") {
  const serving::Results even = run(kExchange, {});
  const serving::Results drawn = run(kExchange, {"routing.popularity.family=lognormal"});
  CHECK(part(drawn, execution::Part::dispatch_combine) > part(even, execution::Part::dispatch_combine));
}

TEST_CASE("a run at kernel fidelity that is cut short is partial") {
  serving::RunOptions options;
  options.until = core::Duration{3'000'000'000};
  const serving::Results cut = run(kOneStep, {}, options);
  CHECK(cut.end == serving::RunEnd::until);
  CHECK(cut.unfinished == 4);
}

TEST_CASE("background traffic is sent exactly as often as it says, a period from start to start") {
  const serving::Results calm = run(kOneStep, {});
  execution::Timeline timeline;
  serving::RunOptions options;
  options.timeline = &timeline;
  // Between GPUs that the replica does not use. The first three take a few microseconds each, 100 us apart.
  const serving::Results busy = run(
      kOneStep,
      {"deployment.pools.main.tp=4",
       R"(background=[{"kind":"transfer","from":"node0.gpu5","to":"node0.gpu6","bytes":"1 MB","start":"40 us","every":"100 us","count":3},)"
       R"({"kind":"transfer","from":"node0.gpu6","to":"node0.gpu7","bytes":"100 MB","every":"20 us","count":4},)"
       R"({"kind":"transfer","from":"node0.gpu7","to":"host","bytes":"1 kB","start":"7 us"}])"},
      options);
  REQUIRE(calm.clock_end > core::Time{2'000'000'000});  // long after the last of them
  std::map<std::string, std::vector<execution::Timeline::Slice>> copies;
  for (const execution::Timeline::Slice& slice : timeline.slices()) {
    const std::string& track = timeline.tracks()[slice.track].name;
    if (track.rfind("copies", 0) == 0) copies[track].push_back(slice);
  }
  const auto& first = copies["copies of background 1"];
  REQUIRE(first.size() == 3);
  for (std::size_t i = 0; i < 3; ++i) {
    CHECK(first[i].begin.ps == (40 + 100 * static_cast<std::int64_t>(i)) * 1'000'000);
  }
  // Each takes longer than a period: the next is late, and follows at once.
  const auto& second = copies["copies of background 2"];
  REQUIRE(second.size() == 4);
  CHECK(second[0].begin.ps == 0);
  for (std::size_t i = 1; i < 4; ++i) CHECK(second[i].begin == second[i - 1].end);
  REQUIRE(copies["copies of background 3"].size() == 1);
  CHECK(copies["copies of background 3"][0].begin.ps == 7'000'000);
  CHECK((busy.kernels->background.bytes_ended == core::Int128{3 * 1'000'000 + 4 * 100'000'000 + 1'000}));
}

// A sequence of 3000 tokens and no other: its chunk is the only one, and the micro-batches are joined.
TEST_CASE("micro-batches that are joined keep every token") {
  const Changes one = {"workload.arrival.clients=1", "workload.lengths.input.tokens=3000",
                       "workload.lengths.output.tokens=3", "workload.stop.requests=2"};
  Changes two = one;
  two.emplace_back("deployment.micro_batches=2");
  const serving::Results single = run(kOneStep, one), joined = run(kOneStep, two);
  CHECK(joined.input_tokens == 2 * 3000);
  CHECK(joined.generated_tokens == 2 * 3);
  CHECK(total(joined) == total(single));
  // Two sequences, one of which is a lane of its own: on 16 ranks all but two are joined.
  Changes wide = {"workload.arrival.clients=17", "workload.stop.requests=17"};
  const serving::Results apart = run(kExchange, wide);
  wide.emplace_back("deployment.micro_batches=2");
  const serving::Results summed = run(kExchange, wide);
  CHECK(total(summed) == total(apart));
  CHECK(summed.kernels->steps.bytes_ended == apart.kernels->steps.bytes_ended);
}
