// A family of kernels whose truth is known, for tests of fits and layers.
#pragma once

#include <array>
#include <string>
#include <vector>

#include "models/cost/kernel_library.hpp"
#include "sim/core/math.hpp"
#include "sim/studies/measured_rows.hpp"

namespace moesim::test {

// t = start_up + bytes / (fraction x bandwidth), with a start-up of its own for each variant.
inline constexpr std::array<cost::Parameter, 2> kToyParameters = {{
    {"start_up", "us", "time with nothing to do", 5, 0.1, 100, true},
    {"fraction", "1", "share of the bandwidth", 0.5, 0.1, 1, false},
}};

inline cost::KernelTime toy_time(const cost::KernelShape& shape, const cost::DeviceFigures& device,
                                 std::span<const double> parameters, cost::Conditions,
                                 const cost::PartTimes*) {
  const auto& stream = std::get<cost::StreamShape>(shape);
  cost::KernelTime time;
  time.latency = parameters[0] * 1e-6;
  time.memory = static_cast<double>(stream.read_bytes) / (parameters[1] * device.dram_bandwidth);
  time.total = time.latency + time.memory;
  time.speed_of_light = static_cast<double>(stream.read_bytes) / device.dram_bandwidth;
  return time;
}

inline cost::Coordinates toy_place(const cost::KernelShape& shape, const cost::DeviceFigures&) {
  return {core::math::log2(static_cast<double>(std::get<cost::StreamShape>(shape).read_bytes))};
}

inline const cost::KernelFamily& toy_family() {
  static const cost::KernelFamily family = [] {
    cost::KernelFamily one;
    one.name = "toy";
    one.sentence = "a start-up and a bandwidth";
    one.parameters = kToyParameters;
    one.time = toy_time;
    one.variant = [](const cost::KernelShape&) { return std::string("a"); };
    one.surface_axes = {{{10, 30, 11}, {}, {}}};
    one.surface_place = toy_place;
    one.place = toy_place;
    return one;
  }();
  return family;
}

inline cost::DeviceFigures toy_device() {
  cost::DeviceFigures device;
  device.multiprocessors = 100;
  device.clock = 1e9;
  device.dram_bandwidth = 1e12;
  return device;
}

inline studies::MeasuredRow toy_row(std::int64_t bytes, std::string variant, double seconds) {
  studies::MeasuredRow row;
  row.family = &toy_family();
  cost::StreamShape shape;
  shape.rows = 1;
  shape.read_bytes = bytes;
  row.shape = shape;
  row.gpu = "h100-sxm";
  row.library = "toy";
  row.variant = std::move(variant);
  row.group = std::to_string(bytes);
  row.seconds = seconds;
  return row;
}

}  // namespace moesim::test
