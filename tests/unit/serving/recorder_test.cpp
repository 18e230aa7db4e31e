// Integrals over time in intervals of a growing length.
#include "sim/serving/recorder.hpp"

#include <cmath>

#include "tests/support/catch.hpp"

using namespace moesim;
using serving::Recorder;

TEST_CASE("intervals that are joined keep their integrals") {
  Recorder recorder(2);
  const core::Duration second{core::kPicosecondsPerSecond};
  serving::SystemState state;
  const std::int64_t seconds = 3 * static_cast<std::int64_t>(Recorder::kMaxRows);
  for (std::int64_t i = 0; i < seconds; ++i) {
    state = {i % 3, i % 5, i % 7 * 1000, i % 11 * 100, i % 2};
    recorder.advance(core::Time{(i + 1) * second.ps}, state);
  }
  double running = 0, waiting = 0, bytes = 0, waste = 0, busy = 0;
  for (const serving::TimeseriesRow& row : recorder.rows()) {
    const double length = (row.end - row.begin).seconds();
    running += row.mean_running * length;
    waiting += row.mean_waiting * length;
    bytes += row.mean_kv_bytes * length;
    waste += row.mean_kv_waste_bytes * length;
    busy += row.busy_fraction * length * 2;
  }
  std::int64_t expected[5] = {};
  for (std::int64_t i = 0; i < seconds; ++i) {
    expected[0] += i % 3;
    expected[1] += i % 5;
    expected[2] += i % 7 * 1000;
    expected[3] += i % 11 * 100;
    expected[4] += i % 2;
  }
  CHECK(recorder.rows().size() <= Recorder::kMaxRows);
  CHECK(std::abs(running / static_cast<double>(expected[0]) - 1) < 1e-12);
  CHECK(std::abs(waiting / static_cast<double>(expected[1]) - 1) < 1e-12);
  CHECK(std::abs(bytes / static_cast<double>(expected[2]) - 1) < 1e-12);
  CHECK(std::abs(waste / static_cast<double>(expected[3]) - 1) < 1e-12);
  CHECK(std::abs(busy / static_cast<double>(expected[4]) - 1) < 1e-12);
}
