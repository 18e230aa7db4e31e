#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>
#include <variant>

#include "models/cost/kernel_pricer.hpp"
#include "models/cost/price.hpp"
#include "sim/core/check.hpp"

namespace moesim::cost {

std::string_view to_string(Resource resource) {
  switch (resource) {
    case Resource::tensor:
      return "tensor cores";
    case Resource::vector:
      return "vector units";
    case Resource::hbm:
      return "HBM bandwidth";
    case Resource::scale_up:
      return "scale-up links";
    case Resource::network:
      return "network";
    case Resource::latency:
      return "kernel and link latency";
  }
  return "?";
}

namespace {

using config::Label;

// How many fp32 operations take as long as one exponential or reciprocal square root. A multiprocessor gives
// 16 of these results per clock: against 128 fused multiply-adds (CUDA C++ Programming Guide, table
// "Throughput of Native Arithmetic Instructions", compute capabilities 8.6 to 10.0; FlashAttention-3, arXiv
// 2407.08608, part 3.1 gives the same ratio), or 64 on the A100 (8.0). Blackwell Ultra doubled the rate
// (10.7e12 exponentials/s on B300 against 5e12 on B200). CDNA issues them at a quarter of the rate of its 64
// lanes.
std::int64_t flops_per_special(hardware::Architecture architecture) {
  using enum hardware::Architecture;
  switch (architecture) {
    case ampere:
    case blackwell_ultra:
      return 8;
    case ampere_gddr:
    case ada:
    case hopper:
    case blackwell:
    case blackwell_gddr:
    case cdna3:
    case cdna4:
      return 16;
  }
  core::fail_invariant("an architecture without a rate of exponentials");
}

Label weaker(Label a, Label b) { return std::max(a, b); }

// The units that multiply a format.
hardware::NumberFormat units_of(llm::NumberFormat format) {
  using H = hardware::NumberFormat;
  using L = llm::NumberFormat;
  if (format == L::fp8 || format == L::fp8_block) return H::fp8;
  if (format == L::int8) return H::int8;
  if (format == L::mxfp4 || format == L::nvfp4) return H::fp4;
  return format == L::fp32 ? H::fp32 : H::bf16;
}

// The same on a GPU; those of bf16 where it has none (the operands are widened).
hardware::NumberFormat units_for(const hardware::Gpu& gpu, llm::NumberFormat format) {
  return has_units_for(gpu, format) ? units_of(format) : hardware::NumberFormat::bf16;
}

}  // namespace

bool has_units_for(const hardware::Gpu& gpu, llm::NumberFormat format) {
  return hardware::peak_of(gpu, units_of(format)) != nullptr;
}

std::int64_t share_of(std::int64_t peak, double fraction) {
  return std::max<std::int64_t>(1,
                                static_cast<std::int64_t>(std::floor(static_cast<double>(peak) * fraction)));
}

void finish(Price& price) {
  core::Duration longest;
  price.binding = Resource::latency;
  for (std::size_t r = 0; r < kResources; ++r) {
    if (price.demand[r].work == 0) continue;
    const core::Duration busy = core::saturating_duration_for(price.demand[r].work, price.demand[r].rate);
    if (busy > longest) {
      longest = busy;
      price.binding = static_cast<Resource>(r);
    }
  }
  price.time = core::saturating_add(price.latency, longest);
  if (price.latency > longest) price.binding = Resource::latency;
  // The shares were fitted inside a richer model of kernels (tiles, waves, start-up), not in this form:
  // whatever the parameter's own label, a roofline's time is derived at best.
  price.label = weaker(price.labels[index(price.binding)], Label::derived);
}

DevicePricer::DevicePricer(const hardware::Gpu& gpu, std::shared_ptr<const KernelLibrary> kernels)
    : flops_per_special_(flops_per_special(gpu.architecture)), kernels_(std::move(kernels)) {
  for (std::size_t f = 0; f < llm::kNumberFormats; ++f) {
    const auto format = static_cast<llm::NumberFormat>(f);
    const hardware::NumberFormat units = units_for(gpu, format);
    const auto* peak = hardware::peak_of(gpu, units);
    const bool blocks = format == llm::NumberFormat::fp8_block && units == hardware::NumberFormat::fp8;
    const auto& own = gpu.achievable.matmul_fraction.fp8_block;
    const auto& fraction = blocks && own ? *own : hardware::matmul_fraction_of(gpu, units);
    tensor_peak_[f] = std::max<std::int64_t>(1, peak->value.value);
    tensor_[f] = {share_of(peak->value.value, fraction.value), weaker(peak->label, fraction.label)};
  }
  if (const auto* fp32 = hardware::peak_of(gpu, hardware::NumberFormat::fp32)) {
    vector_ = {fp32->value.value, weaker(fp32->label, Label::derived)};
  } else {
    vector_ = {tensor_[static_cast<std::size_t>(llm::NumberFormat::bf16)].per_second, Label::assumed};
  }
  vector_peak_ = vector_.per_second;
  hbm_peak_ = std::max<std::int64_t>(1, gpu.hbm.bandwidth.value.value);
  const auto& fraction = gpu.achievable.hbm_fraction;
  hbm_ = {share_of(gpu.hbm.bandwidth.value.value, fraction.value),
          weaker(gpu.hbm.bandwidth.label, fraction.label)};
  kernel_overhead_ = {gpu.achievable.kernel_overhead.value, gpu.achievable.kernel_overhead.label};
  small_kernel_ = {gpu.graph_kernel_gap.value, gpu.graph_kernel_gap.label};
}

Price DevicePricer::price(const llm::Work& work, const Latency& latency) const {
  core::check(!work.communicates(), "a collective has no price on one device");
  Price price;
  price.latency = latency.time;
  const Rate& tensor = tensor_[static_cast<std::size_t>(work.compute)];
  price.demand[index(Resource::tensor)] = {work.matmul_flops, tensor.per_second};
  price.demand[index(Resource::vector)] = {work.other_flops + flops_per_special_ * work.specials,
                                           vector_.per_second};
  price.demand[index(Resource::hbm)] = {work.read_bytes() + work.write_bytes(), hbm_.per_second};
  price.labels[index(Resource::tensor)] = tensor.label;
  price.labels[index(Resource::vector)] = vector_.label;
  price.labels[index(Resource::hbm)] = hbm_.label;
  price.labels[index(Resource::latency)] = latency.label;
  const auto at_peak = [&](Resource resource, std::int64_t peak) {
    return core::saturating_duration_for(price.demand[index(resource)].work, peak);
  };
  price.speed_of_light =
      std::max({at_peak(Resource::tensor, tensor_peak_[static_cast<std::size_t>(work.compute)]),
                at_peak(Resource::vector, vector_peak_), at_peak(Resource::hbm, hbm_peak_)});
  finish(price);
  return price;
}

namespace {

core::Duration duration_of(double seconds) {
  constexpr double kPicoseconds = 1e12, kLongest = 0x1p62;
  return core::Duration{static_cast<std::int64_t>(std::min(std::ceil(seconds * kPicoseconds), kLongest))};
}

// The rate at which `work` takes so many seconds.
std::int64_t rate_over(std::int64_t work, double seconds) {
  if (!(seconds > 0)) return std::numeric_limits<std::int64_t>::max();
  const double rate = std::floor(static_cast<double>(work) / seconds);
  return rate < 0x1p62 ? std::max<std::int64_t>(1, static_cast<std::int64_t>(rate)) : std::int64_t{1} << 62;
}

}  // namespace

Price DevicePricer::from_kernels(const llm::Work& work, const LibraryTime& time) const {
  Price price = this->price(work, Latency{});
  price.latency = duration_of(std::min(time.time.latency, time.time.total));
  const double busy = std::max(0.0, time.time.total - time.time.latency);
  // What the kernel waits for. Products that are not on the tensor cores are on the vector units.
  const Resource compute = work.matmul_flops > 0 ? Resource::tensor : Resource::vector;
  const bool by_memory = time.time.memory >= time.time.compute;
  Resource binding = by_memory ? Resource::hbm : compute;
  if (price.demand[index(binding)].work == 0) binding = by_memory ? compute : Resource::hbm;
  const auto set = [&](Resource resource, double alone) {
    Demand& demand = price.demand[index(resource)];
    demand.rate = rate_over(demand.work, resource == binding ? busy : std::min(alone, busy));
  };
  set(Resource::hbm, time.time.memory);
  set(compute, time.time.compute);
  // The kernel's time covers what its vector units do beside the products.
  if (compute == Resource::tensor) set(Resource::vector, 0);
  for (std::size_t r = 0; r < kResources; ++r) price.labels[r] = time.label;
  if (price.demand[index(binding)].work == 0) price.latency = duration_of(time.time.total);
  finish(price);
  price.label = time.label;
  return price;
}

Price DevicePricer::price(const llm::Operator& op) const {
  if (kernels_) {
    if (const auto time = kernel_time(op, *kernels_)) return from_kernels(llm::work_of(op), *time);
  }
  return std::visit(
      [&](const auto& one) {
        using Op = std::remove_cvref_t<decltype(one)>;
        // Kernels with a main loop start up and drain; the rest costs the gap between two kernels of a graph.
        constexpr bool kMainLoop = std::is_same_v<Op, llm::Gemm> || std::is_same_v<Op, llm::GroupedGemm> ||
                                   std::is_same_v<Op, llm::Attention> || std::is_same_v<Op, llm::Router> ||
                                   std::is_same_v<Op, llm::IndexScores> ||
                                   std::is_same_v<Op, llm::Recurrence>;
        return price(llm::work_of(one), kMainLoop ? kernel_overhead_ : small_kernel_);
      },
      op);
}

}  // namespace moesim::cost
