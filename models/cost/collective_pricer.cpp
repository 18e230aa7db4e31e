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

const Price& faster(const Price& a, const Price& b) { return b.time < a.time ? b : a; }

}  // namespace

CollectivePricer::CollectivePricer(hardware::GroupProfile profile, const EngineProfile& engine,
                                   LinkLabels labels)
    : profile_(std::move(profile)),
      all_reduce_latency_(engine.comm.all_reduce_latency.value),
      gather_latency_(engine.comm.collective_latency.value),
      exchange_tokens_(engine.comm.exchange_tokens.value),
      exchange_link_share_(profile_.domain_share ? profile_.domain_share->value
                                                 : engine.comm.link_fraction.value),
      exchange_network_share_(engine.comm.network_fraction.value),
      all_to_all_(engine.comm.all_to_all) {
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
  finish(price);
  return price;
}

Price CollectivePricer::all_reduce_in_domain(std::int64_t bytes) const {
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
  const core::Duration latency =
      with_hops(with_hops(gather_latency_, 2 * (smallest_domain_ - 1), profile_.domain_latency),
                2 * (profile_.domains() - 1), profile_.network_latency);
  return make(latency, gather_, 2 * (inside - 1) / inside * size, 2 * (across - 1) / across * size / inside);
}

Price CollectivePricer::all_gather(std::int64_t bytes) const {
  const auto size = static_cast<double>(bytes);
  const auto n = static_cast<double>(profile_.size);
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
  const std::int64_t rounds = std::max<std::int64_t>(1, core::divide_up(load.sent_tokens, exchange_tokens_));
  return make(core::saturating_multiply(exchange_latency_, rounds), gather_, bytes * (inside - 1) / n,
              bytes * (n - inside) / n);
}

}  // namespace moesim::cost
