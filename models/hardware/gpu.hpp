// One GPU as the catalogue describes it. Every number says where it comes from and how good it is.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "sim/config/document.hpp"
#include "sim/config/record.hpp"

namespace moesim::hardware {

enum class Vendor : std::uint8_t { nvidia, amd };

// Families that share kernels and cost parameters. The cards with GDDR memory run other kernels than the
// data-centre parts of the same generation, so they are families of their own.
enum class Architecture : std::uint8_t {
  ampere,
  ampere_gddr,
  ada,
  hopper,
  blackwell,
  blackwell_ultra,
  blackwell_gddr,
  cdna3,
  cdna4,
};

enum class MemoryKind : std::uint8_t { hbm2e, hbm3, hbm3e, gddr6, gddr6x, gddr7 };

enum class ScaleUpKind : std::uint8_t { nvlink, infinity_fabric };

// Formats in which a GPU multiplies matrices. fp16 and bf16 run at one rate on every GPU here: both are
// `bf16`.
enum class NumberFormat : std::uint8_t { fp32, bf16, fp8, fp6, fp4, int8 };

// Device memory: stacks of HBM, or GDDR chips.
struct Hbm {
  MemoryKind kind = MemoryKind::hbm3;
  std::optional<config::Sourced<std::int64_t>> stacks;
  std::optional<config::Sourced<std::int64_t>> bus_width_bits;
  config::Sourced<core::Bytes> capacity;  // nominal; memory chips are counted in binary units: GiB
  config::Sourced<core::Bytes>
      usable_capacity;  // the total that the driver reports before anything is allocated
  config::Sourced<core::BytesPerSecond> bandwidth;
};

// Dense (not sparse) peak rates of matrix multiplication; fp32 is the rate of the vector units.
struct Peaks {
  std::optional<config::Sourced<core::FlopsPerSecond>> fp32;
  config::Sourced<core::FlopsPerSecond> bf16;
  std::optional<config::Sourced<core::FlopsPerSecond>> fp8;
  std::optional<config::Sourced<core::FlopsPerSecond>> fp6;
  std::optional<config::Sourced<core::FlopsPerSecond>> fp4;
  std::optional<config::Sourced<core::FlopsPerSecond>> int8;
};

// Shares of the peak that large matrix multiplications reach.
struct MatmulFractions {
  config::Sourced<double> bf16;
  std::optional<config::Sourced<double>> fp8;
  std::optional<config::Sourced<double>> fp8_block;  // fp8 with one scale per 128 elements
  std::optional<config::Sourced<double>> fp4;
  std::optional<config::Sourced<double>> int8;
};

// What the first roofline multiplies the datasheet with.
struct Achievable {
  config::Sourced<double> hbm_fraction;             // of hbm.bandwidth, when weights are streamed
  MatmulFractions matmul_fraction;                  // of peak
  config::Sourced<core::Duration> kernel_overhead;  // time of a kernel that has nearly nothing to do
};

// The GPU's own ports of the scale-up network.
struct ScaleUpPorts {
  ScaleUpKind kind = ScaleUpKind::nvlink;
  std::optional<config::Sourced<std::int64_t>> generation;
  config::Sourced<std::int64_t> links;
  config::Sourced<core::BytesPerSecond> bandwidth_per_link;  // per direction
  config::Sourced<core::BytesPerSecond> bandwidth;           // per direction, all links together
};

struct RentalPrice {
  config::Sourced<core::Usd> per_hour;  // USD for one GPU and one hour
  std::string date;                     // of the quotation: "2026-05", "2026-05-20" or "undated"
};

struct Gpu {
  std::string name;
  Vendor vendor = Vendor::nvidia;
  Architecture architecture = Architecture::hopper;
  config::Sourced<std::int64_t> sm_count;  // streaming multiprocessors, or compute units on AMD
  config::Sourced<core::Hertz> boost_clock;
  std::optional<config::Sourced<core::Hertz>> max_clock;
  Peaks peak;
  config::Sourced<core::Bytes> l2_capacity;
  std::optional<config::Sourced<core::Bytes>> memory_side_cache;  // AMD Infinity Cache
  Hbm hbm;
  config::Sourced<core::Watts> tdp;
  config::Sourced<core::Duration> kernel_launch_latency;
  config::Sourced<core::Duration> graph_kernel_gap;
  Achievable achievable;
  std::optional<ScaleUpPorts> scale_up;
  std::optional<RentalPrice> price;
  std::map<std::string, std::string> sources;
};

[[nodiscard]] const config::Record<Hbm>& record_of(config::Type<Hbm>);
[[nodiscard]] const config::Record<Peaks>& record_of(config::Type<Peaks>);
[[nodiscard]] const config::Record<MatmulFractions>& record_of(config::Type<MatmulFractions>);
[[nodiscard]] const config::Record<Achievable>& record_of(config::Type<Achievable>);
[[nodiscard]] const config::Record<ScaleUpPorts>& record_of(config::Type<ScaleUpPorts>);
[[nodiscard]] const config::Record<RentalPrice>& record_of(config::Type<RentalPrice>);
[[nodiscard]] const config::Record<Gpu>& record_of(config::Type<Gpu>);

// The dense peak of a format in operations per second, or nullptr when the GPU has no such units.
[[nodiscard]] const config::Sourced<core::FlopsPerSecond>* peak_of(const Gpu& gpu, NumberFormat format);

// The share of that peak that large matrix multiplications reach; bf16's share (and its label) where the
// format has none of its own.
[[nodiscard]] const config::Sourced<double>& matmul_fraction_of(const Gpu& gpu, NumberFormat format);

// Reads hw_configs/gpus/NAME.json. Throws config::InputError when there is no such file or it is wrong.
[[nodiscard]] config::Loaded<Gpu> load_gpu(std::string_view name, const config::Catalogue& catalogue);

}  // namespace moesim::hardware

namespace moesim::config {

template <>
struct CatalogueEntry<hardware::Gpu> {
  static constexpr std::string_view folder = "hw_configs/gpus";
  static constexpr std::string_view noun = "GPU";
};

template <>
struct EnumNames<hardware::Vendor> {
  static constexpr EnumName<hardware::Vendor> table[] = {
      {hardware::Vendor::nvidia, "nvidia", "NVIDIA"},
      {hardware::Vendor::amd, "amd", "AMD"},
  };
};

template <>
struct EnumNames<hardware::Architecture> {
  using enum hardware::Architecture;
  static constexpr EnumName<hardware::Architecture> table[] = {
      {ampere, "ampere", "NVIDIA Ampere with HBM (A100, sm_80)"},
      {ampere_gddr, "ampere-gddr", "NVIDIA Ampere with GDDR (RTX A5000, sm_86)"},
      {ada, "ada", "NVIDIA Ada (L40S, RTX 4090, sm_89)"},
      {hopper, "hopper", "NVIDIA Hopper (H100, H200, H800, H20, sm_90)"},
      {blackwell, "blackwell", "NVIDIA Blackwell with HBM (B200, GB200, sm_100)"},
      {blackwell_ultra, "blackwell-ultra", "NVIDIA Blackwell Ultra (B300, GB300, sm_103)"},
      {blackwell_gddr, "blackwell-gddr", "NVIDIA Blackwell with GDDR (RTX PRO 6000, sm_120)"},
      {cdna3, "cdna3", "AMD CDNA 3 (MI300X, MI325X)"},
      {cdna4, "cdna4", "AMD CDNA 4 (MI355X)"},
  };
};

template <>
struct EnumNames<hardware::MemoryKind> {
  using enum hardware::MemoryKind;
  static constexpr EnumName<hardware::MemoryKind> table[] = {
      {hbm2e, "HBM2e", "stacked memory"}, {hbm3, "HBM3", "stacked memory"},
      {hbm3e, "HBM3e", "stacked memory"}, {gddr6, "GDDR6", "memory chips"},
      {gddr6x, "GDDR6X", "memory chips"}, {gddr7, "GDDR7", "memory chips"},
  };
};

template <>
struct EnumNames<hardware::ScaleUpKind> {
  static constexpr EnumName<hardware::ScaleUpKind> table[] = {
      {hardware::ScaleUpKind::nvlink, "nvlink", "NVIDIA NVLink"},
      {hardware::ScaleUpKind::infinity_fabric, "infinity-fabric", "AMD Infinity Fabric"},
  };
};

template <>
struct EnumNames<hardware::NumberFormat> {
  using enum hardware::NumberFormat;
  static constexpr EnumName<hardware::NumberFormat> table[] = {
      {fp32, "fp32", "32-bit floating point on the vector units"},
      {bf16, "bf16", "16-bit floating point (bfloat16 and IEEE half)"},
      {fp8, "fp8", "8-bit floating point"},
      {fp6, "fp6", "6-bit floating point"},
      {fp4, "fp4", "4-bit floating point"},
      {int8, "int8", "8-bit integer"},
  };
};

}  // namespace moesim::config
