// Collectives inside one domain: those of the collective library, and the all-reduce kernels that serving
// engines bring along.
//
// Collective library (NCCL). A ring takes `steps` hops and moves `wire` bytes over each link: n - 1 and
// S (n - 1) / n, for an all-reduce twice as many. Every GPU also copies its own part, S / n, which is what
// makes two GPUs slower per byte than eight. The library has protocols of falling latency and rising
// bandwidth and takes about the fastest: with flags in every word (low), with a flag for each 128 bytes
// (middle), with buffers and fences (bulk), and sums inside the switch where the switch can. Exchanges of all
// with all go directly instead of round a ring: their start-up hardly grows with the number of ranks.
//
// Over PCIe each link is shared: shares of 4 and of 8 GPUs say what each then reaches of its own.
#include <algorithm>
#include <array>

#include "models/cost/kernel_family.hpp"
#include "models/cost/link_latency.hpp"
#include "sim/core/check.hpp"
#include "sim/core/math.hpp"

namespace moesim::cost {

namespace {

using core::math::sqrt;

// What every protocol of the collective library needs to know; the same list in both families.
enum RingParameter : std::size_t {
  ring_start_up,
  ring_hop,
  ring_low_share,
  ring_middle_start_up,
  ring_middle_share,
  ring_bulk_start_up,
  ring_bulk_hop,
  ring_bulk_share,
  ring_copy_rate,
  ring_switch_start_up,
  ring_switch_share,
  ring_share_of_4,
  ring_share_of_8,
  ring_small_share_of_4,
  ring_small_share_of_8,
  ring_parameters
};

constexpr std::array<Parameter, ring_parameters> kRing = {{
    {"start_up", "us", "start-up of any collective", 5, 0.5, 40, true},
    {"hop", "us", "each step from GPU to GPU, small messages", 0.8, 0.02, 8, true},
    {"low_share", "1", "share of the link with a flag in every word", 0.01, 0.0005, 1, true},
    {"middle_start_up", "us", "more start-up with a flag for each 128 bytes", 1, 0.05, 60, true},
    {"middle_share", "1", "share of the link with a flag for each 128 bytes", 0.48, 0.01, 1.2, true},
    {"bulk_start_up", "us", "more start-up with buffers and fences", 20, 0.5, 300, true},
    {"bulk_hop", "1", "a step with buffers and fences, over `hop`", 1.5, 0.1, 20, true},
    {"bulk_share", "1", "share of the link that large messages reach", 0.8, 0.05, 1, true},
    {"copy_rate", "B/clk/SM", "copying of a GPU's own part, of all its SMs", 3, 0.05, 60, true},
    {"switch_start_up", "us", "more start-up where the switch adds", 27, 1, 300, false},
    {"switch_share", "1", "share of the link where the switch adds", 0.6, 0.05, 1, false},
    {"share_of_4", "1", "PCIe: what 4 GPUs reach of what 2 reach, large messages", 0.7, 0.05, 1, false},
    {"share_of_8", "1", "PCIe: what 8 GPUs reach of what 4 reach, large messages", 0.7, 0.02, 1, false},
    {"small_share_of_4", "1", "PCIe: what 4 GPUs reach of what 2 reach, small messages", 0.8, 0.05, 1, false},
    {"small_share_of_8", "1", "PCIe: what 8 GPUs reach of what 4 reach, small messages", 0.8, 0.02, 1, false},
}};

// The middle protocol's steps over those of the lowest, and its copying over that of the bulk one: about the
// same on all GPUs of the shared tables.
constexpr double kMiddleHop = 1.15;
constexpr double kMiddleCopy = 0.26;

// The smaller of two times, rounded off where they meet: libraries do not switch exactly there.
double rounded_min(double a, double b) {
  const double small = std::min(a, b), large = std::max(a, b);
  if (large <= 0) return 0;
  double ratio = small / large;
  ratio *= ratio;
  ratio *= ratio;
  ratio *= ratio;
  return small / sqrt(sqrt(sqrt(1 + ratio)));
}

// The longer of two times that overlap.
double overlapped(double a, double b) {
  const double aa = a * a, bb = b * b;
  return sqrt(sqrt(aa * aa + bb * bb));
}

struct RingTraffic {
  double steps = 0;   // hops one after the other
  double wire = 0;    // bytes over each link
  double lane = 0;    // bytes of the longest single message
  double own = 0;     // bytes of a GPU's own part
  double buffer = 0;  // bytes that the switch adds up; 0: it does not
};

// What each of `ranks` GPUs reaches of the share that two reach of their PCIe links.
double share_among(const DeviceFigures& device, double ranks, double share_of_4, double share_of_8) {
  if (device.switched || ranks <= 2) return 1;
  const double doublings = core::math::log2(ranks);
  if (doublings <= 2) return 1 + (share_of_4 - 1) * (doublings - 1);
  return share_of_4 * (1 + (share_of_8 - 1) * std::min(1.0, doublings - 2));
}

bool adds_in_switch(const CollectiveShape& shape, const DeviceFigures& device) {
  using hardware::Architecture;
  const bool can = device.architecture == Architecture::hopper ||
                   device.architecture == Architecture::blackwell ||
                   device.architecture == Architecture::blackwell_ultra;
  return can && device.switched && shape.ranks > 2 && !shape.whole_numbers &&
         shape.collective == Collective::all_reduce;
}

RingTraffic ring_traffic(const CollectiveShape& shape, const DeviceFigures& device) {
  const auto ranks = static_cast<double>(shape.ranks), bytes = static_cast<double>(shape.bytes);
  RingTraffic traffic;
  switch (shape.collective) {
    case Collective::all_reduce:
      traffic.steps = 2 * (ranks - 1);
      break;
    case Collective::all_gather:
    case Collective::reduce_scatter:
    case Collective::all_to_all:
      traffic.steps = ranks - 1;
      break;
    case Collective::point_to_point:
      return {1, bytes, bytes, 0, 0};
  }
  traffic.own = bytes / ranks;
  traffic.wire = traffic.steps * traffic.own;
  traffic.lane = shape.collective == Collective::all_to_all ? traffic.own : traffic.wire;
  if (adds_in_switch(shape, device)) traffic.buffer = bytes;
  return traffic;
}

// Seconds of a collective of the library.
double library_time(const RingTraffic& traffic, double ranks, const DeviceFigures& device,
                    std::span<const double> p) {
  const double signal = signal_factor(device) * 1e-6;
  const double start = p[ring_start_up] * signal, hop = p[ring_hop] * signal;
  const double small_link =
      device.link_bandwidth * share_among(device, ranks, p[ring_small_share_of_4], p[ring_small_share_of_8]);
  const double bulk_link =
      device.link_bandwidth * share_among(device, ranks, p[ring_share_of_4], p[ring_share_of_8]);
  const double copy = p[ring_copy_rate] * device.clock * device.multiprocessors;
  const double low = start + hop * traffic.steps + traffic.lane / (p[ring_low_share] * small_link);
  const double middle = start + p[ring_middle_start_up] * 1e-6 + kMiddleHop * hop * traffic.steps +
                        traffic.wire / (p[ring_middle_share] * small_link) +
                        traffic.own / (kMiddleCopy * copy);
  const double bulk = start + p[ring_bulk_start_up] * 1e-6 + p[ring_bulk_hop] * hop * traffic.steps +
                      traffic.wire / (p[ring_bulk_share] * bulk_link) + traffic.own / copy;
  const double ring = rounded_min(rounded_min(low, middle), bulk);
  if (traffic.buffer <= 0) return ring;
  // Everyone sends its buffer to the switch, which sends the sums of each part to its owner and on to all.
  const double in_switch = start + p[ring_switch_start_up] * 1e-6 + 2 * hop +
                           (traffic.buffer + traffic.own) / (p[ring_switch_share] * device.link_bandwidth);
  return rounded_min(ring, in_switch);
}

// The fewest bytes that must cross a link.
double fewest_bytes(const CollectiveShape& shape, const DeviceFigures& device) {
  const RingTraffic traffic = ring_traffic(shape, device);
  return traffic.buffer > 0 ? std::min(traffic.wire, traffic.buffer + traffic.own) : traffic.wire;
}

const CollectiveShape& collective_of(const KernelShape& shape) {
  const auto* own = std::get_if<CollectiveShape>(&shape);
  core::check(own != nullptr && own->ranks >= 1 && own->bytes >= 0,
              "the families of collectives time collectives");
  return *own;
}

KernelTime link_time(double total, double latency, double reached_link, double bytes,
                     const DeviceFigures& device) {
  KernelTime time;
  time.total = total;
  time.latency = std::min(latency, total);
  time.link = std::min(bytes / reached_link, total - time.latency);
  time.speed_of_light = bytes / device.link_bandwidth;
  return time;
}

// ---- The collective library ----

KernelTime collective_time(const KernelShape& shape, const DeviceFigures& device, std::span<const double> p,
                           Conditions /*conditions*/, const PartTimes* /*parts*/) {
  const CollectiveShape& one = collective_of(shape);
  const auto ranks = static_cast<double>(one.ranks);
  const RingTraffic traffic = ring_traffic(one, device);
  RingTraffic nothing;
  nothing.steps = traffic.steps;
  const double reached = device.link_bandwidth * p[ring_bulk_share] *
                         share_among(device, ranks, p[ring_share_of_4], p[ring_share_of_8]);
  return link_time(library_time(traffic, ranks, device, p), library_time(nothing, ranks, device, p), reached,
                   fewest_bytes(one, device), device);
}

std::string collective_variant(const KernelShape& shape) {
  const Collective collective = collective_of(shape).collective;
  const bool direct = collective == Collective::all_to_all || collective == Collective::point_to_point;
  return direct ? "direct" : "ring";
}

// Of an all-reduce 2, of the sums of a reduce-scatter a little: their residuals differ from those of copies.
double kind_of_ring(Collective collective) {
  if (collective == Collective::all_reduce) return 2;
  return collective == Collective::reduce_scatter ? 0.7 : 0;
}

Coordinates collective_place(const KernelShape& shape, const DeviceFigures& /*device*/) {
  const CollectiveShape& one = collective_of(shape);
  return {core::math::log2(static_cast<double>(one.bytes + 1)),
          2 * core::math::log2(static_cast<double>(one.ranks)), kind_of_ring(one.collective)};
}

// ---- Custom all-reduce ----

enum OwnParameter : std::size_t {
  own_one_shot_start_up,
  own_one_shot_rank,
  own_one_shot_share,
  own_two_shot_start_up,
  own_two_shot_rank,
  own_two_shot_share,
  own_eager_floor,
  own_eager_library_floor,
  own_parameters
};

constexpr std::array<Parameter, own_parameters> kOwn = {{
    {"one_shot_start_up", "us", "start-up when every GPU reads all buffers", 2.5, 0.3, 20, false},
    {"one_shot_rank", "us", "more for each further GPU", 0.1, 0.005, 5, false},
    {"one_shot_share", "1", "share of the link when every GPU reads all buffers", 0.65, 0.05, 1, false},
    {"two_shot_start_up", "us", "more start-up when every GPU adds one part and all gather", 1.5, 0.1, 20,
     false},
    {"two_shot_rank", "us", "more for each further GPU, on top of one_shot_rank", 0.3, 0.005, 8, false},
    {"two_shot_share", "1", "share of the link when every GPU adds one part", 0.65, 0.05, 1, false},
    {"eager_floor", "us", "host time of an own kernel without a CUDA graph", 25, 5, 150, false},
    {"eager_library_floor", "us", "host time of a library call without a CUDA graph", 35, 5, 250, false},
}};

// The library's parameters again, of the calls that these engines fall back to; shared by all variants.
constexpr std::size_t kAllReduceParameters = std::size_t{own_parameters} + std::size_t{ring_parameters};
constexpr std::array<Parameter, kAllReduceParameters> own_and_ring() {
  std::array<Parameter, kAllReduceParameters> all{};
  for (std::size_t i = 0; i < own_parameters; ++i) all[i] = kOwn[i];
  for (std::size_t i = 0; i < ring_parameters; ++i) {
    all[own_parameters + i] = kRing[i];
    all[own_parameters + i].by_variant = false;
  }
  return all;
}
constexpr std::array<Parameter, kAllReduceParameters> kAllReduce = own_and_ring();

// The eager benchmarks copy their input first, at this share of the DRAM.
constexpr double kCloneShare = 0.9;

double all_reduce_seconds(const CollectiveShape& shape, const DeviceFigures& device,
                          std::span<const double> p) {
  const auto ranks = static_cast<double>(shape.ranks), bytes = static_cast<double>(shape.bytes);
  const RingTraffic traffic = ring_traffic(shape, device);
  const double library = library_time(traffic, ranks, device, p.subspan(own_parameters));
  const double floor = shape.eager ? p[own_eager_library_floor] * 1e-6 : 0;
  const double fallback = overlapped(library, floor);
  // Their own kernels need GPUs that reach each other's memory in one hop, or pairs.
  if (!device.switched && shape.ranks > 2) return fallback;
  const double signal = signal_factor(device) * 1e-6;
  const double start = (p[own_one_shot_start_up] + p[own_one_shot_rank] * (ranks - 1)) * signal;
  const double one_shot = start + (ranks - 1) * bytes / (p[own_one_shot_share] * device.link_bandwidth);
  const double two_shot = start + (p[own_two_shot_start_up] + p[own_two_shot_rank] * (ranks - 1)) * signal +
                          traffic.wire / (p[own_two_shot_share] * device.link_bandwidth);
  const double own_floor = shape.eager ? p[own_eager_floor] * 1e-6 : 0;
  return rounded_min(overlapped(rounded_min(one_shot, two_shot), own_floor), fallback);
}

KernelTime all_reduce_time(const KernelShape& shape, const DeviceFigures& device, std::span<const double> p,
                           Conditions conditions, const PartTimes* /*parts*/) {
  CollectiveShape one = collective_of(shape);
  core::check(one.collective == Collective::all_reduce, "the family of all-reduces times all-reduces");
  const double seconds = all_reduce_seconds(one, device, p);
  CollectiveShape nothing = one;
  nothing.bytes = 0;
  const auto ring = p.subspan(own_parameters);
  const double reached =
      device.link_bandwidth * ring[ring_bulk_share] *
      share_among(device, static_cast<double>(one.ranks), ring[ring_share_of_4], ring[ring_share_of_8]);
  KernelTime time =
      link_time(seconds, all_reduce_seconds(nothing, device, p), reached, fewest_bytes(one, device), device);
  if (one.eager && conditions == Conditions::benchmark) {
    time.memory = 2 * static_cast<double>(one.bytes) / (kCloneShare * device.dram_bandwidth);
    time.total += time.memory;
  }
  return time;
}

std::string all_reduce_variant(const KernelShape& shape) {
  return collective_of(shape).eager ? "eager" : "graph";
}

}  // namespace

const KernelFamily& collective_family() {
  static const KernelFamily family = [] {
    KernelFamily one;
    one.name = "collective";
    one.sentence = "collectives of the collective library inside one domain";
    one.parameters = kRing;
    one.time = collective_time;
    one.variant = collective_variant;
    one.surface_axes = {{{9, 28, 8}, {2, 6, 3, AxisKind::other}, {0, 2, 2, AxisKind::other}}};
    one.surface_place = collective_place;
    one.place = collective_place;
    return one;
  }();
  return family;
}

const KernelFamily& custom_all_reduce_family() {
  static const KernelFamily family = [] {
    KernelFamily one;
    one.name = "custom_all_reduce";
    one.sentence = "all-reduces of a serving engine inside one domain: one shot, two shots or the library";
    one.parameters = kAllReduce;
    one.time = all_reduce_time;
    one.variant = all_reduce_variant;
    one.surface_axes = {{{8, 28, 11}, {2, 6, 3, AxisKind::other}, {0, 0, 1}}};
    one.surface_place = collective_place;
    one.place = collective_place;
    return one;
  }();
  return family;
}

}  // namespace moesim::cost
