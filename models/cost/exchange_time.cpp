// Dispatch and combine of mixture-of-experts layers.
//
// t = start-up + smooth maximum of four things that overlap: copying by multiprocessors, the link inside the
// domain, the network, and (low latency) the longest queue of one expert's messages.
//
// What travels: low latency sends one row for each (token, expert) pair; the others send a token once to each
// rank that wants it, and normal mode once over the network to each domain that wants it, where it is
// forwarded. Copying costs `token_rate` bytes per clock for each token (its row is read, or its sum written)
// and `row_rate` for each of its rows, and no row is faster than `row_clocks`.
#include "models/cost/exchange_time.hpp"

#include <algorithm>
#include <array>

#include "models/cost/kernel_family.hpp"
#include "models/cost/link_latency.hpp"
#include "sim/core/check.hpp"
#include "sim/core/math.hpp"

namespace moesim::cost {

namespace {

using ExchangeKind = ExchangeShape::Kind;
using ExchangePhase = ExchangeShape::Phase;

enum ExchangeParameter : std::size_t {
  exchange_start_up,
  exchange_start_up_doubling,
  exchange_start_up_expert,
  exchange_start_up_row,
  exchange_network_start_up,
  exchange_network_doubling,
  exchange_link_share,
  exchange_link_loss,
  exchange_token_rate,
  exchange_row_rate,
  exchange_row_clocks,
  exchange_expert_rate,
  exchange_forwarding,
  exchange_network_share,
  exchange_network_loss,
  exchange_parameters
};

constexpr std::array<Parameter, exchange_parameters> kExchange = {{
    {"start_up", "us", "start-up", 15, 0.5, 200, true},
    {"start_up_doubling", "us", "more for each doubling of the ranks of a domain", 0.8, 0.01, 20, true},
    {"start_up_expert", "ns", "more for each expert of the layer (low latency)", 5, 0.01, 200, true},
    {"start_up_row", "us/kB", "more for the length of one row", 0.2, 0.001, 10, true},
    {"network_start_up", "us", "more across the network", 10, 0.1, 200, true},
    {"network_doubling", "us", "more for each doubling of the domains", 10, 0.1, 200, true},
    {"link_share", "1", "share of the link inside a domain", 0.7, 0.05, 1, true},
    {"link_loss", "1", "loss of that share for each doubling of the ranks of a domain", 0.03, 0.001, 0.5,
     true},
    {"token_rate", "B/clk/SM", "copying of a token, once for all its rows", 5, 0.05, 200, true},
    {"row_rate", "B/clk/SM", "copying of each row", 15, 0.1, 400, true},
    {"row_clocks", "clk*SM", "the least that a row takes", 300, 1, 5000, true},
    {"expert_rate", "B/clk", "messages of one expert, one after the other (low latency)", 5, 0.1, 300, true},
    {"forwarding", "1", "copying with several domains, over that with one (normal)", 1.5, 1, 6, true},
    {"network_share", "1", "share of the network", 0.85, 0.1, 1, true},
    {"network_loss", "1", "loss of that share for each doubling of the domains (normal)", 0.2, 0.001, 1,
     true},
}};

// The longest of times that overlap; exact where one is by far the longest.
double longest_of_four(double a, double b, double c, double d) {
  const auto fourth = [](double x) { return x * x * x * x; };
  return core::math::sqrt(core::math::sqrt(fourth(a) + fourth(b) + fourth(c) + fourth(d)));
}

const ExchangeShape& exchange_of(const KernelShape& shape) {
  const auto* own = std::get_if<ExchangeShape>(&shape);
  core::check(own != nullptr && own->ranks >= 1 && own->ranks_per_domain >= 1 && own->tokens >= 0,
              "the family of exchanges times exchanges");
  return *own;
}

double exchange_domains(const ExchangeShape& shape) {
  return std::max(1.0, static_cast<double>(shape.ranks) / static_cast<double>(shape.ranks_per_domain));
}

// How many of `groups` equal groups of experts a token with `top_k` different experts goes to on average.
double distinct_groups(double groups, const ExchangeShape& shape) {
  const auto experts = static_cast<double>(shape.experts);
  const double each = experts / groups;
  double untouched = 1;
  const std::int64_t picks = std::min(shape.top_k, shape.experts);
  for (std::int64_t i = 0; i < picks; ++i) {
    const auto taken = static_cast<double>(i);
    untouched *= std::max(0.0, experts - each - taken) / (experts - taken);
  }
  return groups * (1 - untouched);
}

struct Destinations {
  double ranks = 0;    // rows that a token becomes
  double domains = 0;  // copies of a token that cross the network, its own domain included
};

Destinations destinations_of(const ExchangeShape& shape) {
  const auto top_k = static_cast<double>(shape.top_k);
  if (shape.kind == ExchangeKind::low_latency) return {top_k, top_k};
  Destinations found;
  found.ranks =
      shape.destinations > 0 ? shape.destinations : distinct_groups(static_cast<double>(shape.ranks), shape);
  const double domains = exchange_domains(shape);
  found.domains = shape.kind == ExchangeKind::normal ? std::min(found.ranks, distinct_groups(domains, shape))
                                                     : found.ranks;
  return found;
}

// Without rows: only counts and places of what will come are sent, for each of a token's experts.
bool sends_rows(const ExchangeShape& shape) { return shape.phase != ExchangePhase::prepare; }

// Seconds that multiprocessors copy.
double copying_time(const ExchangeShape& shape, const DeviceFigures& device, std::span<const double> p,
                    double rows_of_token) {
  const double row = sends_rows(shape) ? static_cast<double>(shape.row_bytes) : 0.0;
  const double rows = sends_rows(shape) ? rows_of_token : static_cast<double>(shape.top_k);
  const double moved = row * (1 / p[exchange_token_rate] + rows / p[exchange_row_rate]);
  double clocks = longest_of_four(moved, p[exchange_row_clocks] * rows, 0, 0);
  if (shape.kind == ExchangeKind::normal && exchange_domains(shape) > 1) clocks *= p[exchange_forwarding];
  const double units =
      shape.multiprocessors > 0 ? static_cast<double>(shape.multiprocessors) : device.multiprocessors;
  return static_cast<double>(shape.tokens) * clocks / (units * device.clock);
}

double exchange_start(const ExchangeShape& shape, const DeviceFigures& device, std::span<const double> p) {
  const double domains = exchange_domains(shape);
  const double near_ranks = static_cast<double>(shape.ranks) / domains;
  const double row = sends_rows(shape) ? static_cast<double>(shape.row_bytes) : 0.0;
  double micro = p[exchange_start_up] + p[exchange_start_up_doubling] * core::math::log2(near_ranks) +
                 p[exchange_start_up_row] * row * 1e-3;
  if (shape.kind == ExchangeKind::low_latency) {
    micro += p[exchange_start_up_expert] * 1e-3 * static_cast<double>(shape.experts);
  }
  micro *= signal_factor(device);
  if (domains > 1) {
    micro += p[exchange_network_start_up] + p[exchange_network_doubling] * core::math::log2(domains);
  }
  return micro * 1e-6;
}

KernelTime exchange_time(const KernelShape& shape, const DeviceFigures& device, std::span<const double> p,
                         Conditions /*conditions*/, const PartTimes* /*parts*/) {
  const ExchangeShape& one = exchange_of(shape);
  const ExchangeTraffic traffic = exchange_traffic(one);
  const double domains = exchange_domains(one);
  const double near_doublings = core::math::log2(static_cast<double>(one.ranks) / domains);
  KernelTime time;
  time.latency = exchange_start(one, device, p);
  time.compute = copying_time(one, device, p, destinations_of(one).ranks);
  time.link = traffic.near_bytes * (1 + p[exchange_link_loss] * near_doublings) /
              (p[exchange_link_share] * device.link_bandwidth);
  double far = 0;
  if (traffic.far_bytes > 0) {
    core::check(device.network_bandwidth > 0, "an exchange over several domains needs a network");
    const double loss =
        one.kind == ExchangeKind::normal ? 1 + p[exchange_network_loss] * core::math::log2(domains) : 1.0;
    far = traffic.far_bytes * loss / (p[exchange_network_share] * device.network_bandwidth);
  }
  double queue = 0;
  if (one.kind == ExchangeKind::low_latency && one.experts > 0) {
    queue = traffic.bytes / static_cast<double>(one.experts) / (p[exchange_expert_rate] * device.clock);
  }
  time.total = time.latency + longest_of_four(time.compute, time.link, far, queue);
  time.speed_of_light = traffic.near_bytes / device.link_bandwidth;
  if (far > 0) {
    time.speed_of_light = std::max(time.speed_of_light, traffic.far_bytes / device.network_bandwidth);
  }
  time.link = std::max(time.link, far);
  if (!sends_rows(one)) {
    // The number of an expert and the place of a row for each pair.
    time.speed_of_light = static_cast<double>(one.tokens * one.top_k * 8) / device.link_bandwidth;
  }
  return time;
}

std::string_view name_of(ExchangeKind kind) {
  switch (kind) {
    case ExchangeKind::low_latency:
      return "low_latency";
    case ExchangeKind::normal:
      return "normal";
    case ExchangeKind::one_sided:
      return "one_sided";
    case ExchangeKind::two_sided:
      return "two_sided";
  }
  return "";
}

std::string_view name_of(ExchangePhase phase) {
  switch (phase) {
    case ExchangePhase::prepare:
      return "prepare";
    case ExchangePhase::dispatch:
      return "dispatch";
    case ExchangePhase::combine:
      return "combine";
    case ExchangePhase::combine_low_precision:
      return "combine_low_precision";
  }
  return "";
}

std::string exchange_variant(const KernelShape& shape) {
  const ExchangeShape& one = exchange_of(shape);
  return std::string(name_of(one.kind)) + "_" + std::string(name_of(one.phase));
}

double doublings_of(std::int64_t count) {
  return core::math::log2(static_cast<double>(std::max(count, std::int64_t{1})));
}

Coordinates exchange_surface_place(const KernelShape& shape, const DeviceFigures& /*device*/) {
  const ExchangeShape& one = exchange_of(shape);
  // Rows get longer to the right, and there are fewer multiprocessors to the right: both take more time.
  const double third = one.multiprocessors > 0 ? 7 - 2.6 * (doublings_of(one.multiprocessors) - 2)
                                               : doublings_of(one.row_bytes) - 11;
  return {doublings_of(one.tokens), doublings_of(one.ranks), third};
}

Coordinates exchange_place(const KernelShape& shape, const DeviceFigures& /*device*/) {
  const ExchangeShape& one = exchange_of(shape);
  return {doublings_of(one.tokens),    doublings_of(one.experts) / 2, doublings_of(one.top_k),
          doublings_of(one.row_bytes), doublings_of(one.ranks),       doublings_of(one.multiprocessors)};
}

}  // namespace

ExchangeTraffic exchange_traffic(const ExchangeShape& shape) {
  if (!sends_rows(shape)) return {};
  const Destinations to = destinations_of(shape);
  const auto ranks = static_cast<double>(shape.ranks);
  const double domains = exchange_domains(shape), near_ranks = ranks / domains;
  const auto tokens = static_cast<double>(shape.tokens), row = static_cast<double>(shape.row_bytes);
  ExchangeTraffic traffic;
  traffic.rows = tokens * to.ranks;
  traffic.bytes = traffic.rows * row;
  // In normal mode rows from other domains also cross the links of theirs, from the rank that they arrive at.
  const double pool = shape.kind == ExchangeKind::normal ? near_ranks : ranks;
  traffic.near_bytes = traffic.bytes * (near_ranks - 1) / pool;
  traffic.far_bytes = tokens * to.domains * (domains - 1) / domains * row;
  return traffic;
}

const KernelFamily& exchange_family() {
  static const KernelFamily family = [] {
    KernelFamily one;
    one.name = "exchange";
    one.sentence = "dispatch and combine of mixture-of-experts layers";
    one.parameters = kExchange;
    one.time = exchange_time;
    one.variant = exchange_variant;
    one.surface_axes = {{{0, 16, 8}, {1, 6, 4, AxisKind::other}, {0, 7, 2}}};
    one.surface_place = exchange_surface_place;
    one.place = exchange_place;
    return one;
  }();
  return family;
}

}  // namespace moesim::cost
