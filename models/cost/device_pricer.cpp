#include <algorithm>
#include <cmath>
#include <type_traits>
#include <variant>

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

constexpr std::size_t index(Resource resource) { return static_cast<std::size_t>(resource); }

// One exponential or reciprocal square root takes the issue slots of 16 floating-point operations: 16 results
// per clock and SM against 128 fused multiply-adds (CUDA C++ Programming Guide, table "Throughput of Native
// Arithmetic Instructions", compute capability 8.x and 9.0; FlashAttention-3, arXiv 2407.08608, part 3.1
// gives the same ratio).
constexpr std::int64_t kFlopsPerSpecial = 16;

// Rate of `peak` at a share of it, as whole operations per second.
std::int64_t share(std::int64_t peak, double fraction) {
  return std::max<std::int64_t>(1,
                                static_cast<std::int64_t>(std::floor(static_cast<double>(peak) * fraction)));
}

Label weaker(Label a, Label b) { return std::max(a, b); }

// The units of the GPU that multiply a format; those of bf16 where it has none of its own (the operands are
// widened).
hardware::NumberFormat units_for(const hardware::Gpu& gpu, llm::NumberFormat format) {
  using H = hardware::NumberFormat;
  using L = llm::NumberFormat;
  H wanted = H::bf16;
  if (format == L::fp8 || format == L::fp8_block) wanted = H::fp8;
  if (format == L::int8) wanted = H::int8;
  if (format == L::mxfp4 || format == L::nvfp4) wanted = H::fp4;
  if (format == L::fp32) wanted = H::fp32;
  return hardware::peak_of(gpu, wanted) != nullptr ? wanted : H::bf16;
}

void finish(Price& price) {
  price.time = price.latency;
  core::Duration longest;
  price.binding = Resource::latency;
  for (std::size_t r = 0; r < kResources; ++r) {
    if (price.demand[r].work == 0) continue;
    const core::Duration busy = core::duration_for(price.demand[r].work, price.demand[r].rate);
    if (busy > longest) {
      longest = busy;
      price.binding = static_cast<Resource>(r);
    }
  }
  price.time += longest;
  if (price.latency > longest) price.binding = Resource::latency;
  // The shares were fitted inside a richer model of kernels (tiles, waves, start-up), not in this form:
  // whatever the parameter's own label, a roofline's time is derived at best.
  price.label = weaker(price.labels[index(price.binding)], Label::derived);
}

}  // namespace

DevicePricer::DevicePricer(const hardware::Gpu& gpu) {
  for (std::size_t f = 0; f < llm::kNumberFormats; ++f) {
    const auto format = static_cast<llm::NumberFormat>(f);
    const hardware::NumberFormat units = units_for(gpu, format);
    const auto* peak = hardware::peak_of(gpu, units);
    const bool blocks = format == llm::NumberFormat::fp8_block && units == hardware::NumberFormat::fp8;
    const auto& own = gpu.achievable.matmul_fraction.fp8_block;
    const auto& fraction = blocks && own ? *own : hardware::matmul_fraction_of(gpu, units);
    tensor_[f] = {share(peak->value.value, fraction.value), weaker(peak->label, fraction.label)};
  }
  if (const auto* fp32 = hardware::peak_of(gpu, hardware::NumberFormat::fp32)) {
    vector_ = {fp32->value.value, weaker(fp32->label, Label::derived)};
  } else {
    vector_ = {tensor_[static_cast<std::size_t>(llm::NumberFormat::bf16)].per_second, Label::assumed};
  }
  const auto& fraction = gpu.achievable.hbm_fraction;
  hbm_ = {share(gpu.hbm.bandwidth.value.value, fraction.value),
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
  price.demand[index(Resource::vector)] = {work.other_flops + kFlopsPerSpecial * work.specials,
                                           vector_.per_second};
  price.demand[index(Resource::hbm)] = {work.read_bytes() + work.write_bytes(), hbm_.per_second};
  price.labels[index(Resource::tensor)] = tensor.label;
  price.labels[index(Resource::vector)] = vector_.label;
  price.labels[index(Resource::hbm)] = hbm_.label;
  price.labels[index(Resource::latency)] = latency.label;
  finish(price);
  return price;
}

Price DevicePricer::price(const llm::Operator& op) const {
  return std::visit(
      [&](const auto& one) {
        using Op = std::remove_cvref_t<decltype(one)>;
        // Kernels with a main loop start up and drain; the rest costs the gap between two kernels of a graph.
        constexpr bool kMainLoop = std::is_same_v<Op, llm::Gemm> || std::is_same_v<Op, llm::GroupedGemm> ||
                                   std::is_same_v<Op, llm::Attention> || std::is_same_v<Op, llm::Router>;
        return price(llm::work_of(one), kMainLoop ? kernel_overhead_ : small_kernel_);
      },
      op);
}

CollectivePricer::CollectivePricer(hardware::GroupProfile profile, const EngineProfile& engine,
                                   LinkLabels labels)
    : profile_(std::move(profile)),
      latency_(engine.comm.collective_latency.value),
      exchange_latency_(engine.comm.all_to_all_latency.value),
      one_shot_limit_(engine.comm.one_shot_limit.value.value),
      all_to_all_(engine.comm.all_to_all) {
  core::check(profile_.size >= 1 && !profile_.domain_sizes.empty(), "a group has members");
  const auto [least, most] = std::minmax_element(profile_.domain_sizes.begin(), profile_.domain_sizes.end());
  smallest_domain_ = *least;
  largest_domain_ = *most;
  if (profile_.domain_bandwidth.value > 0) {
    scale_up_rate_ = share(profile_.domain_bandwidth.value, engine.comm.link_fraction.value);
  }
  if (profile_.network_bandwidth.value > 0) {
    network_rate_ = share(profile_.network_bandwidth.value, engine.comm.network_fraction.value);
  }
  scale_up_label_ = weaker(labels.scale_up, engine.comm.link_fraction.label);
  network_label_ = weaker(labels.network, engine.comm.network_fraction.label);
}

Price CollectivePricer::make(core::Duration latency, double scale_up_bytes, double network_bytes) const {
  Price price;
  price.latency = latency;
  const auto whole = [](double bytes) { return static_cast<std::int64_t>(std::ceil(bytes)); };
  price.demand[index(Resource::scale_up)] = {whole(scale_up_bytes), scale_up_rate_};
  price.demand[index(Resource::network)] = {whole(network_bytes), network_rate_};
  price.labels[index(Resource::scale_up)] = scale_up_label_;
  price.labels[index(Resource::network)] = network_label_;
  price.labels[index(Resource::latency)] = Label::assumed;
  finish(price);
  return price;
}

Price CollectivePricer::all_reduce(std::int64_t bytes) const {
  const auto size = static_cast<double>(bytes);
  const auto n = static_cast<double>(profile_.size);
  const core::Duration hop = profile_.domain_latency;
  if (profile_.domains() == 1) {
    if (bytes <= one_shot_limit_) return make(latency_ + hop, (n - 1) * size, 0);
    if (profile_.in_switch_reduction) return make(latency_ + 2 * hop, size * (n + 1) / n, 0);
    return make(latency_ + 2 * (profile_.size - 1) * hop, 2 * (n - 1) / n * size, 0);
  }
  const auto inside = static_cast<double>(smallest_domain_);
  const auto across = static_cast<double>(profile_.domains());
  const core::Duration latency =
      latency_ + 2 * (smallest_domain_ - 1) * hop + 2 * (profile_.domains() - 1) * profile_.network_latency;
  return make(latency, 2 * (inside - 1) / inside * size, 2 * (across - 1) / across * size / inside);
}

Price CollectivePricer::all_gather(std::int64_t bytes) const {
  const auto size = static_cast<double>(bytes);
  const auto n = static_cast<double>(profile_.size);
  if (profile_.domains() == 1) {
    return make(latency_ + (profile_.size - 1) * profile_.domain_latency, (n - 1) / n * size, 0);
  }
  const auto inside = static_cast<double>(smallest_domain_);
  const auto across = static_cast<double>(profile_.domains());
  const core::Duration latency = latency_ + (smallest_domain_ - 1) * profile_.domain_latency +
                                 (profile_.domains() - 1) * profile_.network_latency;
  return make(latency, (inside - 1) / inside * size, (across - 1) / across * size / inside);
}

// A ring moves the same bytes in both directions of the operation.
Price CollectivePricer::reduce_scatter(std::int64_t bytes) const { return all_gather(bytes); }

Price CollectivePricer::exchange(const ExchangeLoad& load, std::int64_t bytes_per_row, bool combine) const {
  if (all_to_all_ == AllToAll::all_gather_reduce_scatter) {
    const std::int64_t bytes = load.group_tokens * bytes_per_row;
    return combine ? reduce_scatter(bytes) : all_gather(bytes);
  }
  const auto n = static_cast<double>(profile_.size);
  const auto inside = static_cast<double>(smallest_domain_);
  const auto rows = static_cast<double>(std::max(load.sent_rows, load.received_rows));
  const double bytes = rows * static_cast<double>(bytes_per_row);
  const core::Duration hop = profile_.domains() > 1 ? profile_.network_latency : profile_.domain_latency;
  return make(exchange_latency_ + hop, bytes * (inside - 1) / n, bytes * (n - inside) / n);
}

}  // namespace moesim::cost
