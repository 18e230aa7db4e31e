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
    state = {i % 3, i % 5, i % 7 * 1000, i % 11 * 100, i % 2, {}, {}};
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

TEST_CASE("intervals that are joined keep the parts of the KV blocks and the fullest device") {
  Recorder recorder(1);
  const core::Duration second{core::kPicosecondsPerSecond};
  serving::SystemState state;
  state.kv.resize(2);
  state.fullest.resize(1);
  const std::int64_t seconds = 3 * static_cast<std::int64_t>(Recorder::kMaxRows);
  // The device fills, is fullest at 4000.5 s and at 5000.5 s alike, and recorded in two pieces a second.
  const auto used = [](std::int64_t i) { return i == 4000 || i == 5000 ? 999'999 : i * 10; };
  for (std::int64_t i = 0; i < seconds; ++i) {
    state.kv = {{i * 10, i * 9}, {7, 7}};
    state.fullest = {{core::Time{}, 0, 0, i * 10, {{i * 10, i * 9}}}};
    recorder.advance(core::Time{i * second.ps + second.ps / 2}, state);
    state.fullest = {{core::Time{}, 1, 2, used(i), {{used(i), 5}}}};
    recorder.advance(core::Time{(i + 1) * second.ps}, state);
  }
  const auto memory = recorder.memory();
  const auto rows = recorder.rows();
  REQUIRE(memory.size() == rows.size());
  core::Int128 filled = 0, held = 0, constant = 0;
  serving::KvMoment fullest;
  for (std::size_t i = 0; i < memory.size(); ++i) {
    CHECK(memory[i].begin == rows[i].begin);
    CHECK(memory[i].end == rows[i].end);
    REQUIRE(memory[i].kv->size() == 2);
    filled += memory[i].kv->at(0).used;
    held += memory[i].kv->at(0).held;
    constant += memory[i].kv->at(1).used;
    const serving::KvMoment& worst = memory[i].fullest->at(0);
    CHECK(memory[i].begin <= worst.at);
    CHECK(worst.at < memory[i].end);
    if (worst.used > fullest.used) fullest = worst;
  }
  const core::Int128 steps = core::Int128{seconds} * (seconds - 1) / 2 * second.ps;
  CHECK(filled == steps * 10);
  CHECK(held == steps * 9);
  CHECK(constant == core::Int128{7} * seconds * second.ps);
  CHECK(recorder.kv_parts().at(0).used == filled);
  CHECK(fullest.used == 999'999);
  CHECK(fullest.at == core::Time{4000 * second.ps + second.ps / 2});
  CHECK(fullest.replica == 1);
  CHECK(fullest.dp_rank == 2);
  CHECK(fullest.parts == std::vector<llm::KvBytes>{{999'999, 5}});
}

TEST_CASE("the means of the parts are of the measured window") {
  Recorder recorder(1);
  const core::Duration second{core::kPicosecondsPerSecond};
  serving::SystemState state;
  state.fullest.resize(1);
  state.kv = {{1000, 900}};
  recorder.advance(core::Time{second.ps}, state);
  recorder.open_window();
  state.kv = {{600, 500}};
  recorder.advance(core::Time{3 * second.ps}, state);
  recorder.close_window();
  recorder.advance(core::Time{4 * second.ps}, state);
  const Recorder::Load load = recorder.load();
  CHECK(load.picoseconds == 2.0 * static_cast<double>(second.ps));
  REQUIRE(load.kv.size() == 1);
  CHECK(load.kv[0].used == core::Int128{1200} * second.ps);
  CHECK(load.kv[0].held == core::Int128{1000} * second.ps);
}
