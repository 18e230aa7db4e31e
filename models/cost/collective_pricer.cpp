#include <algorithm>
#include <cmath>
#include <utility>

#include "models/cost/price.hpp"
#include "sim/core/check.hpp"
#include "sim/core/integers.hpp"
#include "sim/core/math.hpp"

namespace moesim::cost {

namespace {

using config::Label;

// What a start-up grows by when a group of one becomes one of `members`.
core::Duration doublings(core::Duration each, std::int64_t members) {
  const double doublings = core::math::log2(static_cast<double>(members));
  return {static_cast<std::int64_t>(std::ceil(static_cast<double>(each.ps) * doublings))};
}

// `start` and `hops` more crossings of `each`; saturating, as the number of members has no bound of its own.
core::Duration with_hops(core::Duration start, std::int64_t hops, core::Duration each) {
  return core::saturating_add(start, core::saturating_multiply(each, hops));
}

core::Duration link_duration(double seconds) {
  constexpr double kPicoseconds = 1e12, kLongest = 0x1p62;
  return {static_cast<std::int64_t>(std::min(std::ceil(seconds * kPicoseconds), kLongest))};
}

std::int64_t whole_bytes(double bytes) { return static_cast<std::int64_t>(std::ceil(bytes)); }

// The rate at which so many bytes take so many seconds.
std::int64_t link_rate(std::int64_t bytes, double seconds) {
  constexpr double kFastest = 0x1p62;
  if (!(seconds > 0)) return std::int64_t{1} << 62;
  const double rate = std::floor(static_cast<double>(bytes) / seconds);
  return rate < kFastest ? std::max<std::int64_t>(1, static_cast<std::int64_t>(rate)) : std::int64_t{1} << 62;
}

LinkTime one_after_the_other(LinkTime first, const LinkTime& second) {
  first.time.time.total += second.time.time.total;
  first.time.time.latency += second.time.time.latency;
  first.time.label = std::max(first.time.label, second.time.label);
  first.near_bytes += second.near_bytes;
  first.far_bytes += second.far_bytes;
  return first;
}

const Price& faster(const Price& a, const Price& b) { return b.time < a.time ? b : a; }

}  // namespace

CollectivePricer::CollectivePricer(hardware::GroupProfile profile, const EngineProfile& engine,
                                   LinkLabels labels, const LinkLibraries& libraries)
    : profile_(std::move(profile)),
      all_reduce_latency_(engine.comm.all_reduce_latency.value),
      gather_latency_(engine.comm.collective_latency.value),
      exchange_tokens_(engine.comm.exchange_tokens.value),
      exchange_link_share_(profile_.domain_share ? profile_.domain_share->value
                                                 : engine.comm.link_fraction.value),
      exchange_network_share_(engine.comm.network_fraction.value),
      all_to_all_(engine.comm.all_to_all),
      kernels_(libraries, profile_),
      exchange_units_(engine.comm.multiprocessors ? engine.comm.multiprocessors->value : 0) {
  const CommunicationCosts& comm = engine.comm;
  core::check(profile_.size >= 1 && !profile_.domain_sizes.empty(), "a group has members");
  const auto [least, most] = std::minmax_element(profile_.domain_sizes.begin(), profile_.domain_sizes.end());
  smallest_domain_ = *least;
  one_hop_ = profile_.domain_kind != hardware::DomainKind::host_bridge;
  one_shot_latency_ = with_hops(all_reduce_latency_, profile_.size - 1, comm.one_shot_latency_per_rank.value);
  exchange_latency_ = comm.all_to_all_latency.value +
                      doublings(comm.all_to_all_latency_per_doubling.value, *most) +
                      doublings(comm.all_to_all_latency_per_node_doubling.value, profile_.domains());
  one_shot_ = link(comm.one_shot_fraction, labels.scale_up);
  ring_ = link(comm.all_reduce_fraction, labels.scale_up);
  in_switch_ = link(comm.in_switch_fraction, labels.scale_up);
  gather_ = link(comm.link_fraction, labels.scale_up);
  if (profile_.network_bandwidth.value > 0) {
    network_ = {share_of(profile_.network_bandwidth.value, comm.network_fraction.value),
                std::max(labels.network, comm.network_fraction.label)};
  }
}

// A box whose GPUs talk over PCIe states its own share: that of an engine's profile is of a scale-up network,
// and at best assumed to hold there.
CollectivePricer::Link CollectivePricer::link(const config::Sourced<double>& share, Label bandwidth) const {
  if (profile_.domain_bandwidth.value <= 0) return {};
  const bool foreign = !one_hop_ && !profile_.domain_share;
  const config::Sourced<double>& used = profile_.domain_share ? *profile_.domain_share : share;
  return {share_of(profile_.domain_bandwidth.value, used.value),
          std::max(bandwidth, foreign ? Label::assumed : used.label)};
}

Price CollectivePricer::make(core::Duration latency, const Link& link, double scale_up_bytes,
                             double network_bytes) const {
  Price price;
  price.latency = latency;
  const auto whole = [](double bytes) { return static_cast<std::int64_t>(std::ceil(bytes)); };
  price.demand[index(Resource::scale_up)] = {whole(scale_up_bytes), link.rate};
  price.demand[index(Resource::network)] = {whole(network_bytes), network_.rate};
  price.labels[index(Resource::scale_up)] = link.label;
  price.labels[index(Resource::network)] = network_.label;
  price.labels[index(Resource::latency)] = Label::assumed;
  const auto at_peak = [](double bytes, std::int64_t peak) {
    return peak > 0 ? core::saturating_duration_for(static_cast<std::int64_t>(std::ceil(bytes)), peak)
                    : core::Duration{};
  };
  price.speed_of_light = std::max(at_peak(scale_up_bytes, profile_.domain_bandwidth.value),
                                  at_peak(network_bytes, profile_.network_bandwidth.value));
  finish(price);
  return price;
}

Price CollectivePricer::from_kernel(const LinkTime& kernel, std::int64_t hops, double network_bytes) const {
  const KernelTime& time = kernel.time.time;
  const double busy = std::max(0.0, time.total - time.latency);
  const double far_bytes = kernel.far_bytes + network_bytes;
  Price price;
  price.latency = with_hops(link_duration(time.latency), hops, profile_.network_latency);
  // What the kernel waits for takes its time; the other link is as fast as it can be.
  const bool by_network =
      kernel.far_bytes > 0 &&
      kernel.far_bytes / static_cast<double>(profile_.network_bandwidth.value) >=
          kernel.near_bytes / static_cast<double>(std::max<std::int64_t>(1, profile_.domain_bandwidth.value));
  Demand& near = price.demand[index(Resource::scale_up)];
  Demand& far = price.demand[index(Resource::network)];
  near.work = whole_bytes(kernel.near_bytes);
  near.rate = by_network ? std::max(link_rate(near.work, busy), profile_.domain_bandwidth.value)
                         : link_rate(near.work, busy);
  far.work = whole_bytes(far_bytes);
  far.rate = by_network ? link_rate(far.work, busy)
                        : std::max<std::int64_t>(network_.rate,
                                                 kernel.far_bytes > 0 ? link_rate(far.work, busy) : 1);
  if (near.work == 0 && far.work == 0) price.latency = link_duration(time.total);
  for (const Resource one : {Resource::scale_up, Resource::latency}) {
    price.labels[index(one)] = kernel.time.label;
  }
  price.labels[index(Resource::network)] = std::max(kernel.time.label, network_.label);
  const auto at_peak = [](std::int64_t bytes, std::int64_t peak) {
    return peak > 0 ? core::saturating_duration_for(bytes, peak) : core::Duration{};
  };
  price.speed_of_light = std::max(at_peak(near.work, profile_.domain_bandwidth.value),
                                  at_peak(far.work, profile_.network_bandwidth.value));
  finish(price);
  // A fitted kernel is no roofline: its time is as good as its fit.
  price.label = price.labels[index(price.binding)];
  return price;
}

std::optional<Price> CollectivePricer::from_library(Collective which, std::int64_t bytes, std::int64_t hops,
                                                    double network_bytes) const {
  std::optional<LinkTime> inside = kernels_.collective(which, smallest_domain_, bytes);
  if (!inside) return std::nullopt;
  return from_kernel(*inside, hops, network_bytes);
}

std::optional<Price> CollectivePricer::exchange_of_kernels(const ExchangeLoad& load,
                                                           std::int64_t bytes_per_row, bool combine) const {
  if (load.sent_tokens <= 0) return std::nullopt;
  ExchangeShape shape;
  shape.phase = combine ? ExchangeShape::Phase::combine : ExchangeShape::Phase::dispatch;
  shape.ranks = profile_.size;
  shape.ranks_per_domain = smallest_domain_;
  shape.top_k = std::max<std::int64_t>(1, core::divide_up(load.sent_rows, load.sent_tokens));
  shape.experts = std::max({load.experts, shape.top_k, profile_.size});
  shape.row_bytes = bytes_per_row;
  shape.multiprocessors = exchange_units_;
  // As if every rank had as many rows as the busiest.
  shape.tokens = core::divide_up(std::max(load.sent_rows, load.received_rows), shape.top_k);
  const std::optional<LinkTime> time = kernels_.exchange(shape, exchange_tokens_);
  if (!time) return std::nullopt;
  return from_kernel(*time, 0, 0);
}

Price CollectivePricer::all_reduce_in_domain(std::int64_t bytes) const {
  if (profile_.size > 1) {
    if (const auto price = from_library(Collective::all_reduce, bytes, 0, 0)) return *price;
  }
  const auto size = static_cast<double>(bytes);
  const auto n = static_cast<double>(profile_.size);
  const core::Duration latency = with_hops(all_reduce_latency_, profile_.size - 1, profile_.domain_latency);
  Price best = make(latency, ring_, 2 * (n - 1) / n * size, 0);
  if (profile_.in_switch_reduction) best = faster(best, make(latency, in_switch_, size * (n + 1) / n, 0));
  // Engines leave one-shot kernels to GPUs that reach each other's memory in one hop, and to pairs.
  if (one_hop_ || profile_.size == 2) {
    best = faster(best, make(one_shot_latency_, one_shot_, (n - 1) * size, 0));
  }
  return best;
}

Price CollectivePricer::all_reduce(std::int64_t bytes) const {
  if (profile_.domains() == 1) return all_reduce_in_domain(bytes);
  const auto size = static_cast<double>(bytes);
  const auto inside = static_cast<double>(smallest_domain_);
  const auto across = static_cast<double>(profile_.domains());
  if (smallest_domain_ > 1) {
    const auto scatter = kernels_.collective(Collective::reduce_scatter, smallest_domain_, bytes);
    const auto gather = kernels_.collective(Collective::all_gather, smallest_domain_, bytes);
    if (scatter && gather) {
      return from_kernel(one_after_the_other(*scatter, *gather), 2 * (profile_.domains() - 1),
                         2 * (across - 1) / across * size / inside);
    }
  }
  const core::Duration latency =
      with_hops(with_hops(gather_latency_, 2 * (smallest_domain_ - 1), profile_.domain_latency),
                2 * (profile_.domains() - 1), profile_.network_latency);
  return make(latency, gather_, 2 * (inside - 1) / inside * size, 2 * (across - 1) / across * size / inside);
}

Price CollectivePricer::all_gather(std::int64_t bytes) const {
  return gathered(Collective::all_gather, bytes);
}

Price CollectivePricer::gathered(Collective which, std::int64_t bytes) const {
  const auto size = static_cast<double>(bytes);
  const auto n = static_cast<double>(profile_.size);
  if (smallest_domain_ > 1) {
    const auto inside = static_cast<double>(smallest_domain_);
    const auto across = static_cast<double>(profile_.domains());
    const auto price =
        from_library(which, bytes, profile_.domains() - 1, (across - 1) / across * size / inside);
    if (price) return *price;
  }
  if (profile_.domains() == 1) {
    core::Duration latency = with_hops(gather_latency_, profile_.size - 1, profile_.domain_latency);
    if (one_hop_) latency = std::min(latency, exchange_latency_);
    return make(latency, gather_, (n - 1) / n * size, 0);
  }
  const auto inside = static_cast<double>(smallest_domain_);
  const auto across = static_cast<double>(profile_.domains());
  const core::Duration latency =
      with_hops(with_hops(gather_latency_, smallest_domain_ - 1, profile_.domain_latency),
                profile_.domains() - 1, profile_.network_latency);
  return make(latency, gather_, (inside - 1) / inside * size, (across - 1) / across * size / inside);
}

// A ring moves the same bytes in both directions of the operation.
Price CollectivePricer::reduce_scatter(std::int64_t bytes) const {
  return gathered(Collective::reduce_scatter, bytes);
}

Price CollectivePricer::exchange(const ExchangeLoad& load, std::int64_t bytes_per_row, bool combine) const {
  if (all_to_all_ == AllToAll::all_gather_reduce_scatter) {
    const std::int64_t bytes = load.group_tokens * bytes_per_row;
    return combine ? reduce_scatter(bytes) : all_gather(bytes);
  }
  if (const auto price = exchange_of_kernels(load, bytes_per_row, combine)) return *price;
  const auto n = static_cast<double>(profile_.size);
  const auto inside = static_cast<double>(smallest_domain_);
  const auto rows = static_cast<double>(std::max(load.sent_rows, load.received_rows));
  const double bytes = rows * static_cast<double>(bytes_per_row);
  const std::int64_t rounds = std::max<std::int64_t>(1, core::divide_up(load.sent_tokens, exchange_tokens_));
  return make(core::saturating_multiply(exchange_latency_, rounds), gather_, bytes * (inside - 1) / n,
              bytes * (n - inside) / n);
}

}  // namespace moesim::cost
