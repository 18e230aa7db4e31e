// Faults and background traffic as parts of a scenario.
#include <string>
#include <vector>

#include "sim/serving/scenario.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;

namespace {

using Changes = std::vector<std::string>;

const std::string kSlow = R"({"kind": "slow-hbm", "target": "node0.gpu0", "factor": 0.5, "from": "1 s"})";
const std::string kCopy = R"({"kind": "transfer", "from": "host", "to": "node0.gpu0", "bytes": "1 GiB"})";

config::Loaded<serving::Scenario> load(const std::string& text, const Changes& changes = {}) {
  const auto catalogue = test::source_catalogue();
  return config::read_document<serving::Scenario>(
      config::load_text(text, "test.json", catalogue, test::sets(changes)), catalogue);
}

config::Loaded<serving::Scenario> load(const Changes& changes) {
  return load(std::string(test::kSmallScenario), changes);
}

// "POINTER code" of each error.
std::vector<std::string> errors(const Changes& changes) {
  std::vector<std::string> found;
  try {
    static_cast<void>(load(changes));
  } catch (const config::InputError& error) {
    for (const auto& problem : error.diagnostics().errors())
      found.push_back(problem.pointer + " " + problem.code);
  }
  return found;
}

}  // namespace

TEST_CASE("a scenario without faults and background has none, at any fidelity") {
  for (const std::string fidelity : {"step", "kernel"}) {
    const auto loaded = load({"fidelity=" + fidelity, "faults=[]", "background=[]"});
    CHECK(loaded.value.faults.empty());
    CHECK(loaded.value.background.empty());
    CHECK((loaded.value.fidelity == serving::Fidelity::kernel) == (fidelity == "kernel"));
  }
  CHECK(load(Changes{}).value.fidelity == serving::Fidelity::step);
}

TEST_CASE("faults and background traffic need kernel fidelity") {
  const std::string faults = "faults=[" + kSlow + "]";
  const std::string background = "background=[" + kCopy + "]";
  CHECK(errors({faults, background, "fidelity=kernel"}).empty());
  CHECK(errors({faults, "fidelity=step"}) == Changes{"/faults needs_kernel_fidelity"});
  CHECK(errors({background}) == Changes{"/background needs_kernel_fidelity"});
  CHECK(errors({faults, background}) ==
        Changes{"/faults needs_kernel_fidelity", "/background needs_kernel_fidelity"});
}

TEST_CASE("several micro-batches need kernel fidelity, which takes no cluster without end") {
  CHECK(errors({"deployment.micro_batches=2"}) == Changes{"/deployment/micro_batches needs_kernel_fidelity"});
  CHECK(errors({"deployment.micro_batches=2", "fidelity=kernel"}).empty());
  CHECK(errors({"deployment.micro_batches=9", "fidelity=kernel"}).size() == 1);
  const Changes huge = {"cluster.nodes=8193", "cluster.fabric=ib-ndr400-rail"};
  CHECK(errors(huge).empty());
  CHECK(errors({huge[0], huge[1], "fidelity=kernel"}) == Changes{"/fidelity too_many_devices"});
  CHECK(errors({"cluster.nodes=8192", huge[1], "fidelity=kernel"}).empty());
}

TEST_CASE("their names are held against the scenario's cluster") {
  CHECK(errors({"fidelity=kernel", "faults=[" + kSlow + "]", "faults.0.target=node1.gpu0"}) ==
        Changes{"/faults/0/target unknown_device"});
  CHECK(errors({"fidelity=kernel", "faults=[" + kSlow + "]", "faults.0.target=node1.gpu0", "cluster.nodes=2",
                "cluster.fabric=ib-ndr400-rail", "deployment.pools.main.replicas=16"})
            .empty());
  CHECK(errors({"fidelity=kernel", "background=[" + kCopy + "]", "background.0.to=node0.gpu8"}) ==
        Changes{"/background/0/to unknown_device"});
}

TEST_CASE("the GPUs of all pools and all their ranks count as used") {
  const auto warned = [](int gpu) {
    const auto loaded =
        load({"fidelity=kernel", "faults=[" + kSlow + "]", "faults.0.target=node0.gpu" + std::to_string(gpu),
              R"(deployment.pools={"a": {"replicas": 2, "tp": 2}, "b": {"dp_attention": 2}})"});
    for (const auto& warning : loaded.warnings) {
      if (warning.pointer == "/faults/0/target") return true;
    }
    return false;
  };
  CHECK_FALSE(warned(0));
  CHECK_FALSE(warned(5));
  CHECK(warned(6));
}

TEST_CASE("what was resolved and what is written read back the same") {
  const auto loaded =
      load({"fidelity=kernel", "faults=[" + kSlow + R"(, {"kind": "lost-nic", "target": "node0.nic7"}])",
            "background=[" + kCopy +
                R"(, {"kind": "all-reduce", "devices": ["node0.gpu0", "node0.gpu1"],
                                   "bytes": "1 MB", "every": "10 ms", "count": 5}])",
            "cluster.fabric=ib-ndr400-rail"});
  const std::string resolved = config::to_json(loaded.resolved);
  CHECK(config::to_json(load(resolved).resolved) == resolved);
  const config::Node written = record_of(config::Type<serving::Scenario>{}).write(&loaded.value);
  const serving::Scenario again = load(config::to_json(written)).value;
  REQUIRE(again.faults.size() == 2);
  CHECK(again.faults[0].factor == 0.5);
  CHECK(again.faults[0].from.ps == core::kPicosecondsPerSecond);
  CHECK_FALSE(again.faults[0].until);
  CHECK(again.faults[1].kind == execution::FaultKind::lost_nic);
  CHECK_FALSE(again.faults[1].factor);
  REQUIRE(again.background.size() == 2);
  CHECK(again.background[0].from == "host");
  CHECK_FALSE(again.background[0].every);
  CHECK_FALSE(again.background[1].from);
  CHECK(again.background[1].devices == Changes{"node0.gpu0", "node0.gpu1"});
  CHECK(again.background[1].count == 5);
}
