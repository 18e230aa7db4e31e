// Faults and background traffic: what is read, what is refused and with which words, and what names stand
// for.
#include "sim/execution/disturbances.hpp"

#include <filesystem>
#include <string>
#include <vector>

#include "models/hardware/cluster.hpp"
#include "sim/config/document.hpp"
#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::execution::test {

// The parts of a scenario that faults and background traffic are about.
struct Disturbed {
  hardware::Cluster cluster;
  std::int64_t used = 16;
  std::vector<Fault> faults;
  std::vector<Traffic> background;
};

const config::Record<Disturbed>& record_of(config::Type<Disturbed>) {
  static const auto record = config::Record<Disturbed>("disturbed", "For this test")
                                 .required("cluster", &Disturbed::cluster, "The cluster")
                                 .optional("used", &Disturbed::used, "Devices of the pools")
                                 .optional("faults", &Disturbed::faults, "Faults")
                                 .optional("background", &Disturbed::background, "Traffic")
                                 .check([](const Disturbed& all, config::Problems& problems) {
                                   check_disturbances(all.faults, all.background,
                                                      hardware::Topology(all.cluster), all.used, problems);
                                 });
  return record;
}

}  // namespace moesim::execution::test

namespace moesim::execution {

namespace {

using core::Duration;
using hardware::DeviceIndex;

constexpr const char* kTwoBoxes = R"("node": "hgx-h200-8", "nodes": 2, "fabric": "ib-ndr400-rail")";
constexpr std::int64_t kSecond = core::kPicosecondsPerSecond;

config::Loaded<test::Disturbed> read(const std::string& rest, const std::string& cluster = kTwoBoxes) {
  static const config::Catalogue catalogue({std::filesystem::path(MOESIM_SOURCE_DIR)});
  const std::string text = "{\"cluster\": {" + cluster + "}, " + rest + "}";
  return config::read_document<test::Disturbed>(config::load_text(text, "test.json", catalogue), catalogue);
}

std::string lines(const std::vector<config::Diagnostic>& all) {
  std::string text;
  for (const auto& problem : all) {
    text += problem.pointer + ": " + problem.message + " [" + problem.suggestion + "] " + problem.code + "\n";
  }
  return text;
}

// "POINTER: message [suggestion] code" for each error.
std::string errors(const std::string& rest, const std::string& cluster = kTwoBoxes) {
  try {
    (void)read(rest, cluster);
  } catch (const config::InputError& error) {
    for (const auto& problem : error.diagnostics().errors()) CHECK(problem.where.source >= 0);
    return lines(error.diagnostics().errors());
  }
  return "";
}

std::string fault_errors(const std::string& fault, const std::string& cluster = kTwoBoxes) {
  return errors("\"faults\": [{" + fault + "}]", cluster);
}

std::string traffic_errors(const std::string& traffic, const std::string& cluster = kTwoBoxes) {
  return errors("\"background\": [{" + traffic + "}]", cluster);
}

std::string warnings(const std::string& rest) { return lines(read(rest).warnings); }

}  // namespace

TEST_CASE("every kind of fault is read and resolved") {
  const auto loaded = read(R"("faults": [
      {"kind": "slow-hbm", "target": "node0.gpu3", "factor": 0.25, "from": "2 s", "until": "3 s"},
      {"kind": "degraded-link", "target": "node1.gpu3.port-out", "factor": 0.5},
      {"kind": "lost-nic", "target": "node1.nic2", "from": "1 ms"},
      {"kind": "paused-device", "target": "node1.gpu7", "until": "40 ms"}])");
  CHECK(loaded.warnings.empty());
  const std::vector<Fault>& faults = loaded.value.faults;
  REQUIRE(faults.size() == 4);
  const hardware::Topology topology(loaded.value.cluster);
  const std::vector<ResolvedFault> resolved = resolve(faults, topology);
  REQUIRE(resolved.size() == 4);

  CHECK(resolved[0].kind == FaultKind::slow_hbm);
  CHECK(resolved[0].device == DeviceIndex{3});
  CHECK(resolved[0].factor == 0.25);
  CHECK(resolved[0].from.ps == 2 * kSecond);
  CHECK(resolved[0].until.ps == 3 * kSecond);
  CHECK(resolved[1].kind == FaultKind::degraded_link);
  CHECK(topology.name(resolved[1].link) == "node1.gpu3.port-out");
  CHECK(resolved[1].factor == 0.5);
  CHECK(resolved[1].from.ps == 0);
  CHECK(resolved[1].until == core::kEndOfTime);
  CHECK(resolved[2].kind == FaultKind::lost_nic);
  CHECK(resolved[2].node == 1);
  CHECK(resolved[2].nic == 2);
  CHECK(resolved[2].factor == 1.0);
  CHECK(resolved[2].from.ps == kSecond / 1000);
  CHECK(resolved[3].kind == FaultKind::paused_device);
  CHECK(resolved[3].device == DeviceIndex{15});
}

TEST_CASE("background traffic is read and resolved") {
  const auto loaded = read(R"("background": [
      {"kind": "transfer", "from": "node0.gpu1", "to": "node1.gpu1", "bytes": "1 GiB"},
      {"kind": "transfer", "from": "node0.gpu1", "to": "host", "bytes": "2 GB", "start": "1 s", "every": "10 ms"},
      {"kind": "transfer", "from": "host", "to": "node1.gpu0", "bytes": "1 MB", "every": "1 s", "count": 7},
      {"kind": "all-reduce", "devices": ["node1.gpu5", "node0.gpu5"], "bytes": "64 MiB", "count": 1}])");
  const hardware::Topology topology(loaded.value.cluster);
  const std::vector<ResolvedTraffic> all = resolve(loaded.value.background, topology);
  REQUIRE(all.size() == 4);
  CHECK(all[0].kind == TrafficKind::transfer);
  CHECK(all[0].from == DeviceIndex{1});
  CHECK(all[0].to == DeviceIndex{9});
  CHECK(all[0].bytes.value == std::int64_t{1} << 30);
  CHECK(all[0].start.ps == 0);
  CHECK_FALSE(all[0].every);
  CHECK(all[0].count == 1);
  CHECK(all[1].from == DeviceIndex{1});
  CHECK_FALSE(all[1].to);
  CHECK(all[1].start.ps == kSecond);
  CHECK(all[1].every == Duration{kSecond / 100});
  CHECK_FALSE(all[1].count);  // to the end
  CHECK_FALSE(all[2].from);
  CHECK(all[2].to == DeviceIndex{8});
  CHECK(all[2].count == 7);
  CHECK(all[3].kind == TrafficKind::all_reduce);
  CHECK(all[3].devices == std::vector<DeviceIndex>{{13}, {5}});
  CHECK(all[3].count == 1);
}

TEST_CASE("resolving what was not checked breaks an invariant") {
  const hardware::Topology topology(read("\"used\": 1").value.cluster);
  const auto fault = [&](FaultKind kind, std::string target, std::optional<double> factor) {
    const std::vector<Fault> faults = {{kind, std::move(target), factor, {}, {}}};
    return resolve(faults, topology);
  };
  CHECK(fault(FaultKind::slow_hbm, "node0.gpu0", 0.5).size() == 1);
  CHECK_THROWS_AS(fault(FaultKind::slow_hbm, "node0.gpu8", 0.5), core::InvariantError);
  CHECK_THROWS_AS(fault(FaultKind::slow_hbm, "node0.gpu0", {}), core::InvariantError);
  CHECK_THROWS_AS(fault(FaultKind::degraded_link, "node0.gpu0", 0.5), core::InvariantError);
  CHECK_THROWS_AS(fault(FaultKind::lost_nic, "node0.gpu0", {}), core::InvariantError);
  CHECK_THROWS_AS(fault(FaultKind::lost_nic, "node0.gpu0.host", {}), core::InvariantError);
  CHECK_THROWS_AS(fault(FaultKind::lost_nic, "node0.nic0", 0.5), core::InvariantError);
  std::vector<Traffic> traffic(1);
  CHECK_THROWS_AS(resolve(traffic, topology), core::InvariantError);
  traffic[0].from = traffic[0].to = "host";
  CHECK_THROWS_AS(resolve(traffic, topology), core::InvariantError);
}

TEST_CASE("a fault has a factor where its kind has one, between 0 and 1") {
  CHECK(fault_errors(R"("kind": "slow-hbm", "target": "node0.gpu0")") ==
        "/faults/0: a \"slow-hbm\" fault needs \"factor\": the share of the bandwidth that is left "
        "[\"factor\": 0.5] missing_key\n");
  CHECK(fault_errors(R"("kind": "degraded-link", "target": "node0.gpu0.port-in")") ==
        "/faults/0: a \"degraded-link\" fault needs \"factor\": the share of the bandwidth that is left "
        "[\"factor\": 0.5] missing_key\n");
  for (const std::string kind : {"lost-nic", "paused-device"}) {
    CHECK(fault_errors("\"kind\": \"" + kind + "\", \"target\": \"node0.gpu0\", \"factor\": 0.5") ==
          "/faults/0/factor: a \"" + kind +
              "\" fault has no \"factor\": nothing is left while it lasts [] contradiction\n");
  }
  const auto factor = [](const std::string& value) {
    return fault_errors(R"("kind": "slow-hbm", "target": "node0.gpu0", "factor": )" + value);
  };
  CHECK(factor("0.999") == "");
  CHECK(factor("1") ==
        "/faults/0/factor: 1 is out of range: must be less than 1, which leaves all of the bandwidth [] "
        "out_of_range\n");
  for (const char* value : {"0", "-0.5", "1.5"}) {
    INFO(value);
    CHECK(factor(value).find("/faults/0/factor: ") == 0);
    CHECK(factor(value).find("out_of_range") != std::string::npos);
  }
}

TEST_CASE("a fault ends after it begins") {
  const std::string fault = R"("kind": "paused-device", "target": "node0.gpu0", "from": "2 s", "until": )";
  CHECK(fault_errors(fault + "\"2000000000001 ps\"") == "");
  for (const char* until : {"\"2 s\"", "\"1 s\""}) {
    CHECK(fault_errors(fault + until) ==
          "/faults/0/until: the fault ends before it begins: \"until\" must be later than \"from\" [] "
          "contradiction\n");
  }
  CHECK(fault_errors(R"("kind": "paused-device", "target": "node0.gpu0", "until": "0 s")").find("/until") !=
        std::string::npos);
}

TEST_CASE("devices, links and NICs that do not exist are told with what exists") {
  const auto unknown = [](const std::string& kind, const std::string& target,
                          const char* cluster = kTwoBoxes) {
    const bool factor = kind == "slow-hbm" || kind == "degraded-link";
    return fault_errors(
        "\"kind\": \"" + kind + "\", \"target\": \"" + target + "\"" + (factor ? ", \"factor\": 0.5" : ""),
        cluster);
  };
  CHECK(unknown("slow-hbm", "node2.gpu3") ==
        "/faults/0/target: there is no device \"node2.gpu3\" in the cluster: node0 .. node1, gpu0 .. gpu7 "
        "[\"node1.gpu3\"] unknown_device\n");
  CHECK(unknown("paused-device", "node0-gpu3").find("[\"node0.gpu3\"]") != std::string::npos);
  CHECK(unknown("paused-device", "nodes").find("[]") != std::string::npos);
  CHECK(unknown("paused-device", "node7.gpu0").find("[]") != std::string::npos);  // not node0 for node7
  CHECK(unknown("paused-device", "node0.nic3") ==
        "/faults/0/target: \"node0.nic3\" is a NIC and no device: node0 .. node1, gpu0 .. gpu7 "
        "[\"node0.gpu3\"] unknown_device\n");
  CHECK(unknown("slow-hbm", "node0.gpu3.port-out").find("is a link and no device") != std::string::npos);

  CHECK(unknown("lost-nic", "node1.nic8") ==
        "/faults/0/target: there is no NIC \"node1.nic8\" in the cluster: node0 .. node1, nic0 .. nic7 "
        "[\"node1.nic7\"] unknown_nic\n");
  CHECK(unknown("lost-nic", "node1.gpu2").find("\"node1.gpu2\" is a device and no NIC") != std::string::npos);
  CHECK(unknown("lost-nic", "node0.nic0", R"("node": "hgx-h200-8", "nodes": 1)") ==
        "/faults/0/target: the cluster has no network: that takes \"nics\" of its node and a \"fabric\" [] "
        "contradiction\n");

  CHECK(unknown("degraded-link", "node0.gpu12.port-out") ==
        "/faults/0/target: there is no link \"node0.gpu12.port-out\" in the cluster: node0.gpu0.port-out .. "
        "node1.gpu7.port-out [\"node0.gpu1.port-out\"] unknown_link\n");
  CHECK(unknown("degraded-link", "node0.gpu1.port_out").find("[\"node0.gpu1.port-out\"]") !=
        std::string::npos);
  CHECK(unknown("degraded-link", "domain0.mesh.0-1") ==
        "/faults/0/target: the cluster has no links \"domainN.mesh.A-B\"; it has nodeN.gpuM.port-out, "
        "nodeN.gpuM.port-in, nodeN.gpuM.host-out, nodeN.gpuM.host-in, nodeN.host-memory, nodeN.nicM.out, "
        "nodeN.nicM.in, leafN.up, leafN.down [] unknown_link\n");
  CHECK(
      unknown("degraded-link", "node0.gpu0.port-out", R"("node": "mi300x-8", "nodes": 1)") ==
      "/faults/0/target: the cluster has no links \"nodeN.gpuM.port-out\"; it has domainN.mesh.A-B, "
      "nodeN.gpuM.host-out, nodeN.gpuM.host-in, nodeN.host-memory [\"node0.gpu0.host-out\"] unknown_link\n");
  CHECK(unknown("degraded-link", "node0.gpu0").find("\"node0.gpu0\" is a device and no link: nodeN.gpuM.") !=
        std::string::npos);
  CHECK(unknown("degraded-link", std::string(65, 'x')).find("out_of_range") != std::string::npos);
}

TEST_CASE("faults of a kind and target may follow but not overlap one another") {
  const auto two = [](const std::string& first, const std::string& second) {
    const std::string fault = R"({"kind": "paused-device", "target": "node0.gpu0", )";
    return errors("\"faults\": [" + fault + first + "}, " + fault + second + "}]");
  };
  CHECK(two(R"("until": "2 s")", R"("from": "2 s")") == "");
  CHECK(two(R"("from": "2 s")", R"("until": "2 s")") == "");
  const std::string overlap =
      "/faults/1: overlaps with /faults/0: both are a \"paused-device\" of node0.gpu0 [] "
      "contradiction\n";
  CHECK(two(R"("until": "2 s")", R"("from": "1999 ms")") == overlap);
  CHECK(two(R"("from": "1 s")", R"("until": "1001 ms")") == overlap);
  CHECK(two(R"("from": "1 s")", R"("from": "1 s")") == overlap);
  // Another kind at the same target, and the same kind elsewhere.
  CHECK(errors(R"("faults": [{"kind": "paused-device", "target": "node0.gpu0"},
                             {"kind": "slow-hbm", "target": "node0.gpu0", "factor": 0.5},
                             {"kind": "paused-device", "target": "node0.gpu1"}])") == "");
}

TEST_CASE("a node keeps a NIC at every time") {
  const auto lost = [](std::int64_t nics, const std::string& last) {
    std::string faults;
    for (std::int64_t nic = 0; nic < nics; ++nic) {
      faults +=
          R"({"kind": "lost-nic", "until": "5 s", "target": "node1.nic)" + std::to_string(nic) + "\"}, ";
    }
    return errors("\"faults\": [" + faults + last + "]");
  };
  CHECK(lost(7, R"({"kind": "lost-nic", "target": "node1.nic7", "from": "5 s"})") == "");
  CHECK(lost(7, R"({"kind": "lost-nic", "target": "node0.nic7"})") == "");
  CHECK(lost(7, R"({"kind": "lost-nic", "target": "node1.nic7", "from": "4 s"})") ==
        "/faults/7: node1 has no NIC left at 4 s: all 8 are lost [] contradiction\n");
}

TEST_CASE("background traffic names what its kind has, and different devices") {
  const std::string bytes = R"("bytes": "1 GiB", )";
  CHECK(traffic_errors(bytes + R"("kind": "transfer", "to": "host")") ==
        "/background/0: a transfer needs \"from\": the device that sends, or \"host\" [\"from\": "
        "\"node0.gpu0\"] "
        "missing_key\n");
  CHECK(traffic_errors(bytes + R"("kind": "transfer", "from": "node0.gpu1")").find("needs \"to\"") !=
        std::string::npos);
  CHECK(traffic_errors(bytes + R"("kind": "transfer", "from": "host", "to": "host")") ==
        "/background/0/to: a transfer from host to host crosses no link: one end must be a device [] "
        "contradiction\n");
  CHECK(traffic_errors(bytes + R"("kind": "transfer", "from": "node0.gpu1", "to": "node0.gpu1")") ==
        "/background/0/to: a transfer from node0.gpu1 to itself crosses no link [] contradiction\n");
  CHECK(
      traffic_errors(bytes + R"("kind": "transfer", "from": "node0.gpu1", "to": "hosts")")
          .find("/background/0/to: there is no device \"hosts\" in the cluster: node0 .. node1, gpu0 .. gpu7 "
                "[\"host\"] unknown_device") == 0);
  CHECK(traffic_errors(bytes + R"("kind": "transfer", "from": "node9.gpu1", "to": "host")")
            .find("/background/0/from: there is no device \"node9.gpu1\"") == 0);
  CHECK(traffic_errors(bytes +
                       R"("kind": "transfer", "from": "host", "to": "node0.gpu1", "devices": ["node0.gpu2"])")
            .find("/background/0/devices: a transfer has no \"devices\"") == 0);

  CHECK(traffic_errors(bytes + R"("kind": "all-reduce")") ==
        "/background/0: an all-reduce needs \"devices\": at least 2 [] missing_key\n");
  CHECK(traffic_errors(bytes + R"("kind": "all-reduce", "devices": ["node0.gpu0"])") ==
        "/background/0/devices: an all-reduce needs \"devices\": at least 2 [] contradiction\n");
  CHECK(traffic_errors(bytes +
                       R"("kind": "all-reduce", "devices": ["node0.gpu0", "node0.gpu1", "node0.gpu0"])") ==
        "/background/0/devices/2: node0.gpu0 is listed twice [] contradiction\n");
  CHECK(traffic_errors(bytes + R"("kind": "all-reduce", "devices": ["node0.gpu0", "node0.gpu8"])") ==
        "/background/0/devices/1: there is no device \"node0.gpu8\" in the cluster: node0 .. node1, gpu0 .. "
        "gpu7 "
        "[\"node0.gpu7\"] unknown_device\n");
  CHECK(traffic_errors(
            bytes + R"("kind": "all-reduce", "devices": ["node0.gpu0", "node0.gpu1"], "to": "node0.gpu1")") ==
        "/background/0/to: an all-reduce has no \"to\": its members are \"devices\" [] contradiction\n");
}

TEST_CASE("background traffic has bytes, and a period where it repeats") {
  const std::string transfer = R"("kind": "transfer", "from": "host", "to": "node0.gpu1", )";
  CHECK(traffic_errors(transfer + R"("bytes": "0 B")").find("/background/0/bytes: ") == 0);
  CHECK(traffic_errors(transfer + R"("bytes": "1 B", "every": "0 s")").find("/background/0/every: ") == 0);
  CHECK(traffic_errors(transfer + R"("bytes": "1 B", "count": 0)").find("/background/0/count: ") == 0);
  CHECK(
      traffic_errors(transfer + R"("bytes": "1 B", "count": 3)") ==
      "/background/0/count: 3 times, but how often is not said: \"every\" is missing [\"every\": \"10 ms\"] "
      "contradiction\n");
  CHECK(traffic_errors(transfer + R"("bytes": "1 B", "count": 1)") == "");
  CHECK(traffic_errors(transfer + R"("bytes": "1 B", "count": 3, "every": "1 ms")") == "");
}

TEST_CASE("a fault where nothing runs is worth a warning") {
  const auto used = [](int devices, const std::string& fault, const std::string& more = "") {
    return warnings("\"used\": " + std::to_string(devices) + ", \"faults\": [{" + fault + "}]" + more);
  };
  const std::string paused = R"("kind": "paused-device", "target": "node0.gpu4")";
  CHECK(used(5, paused) == "");
  CHECK(used(4, paused) ==
        "/faults/0/target: nothing uses node0.gpu4: the pools take the first 4 GPUs of the cluster, and no "
        "background traffic begins or ends there [] suspicious\n");
  const std::string traffic = R"(, "background": [{"kind": "transfer", "bytes": "1 GB", "from": )";
  CHECK(used(4, paused, traffic + R"("node0.gpu4", "to": "host"}])") == "");
  CHECK(used(4, paused, traffic + R"("host", "to": "node0.gpu5"}])") != "");
  const std::string link = R"("kind": "degraded-link", "factor": 0.5, "target": "node0.gpu4.host-in")";
  CHECK(used(5, link) == "");
  CHECK(used(4, link) != "");
  CHECK(used(1, R"("kind": "degraded-link", "factor": 0.5, "target": "leaf7.up")") == "");
  const std::string nic = R"("kind": "lost-nic", "target": "node1.nic0")";
  CHECK(used(9, nic) == "");
  CHECK(used(8, nic) != "");
  CHECK(used(8, nic, traffic + R"("host", "to": "node1.gpu7"}])") == "");
}

}  // namespace moesim::execution
