// A server against the obvious one: a list of who waits, searched from end to end.
#include <algorithm>
#include <cstdint>
#include <vector>

#include "rapidcheck.h"
#include "sim/core/server.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

struct Request {
  std::uint32_t id = 0;
  std::int64_t units = 0;
  std::uint32_t priority = 0;
  Time asked;
  Time granted;
};

class ObviousServer {
 public:
  explicit ObviousServer(std::int64_t units) : free_(units) {}

  void request(const Request& one) { waiting_.push_back(one); }

  std::vector<std::uint32_t> grant(Time now) {
    std::vector<std::uint32_t> granted;
    while (!waiting_.empty()) {
      // The first of the lowest priority.
      const auto next =
          std::min_element(waiting_.begin(), waiting_.end(),
                           [](const Request& a, const Request& b) { return a.priority < b.priority; });
      if (next->units > free_) break;
      free_ -= next->units;
      granted.push_back(next->id);
      waited_ += (now - next->asked).ps;
      holding_.push_back(*next);
      holding_.back().granted = now;
      waiting_.erase(next);
    }
    return granted;
  }
  void release(Time now, std::uint32_t id) {
    const auto one = find(holding_, id);
    free_ += one->units;
    held_ += static_cast<Int128>(one->units) * (now - one->granted).ps;
    holding_.erase(one);
  }
  void cancel(Time now, std::uint32_t id) {
    const auto one = find(waiting_, id);
    waited_ += (now - one->asked).ps;
    waiting_.erase(one);
  }

  bool holds(std::uint32_t id) { return find(holding_, id) != holding_.end(); }
  bool waits(std::uint32_t id) { return find(waiting_, id) != waiting_.end(); }
  [[nodiscard]] std::int64_t free() const { return free_; }
  [[nodiscard]] std::size_t waiting() const { return waiting_.size(); }
  // With those that are not over yet.
  [[nodiscard]] Int128 unit_time(Time until) const {
    Int128 sum = held_;
    for (const Request& one : holding_) sum += static_cast<Int128>(one.units) * (until - one.granted).ps;
    return sum;
  }
  [[nodiscard]] Int128 waited(Time until) const {
    Int128 sum = waited_;
    for (const Request& one : waiting_) sum += (until - one.asked).ps;
    return sum;
  }

 private:
  static std::vector<Request>::iterator find(std::vector<Request>& in, std::uint32_t id) {
    return std::find_if(in.begin(), in.end(), [id](const Request& one) { return one.id == id; });
  }

  std::int64_t free_;
  std::vector<Request> waiting_;  // as they came
  std::vector<Request> holding_;
  Int128 held_ = 0;
  Int128 waited_ = 0;
};

TEST_CASE("a server grants what the obvious one does, when it does, and loses no unit of time") {
  REQUIRE(rc::check([] {
    const auto units = *rc::gen::inRange<std::int64_t>(1, 9);
    const bool by_priority = *rc::gen::arbitrary<bool>();
    Server server(units, by_priority ? Server::Discipline::priority : Server::Discipline::first_come);
    ObviousServer obvious(units);
    Time now;
    const int steps = *rc::gen::inRange(1, 150);
    for (int s = 0; s < steps; ++s) {
      now += Duration{*rc::gen::element<std::int64_t>(0, 0, 1, 7, 1'000'000'007)};
      const auto id = *rc::gen::inRange<std::uint32_t>(0, 16);
      if (server.holds(id)) {
        obvious.release(now, id);
        const std::vector<std::uint32_t> granted = server.release(now, id);
        RC_ASSERT(granted == obvious.grant(now));
      } else if (!server.waits(id)) {
        const auto wanted = *rc::gen::inRange<std::int64_t>(1, units + 1);
        const auto priority = *rc::gen::element<std::uint32_t>(0, 1, 31, 62, 63);
        const bool at_once = server.request(now, id, wanted, priority);
        obvious.request({id, wanted, by_priority ? priority : 0, now, {}});
        const std::vector<std::uint32_t> granted = obvious.grant(now);
        RC_ASSERT(granted == (at_once ? std::vector<std::uint32_t>{id} : std::vector<std::uint32_t>{}));
      } else if (*rc::gen::inRange(0, 2) == 0) {
        obvious.cancel(now, id);
        const std::vector<std::uint32_t> granted = server.cancel(now, id);
        RC_ASSERT(granted == obvious.grant(now));
      }
      for (std::uint32_t i = 0; i < 16; ++i) {
        RC_ASSERT(server.holds(i) == obvious.holds(i));
        RC_ASSERT(server.waits(i) == obvious.waits(i));
      }
      RC_ASSERT(server.busy() == units - obvious.free());
      RC_ASSERT(server.waiting() == static_cast<std::int64_t>(obvious.waiting()));
      RC_ASSERT(server.requested() ==
                server.granted() + server.cancelled() + static_cast<std::uint64_t>(server.waiting()));
    }
    const Time end = now + Duration{123};
    RC_ASSERT((server.busy_over_time().integral(end) == obvious.unit_time(end)));
    RC_ASSERT((server.waiting_over_time().integral(end) == obvious.waited(end)));
  }));
}

}  // namespace
}  // namespace moesim::core
