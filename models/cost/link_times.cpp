#include "models/cost/link_times.hpp"

#include <algorithm>
#include <array>
#include <utility>

#include "models/cost/exchange_time.hpp"
#include "sim/core/integers.hpp"

namespace moesim::cost {

namespace {

// A library's device with the links of a group. A box without switches keeps its own link: what 4 and 8 GPUs
// reach of it was measured with whatever lies between them.
std::shared_ptr<const KernelLibrary> on_links(std::shared_ptr<const KernelLibrary> library,
                                              const hardware::GroupProfile& profile) {
  if (!library) return library;
  DeviceFigures device = library->device();
  const bool switched = profile.domain_kind != hardware::DomainKind::host_bridge;
  const auto near = static_cast<double>(profile.domain_bandwidth.value);
  const auto far = static_cast<double>(profile.network_bandwidth.value);
  if (near > 0 && (switched || device.switched)) device.link_bandwidth = near;
  if (far > 0) device.network_bandwidth = far;
  device.switched = switched;
  const DeviceFigures& own = library->device();
  if (device.link_bandwidth == own.link_bandwidth && device.network_bandwidth == own.network_bandwidth &&
      device.switched == own.switched) {
    return library;
  }
  return std::make_shared<const KernelLibrary>(library->on_device(library->gpu(), device));
}

bool has_variant(const FamilyFit& fit, const std::string& variant) {
  const auto& known = fit.parameters.variants();
  return std::binary_search(known.begin(), known.end(), variant);
}

}  // namespace

LinkTimes::LinkTimes(const LinkLibraries& libraries, const hardware::GroupProfile& profile)
    : engine_(on_links(libraries.engine, profile)), collectives_(on_links(libraries.collectives, profile)) {}

std::optional<LinkTime> LinkTimes::collective(Collective which, std::int64_t ranks,
                                              std::int64_t bytes) const {
  const CollectiveShape shape{which, ranks, bytes};
  const auto timed = [&](const KernelLibrary& library, const KernelFamily& family) {
    LinkTime out;
    out.time = library.time_of(family, shape);
    out.near_bytes = out.time.time.speed_of_light * library.device().link_bandwidth;
    return out;
  };
  if (which == Collective::all_reduce && engine_ && engine_->find(custom_all_reduce_family()) != nullptr) {
    return timed(*engine_, custom_all_reduce_family());
  }
  if (collectives_ && collectives_->find(collective_family()) != nullptr) {
    return timed(*collectives_, collective_family());
  }
  return std::nullopt;
}

std::optional<LinkTime> LinkTimes::exchange(ExchangeShape shape, std::int64_t round_tokens) const {
  if (!engine_) return std::nullopt;
  const KernelFamily& family = exchange_family();
  const FamilyFit* fit = engine_->find(family);
  if (fit == nullptr) return std::nullopt;
  using Kind = ExchangeShape::Kind;
  std::optional<LinkTime> best;
  const std::int64_t tokens = shape.tokens;
  for (const Kind kind : {Kind::low_latency, Kind::normal, Kind::one_sided, Kind::two_sided}) {
    shape.kind = kind;
    if (!has_variant(*fit, family.variant(shape))) continue;
    // Kernels that write to each other's memory do not leave the domain.
    const bool one_domain = shape.ranks <= shape.ranks_per_domain;
    if (!one_domain && (kind == Kind::one_sided || kind == Kind::two_sided)) continue;
    const std::int64_t rounds =
        kind == Kind::low_latency ? std::max<std::int64_t>(1, core::divide_up(tokens, round_tokens)) : 1;
    shape.tokens = core::divide_up(tokens, rounds);
    LinkTime one;
    one.time = engine_->time_of(family, shape);
    const ExchangeTraffic traffic = exchange_traffic(shape);
    const auto times = static_cast<double>(rounds);
    one.near_bytes = traffic.near_bytes * times;
    one.far_bytes = traffic.far_bytes * times;
    for (double* part : {&one.time.time.total, &one.time.time.latency, &one.time.time.compute,
                         &one.time.time.link, &one.time.time.speed_of_light}) {
      *part *= times;
    }
    if (!best || one.time.time.total < best->time.time.total) best = one;
  }
  return best;
}

}  // namespace moesim::cost
