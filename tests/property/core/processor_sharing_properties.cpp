#include <algorithm>
#include <boost/multiprecision/cpp_int.hpp>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "rapidcheck.h"
#include "sim/core/processor_sharing.hpp"
#include "tests/support/catch.hpp"

namespace moesim::core {
namespace {

using boost::multiprecision::cpp_int;
using boost::multiprecision::cpp_rational;
using Ids = std::vector<std::uint32_t>;

cpp_int round_up(const cpp_rational& x) {
  const cpp_int top = boost::multiprecision::numerator(x);
  const cpp_int bottom = boost::multiprecision::denominator(x);
  return top <= 0 ? cpp_int(0) : (top + bottom - 1) / bottom;
}

// The definition of weighted sharing in exact fractions, at O(n) a change. An activity keeps its share until
// the picosecond in which it ends is over.
class ExactSharing {
 public:
  explicit ExactSharing(std::int64_t capacity) : capacity_(capacity) {}

  void add(Time now, std::uint32_t id, std::int64_t weight, std::int64_t work) {
    move(now);
    left_[id] = {cpp_rational(work), weight};
  }
  void remove(Time now, std::uint32_t id) {
    move(now);
    left_.erase(id);
  }
  [[nodiscard]] Time next_completion() const {
    if (left_.empty()) {
      return kEndOfTime;
    }
    cpp_rational soonest = -1;
    for (const auto& [id, activity] : left_) {
      const cpp_rational need =
          activity.work * total_weight() * kPicosecondsPerSecond / activity.weight / capacity_;
      soonest = soonest < 0 || need < soonest ? need : soonest;
    }
    return now_ + Duration{static_cast<std::int64_t>(round_up(soonest))};
  }
  Ids complete(Time now) {
    move(now);
    std::vector<std::pair<cpp_rational, std::uint32_t>> ended;  // by how long ago, in work per weight
    for (const auto& [id, activity] : left_) {
      if (activity.work <= 0) {
        ended.emplace_back(activity.work / activity.weight, id);
      }
    }
    std::sort(ended.begin(), ended.end());
    Ids ids;
    for (const auto& [ago, id] : ended) {
      left_.erase(id);
      ids.push_back(id);
    }
    return ids;
  }
  [[nodiscard]] std::int64_t remaining(Time now, std::uint32_t id) {
    move(now);
    return static_cast<std::int64_t>(round_up(left_.at(id).work));
  }
  [[nodiscard]] const auto& left() const { return left_; }

 private:
  struct Activity {
    cpp_rational work;
    std::int64_t weight = 1;
  };

  [[nodiscard]] std::int64_t total_weight() const {
    std::int64_t sum = 0;
    for (const auto& [id, activity] : left_) {
      sum += activity.weight;
    }
    return sum;
  }
  void move(Time now) {
    const std::int64_t weights = total_weight();
    for (auto& [id, activity] : left_) {
      activity.work -= cpp_rational(cpp_int((now - now_).ps) * capacity_ * activity.weight,
                                    cpp_int(weights) * kPicosecondsPerSecond);
    }
    now_ = now;
  }

  std::int64_t capacity_;
  Time now_;
  std::map<std::uint32_t, Activity> left_;
};

struct Step {
  std::uint32_t id = 0;
  std::int64_t delay = 0;  // since the last step
  std::int64_t weight = 1;
  std::int64_t work = 0;
};

TEST_CASE("sharing in virtual time equals sharing in exact fractions, to the picosecond and the unit") {
  REQUIRE(rc::check([] {
    const std::int64_t capacity = *rc::gen::element<std::int64_t>(1'000'000'007, 3'350'000'000'000,
                                                                  450'000'000'000, 989'000'000'000'003);
    const auto scale = *rc::gen::element<std::int64_t>(1, 1000, 1'000'003);
    const auto steps = *rc::gen::container<std::vector<Step>>(rc::gen::construct<Step>(
        rc::gen::inRange(0U, 6U), rc::gen::inRange<std::int64_t>(0, 2000),
        rc::gen::inRange<std::int64_t>(1, 10), rc::gen::inRange<std::int64_t>(0, 5000)));
    ProcessorSharing shared(capacity);
    ExactSharing exact(capacity);
    Time now{0};
    Int128 added = 0;
    Int128 returned = 0;
    std::map<std::uint32_t, std::int64_t> active;  // work by id
    const auto complete_until = [&](Time end) {
      while (!active.empty() && shared.next_completion() <= end) {
        now = shared.next_completion();
        RC_ASSERT((now == exact.next_completion()));
        const Ids ids = shared.complete(now);
        RC_ASSERT(!ids.empty());
        RC_ASSERT(ids == exact.complete(now));
        for (const std::uint32_t id : ids) {
          active.erase(id);
        }
      }
      RC_ASSERT((shared.next_completion() == exact.next_completion()));
    };
    for (const Step& step : steps) {
      const Time at = now + duration_for(step.delay * scale, capacity);
      complete_until(at);
      now = at;
      if (active.count(step.id) == 0) {
        shared.add(now, step.id, step.weight, step.work * scale);
        exact.add(now, step.id, step.weight, step.work * scale);
        active[step.id] = step.work * scale;
        added += step.work * scale;
      } else {
        const std::int64_t left = shared.remaining(now, step.id);
        RC_ASSERT(left == exact.remaining(now, step.id));
        RC_ASSERT(shared.remove(now, step.id) == left);
        exact.remove(now, step.id);
        active.erase(step.id);
        returned += left;
      }
      Int128 in_flight = 0;
      for (const auto& [id, work] : active) {
        in_flight += work;
      }
      RC_ASSERT(shared.size() == active.size());
      RC_ASSERT((shared.served() + returned + in_flight == added));
    }
    complete_until(kEndOfTime);
    RC_ASSERT(shared.size() == 0U);
    RC_ASSERT((shared.served() + returned == added));
  }));
}

TEST_CASE("equal weights end in the order of their work, whatever is taken out of the middle") {
  REQUIRE(rc::check([] {
    const auto works =
        *rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(1'000'000, 1'000'100));
    const auto removed = *rc::gen::container<std::vector<bool>>(works.size(), rc::gen::arbitrary<bool>());
    ProcessorSharing shared(kPicosecondsPerSecond);
    std::vector<std::pair<std::int64_t, std::uint32_t>> expected;
    for (std::uint32_t id = 0; id < works.size(); ++id) {
      shared.add(Time{0}, id, 1, works[id]);
    }
    for (std::uint32_t id = 0; id < works.size(); ++id) {
      if (removed[id]) {
        RC_ASSERT(shared.remove(Time{0}, id) == works[id]);
      } else {
        expected.emplace_back(works[id], id);
      }
    }
    std::sort(expected.begin(), expected.end());
    std::vector<std::pair<std::int64_t, std::uint32_t>> found;
    while (shared.size() > 0) {
      for (const std::uint32_t id : shared.complete(shared.next_completion())) {
        found.emplace_back(works[id], id);
      }
    }
    RC_ASSERT(found == expected);
  }));
}

TEST_CASE("while it is busy a resource serves at its capacity") {
  REQUIRE(rc::check([] {
    const auto works = *rc::gen::nonEmpty(
        rc::gen::container<std::vector<std::int64_t>>(rc::gen::inRange<std::int64_t>(0, 1'000'000'000)));
    constexpr std::int64_t kCapacity = 777'777'777;
    ProcessorSharing shared(kCapacity);
    std::int64_t total = 0;
    for (std::uint32_t id = 0; id < works.size(); ++id) {
      shared.add(Time{0}, id, 1 + id % 5, works[id]);
      total += works[id];
    }
    std::int64_t endings = 0;
    Time end{0};
    while (shared.size() > 0) {
      end = shared.next_completion();
      shared.complete(end);
      ++endings;
    }
    // Nothing is lost but the rest of the last picosecond of each ending.
    RC_ASSERT((end - Time{0} >= duration_for(total, kCapacity)));
    RC_ASSERT(end.ps <= duration_for(total, kCapacity).ps + endings);
    RC_ASSERT((shared.busy() == end - Time{0}));
  }));
}

}  // namespace
}  // namespace moesim::core
