#include "models/hardware/gpu_checks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "models/hardware/device_table.hpp"
#include "models/hardware/sources.hpp"

namespace moesim::hardware {

namespace {

constexpr double kGib = 1073741824.0;
constexpr double kTera = 1e12;

bool near(double value, double expected, double tolerance) {
  return std::abs(value - expected) <= tolerance * std::abs(expected);
}

void check_sources(const Gpu& gpu, config::Problems& problems) {
  SourceCheck source(gpu.sources, problems);
  source("/sm_count", gpu.sm_count);
  source("/boost_clock", gpu.boost_clock);
  source("/max_clock", gpu.max_clock);
  source("/peak/fp32", gpu.peak.fp32);
  source("/peak/bf16", gpu.peak.bf16);
  source("/peak/fp8", gpu.peak.fp8);
  source("/peak/fp6", gpu.peak.fp6);
  source("/peak/fp4", gpu.peak.fp4);
  source("/peak/int8", gpu.peak.int8);
  source("/l2_capacity", gpu.l2_capacity);
  source("/memory_side_cache", gpu.memory_side_cache);
  source("/hbm/stacks", gpu.hbm.stacks);
  source("/hbm/bus_width_bits", gpu.hbm.bus_width_bits);
  source("/hbm/capacity", gpu.hbm.capacity);
  source("/hbm/usable_capacity", gpu.hbm.usable_capacity);
  source("/hbm/bandwidth", gpu.hbm.bandwidth);
  source("/tdp", gpu.tdp);
  source("/kernel_launch_latency", gpu.kernel_launch_latency);
  source("/graph_kernel_gap", gpu.graph_kernel_gap);
  const Achievable& reached = gpu.achievable;
  source("/achievable/hbm_fraction", reached.hbm_fraction);
  source("/achievable/matmul_fraction/bf16", reached.matmul_fraction.bf16);
  source("/achievable/matmul_fraction/fp8", reached.matmul_fraction.fp8);
  source("/achievable/matmul_fraction/fp8_block", reached.matmul_fraction.fp8_block);
  source("/achievable/matmul_fraction/fp4", reached.matmul_fraction.fp4);
  source("/achievable/matmul_fraction/int8", reached.matmul_fraction.int8);
  source("/achievable/kernel_overhead", reached.kernel_overhead);
  if (gpu.scale_up) {
    source("/scale_up/generation", gpu.scale_up->generation);
    source("/scale_up/links", gpu.scale_up->links);
    source("/scale_up/bandwidth_per_link", gpu.scale_up->bandwidth_per_link);
    source("/scale_up/bandwidth", gpu.scale_up->bandwidth);
  }
  if (gpu.price) source("/price/per_hour", gpu.price->per_hour);
}

std::string range_text(const FactRange& range) {
  return range.low == range.high ? fmt::format("{:g}", range.low)
                                 : fmt::format("{:g} to {:g}", range.low, range.high);
}

std::string tflops(double value) { return fmt::format("{:g} TFLOP/s", value / kTera); }

// "N GB" where the GPU really has N GiB, as "80 GB" for 80 GiB: 6.9 % too little. N is known for the devices
// of the table; for others, a whole number of GB that is a multiple of 8 gives it away.
bool decimal_gigabytes(const Gpu& gpu, const DeviceFacts* facts) {
  const std::int64_t bytes = gpu.hbm.capacity.value.value;
  if (bytes % 1'000'000'000 != 0 || bytes % (std::int64_t{1} << 30) == 0) return false;
  const std::int64_t gigabytes = bytes / 1'000'000'000;
  return facts != nullptr ? gigabytes == facts->nominal_gib : gigabytes % 8 == 0;
}

// A number from --set or its like is a question ("what if ..."), and no mistake in a file: it is not held
// against what is known of the device.
void check_memory(const Gpu& gpu, const DeviceFacts* facts, config::Problems& problems) {
  const double nominal = gpu.hbm.capacity.value.as_double();
  const double usable = gpu.hbm.usable_capacity.value.as_double();
  const bool decimal = decimal_gigabytes(gpu, facts);
  if (decimal) {
    const std::int64_t gigabytes = gpu.hbm.capacity.value.value / 1'000'000'000;
    problems.warning("/hbm/capacity/value",
                     fmt::format("{} GB are only {:.1f} GiB, but memory chips are counted in binary units",
                                 gigabytes, nominal / kGib),
                     fmt::format("\"{} GiB\"", gigabytes), "decimal_memory");
  }
  if (usable > nominal && !decimal) {
    problems.error("/hbm/usable_capacity/value",
                   fmt::format("usable capacity ({:.2f} GiB) is more than the nominal capacity ({:.2f} GiB)",
                               usable / kGib, nominal / kGib));
  }
  if (facts == nullptr) {
    const auto& table = device_table();
    const auto largest = std::max_element(table.begin(), table.end(), [](const auto& a, const auto& b) {
      return a.nominal_gib < b.nominal_gib;
    });
    if (nominal > static_cast<double>(largest->nominal_gib) * kGib * 1.1) {
      problems.warning(
          "/hbm/capacity/value",
          fmt::format("{:.0f} GiB for one GPU: no known GPU has more than {} GiB ({}); is this the memory "
                      "of several GPUs?",
                      nominal / kGib, largest->nominal_gib, largest->name));
    }
    return;
  }
  const double expected = static_cast<double>(facts->nominal_gib) * kGib;
  if (!decimal && !gpu.hbm.capacity.overridden && !near(nominal, expected, 0.005)) {
    const bool several = nominal > 1.5 * expected;
    problems.error(
        "/hbm/capacity/value",
        fmt::format("{} has {} GiB of nominal memory, about {:.0f} GiB usable ({}); {:.0f} GB is {}",
                    facts->name, facts->nominal_gib, facts->usable_gib, facts->source, nominal / 1e9,
                    several ? "not per GPU" : "something else"),
        fmt::format("\"{} GiB\", or another \"name\" for a GPU that does not exist", facts->nominal_gib));
  }
  if (!gpu.hbm.usable_capacity.overridden && !near(usable, facts->usable_gib * kGib, 0.02)) {
    const bool several = usable > 1.5 * facts->usable_gib * kGib;
    problems.error("/hbm/usable_capacity/value",
                   fmt::format("{} has about {:.0f} GiB usable per GPU ({}), not {:.1f} GiB{}", facts->name,
                               facts->usable_gib, facts->source, usable / kGib,
                               several ? fmt::format("; {:.0f} GB is not per GPU", usable / 1e9) : ""),
                   fmt::format("\"{} MiB\"", std::llround(facts->usable_gib * 1024.0)));
  }
}

// Dense bf16 operations that one multiprocessor can do per clock.
double matmul_width(Architecture architecture) {
  switch (architecture) {
    case Architecture::ampere:
      return 2048;
    case Architecture::ampere_gddr:
    case Architecture::ada:
    case Architecture::blackwell_gddr:
      return 1024;
    case Architecture::hopper:
      return 4096;
    case Architecture::blackwell:
    case Architecture::blackwell_ultra:
      return 8192;
    case Architecture::cdna3:
      return 2048;
    case Architecture::cdna4:
      return 4096;
  }
  return 0;
}

struct FormatRule {
  NumberFormat format;
  double widest;  // rate over bf16's at the same clock, at most
};
// fp4 is six times bf16 on Blackwell Ultra and four times elsewhere.
constexpr FormatRule kFormatRules[] = {{NumberFormat::bf16, 1},
                                       {NumberFormat::fp8, 2},
                                       {NumberFormat::fp6, 4},
                                       {NumberFormat::fp4, 6},
                                       {NumberFormat::int8, 2}};

double table_peak(const DeviceFacts& facts, NumberFormat format) {
  if (format == NumberFormat::bf16) return facts.bf16_tflops * kTera;
  if (format == NumberFormat::fp8) return facts.fp8_tflops * kTera;
  return 0;
}

void check_peak(const Gpu& gpu, const DeviceFacts* facts, FormatRule rule, config::Problems& problems) {
  const auto* peak = peak_of(gpu, rule.format);
  if (peak == nullptr || peak->overridden) return;
  const double value = peak->value.as_double();
  const std::string_view format = config::enum_name(rule.format);
  const std::string pointer = fmt::format("/peak/{}/value", format);
  const double known = facts != nullptr ? table_peak(*facts, rule.format) : 0;
  if (known > 0 && !near(value, known, 0.005)) {
    if (near(value, 2 * known, 0.01)) {
      problems.error(pointer,
                     fmt::format("{} is twice the dense {} peak of {}: this is the figure with sparsity",
                                 tflops(value), format, facts->name),
                     fmt::format("\"{}\"", tflops(known)), "sparse_peak");
    } else {
      problems.error(pointer,
                     fmt::format("the dense {} peak of {} is {} ({}), not {}", format, facts->name,
                                 tflops(known), facts->source, tflops(value)),
                     fmt::format("\"{}\", or another \"name\" for a GPU that does not exist", tflops(known)));
    }
    return;
  }
  const double clock = gpu.boost_clock.value.as_double();
  const double limit =
      static_cast<double>(gpu.sm_count.value) * clock * matmul_width(gpu.architecture) * rule.widest;
  if (value > 1.03 * limit) {
    const bool sparse = value <= 2.06 * limit;
    problems.error(pointer, fmt::format("{} multiprocessors at {:g} GHz do at most {} in dense {}, not {}{}",
                                        gpu.sm_count.value, clock / 1e9, tflops(limit), format, tflops(value),
                                        sparse ? "; is this the figure with sparsity?" : ""));
  }
}

void check_peaks(const Gpu& gpu, const DeviceFacts* facts, config::Problems& problems) {
  for (const FormatRule& rule : kFormatRules) check_peak(gpu, facts, rule, problems);
  const double bf16 = gpu.peak.bf16.value.as_double();
  if (gpu.peak.fp8 && gpu.peak.fp8->value.as_double() < bf16) {
    problems.error("/peak/fp8/value", fmt::format("the fp8 peak ({}) is below the bf16 peak ({})",
                                                  tflops(gpu.peak.fp8->value.as_double()), tflops(bf16)));
  }
  if (gpu.peak.fp8 && gpu.peak.fp4 && gpu.peak.fp4->value < gpu.peak.fp8->value) {
    problems.error("/peak/fp4/value", fmt::format("the fp4 peak ({}) is below the fp8 peak ({})",
                                                  tflops(gpu.peak.fp4->value.as_double()),
                                                  tflops(gpu.peak.fp8->value.as_double())));
  }
}

// The sum of the links is told by check_scale_up; here, whether it is the device's.
void check_table_links(const ScaleUpPorts& ports, const DeviceFacts& facts, config::Problems& problems) {
  const double links =
      static_cast<double>(ports.links.value) * ports.bandwidth_per_link.value.as_double() / 1e9;
  if (near(links, facts.scale_up_gb_per_s, 0.01)) return;
  const bool both = near(links, 2 * facts.scale_up_gb_per_s, 0.01);
  problems.error("/scale_up/bandwidth_per_link/value",
                 fmt::format("the scale-up links of {} carry {:g} GB/s per direction ({}), not {:g} GB/s{}",
                             facts.name, facts.scale_up_gb_per_s, facts.source, links,
                             both ? ": this is the advertised sum of both directions" : ""),
                 fmt::format("\"{:g} GB/s\", or another \"name\" for a GPU that does not exist",
                             facts.scale_up_gb_per_s / static_cast<double>(ports.links.value)));
}

void check_table(const Gpu& gpu, const DeviceFacts& facts, config::Problems& problems) {
  const double bandwidth = gpu.hbm.bandwidth.value.as_double() / kTera;
  const FactRange& range = facts.bandwidth_tb_per_s;
  const bool other = bandwidth < range.low * 0.995 || bandwidth > range.high * 1.005;
  if (other && !gpu.hbm.bandwidth.overridden) {
    problems.error(
        "/hbm/bandwidth/value",
        fmt::format("the memory bandwidth of {} is {} TB/s ({}), not {:g} TB/s", facts.name,
                    range_text(range), facts.source, bandwidth),
        fmt::format("\"{:g} TB/s\", or another \"name\" for a GPU that does not exist", range.low));
  }
  const double count = static_cast<double>(gpu.sm_count.value);
  if (!gpu.sm_count.overridden && (count < facts.sm_count.low || count > facts.sm_count.high)) {
    problems.error(
        "/sm_count/value",
        fmt::format("{} has {} multiprocessors ({}), not {:g}", facts.name, range_text(facts.sm_count),
                    facts.source, count),
        fmt::format("{:g}, or another \"name\" for a GPU that does not exist", facts.sm_count.low));
  }
  if (gpu.scale_up && facts.scale_up_gb_per_s > 0) check_table_links(*gpu.scale_up, facts, problems);
}

void check_scale_up(const ScaleUpPorts& ports, config::Problems& problems) {
  const double sum = static_cast<double>(ports.links.value) * ports.bandwidth_per_link.value.as_double();
  const double total = ports.bandwidth.value.as_double();
  if (ports.bandwidth.overridden || near(total, sum, 1e-9)) return;
  const bool both_directions = near(total, 2 * sum, 1e-9);
  problems.error(
      "/scale_up/bandwidth/value",
      fmt::format("{} links of {:g} GB/s are {:g} GB/s per direction, not {:g} GB/s{}", ports.links.value,
                  ports.bandwidth_per_link.value.as_double() / 1e9, sum / 1e9, total / 1e9,
                  both_directions ? ": this is the advertised sum of both directions" : ""),
      fmt::format("\"{:g} GB/s\"", sum / 1e9));
}

}  // namespace

void check_gpu(const Gpu& gpu, config::Problems& problems) {
  check_identifier(gpu.name, problems);
  check_sources(gpu, problems);
  const DeviceFacts* facts = find_device(gpu.name);
  check_memory(gpu, facts, problems);
  check_peaks(gpu, facts, problems);
  if (facts != nullptr) check_table(gpu, *facts, problems);
  if (gpu.scale_up) check_scale_up(*gpu.scale_up, problems);
  if (gpu.max_clock && gpu.max_clock->value < gpu.boost_clock.value) {
    problems.error("/max_clock/value", "the highest clock is below the clock at which the peaks are stated");
  }
}

}  // namespace moesim::hardware
