// Laws of every source of requests, for any workload, any seed and any order in which requests end.
#include <rapidcheck.h>

#include <algorithm>
#include <set>
#include <vector>

#include "tests/support/catch.hpp"
#include "workloads/source.hpp"

using namespace moesim;
using namespace moesim::workloads;

namespace {

core::Duration seconds(int n) { return core::Duration{n * core::kPicosecondsPerSecond}; }

Arrival any_open_loop() {
  const double rate = *rc::gen::inRange(1, 1000) / 10.0;
  switch (*rc::gen::inRange(0, 4)) {
    case 0:
      return PoissonArrivals{{rate}};
    case 1:
      return GammaArrivals{{rate}, *rc::gen::inRange(0, 50) / 10.0};
    case 2:
      return OnOffArrivals{
          {rate}, {rate / 3}, seconds(*rc::gen::inRange(1, 20)), seconds(*rc::gen::inRange(1, 20))};
    default: {
      RateCurveArrivals curve;
      int at = 0;
      for (int i = *rc::gen::inRange(0, 5); i >= 0; --i) {
        at += *rc::gen::inRange(0, 10);
        curve.points.push_back({seconds(at), {*rc::gen::inRange(0, 100) / 5.0}});
      }
      curve.points.back().rate.value += 1.0;
      return curve;
    }
  }
}

LengthDistribution any_lengths() {
  const std::int64_t tokens = *rc::gen::inRange(1, 10'000);
  switch (*rc::gen::inRange(0, 4)) {
    case 0:
      return FixedLength{tokens};
    case 1:
      return UniformLength{tokens, *rc::gen::inRange(0, 11) / 10.0};
    case 2: {
      LognormalLength lognormal;
      lognormal.median = static_cast<double>(tokens);
      lognormal.sigma = *rc::gen::inRange(0, 100) / 10.0;
      return lognormal;
    }
    default:
      return EmpiricalLength{{tokens, 1, 7}, {1.0, 0.0, 2.0}};
  }
}

Workload any_generated(Arrival arrival, bool closed) {
  Workload workload;
  workload.arrival = std::move(arrival);
  workload.lengths = Lengths{any_lengths(), any_lengths()};
  workload.stop = Stop{*rc::gen::inRange<std::int64_t>(1, 200), std::nullopt};
  if (*rc::gen::arbitrary<bool>()) workload.stop->duration = seconds(*rc::gen::inRange(1, 60));
  if (closed || *rc::gen::arbitrary<bool>()) {
    workload.warmup = Warmup{*rc::gen::inRange<std::int64_t>(0, 40), std::nullopt};
  } else {
    workload.warmup = Warmup{std::nullopt, seconds(*rc::gen::inRange(0, 20))};
  }
  return workload;
}

bool same(const Request& a, const Request& b) {
  return a.id == b.id && a.arrival == b.arrival && a.input_tokens == b.input_tokens &&
         a.output_tokens == b.output_tokens && a.warmup == b.warmup && a.session == b.session;
}

void check_request(const Request& request, std::int64_t id) {
  RC_ASSERT(request.id == id);
  RC_ASSERT(request.input_tokens >= 1);
  RC_ASSERT(request.input_tokens <= kMaxTokens);
  RC_ASSERT(request.output_tokens >= 1);
  RC_ASSERT(request.output_tokens <= kMaxTokens);
}

}  // namespace

TEST_CASE(
    "open loops: time never goes back, warm-up comes first, stop is kept, equal seeds give equal requests") {
  CHECK(rc::check([](std::uint64_t seed) {
    const Workload workload = any_generated(any_open_loop(), false);
    const auto once = make_source(workload, seed, {});
    const auto again = make_source(workload, seed, {});
    std::int64_t id = 0;
    std::int64_t measured = 0;
    core::Time last;
    bool was_measured = false;
    while (const auto request = once->next()) {
      check_request(*request, id++);
      const auto twin = again->next();
      RC_ASSERT(twin.has_value());
      RC_ASSERT(same(*request, *twin));
      RC_ASSERT(request->arrival >= last);
      RC_ASSERT(!(was_measured && request->warmup));
      last = request->arrival;
      was_measured = !request->warmup;
      measured += request->warmup ? 0 : 1;
      RC_ASSERT(once->on_finished(*request, last, Ending::served).empty());
    }
    RC_ASSERT_FALSE(again->next());
    RC_ASSERT(measured <= *workload.stop->requests);
    if (!workload.stop->duration) RC_ASSERT(measured == *workload.stop->requests);
  }));
}

TEST_CASE(
    "closed loops: never more than C outstanding, always C while there is work, for any order of ends") {
  CHECK(rc::check([](std::uint64_t seed) {
    const std::int64_t clients = *rc::gen::inRange<std::int64_t>(1, 20);
    Workload workload = any_generated(ClosedLoopArrivals{clients, seconds(*rc::gen::inRange(0, 3))}, true);
    workload.stop->duration.reset();
    const auto source = make_source(workload, seed, {});
    const std::int64_t warmup = *workload.warmup->requests;
    const std::int64_t wanted = *workload.stop->requests;
    std::vector<Request> outstanding;
    std::int64_t id = 0;
    std::int64_t warm = 0;
    std::int64_t measured = 0;
    const auto born = [&](Request request) {
      check_request(request, id++);
      (request.warmup ? warm : measured) += 1;
      if (!request.warmup) RC_ASSERT(warm == warmup);
      outstanding.push_back(std::move(request));
      RC_ASSERT(static_cast<std::int64_t>(outstanding.size()) <= clients);
    };
    while (auto request = source->next()) born(std::move(*request));
    core::Time now;
    while (!outstanding.empty()) {
      const auto busy = static_cast<std::int64_t>(outstanding.size());
      const bool warming = measured == 0 && warm > 0;
      RC_ASSERT(busy == std::min(clients, warming ? busy + warmup - warm : busy + wanted - measured));
      const auto at = *rc::gen::inRange<std::size_t>(0, outstanding.size());
      const Request ended = outstanding[at];
      outstanding.erase(outstanding.begin() + static_cast<std::ptrdiff_t>(at));
      now = std::max(now, ended.arrival) + core::Duration{*rc::gen::inRange(0, 1000)};
      for (Request& released : source->on_finished(ended, now, Ending::served)) {
        RC_ASSERT(released.arrival >= now);
        born(std::move(released));
      }
      RC_ASSERT_FALSE(source->next());
    }
    RC_ASSERT(warm == warmup);
    RC_ASSERT(measured == wanted);
  }));
}

TEST_CASE("lengths of a request depend on its number and the seed only") {
  CHECK(rc::check([](std::uint64_t seed) {
    Workload one = any_generated(any_open_loop(), false);
    one.stop = Stop{50, std::nullopt};
    one.warmup.reset();
    Workload two = one;
    two.arrival = any_open_loop();
    const auto a = make_source(one, seed, {});
    const auto b = make_source(two, seed, {});
    while (const auto request = a->next()) {
      const auto twin = b->next();
      RC_ASSERT(twin.has_value());
      RC_ASSERT(request->input_tokens == twin->input_tokens);
      RC_ASSERT(request->output_tokens == twin->output_tokens);
    }
  }));
}
