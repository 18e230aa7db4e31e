// Collectives and copies of the kernel executor: what moves over links.
#include <algorithm>

#include "sim/core/check.hpp"
#include "sim/execution/kernel_executor.hpp"
#include "sim/execution/slots.hpp"

namespace moesim::execution {

using core::Duration;
using core::Time;
using hardware::DeviceIndex;
using hardware::LinkIndex;
using hardware::LinkKind;

namespace {

double per_second(double bytes, Duration time) { return bytes / time.seconds(); }

}  // namespace

void KernelExecutor::arrive(ChainId id, const KernelOp& op) {
  const Chain& chain = chains_[id];
  const Run& run = runs_[chain.run];
  const std::uint32_t slot = run.collectives[op.communicator * run.lanes + chain.lane];
  Collective& one = collectives_[slot];
  const Time now = simulation_->now();
  if (one.arrived == 0 || now > one.ready || chain.rank < chains_[one.last].rank) {
    one.last = id;
    one.ready = now;
    one.op = &op;
  }
  if (++one.arrived == one.chains.size()) ready_collectives_.push_back(slot);
}

bool KernelExecutor::can_begin(const Collective& one) {
  return std::none_of(one.chains.begin(), one.chains.end(), [this](ChainId id) {
    const Chain& chain = chains_[id];
    const RankStreams& streams = streams_of(chain);
    return streams.communicates || streams.claimed_in == pass_ || paused(device_of(chain));
  });
}

// In the order in which they became ready: one that has to wait claims its ranks, so that no later one passes
// it.
void KernelExecutor::begin_ready_collectives() {
  ++pass_;
  for (std::size_t i = 0; i < ready_collectives_.size();) {
    const std::uint32_t slot = ready_collectives_[i];
    if (can_begin(collectives_[slot])) {
      ready_collectives_.erase(ready_collectives_.begin() + static_cast<std::ptrdiff_t>(i));
      begin_collective(slot);
      continue;
    }
    for (const ChainId id : collectives_[slot].chains) streams_of(chains_[id]).claimed_in = pass_;
    ++i;
  }
}

void KernelExecutor::begin_collective(std::uint32_t slot) {
  Collective& one = collectives_[slot];
  for (const ChainId id : one.chains) streams_of(chains_[id]).communicates = true;
  one.began = simulation_->now();
  ++counts_of(one.run).collectives_begun;
  const Duration latency = one.op->latency;
  if (latency == Duration{}) return collective_work(slot);
  begin_latency(one.latency, latency, events_.collective_work, slot);
}

void KernelExecutor::collective_work(std::uint32_t slot) {
  const Collective& one = collectives_[slot];
  const KernelOp& op = *one.op;
  const auto members = static_cast<std::uint32_t>(one.chains.size());
  std::vector<Mover> movers;
  if (op.pairs) {
    for (std::uint32_t from = 0; from < members; ++from) {
      for (std::uint32_t to = 0; to < members; ++to) {
        const std::int64_t bytes = from == to ? 0 : op.pairs->from_to(from, to);
        counts_of(one.run).bytes_begun += bytes;
        if (bytes > 0) movers.push_back({Moves::pair, slot, from, to, 0});
      }
    }
  } else {
    counts_of(one.run).bytes_begun += core::Int128{op.bytes} * members;
    if (op.alone > Duration{} && op.shape == CollectiveShape::ring) {
      movers.push_back({Moves::ring, slot, 0, 0, 0});
    }
    if (op.alone > Duration{} && op.shape == CollectiveShape::exchange) {
      for (std::uint32_t member = 0; member < members; ++member) {
        movers.push_back({Moves::member, slot, member, 0, 0});
      }
    }
  }
  if (movers.empty()) return end_collective(slot);
  collectives_[slot].pending = static_cast<std::uint32_t>(movers.size());
  for (const Mover& mover : movers) begin_mover(mover);
}

void KernelExecutor::end_collective(std::uint32_t slot) {
  Collective& one = collectives_[slot];
  const KernelOp& op = *one.op;
  const Time now = simulation_->now();
  const StepTime& before = chains_[one.last].path;
  StepTime path = before;
  // Drawn pairs share ports with each other, so that their price says little of how long they take alone.
  const Duration alone =
      op.pairs ? std::min(now - one.began, op.latency + pairs_alone(one)) : op.latency + op.alone;
  add(path, alone, op.part, op.binding, op.label, op.speed_of_light);
  const Duration more = (now - one.ready) - alone;
  if (more > Duration{}) add(path, more, Part::contention, op.binding, op.label);
  counts_of(one.run).bytes_ended += op.pairs ? core::Int128{0} : core::Int128{op.bytes} * one.chains.size();
  ++counts_of(one.run).collectives_ended;
  one.arrived = 0;
  for (std::size_t member = 0; member < one.chains.size(); ++member) {
    const ChainId id = one.chains[member];
    chains_[id].path = path;
    streams_of(chains_[id]).communicates = false;
    trace_.slice(one.devices[member], runs_[one.run].program.job, KernelTrace::Stream::communication, op.name,
                 to_string(op.part), one.began, now, alone);
    next_operator(id);
  }
}

void KernelExecutor::begin_mover(const Mover& mover) {
  const std::uint32_t index = take_slot(movers_, free_movers_);
  movers_[index] = mover;
  const Asked asked = ask(mover);
  const Duration alone = bounded(asked.alone);
  movers_[index].endless = asked.alone > alone;
  movers_[index].activity = machine_.begin(alone, uses_, weight_of(asked), index | kMoverBit);
}

// Flows share a link by bytes, whatever bounds each: the weight makes their speeds comparable.
double KernelExecutor::weight_of(const Asked& asked) const {
  return asked.bytes_per_s > 0 ? asked.flows * fastest_link_ / asked.bytes_per_s : 1.0;
}

// How long an exchange of pairs takes when nothing else moves and no NIC is lost.
Duration KernelExecutor::pairs_alone(const Collective& one) {
  auto& known = runs_[one.run].pairs_alone;
  const PairBytes* const pairs = one.op->pairs.get();
  for (const auto& [other, time] : known) {
    if (other == pairs) return time;
  }
  if (!quiet_machine_) quiet_machine_.emplace(resources_.size(), quiet_simulation_, events_.machine);
  const auto members = static_cast<std::uint32_t>(one.chains.size());
  const Time began = quiet_simulation_.now();
  for (std::uint32_t from = 0; from < members; ++from) {
    for (std::uint32_t to = 0; to < members; ++to) {
      if (from == to || pairs->from_to(from, to) == 0) continue;
      uses_.clear();
      const Asked asked = ask_pair(one, from, to, hardware::NicChoice{});
      quiet_machine_->begin(bounded(asked.alone), uses_, weight_of(asked), 0);
    }
  }
  std::vector<std::uint32_t> ended;
  quiet_simulation_.run([&](core::EventKey key) { return quiet_machine_->handle(key, ended); });
  const Duration time = quiet_simulation_.last_executed_at() - began;
  known.emplace_back(pairs, time);
  return time;
}

void KernelExecutor::mover_ended(std::uint32_t index) {
  const Mover mover = movers_[index];
  movers_[index].kind = Moves::nothing;
  if (mover.endless) return;
  free_movers_.push_back(index);
  if (mover.kind == Moves::copy) return end_copy(mover.slot);
  Collective& one = collectives_[mover.slot];
  if (mover.kind == Moves::pair)
    counts_of(one.run).bytes_ended += one.op->pairs->from_to(mover.from, mover.to);
  if (--one.pending == 0) end_collective(mover.slot);
}

KernelExecutor::Asked KernelExecutor::ask(const Mover& mover) {
  uses_.clear();
  if (mover.kind == Moves::copy) return ask_copy(copies_[mover.slot].spec);
  const Collective& one = collectives_[mover.slot];
  if (mover.kind == Moves::pair) return ask_pair(one, mover.from, mover.to, patterns_.nics());
  if (mover.kind == Moves::member) {
    ask_member(one, mover.from);
  } else {
    for (std::size_t member = 0; member < one.chains.size(); ++member) ask_member(one, member);
  }
  const double flows = mover.kind == Moves::member ? flows_of(one, mover.from) : 1.0;
  return {one.op->alone, per_second(static_cast<double>(one.op->bytes), one.op->alone), flows};
}

// A member of an exchange sends to all others: to those inside its domain, or outside where that takes
// longer.
double KernelExecutor::flows_of(const Collective& one, std::size_t member) const {
  const std::int32_t domain = topology_->place(one.devices[member]).domain;
  const auto inside = std::count_if(one.devices.begin(), one.devices.end(), [&](DeviceIndex device) {
    return topology_->place(device).domain == domain;
  });
  const auto outside = static_cast<std::ptrdiff_t>(one.devices.size()) - inside;
  const bool network = one.op->network_busy > one.op->scale_up_busy;
  return static_cast<double>(std::max<std::ptrdiff_t>(1, network ? outside : inside - 1));
}

// What one member uses while all do the same.
void KernelExecutor::ask_member(const Collective& one, std::size_t member) {
  const KernelOp& op = *one.op;
  for (const LinkUse& use : patterns_.get(one.devices, op.shape)[member]) {
    const Duration busy = use.network ? op.network_busy : op.scale_up_busy;
    uses_.push_back({resources_.link(use.link), share_of_time(busy, op.alone, use.factor)});
  }
  const DeviceIndex device = one.devices[member];
  uses_.push_back({resources_.hbm(device), share_of_time(op.hbm_busy, op.alone)});
  uses_.push_back({resources_.multiprocessors(device), share_of_time(op.multiprocessors_busy, op.alone)});
}

// Bytes over a route, each link of which gives `efficiency` of its bandwidth, from and to memory. What limits
// the sender is its port or its NIC, and likewise the receiver: all else on its side comes through these.
KernelExecutor::Asked KernelExecutor::ask_route(const hardware::Route& route, double efficiency,
                                                std::int64_t bytes, const RouteEnds& ends) {
  const std::int64_t rate = cost::share_of(topology_->bottleneck(route).value, efficiency);
  const Duration second{core::kPicosecondsPerSecond};
  // What a PCIe box reaches counts the link between its sockets already: that one is used by the bytes alone.
  const auto link_share = [&](LinkIndex link) {
    const hardware::Link& one = topology_->link(link);
    const double reached = one.kind == LinkKind::socket ? 1.0 : efficiency;
    return share_of_time(second, second, static_cast<double>(rate) / (one.capacity.as_double() * reached));
  };
  ResourceShare out, in;
  for (const LinkIndex link : route) {
    const LinkKind kind = topology_->link(link).kind;
    const ResourceShare one{resources_.link(link), link_share(link), ResourceShare::kNone, 0};
    if (kind == LinkKind::port_out || kind == LinkKind::nic_out || kind == LinkKind::mesh) out = one;
    if (kind == LinkKind::port_in || kind == LinkKind::nic_in || kind == LinkKind::mesh) in = one;
  }
  // Copies over PCIe have but their host links.
  if (out.share == 0)
    out = {resources_.link(*route.begin()), link_share(*route.begin()), ResourceShare::kNone, 0};
  const LinkIndex last = *(route.end() - 1);
  if (in.share == 0) in = {resources_.link(last), link_share(last), ResourceShare::kNone, 0};
  const auto add = [&](std::uint32_t resource, std::int64_t share, const ResourceShare& through) {
    if (share == 0) return;
    const bool itself = resource == through.resource || through.share == 0;
    uses_.push_back({resource, share, itself ? ResourceShare::kNone : through.resource, through.share});
  };
  for (const LinkIndex link : route) {
    const LinkKind kind = topology_->link(link).kind;
    const bool inward = kind == LinkKind::port_in || kind == LinkKind::nic_in ||
                        kind == LinkKind::leaf_down || kind == LinkKind::host_in;
    add(resources_.link(link), link_share(link), inward ? in : out);
  }
  const double hbm = static_cast<double>(rate) / static_cast<double>(ends.hbm_rate);
  if (ends.from) add(resources_.hbm(*ends.from), share_of_time(second, second, hbm), out);
  if (ends.to) add(resources_.hbm(*ends.to), share_of_time(second, second, hbm), in);
  if (ends.from && ends.multiprocessor_share > 0) {
    add(resources_.multiprocessors(*ends.from), share_of_time(second, second, ends.multiprocessor_share),
        out);
  }
  return {core::saturating_duration_for(bytes, rate), static_cast<double>(rate)};
}

KernelExecutor::Asked KernelExecutor::ask_pair(const Collective& one, std::uint32_t from, std::uint32_t to,
                                               const hardware::NicChoice& nics) {
  const KernelOp& op = *one.op;
  const DeviceIndex source = one.devices[from], target = one.devices[to];
  const bool inside = topology_->place(source).domain == topology_->place(target).domain;
  const hardware::Route route = topology_->route(source, target, nics);
  // A NIC fetches its bytes itself.
  return ask_route(route, inside ? op.scale_up_efficiency : op.network_efficiency,
                   op.pairs->from_to(from, to),
                   {source, target, op.hbm_rate, inside ? op.multiprocessor_share : 0.0});
}

KernelExecutor::Asked KernelExecutor::ask_copy(const CopySpec& spec) {
  const RouteEnds ends{spec.from, spec.to, spec.hbm_rate, 0.0};
  if (!spec.to) {
    return ask_route(topology_->route_to_host(*spec.from), spec.scale_up_efficiency, spec.bytes, ends);
  }
  if (!spec.from) {
    return ask_route(topology_->route_from_host(*spec.to), spec.scale_up_efficiency, spec.bytes, ends);
  }
  const bool inside = topology_->place(*spec.from).domain == topology_->place(*spec.to).domain;
  return ask_route(topology_->route(*spec.from, *spec.to, patterns_.nics()),
                   inside ? spec.scale_up_efficiency : spec.network_efficiency, spec.bytes, ends);
}

core::Event KernelExecutor::copy(const CopySpec& spec) {
  core::check((spec.from || spec.to) && spec.from != spec.to && spec.bytes > 0,
              "a copy moves bytes between two places");
  look();
  const std::uint32_t slot = take_slot(copies_, free_copies_);
  copies_[slot].spec = spec;
  copies_[slot].ended = processes_->event();
  core::Event ended = *copies_[slot].ended;
  core::Server* const engine = engine_of(spec);
  if (engine == nullptr || engine->request(simulation_->now(), slot)) begin_copy(slot);
  return ended;
}

core::Server* KernelExecutor::engine_of(const CopySpec& spec) {
  if (!spec.from) return &devices_[static_cast<std::size_t>(spec.to->value)].copy_engines.in;
  const bool network = spec.to && topology_->place(*spec.from).domain != topology_->place(*spec.to).domain;
  return network ? nullptr : &devices_[static_cast<std::size_t>(spec.from->value)].copy_engines.out;
}

void KernelExecutor::begin_copy(std::uint32_t slot) {
  copies_[slot].began = simulation_->now();
  counts_[1].bytes_begun += copies_[slot].spec.bytes;
  const Mover mover{Moves::copy, slot, 0, 0, 0};
  copies_[slot].alone = ask(mover).alone;
  begin_mover(mover);
}

void KernelExecutor::end_copy(std::uint32_t slot) {
  Copy& copy = copies_[slot];
  counts_[1].bytes_ended += copy.spec.bytes;
  trace_.slice(copy.spec.from ? *copy.spec.from : *copy.spec.to, copy.spec.job, KernelTrace::Stream::copy,
               "copy", "background", copy.began, simulation_->now(), copy.alone);
  happened_.push_back(*copy.ended);
  copy.ended.reset();
  if (core::Server* const engine = engine_of(copy.spec)) {
    for (const std::uint32_t next : engine->release(simulation_->now(), slot)) begin_copy(next);
  }
  free_copies_.push_back(slot);
}

}  // namespace moesim::execution
