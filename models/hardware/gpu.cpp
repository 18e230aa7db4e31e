#include "models/hardware/gpu.hpp"

#include "models/hardware/gpu_checks.hpp"
#include "models/hardware/limits.hpp"

namespace moesim::hardware {

using config::above;
using config::above_up_to;
using config::at_least;
using config::between;
using config::Record;
using config::Sourced;
using config::Type;

const Record<Hbm>& record_of(Type<Hbm>) {
  static const auto record =
      Record<Hbm>("gpu memory", "Device memory of one GPU")
          .required("kind", &Hbm::kind, "Kind of memory")
          .optional("stacks", &Hbm::stacks, "Number of HBM stacks", between(1, 64))
          .optional("bus_width_bits", &Hbm::bus_width_bits, "Width of the memory bus in bits",
                    between(32, 65536))
          .required("capacity", &Hbm::capacity,
                    "Nominal capacity; memory chips are counted in binary units, so write GiB", above(0))
          .required("usable_capacity", &Hbm::usable_capacity,
                    "Total memory that the driver reports before anything is allocated", above(0))
          .required("bandwidth", &Hbm::bandwidth, "Peak bandwidth, reads and writes together",
                    at_least(kMinBandwidth));
  return record;
}

const Record<Peaks>& record_of(Type<Peaks>) {
  static const auto record =
      Record<Peaks>("peak rates", "Dense peak rates of matrix multiplication, per number format")
          .optional("fp32", &Peaks::fp32, "32-bit floating point on the vector units", at_least(kMinPeak))
          .required("bf16", &Peaks::bf16, "16-bit floating point (bfloat16 and IEEE half), fp32 sums",
                    at_least(kMinPeak))
          .optional("fp8", &Peaks::fp8, "8-bit floating point, fp32 sums", at_least(kMinPeak))
          .optional("fp6", &Peaks::fp6, "6-bit floating point", at_least(kMinPeak))
          .optional("fp4", &Peaks::fp4, "4-bit floating point", at_least(kMinPeak))
          .optional("int8", &Peaks::int8, "8-bit integer", at_least(kMinPeak));
  return record;
}

const Record<MatmulFractions>& record_of(Type<MatmulFractions>) {
  static const auto record =
      Record<MatmulFractions>("matmul fractions",
                              "Shares of the peak that large matrix multiplications reach")
          .required("bf16", &MatmulFractions::bf16, "Share of peak.bf16", above_up_to(0, 1))
          .optional("fp8", &MatmulFractions::fp8, "Share of peak.fp8 with one scale per tensor or row",
                    above_up_to(0, 1))
          .optional("fp8_block", &MatmulFractions::fp8_block,
                    "Share of peak.fp8 with one scale per 128 elements", above_up_to(0, 1))
          .optional("fp4", &MatmulFractions::fp4, "Share of peak.fp4", above_up_to(0, 1))
          .optional("int8", &MatmulFractions::int8, "Share of peak.int8", above_up_to(0, 1));
  return record;
}

const Record<Achievable>& record_of(Type<Achievable>) {
  static const auto record =
      Record<Achievable>("achievable", "What real kernels reach of the datasheet, for the first roofline")
          .required("hbm_fraction", &Achievable::hbm_fraction,
                    "Share of hbm.bandwidth when weights are streamed", above_up_to(0, 1))
          .required("matmul_fraction", &Achievable::matmul_fraction, "Shares of the peaks, per number format")
          .required("kernel_overhead", &Achievable::kernel_overhead,
                    "Time of a kernel with nearly no work, inside a replayed graph",
                    between(0, kMaxLinkLatency));
  return record;
}

const Record<ScaleUpPorts>& record_of(Type<ScaleUpPorts>) {
  static const auto record =
      Record<ScaleUpPorts>("scale-up ports", "The GPU's own links of the scale-up network")
          .required("kind", &ScaleUpPorts::kind, "Kind of link")
          .optional("generation", &ScaleUpPorts::generation, "Generation of the link", between(1, 99))
          .required("links", &ScaleUpPorts::links, "Number of links", between(1, 1024))
          .required("bandwidth_per_link", &ScaleUpPorts::bandwidth_per_link,
                    "Bandwidth of one link, per direction", at_least(kMinBandwidth))
          .required("bandwidth", &ScaleUpPorts::bandwidth,
                    "Bandwidth of all links together, per direction (half of the advertised total)",
                    at_least(kMinBandwidth));
  return record;
}

const Record<RentalPrice>& record_of(Type<RentalPrice>) {
  static const auto record =
      Record<RentalPrice>("rental price", "What renting one GPU costs")
          .required("per_hour", &RentalPrice::per_hour, "Price of one GPU for one hour", at_least(0))
          .required("date", &RentalPrice::date,
                    "Date of the quotation: \"2026-05\" or \"2026-05-20\" or \"undated\"", at_least(4));
  return record;
}

const Record<Gpu>& record_of(Type<Gpu>) {
  static const auto record =
      Record<Gpu>("gpu", "One GPU; every number names its source and says how good it is")
          .required("name", &Gpu::name, "Identifier: lower case, with dashes", at_least(1))
          .required("vendor", &Gpu::vendor, "Vendor")
          .required("architecture", &Gpu::architecture, "Family that shares kernels and cost parameters")
          .required("sm_count", &Gpu::sm_count, "Streaming multiprocessors (compute units on AMD)",
                    between(1, 4096))
          .required("boost_clock", &Gpu::boost_clock, "Clock at which the peaks are stated", above(0))
          .optional("max_clock", &Gpu::max_clock, "Highest clock of the chip", above(0))
          .required("peak", &Gpu::peak, "Dense peak rates")
          .required("l2_capacity", &Gpu::l2_capacity, "Capacity of the L2 cache (not priced yet)", above(0))
          .optional("memory_side_cache", &Gpu::memory_side_cache,
                    "Cache between L2 and memory (AMD Infinity Cache)", above(0))
          .required("hbm", &Gpu::hbm, "Device memory")
          .required("tdp", &Gpu::tdp, "Thermal design power (not priced yet)", above(0))
          .required(
              "kernel_launch_latency", &Gpu::kernel_launch_latency,
              "From the host's launch call to the start of the kernel, without a graph (not priced yet)",
              between(0, kMaxLinkLatency))
          .required("graph_kernel_gap", &Gpu::graph_kernel_gap,
                    "Idle time between two kernels of a replayed graph", between(0, kMaxLinkLatency))
          .required("achievable", &Gpu::achievable, "What real kernels reach of the datasheet")
          .optional("scale_up", &Gpu::scale_up, "Links of the scale-up network; left out for PCIe cards")
          .optional("price", &Gpu::price, "Rental price, where a dated source was found")
          .required("sources", &Gpu::sources, "Text of every source that the numbers name")
          .check(check_gpu);
  return record;
}

const Sourced<core::FlopsPerSecond>* peak_of(const Gpu& gpu, NumberFormat format) {
  const auto address = [](const std::optional<Sourced<core::FlopsPerSecond>>& peak) {
    return peak ? &*peak : nullptr;
  };
  switch (format) {
    case NumberFormat::fp32:
      return address(gpu.peak.fp32);
    case NumberFormat::bf16:
      return &gpu.peak.bf16;
    case NumberFormat::fp8:
      return address(gpu.peak.fp8);
    case NumberFormat::fp6:
      return address(gpu.peak.fp6);
    case NumberFormat::fp4:
      return address(gpu.peak.fp4);
    case NumberFormat::int8:
      return address(gpu.peak.int8);
  }
  return nullptr;
}

const Sourced<double>& matmul_fraction_of(const Gpu& gpu, NumberFormat format) {
  const MatmulFractions& fractions = gpu.achievable.matmul_fraction;
  const std::optional<Sourced<double>>* own = nullptr;
  switch (format) {
    case NumberFormat::fp32:
    case NumberFormat::bf16:
      break;
    case NumberFormat::fp8:
      own = &fractions.fp8;
      break;
    case NumberFormat::fp6:
    case NumberFormat::fp4:
      own = &fractions.fp4;
      break;
    case NumberFormat::int8:
      own = &fractions.int8;
      break;
  }
  return own != nullptr && *own ? **own : fractions.bf16;
}

config::Loaded<Gpu> load_gpu(std::string_view name, const config::Catalogue& catalogue) {
  return config::load_entry<Gpu>(name, catalogue);
}

}  // namespace moesim::hardware
