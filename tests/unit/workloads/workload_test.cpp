#include "workloads/workload.hpp"

#include "tests/unit/workloads/support.hpp"

using namespace moesim;
using namespace moesim::workloads;
using moesim::workloads::testing::kLengths;
using moesim::workloads::testing::Problem;
using moesim::workloads::testing::problem_of;
using moesim::workloads::testing::read_workload;

namespace {

Problem refused(const std::string& json) {
  INFO(json);
  return problem_of([&] { static_cast<void>(read_workload(json)); });
}

std::string with_arrival(const std::string& arrival,
                         const std::string& rest = R"("stop": {"requests": 10})") {
  return "{\"arrival\": " + arrival + ", " + kLengths + (rest.empty() ? "" : ", " + rest) + "}";
}

std::string with_input(const std::string& distribution) {
  return R"({"arrival": {"process": "poisson", "rate": "1/s"}, "stop": {"requests": 10}, "lengths": {"input": )" +
         distribution + R"(, "output": {"distribution": "fixed", "tokens": 10}}})";
}

}  // namespace

TEST_CASE("every arrival process is read") {
  const auto poisson = read_workload(with_arrival(R"({"process": "poisson", "rate": "12.5/s"})"));
  CHECK(std::get<PoissonArrivals>(*poisson.arrival).rate.value == 12.5);
  CHECK(*poisson.stop->requests == 10);
  const auto gamma = read_workload(with_arrival(R"({"process": "gamma", "rate": "60/min", "cv": 1.5})"));
  CHECK(std::get<GammaArrivals>(*gamma.arrival).rate.value == 1.0);
  CHECK(std::get<GammaArrivals>(*gamma.arrival).cv == 1.5);
  const auto on_off =
      read_workload(with_arrival(R"({"process": "on-off", "on_rate": "10/s", "on": "8 s", "off": "22 s"})"));
  CHECK(std::get<OnOffArrivals>(*on_off.arrival).off_rate.value == 0.0);
  CHECK(std::get<OnOffArrivals>(*on_off.arrival).off.ps == 22 * core::kPicosecondsPerSecond);
  const auto curve = read_workload(with_arrival(
      R"({"process": "rate-curve", "points": [{"at": "0 s", "rate": "1/s"}, {"at": "1 min", "rate": "5/s"}]})"));
  CHECK(std::get<RateCurveArrivals>(*curve.arrival).points.at(1).rate.value == 5.0);
  const auto closed = read_workload(with_arrival(R"({"process": "closed-loop", "clients": 64})"));
  CHECK(std::get<ClosedLoopArrivals>(*closed.arrival).clients == 64);
  CHECK(std::get<ClosedLoopArrivals>(*closed.arrival).think_time.ps == 0);
}

TEST_CASE("every length distribution is read") {
  const auto input = [](const std::string& text) { return read_workload(with_input(text)).lengths->input; };
  CHECK(std::get<FixedLength>(input(R"({"distribution": "fixed", "tokens": 7})")).tokens == 7);
  CHECK(
      std::get<UniformLength>(input(R"({"distribution": "uniform", "tokens": 1024, "ratio": 0.8})")).ratio ==
      0.8);
  const auto lognormal = std::get<LognormalLength>(
      input(R"({"distribution": "lognormal", "median": 1020, "sigma": 0.8, "max": 99})"));
  CHECK(*lognormal.sigma == 0.8);
  CHECK(lognormal.max == 99);
  const auto empirical = std::get<EmpiricalLength>(
      input(R"({"distribution": "empirical", "values": [1, 2], "weights": [3, 0]})"));
  CHECK(empirical.weights.at(0) == 3.0);
}

TEST_CASE("a trace is read") {
  const auto workload = read_workload(
      R"({"trace": "data:x.jsonl", "format": "mooncake", "rate_scale": 2, "limit": 5, "spread_ties": true,
          "warmup": {"duration": "30 s"}})");
  CHECK(*workload.trace == "data:x.jsonl");
  CHECK(workload.format == TraceFormat::mooncake);
  CHECK(workload.rate_scale == 2.0);
  CHECK(*workload.limit == 5);
  CHECK(workload.spread_ties);
  CHECK(workload.warmup->duration->ps == 30 * core::kPicosecondsPerSecond);
}

TEST_CASE("contradictions between fields are told with their place") {
  const std::string poisson = R"({"process": "poisson", "rate": "1/s"})";
  CHECK(refused("{}").code == "missing_key");
  Problem problem = refused("{\"trace\": \"x\", \"arrival\": " + poisson + "}");
  CHECK(problem.pointer == "/arrival");
  CHECK(problem.code == "contradiction");
  CHECK(refused("{\"trace\": \"x\", " + kLengths + "}").pointer == "/lengths");
  problem = refused("{\"arrival\": " + poisson + R"(, "stop": {"requests": 1}})");
  CHECK(problem.message.find("\"lengths\"") != std::string::npos);
  problem = refused(with_arrival(poisson, ""));
  CHECK(problem.message.find("\"stop\"") != std::string::npos);
  CHECK(refused(with_arrival(poisson, R"("stop": {})")).pointer == "/stop");
  CHECK(refused(with_arrival(poisson, R"("stop": {"requests": 1}, "rate_scale": 2)")).pointer ==
        "/rate_scale");
  CHECK(refused(with_arrival(poisson, R"("stop": {"requests": 1}, "limit": 2)")).pointer == "/limit");
  CHECK(refused(with_arrival(poisson, R"("stop": {"requests": 1}, "format": "azure")")).pointer == "/format");
  CHECK(refused(with_arrival(poisson, R"("stop": {"requests": 1}, "spread_ties": true)")).pointer ==
        "/spread_ties");
  CHECK(refused(with_arrival(poisson, R"("stop": {"requests": 1}, "warmup": {})")).pointer == "/warmup");
  CHECK(refused(
            with_arrival(poisson, R"("stop": {"requests": 1}, "warmup": {"requests": 1, "duration": "1 s"})"))
            .pointer == "/warmup/duration");
  CHECK(refused(with_arrival(R"({"process": "closed-loop", "clients": 4})",
                             R"("stop": {"requests": 9}, "warmup": {"duration": "1 s"})"))
            .pointer == "/warmup/duration");
}

TEST_CASE("numbers out of their range are told with their place") {
  CHECK(refused(with_arrival(R"({"process": "poisson", "rate": "0/s"})")).pointer == "/arrival/rate");
  CHECK(refused(with_arrival(R"({"process": "gamma", "rate": "1/s", "cv": -1})")).pointer == "/arrival/cv");
  CHECK(refused(with_arrival(R"({"process": "closed-loop", "clients": 0})")).pointer == "/arrival/clients");
  CHECK(refused(with_arrival(R"({"process": "closed-loop", "clients": 1048576})")).pointer ==
        "/arrival/clients");
  CHECK(
      refused(with_arrival(R"({"process": "closed-loop", "clients": 1, "think_time": "2000 h"})")).pointer ==
      "/arrival/think_time");
  const auto on_off = [](const std::string& rates, const std::string& stays) {
    return refused(with_arrival(R"({"process": "on-off", )" + rates + ", " + stays + "}"));
  };
  const std::string rate = R"("on_rate": "1/s")";
  CHECK(on_off(rate, R"("on": "1 ps", "off": "1 s")").pointer == "/arrival/on");
  CHECK(on_off(rate, R"("on": "1 s", "off": "1 ps")").pointer == "/arrival/off");
  CHECK(on_off(rate, R"("on": "2000 h", "off": "1 s")").pointer == "/arrival/on");
  // 2 changes for every 1e-4 arrivals.
  CHECK(on_off(R"("on_rate": "0.1/s")", R"("on": "1 ms", "off": "1 s")").pointer == "/arrival/on");
  const Problem process = refused(with_arrival(R"({"process": "poison", "rate": "1/s"})"));
  CHECK(process.suggestion.find("poisson") != std::string::npos);
  const auto curve = [](const std::string& points) {
    return refused(with_arrival(R"({"process": "rate-curve", "points": )" + points + "}"));
  };
  CHECK(curve("[]").pointer == "/arrival/points");
  CHECK(curve(R"([{"at": "1 s", "rate": "1/s"}, {"at": "0 s", "rate": "1/s"}])").pointer ==
        "/arrival/points/1/at");
  CHECK(curve(R"([{"at": "0 s", "rate": "0/s"}])").pointer == "/arrival/points");
  CHECK(curve(R"([{"at": "1 s", "rate": "1/s"}, {"at": "1 s", "rate": "2/s"}, {"at": "1 s", "rate": "3/s"}])")
            .pointer == "/arrival/points/2/at");
}

TEST_CASE("length distributions that make no sense are refused") {
  const auto input = [](const std::string& text) { return refused(with_input(text)); };
  CHECK(input(R"({"distribution": "fixed", "tokens": 0})").pointer == "/lengths/input/tokens");
  CHECK(input(R"({"distribution": "uniform", "tokens": 9, "ratio": 1.5})").pointer == "/lengths/input/ratio");
  CHECK(input(R"({"distribution": "lognormal", "median": 9})").pointer == "/lengths/input");
  CHECK(input(R"({"distribution": "lognormal", "median": 9, "mean": 10, "sigma": 1})").pointer ==
        "/lengths/input/sigma");
  CHECK(input(R"({"distribution": "lognormal", "median": 9, "mean": 8})").pointer == "/lengths/input/mean");
  CHECK(input(R"({"distribution": "lognormal", "median": 9, "sigma": 1, "min": 5, "max": 4})").pointer ==
        "/lengths/input/min");
  CHECK(input(R"({"distribution": "empirical", "values": []})").pointer == "/lengths/input/values");
  CHECK(input(R"({"distribution": "empirical", "values": [1, 0]})").pointer == "/lengths/input/values/1");
  CHECK(input(R"({"distribution": "empirical", "values": [1, 2], "weights": [1]})").pointer ==
        "/lengths/input/weights");
  CHECK(input(R"({"distribution": "empirical", "values": [1, 2], "weights": [1, -1]})").pointer ==
        "/lengths/input/weights/1");
  CHECK(input(R"({"distribution": "empirical", "values": [1, 2], "weights": [0, 0]})").pointer ==
        "/lengths/input/weights");
}

TEST_CASE("a rate curve that ends at 0 is pointed out when only a count ends the workload") {
  const config::Catalogue catalogue({});
  const std::string json = with_arrival(
      R"({"process": "rate-curve", "points": [{"at": "0 s", "rate": "5/s"}, {"at": "9 s", "rate": "0/s"}]})");
  const auto loaded = config::read_document<Workload>(config::parse_text(json, "test.json"), catalogue);
  REQUIRE(loaded.warnings.size() == 1);
  CHECK(loaded.warnings[0].pointer == "/stop/requests");
}

TEST_CASE("a workload is written as it was read") {
  const config::Catalogue catalogue({});
  const std::string json = with_arrival(R"({"process": "gamma", "rate": "12.5/s", "cv": 1.5})");
  const auto loaded = config::read_document<Workload>(config::parse_text(json, "test.json"), catalogue);
  const std::string text = config::to_json(record_of(config::Type<Workload>{}).write(&loaded.value));
  const Workload again = read_workload(text);
  CHECK(std::get<GammaArrivals>(*again.arrival).rate.value == 12.5);
  CHECK(config::to_json(record_of(config::Type<Workload>{}).write(&again)) == text);
}
