// Warm-up, stop rules and closed loops.
#include <algorithm>
#include <queue>

#include "tests/unit/workloads/support.hpp"

using namespace moesim;
using namespace moesim::workloads;
using moesim::workloads::testing::generate;
using moesim::workloads::testing::kLengths;
using moesim::workloads::testing::problem_of;
using moesim::workloads::testing::read_workload;

namespace {

constexpr std::int64_t kSecond = core::kPicosecondsPerSecond;

std::string closed(const std::string& clients, const std::string& rest) {
  return "{\"arrival\": {\"process\": \"closed-loop\", " + clients + "}, " + kLengths + ", " + rest + "}";
}

std::string poisson(const std::string& rest) {
  return R"({"arrival": {"process": "poisson", "rate": "10/s"}, )" + kLengths + ", " + rest + "}";
}

// Serves requests like a pool of infinitely many servers: request k takes 1 + k mod 7 seconds.
struct Served {
  std::vector<Request> requests;  // in the order of birth
  std::size_t most_at_once = 0;
  core::Time warmup_end;                 // end of the last warm-up request
  core::Time first_measured{INT64_MAX};  // earliest measured arrival
};

Served serve(RequestSource& source) {
  using End = std::pair<core::Time, std::size_t>;
  std::priority_queue<End, std::vector<End>, std::greater<>> ends;
  Served served;
  const auto start = [&](Request request) {
    const core::Time end = request.arrival + core::Duration{(1 + request.id % 7) * kSecond};
    if (!request.warmup) served.first_measured = std::min(served.first_measured, request.arrival);
    served.requests.push_back(std::move(request));
    ends.emplace(end, served.requests.size() - 1);
    served.most_at_once = std::max(served.most_at_once, ends.size());
  };
  while (auto request = source.next()) start(std::move(*request));
  while (!ends.empty()) {
    const auto [now, index] = ends.top();
    ends.pop();
    const Request ended = served.requests[index];
    if (ended.warmup) served.warmup_end = std::max(served.warmup_end, now);
    for (Request& released : source.on_finished(ended, now, Ending::served)) {
      CHECK(released.arrival >= now);
      start(std::move(released));
    }
    CHECK_FALSE(source.next());
  }
  return served;
}

}  // namespace

TEST_CASE("a closed loop sends a burst, then one request per end, and never has more than C outstanding") {
  const auto source =
      make_source(read_workload(closed("\"clients\": 8", R"("stop": {"requests": 80})")), 1, {});
  const Served served = serve(*source);
  REQUIRE(served.requests.size() == 80);
  CHECK(served.most_at_once == 8);
  for (std::size_t i = 0; i < 80; ++i) {
    CHECK(served.requests[i].id == static_cast<std::int64_t>(i));
    CHECK((served.requests[i].arrival.ps == 0) == (i < 8));
    CHECK_FALSE(served.requests[i].warmup);
  }
}

TEST_CASE("a closed loop warms up with the same clients, and the burst waits for the last of the warm-up") {
  const auto source = make_source(
      read_workload(closed("\"clients\": 8", R"("stop": {"requests": 80}, "warmup": {"requests": 16})")), 1,
      {});
  const Served served = serve(*source);
  REQUIRE(served.requests.size() == 96);
  CHECK(served.most_at_once == 8);
  CHECK(std::count_if(served.requests.begin(), served.requests.end(),
                      [](const Request& r) { return r.warmup; }) == 16);
  CHECK(served.first_measured == served.warmup_end);
  CHECK(std::count_if(served.requests.begin(), served.requests.end(), [&](const Request& r) {
          return !r.warmup && r.arrival == served.first_measured;
        }) == 8);
  for (std::size_t i = 0; i < 96; ++i) CHECK(served.requests[i].warmup == (i < 16));
}

TEST_CASE("measured requests of a closed loop are the same with any warm-up") {
  const std::string lengths =
      R"("lengths": {"input": {"distribution": "uniform", "tokens": 9000, "ratio": 0.1},
                                             "output": {"distribution": "uniform", "tokens": 900, "ratio": 0.1}})";
  const auto run = [&](const std::string& warmup) {
    const auto source =
        make_source(read_workload("{\"arrival\": {\"process\": \"closed-loop\", \"clients\": 4}, " + lengths +
                                  R"(, "stop": {"requests": 40}, "warmup": {"requests": )" + warmup + "}}"),
                    5, {});
    auto requests = serve(*source).requests;
    requests.erase(
        std::remove_if(requests.begin(), requests.end(), [](const Request& r) { return r.warmup; }),
        requests.end());
    return requests;
  };
  const auto none = run("0");
  const auto some = run("6");
  REQUIRE(none.size() == 40);
  REQUIRE(some.size() == 40);
  for (std::size_t i = 0; i < 40; ++i) {
    CHECK(none[i].input_tokens == some[i].input_tokens);
    CHECK(none[i].output_tokens == some[i].output_tokens);
  }
}

TEST_CASE("fewer warm-up requests than clients, and fewer requests than clients") {
  auto source = make_source(
      read_workload(closed("\"clients\": 8", R"("stop": {"requests": 5}, "warmup": {"requests": 3})")), 1,
      {});
  const Served served = serve(*source);
  CHECK(served.requests.size() == 8);
  CHECK(served.most_at_once == 5);
}

TEST_CASE("clients of a closed loop think") {
  const auto source = make_source(
      read_workload(closed(R"("clients": 1, "think_time": "500 ms")", R"("stop": {"requests": 3})")), 1, {});
  const Served served = serve(*source);
  REQUIRE(served.requests.size() == 3);
  CHECK(served.requests[1].arrival.ps == 3 * kSecond / 2);                    // request 0 takes 1 s
  CHECK(served.requests[2].arrival.ps == 3 * kSecond / 2 + 5 * kSecond / 2);  // request 1 takes 2 s
}

TEST_CASE("a closed loop can end by time, counted from the measured burst") {
  const auto source = make_source(
      read_workload(closed("\"clients\": 2", R"("stop": {"duration": "20 s"}, "warmup": {"requests": 9})")),
      1, {});
  const Served served = serve(*source);
  core::Time last;
  for (const Request& r : served.requests) last = std::max(last, r.arrival);
  CHECK(last - served.first_measured < core::Duration{20 * kSecond});
  CHECK(last - served.first_measured > core::Duration{12 * kSecond});
}

TEST_CASE("a request that is refused at once does not cost a closed loop a client") {
  for (const char* warmup : {"", R"(, "warmup": {"requests": 6})"}) {
    const auto source = make_source(
        read_workload(closed("\"clients\": 4", std::string(R"("stop": {"requests": 50})") + warmup)), 1, {});
    std::vector<Request> waiting;
    const auto first = source->next();
    REQUIRE(first);
    for (Request& r : source->on_finished(*first, core::Time{}, Ending::served))
      waiting.push_back(std::move(r));
    while (auto request = source->next()) waiting.push_back(std::move(*request));
    CHECK(waiting.size() == 4);
  }
}

TEST_CASE("an open loop stops after its requests, and the warm-up comes on top") {
  const auto requests = generate(poisson(R"("stop": {"requests": 50}, "warmup": {"requests": 20})"));
  REQUIRE(requests.size() == 70);
  for (std::size_t i = 0; i < requests.size(); ++i) {
    CHECK(requests[i].warmup == (i < 20));
    CHECK(requests[i].id == static_cast<std::int64_t>(i));
    if (i > 0) CHECK(requests[i].arrival >= requests[i - 1].arrival);
  }
}

TEST_CASE("an open loop stops after its duration, counted from the end of the warm-up") {
  const auto requests = generate(poisson(R"("stop": {"duration": "20 s"}, "warmup": {"duration": "10 s"})"));
  for (const Request& r : requests) CHECK(r.warmup == (r.arrival.ps < 10 * kSecond));
  CHECK(requests.back().arrival.ps < 30 * kSecond);
  CHECK(requests.back().arrival.ps > 28 * kSecond);
  const auto both =
      generate(poisson(R"("stop": {"duration": "20 s", "requests": 7}, "warmup": {"duration": "10 s"})"));
  CHECK(std::count_if(both.begin(), both.end(), [](const Request& r) { return !r.warmup; }) == 7);
  const auto counted = generate(poisson(R"("stop": {"duration": "20 s"}, "warmup": {"requests": 30})"));
  CHECK(counted.back().arrival - counted[30].arrival < core::Duration{20 * kSecond});
  CHECK(counted.back().arrival - counted[30].arrival > core::Duration{18 * kSecond});
}

TEST_CASE("a source that ended stays ended") {
  const auto source = make_source(read_workload(poisson(R"("stop": {"requests": 2})")), 1, {});
  CHECK(source->next());
  CHECK(source->next());
  CHECK_FALSE(source->next());
  CHECK_FALSE(source->next());
}

TEST_CASE("a refused client of a closed loop waits its think time, and at least a second") {
  for (const auto& [think, seconds] : {std::pair{"0 s", 1}, std::pair{"500 ms", 1}, std::pair{"3 s", 3}}) {
    const auto source =
        make_source(read_workload(closed(std::string(R"("clients": 1, "think_time": ")") + think + "\"",
                                         R"("stop": {"duration": "20 s"}, "warmup": {"requests": 2})")),
                    1, {});
    const auto warmup = source->next();
    REQUIRE(warmup);
    const auto second = source->on_finished(*warmup, core::Time{kSecond}, Ending::refused);
    REQUIRE(second.size() == 1);
    CHECK(second[0].warmup);
    CHECK(second[0].arrival == core::Time{kSecond + seconds * kSecond});
    const auto burst = source->on_finished(second[0], core::Time{5 * kSecond}, Ending::refused);
    REQUIRE(burst.size() == 1);
    CHECK(burst[0].arrival == core::Time{5 * kSecond});
    const auto next = source->on_finished(burst[0], core::Time{5 * kSecond}, Ending::refused);
    REQUIRE(next.size() == 1);
    CHECK(next[0].arrival == core::Time{(5 + seconds) * kSecond});
  }
}

TEST_CASE("arrivals past the end of simulated time are told at what asks for them") {
  const std::string rest = kLengths + R"(, "stop": {"requests": 10000}})";
  const auto pointer_of = [&](const std::string& arrival) {
    const auto problem = problem_of([&] { generate(R"({"arrival": )" + arrival + ", " + rest); });
    CHECK(problem.code == "time_overflow");
    return problem.pointer;
  };
  CHECK(pointer_of(R"({"process": "poisson", "rate": "1e-5/s"})") == "/workload/arrival/rate");
  CHECK(pointer_of(R"({"process": "gamma", "rate": "1e-5/s", "cv": 2})") == "/workload/arrival/rate");
  CHECK(pointer_of(R"({"process": "rate-curve", "points": [{"at": "1 s", "rate": "1e-5/s"}]})") ==
        "/workload/arrival/points");
  const auto source = make_source(
      read_workload(closed(R"("clients": 1, "think_time": "6 d")", R"("stop": {"requests": 9})")), 1, {});
  const auto first = source->next();
  const auto second = source->on_finished(*first, core::Time{}, Ending::served);
  const auto problem = problem_of([&] {
    static_cast<void>(source->on_finished(second[0], core::Time{50 * 86400 * kSecond}, Ending::served));
  });
  CHECK(problem.pointer == "/workload/arrival/think_time");
}
