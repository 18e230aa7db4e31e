// Kernel libraries: stand-ins, layers, labels.
#include "models/cost/kernel_library.hpp"

#include <cmath>

#include "tests/support/catch.hpp"
#include "tests/support/kernels.hpp"

using namespace moesim;

namespace {

cost::FamilyParameters some(std::vector<std::string> variants) {
  return cost::FamilyParameters::initial(test::toy_family(), variants);
}

cost::KernelShape shape(std::int64_t bytes) { return test::toy_row(bytes, "a", 1).shape; }

cost::KernelLibrary library_with(cost::VariantFit own) {
  cost::KernelLibrary library("toy", "h100-sxm", test::toy_device(), cost::Conditions::serving);
  cost::FamilyFit fit(test::toy_family());
  fit.parameters.set("a", {2, 0.5});
  fit.variants["a"] = std::move(own);
  library.set(std::move(fit));
  return library;
}

}  // namespace

TEST_CASE("a variant without a fit is stood in for by its nearest relative") {
  CHECK(some({"bf16", "fp8", "fp8_block"}).stand_in("nvfp4") == "fp8");
  CHECK(some({"bf16", "fp8_block"}).stand_in("nvfp4") == "fp8_block");
  CHECK(some({"bf16"}).stand_in("fp8_block") == "bf16");
  CHECK(some({"bf16", "bf16/plain"}).stand_in("bf16/triton") == "bf16");
  CHECK(some({"bf16", "bf16/plain"}).stand_in("fp8/plain") == "bf16/plain");
  CHECK(some({"w4a16_mxfp4"}).stand_in("bf16") == "w4a16_mxfp4");
  CHECK(some({}).stand_in("bf16").empty());
  CHECK(some({"bf16", "fp8"}).stand_in("fp8") == "fp8");
}

TEST_CASE("a surface is linear between its nodes and constant outside") {
  const cost::ResidualSurface surface({{{0, 2, 3}, {0, 1, 2}, {}}}, {0, 1, 2, 3, 4, 5});
  CHECK(surface.at({0, 0}, 1e-6) == 0);
  CHECK(surface.at({0, 1}, 1e-6) == 1);
  CHECK(surface.at({1, 0}, 1e-6) == 2);
  CHECK(surface.at({2, 1}, 1e-6) == 5);
  CHECK(surface.at({0.5, 0.5}, 1e-6) == Approx(1.5));
  CHECK(surface.at({9, 9}, 1e-6) == 5);
  CHECK(surface.at({-9, -9}, 1e-6) == 0);
  CHECK(cost::ResidualSurface{}.at({1, 1}, 1e-6) == 0);
}

TEST_CASE("a table gives its own entries back and means between them") {
  cost::ResidualTable table;
  CHECK(table.at({1}) == 0);
  table.add({0}, 0.1);
  CHECK(table.at({0}) == Approx(0.1).epsilon(0.001));
  // Far from all entries it tends to no residual.
  CHECK(table.at({5}) < 0.02);
  table.add({2}, 0.3);
  CHECK(table.at({0}) == Approx(0.1).epsilon(0.001));
  CHECK(table.at({1}) == Approx((0.1 + 0.3) / 3).epsilon(0.01));
  CHECK(table.at({1.9}) > 0.25);
}

TEST_CASE("layers multiply the physics where they were fitted, and do not carry over") {
  cost::VariantFit own;
  own.surface = cost::ResidualSurface({{{10, 30, 2}, {}, {}}}, {std::log(1.5), std::log(1.5)});
  const cost::KernelLibrary library = library_with(own);
  const auto with = [&](const cost::KernelLibrary& one, bool surface, const char* variant) {
    return one.time_of(test::toy_family(), shape(1 << 20), variant, {surface, true});
  };
  const double physics = 2e-6 + (1 << 20) / 0.5e12;
  CHECK(with(library, false, "a").time.total == Approx(physics));
  CHECK(with(library, true, "a").time.total == Approx(1.5 * physics));
  CHECK(with(library, true, "a").label == config::Label::calibrated);
  // Another variant is stood in for by the physics alone.
  CHECK(with(library, true, "b").time.total == Approx(physics));
  CHECK(with(library, true, "b").label == config::Label::derived);
  cost::DeviceFigures twice = test::toy_device();
  twice.dram_bandwidth *= 2;
  const cost::KernelLibrary other = library.on_device("other", twice);
  CHECK(with(other, true, "a").time.total == Approx(2e-6 + (1 << 20) / 1e12));
  CHECK(with(other, true, "a").label == config::Label::derived);
  const cost::KernelLibrary none("none", "h100-sxm", test::toy_device(), cost::Conditions::serving);
  CHECK(with(none, true, "a").label == config::Label::assumed);
}

TEST_CASE("a table lies on the surface") {
  cost::VariantFit own;
  own.surface = cost::ResidualSurface({{{10, 30, 2}, {}, {}}}, {std::log(1.5), std::log(1.5)});
  own.table.add({20}, std::log(1.2));
  const auto time = library_with(own).time_of(test::toy_family(), shape(1 << 20), "a");
  CHECK(time.time.total == Approx(1.5 * 1.2 * (2e-6 + (1 << 20) / 0.5e12)).epsilon(0.001));
}

TEST_CASE("the time of a shape far from all that was measured says so, without a jump") {
  cost::VariantFit own;
  own.surface = cost::ResidualSurface({{{10, 30, 2}, {}, {}}}, {std::log(1.5), std::log(1.5)});
  own.range = cost::FittedRange{{12}, {20}};
  const cost::KernelLibrary library = library_with(own);
  const auto at = [&](int log2_bytes) {
    return library.time_of(test::toy_family(), shape(std::int64_t{1} << log2_bytes), "a");
  };
  const auto physics = [](int log2_bytes) { return 2e-6 + std::pow(2.0, log2_bytes) / 0.5e12; };
  CHECK(at(21).label == config::Label::calibrated);
  CHECK(at(21).time.total == Approx(1.5 * physics(21)));
  CHECK(at(22).label == config::Label::derived);
  CHECK(at(22).time.total == Approx(1.5 * physics(22)));
  CHECK(at(11).label == config::Label::calibrated);
  CHECK(at(10).label == config::Label::derived);
}
