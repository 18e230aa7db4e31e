// Fits of kernel parameters against families whose truth is known.
#include "sim/studies/kernel_fit.hpp"

#include <array>
#include <cmath>
#include <map>
#include <stdexcept>

#include "sim/studies/kernel_accuracy.hpp"
#include "sim/studies/kernel_layers.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/kernels.hpp"

using namespace moesim;

namespace {

// Rows of two variants from the truth: start-ups of 3 and 12 us, 0.8 of the bandwidth; times `wobble(i)`.
template <class Wobble>
std::vector<studies::MeasuredRow> toy_rows(Wobble wobble) {
  std::vector<studies::MeasuredRow> rows;
  for (int i = 0; i < 200; ++i) {
    const auto bytes = static_cast<std::int64_t>(std::pow(2.0, 10 + i * 0.1));
    for (const auto& [variant, start_up] : {std::pair{"a", 3.0}, std::pair{"b", 12.0}}) {
      const double seconds = start_up * 1e-6 + static_cast<double>(bytes) / 0.8e12;
      rows.push_back(test::toy_row(bytes, variant, seconds * wobble(static_cast<int>(rows.size()))));
    }
  }
  return rows;
}

studies::RowPointers pointers(const std::vector<studies::MeasuredRow>& rows) {
  studies::RowPointers all;
  for (const auto& row : rows) all.push_back(&row);
  return all;
}

cost::FamilyParameters fitted(const std::vector<studies::MeasuredRow>& rows,
                              studies::FitOptions options = {}) {
  return studies::fit_family(test::toy_family(), pointers(rows), test::toy_device(), nullptr, options);
}

}  // namespace

TEST_CASE("a fit finds the parameters that made the rows") {
  const auto parameters = fitted(toy_rows([](int) { return 1.0; }));
  REQUIRE(parameters.variants() == std::vector<std::string>{"a", "b"});
  CHECK(parameters.of("a")[0] == Approx(3).epsilon(0.002));
  CHECK(parameters.of("b")[0] == Approx(12).epsilon(0.002));
  CHECK(parameters.of("a")[1] == Approx(0.8).epsilon(0.002));
  CHECK(parameters.of("a")[1] == parameters.of("b")[1]);
}

TEST_CASE("a tenth of rows that are five times slower does not bend a fit") {
  const auto parameters = fitted(toy_rows([](int i) { return i % 10 == 3 ? 5.0 : 1.0; }));
  CHECK(parameters.of("a")[0] == Approx(3).epsilon(0.05));
  CHECK(parameters.of("b")[0] == Approx(12).epsilon(0.05));
  CHECK(parameters.of("a")[1] == Approx(0.8).epsilon(0.05));
}

TEST_CASE("a fit stays between the bounds") {
  // Faster than the datasheet allows.
  const auto parameters = fitted(toy_rows([](int) { return 0.3; }));
  CHECK(parameters.of("a")[1] == Approx(1));
}

TEST_CASE("what no row tells stays at its prior") {
  std::vector<studies::MeasuredRow> rows;
  for (int i = 0; i < 50; ++i) rows.push_back(test::toy_row(1 << 10, "a", 3e-6));
  CHECK(fitted(rows).of("a")[1] == Approx(0.5).epsilon(0.01));
}

TEST_CASE("what a thread throws reaches the caller, after all threads have ended") {
  for (const unsigned threads : {1U, 4U}) {
    CHECK_THROWS_AS(studies::parallel_for(1000, threads,
                                          [](std::size_t i) {
                                            if (i == 700) throw std::runtime_error("row 700");
                                          }),
                    std::runtime_error);
  }
}

TEST_CASE("fits do not depend on the threads") {
  const auto rows = toy_rows([](int i) { return 1 + 0.1 * ((i * 7) % 5); });
  studies::FitOptions one, three;
  one.threads = 1;
  three.threads = 3;
  const auto a = fitted(rows, one), b = fitted(rows, three);
  for (const char* variant : {"a", "b"}) {
    for (std::size_t p = 0; p < 2; ++p) CHECK(a.of(variant)[p] == b.of(variant)[p]);
  }
}

TEST_CASE("a surface learns what the physics leaves out, a table even more") {
  // A dip of 30 % around 2^26 bytes, where the time rises with the bytes, that no parameter can make.
  const auto rows = toy_rows([](int i) {
    const double x = 10 + i / 2 * 0.1 - 26;
    return 1 - 0.3 * std::exp(-x * x / 2);
  });
  const auto parameters = fitted(rows);
  const auto errors = studies::cross_validate(test::toy_family(), pointers(rows), test::toy_device(), nullptr,
                                              5, {}, parameters);
  const auto physics = studies::quality_of(errors.physics), surface = studies::quality_of(errors.surface),
             table = studies::quality_of(errors.table), roofline = studies::quality_of(errors.roofline);
  CHECK(physics.points == 400);
  CHECK(physics.mape > 0.04);
  CHECK(surface.mape < physics.mape / 2);
  CHECK(table.mape < surface.mape);
  CHECK(roofline.mape > physics.mape);
}

TEST_CASE("cross-validation predicts a group from fits that have not seen it") {
  // One group per variant that lies: only a fit that saw it could predict it.
  auto rows = toy_rows([](int) { return 1.0; });
  for (auto& row : rows) {
    if (row.group == rows[100].group) row.seconds *= 3;
  }
  const auto parameters = fitted(rows);
  const auto errors = studies::cross_validate(test::toy_family(), pointers(rows), test::toy_device(), nullptr,
                                              5, {}, parameters);
  CHECK(errors.table[100] == Approx(std::log(1 / 3.0)).epsilon(0.05));
  CHECK(errors.physics[100] == Approx(std::log(1 / 3.0)).epsilon(0.05));
}

TEST_CASE("a surface has at most one node for five rows") {
  const std::array<cost::SurfaceAxis, 3> axes = {{{0, 1, 8}, {0, 1, 8}, {0, 1, 8}}};
  std::vector<cost::Coordinates> places(40);
  for (std::size_t i = 0; i < places.size(); ++i) places[i] = {static_cast<double>(i) / 39};
  const auto numbers = [&](std::size_t rows) {
    places.resize(rows);
    const auto surface =
        studies::fit_surface(axes, places, std::vector<double>(rows, 1e-5), std::vector<double>(rows, 0.1));
    return surface.nodes().size() + surface.curve().size();
  };
  CHECK(numbers(40) <= 8);
  CHECK(numbers(9) == 0);
  CHECK(numbers(5000) <= 64);
  CHECK(numbers(5000) > 50);
}

TEST_CASE("a surface falls along the time that the physics predicts, never along an amount") {
  std::array<cost::SurfaceAxis, 3> axes = {{{0, 10, 6}, {}, {}}};
  std::vector<cost::Coordinates> places;
  std::vector<double> flat, rising, falling_ratio, rising_ratio;
  for (int i = 0; i < 500; ++i) {
    const double x = i / 50.0;
    places.push_back({x});
    flat.push_back(1e-5);
    rising.push_back(1e-6 * std::exp2(x));
    falling_ratio.push_back(-0.05 * x);
    rising_ratio.push_back(0.05 * x);
  }
  // Ten doublings in which the physics stands still: the mean is all that can be learned of a fall.
  const auto still = studies::fit_surface(axes, places, flat, falling_ratio);
  CHECK(still.is_monotone());
  CHECK(still.at({10}, 1e-5) == Approx(still.at({0}, 1e-5)).margin(1e-6));
  CHECK(still.at({5}, 1e-5) == Approx(-0.25).margin(0.02));
  // A rise is learned in full, and so is a fall where the time rises faster.
  const auto up = studies::fit_surface(axes, places, flat, rising_ratio);
  CHECK(up.is_monotone());
  CHECK(up.at({10}, 1e-5) - up.at({0}, 1e-5) == Approx(0.5).margin(0.05));
  const auto down = studies::fit_surface(axes, places, rising, falling_ratio);
  CHECK(down.is_monotone());
  CHECK(down.at({10}, 1e-6 * 1024) - down.at({0}, 1e-6) == Approx(-0.5).margin(0.05));
  // Faster than the time rises it cannot fall.
  for (double& ratio : falling_ratio) ratio *= 40;
  const auto steep = studies::fit_surface(axes, places, rising, falling_ratio);
  CHECK(steep.is_monotone());
  CHECK(steep.at({10}, 1e-6 * 1024) - steep.at({0}, 1e-6) >= -10 * std::log(2.0));
  // Along an axis that is no amount anything goes.
  axes[0].kind = cost::AxisKind::other;
  const auto free = studies::fit_surface(axes, places, flat, rising_ratio);
  CHECK(free.at({10}, 1e-5) - free.at({0}, 1e-5) == Approx(0.5).margin(0.05));
  CHECK(cost::ResidualSurface({{{0, 1, 2}, {}, {}}}, {1, 0}).is_monotone() == false);
  CHECK(cost::ResidualSurface({{{0, 1, 1}, {}, {}}}, {0}, {0, -0.8 * 16 * std::log(2.0), 0}).is_monotone() ==
        false);
}

TEST_CASE("quality is mean, median and 90th percentile of relative errors, and the geometric bias") {
  const auto quality = studies::quality_of({std::log(1.1), std::log(0.9), std::log(1.5), 0.0, std::log(2.0)});
  CHECK(quality.points == 5);
  CHECK(quality.mape == Approx((0.1 + 0.1 + 0.5 + 0 + 1) / 5));
  CHECK(quality.median == Approx(0.1));
  CHECK(quality.p90 == Approx(1.0));
  CHECK(quality.bias == Approx(std::pow(1.1 * 0.9 * 1.5 * 2.0, 0.2) - 1));
  CHECK(studies::quality_of({}).points == 0);
}

TEST_CASE("groups are dealt out to folds, whole and evenly") {
  std::vector<studies::MeasuredRow> rows;
  for (int i = 0; i < 1000; ++i) rows.push_back(test::toy_row(1 + i % 103, "a", 1));
  const auto folds = studies::folds_of(pointers(rows), 5);
  std::map<std::string, std::size_t> fold_of_group;
  std::array<int, 5> groups{};
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto [at, fresh] = fold_of_group.emplace(rows[i].group, folds[i]);
    CHECK(at->second == folds[i]);
    if (fresh) ++groups[folds[i]];
  }
  for (const int count : groups) CHECK((count == 20 || count == 21));
  rows.resize(2);
  const auto two = studies::folds_of(pointers(rows), 5);
  CHECK(two[0] != two[1]);
}
