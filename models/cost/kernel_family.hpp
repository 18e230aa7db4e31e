// Families of kernels: physics with few parameters that gives the time of a kernel from its shape and from
// figures of the device. Parameters belong to a device and a kernel library, and within a family to a
// variant (a number format, a code path), never to a shape.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "models/cost/kernel_shape.hpp"
#include "models/hardware/gpu.hpp"

namespace moesim::cost {

// Figures of a device in SI units, from its datasheet.
struct DeviceFigures {
  hardware::Architecture architecture = hardware::Architecture::hopper;
  double multiprocessors = 0;
  double clock = 0;           // 1/s, of the tensor peaks
  double dram_bandwidth = 0;  // bytes/s
  double l2_bytes = 0;
  std::array<double, 6> peak{};  // FLOP/s by hardware::NumberFormat; 0: no units for it
  double link_bandwidth = 0;     // bytes/s per direction from one GPU to the others of its domain
  bool switched = true;          // NVLink with switches; false: PCIe
  double network_bandwidth = 0;  // bytes/s per direction and GPU between domains

  [[nodiscard]] double peak_of(hardware::NumberFormat format) const {
    return peak[static_cast<std::size_t>(format)];
  }
};

// The dense peak of the units that multiply `format`, FLOP/s; that of bf16 where the GPU has none.
[[nodiscard]] double matmul_peak(const DeviceFigures& device, llm::NumberFormat format);

// What a kernel's time is made of. Seconds.
struct KernelTime {
  double total = 0;
  double latency = 0;         // with nothing to do
  double compute = 0;         // tensor and vector units alone
  double memory = 0;          // DRAM alone
  double link = 0;            // links alone
  double speed_of_light = 0;  // datasheet roofline of the compulsory work
};

// A parameter of a family. Fitted in log space between its bounds.
struct Parameter {
  std::string_view name;      // as in JSON: "dram_fraction"
  std::string_view unit;      // "1", "us", "B/clk/SM", ...
  std::string_view sentence;  // what it means
  double initial = 1;
  double low = 0;
  double high = 0;
  bool by_variant = false;  // one value for each variant; else one for all
};

// Times of other kernels of the same library on the same device, for layers that are composed from parts.
class PartTimes {
 public:
  virtual ~PartTimes() = default;
  [[nodiscard]] virtual KernelTime time(const KernelShape& shape) const = 0;
};

// Coordinates of a shape, for surfaces and tables of residuals. Unused ones are 0.
inline constexpr std::size_t kCoordinates = 6;
using Coordinates = std::array<double, kCoordinates>;

// What the coordinate along an axis of a surface is.
enum class AxisKind : std::uint8_t {
  amount,  // tokens, bytes, heads: more of it never makes a kernel faster, so the factor does not fall
  other,
};

// The surface of a family: a grid over up to three coordinates.
struct SurfaceAxis {
  double low = 0;
  double high = 0;
  std::int64_t nodes = 1;
  AxisKind kind = AxisKind::amount;
};

struct KernelFamily {
  std::string_view name;  // "gemm"
  std::string_view sentence;
  std::span<const Parameter> parameters;
  // The time of a shape of this family. `parameters`: one value per row of the table, those of the shape's
  // variant. `parts` is never null for families with `composed`.
  KernelTime (*time)(const KernelShape& shape, const DeviceFigures& device,
                     std::span<const double> parameters, Conditions conditions,
                     const PartTimes* parts) = nullptr;
  // The variant of a shape: "bf16", "fp8_block", ... Names of formats are those of format_name().
  std::string (*variant)(const KernelShape& shape) = nullptr;
  bool composed = false;  // calls `parts`
  std::array<SurfaceAxis, 3> surface_axes{};
  // Where a shape lies on the surface (the first three), and among measured shapes (all; differences of 1
  // are about a factor of two).
  Coordinates (*surface_place)(const KernelShape& shape, const DeviceFigures& device) = nullptr;
  Coordinates (*place)(const KernelShape& shape, const DeviceFigures& device) = nullptr;
};

// How the shared tables and the files of kernel libraries name operand formats: "bf16", "fp8", "fp8_block",
// "nvfp4", "int8_wo", "int4_wo", "sq", "w4a16_mxfp4", "w4a8_mxfp4_mxfp8".
[[nodiscard]] std::string format_name(const llm::LinearFormats& formats);

// All families, sorted by name.
[[nodiscard]] std::span<const KernelFamily> kernel_families();
// nullptr if there is none of this name.
[[nodiscard]] const KernelFamily* find_family(std::string_view name);

// The families. Each lives in a file of its own.
[[nodiscard]] const KernelFamily& gemm_family();
[[nodiscard]] const KernelFamily& moe_family();
[[nodiscard]] const KernelFamily& attention_prefill_family();
[[nodiscard]] const KernelFamily& attention_decode_family();
[[nodiscard]] const KernelFamily& latent_prefill_family();
[[nodiscard]] const KernelFamily& latent_decode_family();
[[nodiscard]] const KernelFamily& stream_family();
[[nodiscard]] const KernelFamily& delta_family();
[[nodiscard]] const KernelFamily& latent_module_family();
[[nodiscard]] const KernelFamily& collective_family();  // NCCL
[[nodiscard]] const KernelFamily& custom_all_reduce_family();
[[nodiscard]] const KernelFamily& exchange_family();

}  // namespace moesim::cost
