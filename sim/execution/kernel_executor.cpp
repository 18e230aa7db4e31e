#include "sim/execution/kernel_executor.hpp"

#include <algorithm>
#include <utility>

#include "sim/core/check.hpp"
#include "sim/execution/slots.hpp"

namespace moesim::execution {

using core::Duration;
using core::Phase;
using core::Time;
using hardware::DeviceIndex;

namespace {

enum class KernelEvent : std::uint8_t {};

// How often a rank calls each communicator, by communicator and lane.
std::vector<std::int64_t> calls_of(const KernelProgram& program, const RankProgram& rank,
                                   std::uint32_t lanes) {
  std::vector<std::int64_t> calls(program.communicators.size() * lanes);
  for (std::size_t lane = 0; lane < rank.lanes.size(); ++lane) {
    for (const KernelSegment& segment : rank.lanes[lane]) {
      for (const KernelOp& op : *segment.operators) {
        if (op.shape == CollectiveShape::none) continue;
        core::check(op.communicator < program.communicators.size(), "a collective has a communicator");
        calls[op.communicator * lanes + lane] += segment.repeat;
      }
    }
  }
  return calls;
}

// A rank whose communicator does not come together would wait for ever.
void check_calls(const KernelProgram& program, std::uint32_t lanes) {
  std::vector<std::vector<std::int64_t>> calls;
  for (const RankProgram& rank : program.ranks) calls.push_back(calls_of(program, rank, lanes));
  for (std::size_t slot = 0; slot < program.communicators.size() * lanes; ++slot) {
    std::int64_t first = -1, expected = 0, called = 0;
    for (const std::uint32_t member : program.communicators[slot / lanes].ranks) {
      if (slot % lanes >= program.ranks[member].lanes.size()) continue;
      if (first < 0) first = calls[member][slot];
      core::check(calls[member][slot] == first, "ranks call the collectives of a communicator equally often");
      expected += first;
    }
    for (const std::vector<std::int64_t>& rank : calls) called += rank[slot];
    core::check(called == expected, "only members call the collectives of a communicator");
  }
}

}  // namespace

KernelEvents KernelEvents::from(std::uint8_t first) {
  const auto kind = [first](int i) { return static_cast<std::uint8_t>(first + i); };
  return {{kind(0), kind(1), kind(2)}, kind(3), kind(4), kind(5)};
}

KernelExecutor::KernelExecutor(const hardware::Topology& topology, core::Simulation<>& simulation,
                               core::ProcessContext& processes, KernelEvents events, Timeline* timeline)
    : topology_(&topology),
      simulation_(&simulation),
      processes_(&processes),
      events_(events),
      resources_(topology),
      machine_(resources_.size(), simulation, events.machine),
      patterns_(topology),
      trace_(topology, resources_, timeline),
      devices_(static_cast<std::size_t>(topology.devices())) {
  for (const hardware::Link& link : topology.links()) {
    fastest_link_ = std::max(fastest_link_, link.capacity.as_double());
  }
  if (trace_.on()) machine_.watch_changes();
}

core::Event KernelExecutor::start(KernelProgram program, Duration delay, std::uint32_t& run) {
  look();
  run = take_slot(runs_, free_runs_);
  Run& one = runs_[run];
  one = Run{};
  one.program = std::move(program);
  one.active = true;
  one.ended = processes_->event();
  core::Event ended = *one.ended;
  if (delay > Duration{}) {
    if (delay <= core::kEndOfTime - simulation_->now()) {
      simulation_->schedule(simulation_->now() + delay, Phase::completion,
                            static_cast<KernelEvent>(events_.run_begin), run);
    }
    return ended;
  }
  begin_run(run);
  work_through();
  tell_ends();
  return ended;
}

StepTime KernelExecutor::take_time(std::uint32_t run) {
  core::check(run < runs_.size() && !runs_[run].active && runs_[run].ended.has_value(),
              "the time of a run that has not ended");
  runs_[run].ended.reset();
  free_runs_.push_back(run);
  return runs_[run].time;
}

void KernelExecutor::begin_run(std::uint32_t run) {
  Run& one = runs_[run];
  one.began = one.last_end = simulation_->now();
  one.ranks.resize(one.program.ranks.size());
  for (std::uint32_t rank = 0; rank < one.ranks.size(); ++rank) {
    one.ranks[rank].first_chain = static_cast<std::uint32_t>(one.chains.size());
    const auto lanes = static_cast<std::uint32_t>(one.program.ranks[rank].lanes.size());
    one.lanes = std::max(one.lanes, lanes);
    for (std::uint32_t lane = 0; lane < lanes; ++lane) {
      const ChainId id = take_slot(chains_, free_chains_);
      core::check(id < core::kEventTargets, "fewer than 2^20 lanes run at a time");
      chains_[id] = Chain{};
      chains_[id].run = run;
      chains_[id].rank = rank;
      chains_[id].lane = lane;
      one.chains.push_back(id);
      work_.push_back(id);
    }
  }
  core::check(!one.chains.empty(), "a step needs a rank");
  one.chains_left = static_cast<std::uint32_t>(one.chains.size());
  check_calls(one.program, one.lanes);
  open_collectives(run);
}

void KernelExecutor::open_collectives(std::uint32_t run) {
  Run& one = runs_[run];
  for (const Communicator& communicator : one.program.communicators) {
    for (std::uint32_t lane = 0; lane < one.lanes; ++lane) {
      const std::uint32_t slot = take_slot(collectives_, free_collectives_);
      core::check(slot < core::kEventTargets, "fewer than 2^20 communicators are open at a time");
      Collective& collective = collectives_[slot];
      collective = Collective{};
      collective.run = run;
      for (const std::uint32_t rank : communicator.ranks) {
        const RankProgram& member = one.program.ranks[rank];
        if (lane >= member.lanes.size()) continue;
        collective.chains.push_back(one.chains[one.ranks[rank].first_chain + lane]);
        collective.devices.push_back(member.device);
      }
      one.collectives.push_back(slot);
    }
  }
}

DeviceIndex KernelExecutor::device_of(const Chain& chain) const {
  return runs_[chain.run].program.ranks[chain.rank].device;
}

KernelExecutor::RankStreams& KernelExecutor::streams_of(const Chain& chain) {
  return runs_[chain.run].ranks[chain.rank];
}

bool KernelExecutor::owns(core::EventKey key) const {
  const auto kind = static_cast<std::uint8_t>(key.kind<KernelEvent>());
  return machine_.owns(key) || kind == events_.kernel_work || kind == events_.collective_work ||
         kind == events_.run_begin;
}

core::Handled KernelExecutor::handle(core::EventKey key) {
  look();
  const auto kind = static_cast<std::uint8_t>(key.kind<KernelEvent>());
  core::Handled handled = core::Handled::executed;
  if (kind == events_.kernel_work) {
    if (!chains_[key.target()].latency.event.claim(key)) return core::Handled::stale;
    kernel_work(key.target());
  } else if (kind == events_.collective_work) {
    if (!collectives_[key.target()].latency.event.claim(key)) return core::Handled::stale;
    collective_work(key.target());
  } else if (kind == events_.run_begin) {
    begin_run(key.target());
  } else {
    ended_.clear();
    handled = machine_.handle(key, ended_);
    for (const std::uint32_t owner : ended_) {
      if ((owner & kMoverBit) != 0) {
        mover_ended(owner & ~kMoverBit);
      } else {
        end_kernel(owner);
      }
    }
  }
  work_through();
  tell_ends();
  return handled;
}

// Whatever can go on at this instant does, one after the other.
void KernelExecutor::work_through() {
  do {
    while (!work_.empty()) {
      const ChainId id = work_.front();
      work_.pop_front();
      advance(id);
    }
    begin_ready_collectives();
  } while (!work_.empty());
}

// Processes that wait may start further runs, which may end at once.
void KernelExecutor::tell_ends() {
  if (std::exchange(telling_, true)) return;
  while (!happened_.empty()) {
    core::Event event = std::move(happened_.front());
    happened_.pop_front();
    event.trigger();
  }
  telling_ = false;
}

// The operator that a chain is at; null at its end. Empty segments are passed over.
const KernelOp* KernelExecutor::current(ChainId id) {
  Chain& chain = chains_[id];
  const KernelLane& lane = runs_[chain.run].program.ranks[chain.rank].lanes[chain.lane];
  while (chain.segment < lane.size()) {
    const KernelSegment& segment = lane[chain.segment];
    if (!segment.operators->empty() && chain.repetition < segment.repeat) {
      return &(*segment.operators)[chain.position];
    }
    ++chain.segment;
    chain.repetition = 0;
  }
  return nullptr;
}

void KernelExecutor::next_operator(ChainId id) {
  Chain& chain = chains_[id];
  const KernelSegment& segment = runs_[chain.run].program.ranks[chain.rank].lanes[chain.lane][chain.segment];
  work_.push_back(id);
  if (++chain.position < segment.operators->size()) return;
  // Lanes side by side would overlap on one track.
  if (!segment.name.empty() && runs_[chain.run].lanes == 1 && runs_[chain.run].program.job == 0) {
    trace_.stretch(device_of(chain), segment.name, segment.first_number + chain.repetition,
                   chain.segment_began, simulation_->now());
  }
  chain.position = 0;
  ++chain.repetition;
}

void KernelExecutor::advance(ChainId id) {
  Chain& chain = chains_[id];
  const KernelOp* const op = current(id);
  if (op == nullptr) return end_chain(id);
  chain.ready = simulation_->now();
  if (chain.position == 0) chain.segment_began = chain.ready;
  if (op->shape == CollectiveShape::none) {
    request_compute(id);
  } else {
    arrive(id, *op);
  }
}

void KernelExecutor::request_compute(ChainId id) {
  const Chain& chain = chains_[id];
  RankStreams& streams = streams_of(chain);
  if (streams.computes || paused(device_of(chain))) {
    streams.waiting.push_back(id);
  } else {
    begin_kernel(id);
  }
}

void KernelExecutor::begin_kernel(ChainId id) {
  Chain& chain = chains_[id];
  streams_of(chain).computes = true;
  chain.began = simulation_->now();
  ++counts_of(chain.run).kernels_begun;
  const KernelOp& op = *current(id);
  if (op.latency == Duration{}) return kernel_work(id);
  begin_latency(chain.latency, op.latency, events_.kernel_work, id);
}

void KernelExecutor::begin_latency(Latency& latency, Duration length, std::uint8_t kind,
                                   std::uint32_t target) {
  const Time now = simulation_->now();
  latency.held.reset();
  if (length > core::kEndOfTime - now) return;  // it does not end
  latency.end = now + length;
  latency.event.arm(
      simulation_->schedule(latency.end, Phase::completion, static_cast<KernelEvent>(kind), target));
}

void KernelExecutor::kernel_work(ChainId id) {
  const KernelOp& op = *current(id);
  if (op.alone == Duration{}) return end_kernel(id);
  const DeviceIndex device = device_of(chains_[id]);
  const ResourceShare uses[] = {
      {resources_.multiprocessors(device), share_of_time(op.multiprocessors_busy, op.alone)},
      {resources_.hbm(device), share_of_time(op.hbm_busy, op.alone)}};
  machine_.begin(bounded(op.alone), uses, 1.0, id);
}

void KernelExecutor::end_kernel(ChainId id) {
  Chain& chain = chains_[id];
  const KernelOp& op = *current(id);
  if (op.alone > kLongestWork) return;
  const Time now = simulation_->now();
  const Duration alone = op.latency + op.alone;
  add(chain.path, alone, op.part, op.binding, op.label, op.speed_of_light);
  const Duration more = (now - chain.ready) - alone;
  if (more > Duration{}) add(chain.path, more, Part::contention, op.binding, op.label);
  trace_.slice(device_of(chain), runs_[chain.run].program.job, KernelTrace::Stream::compute, op.name,
               to_string(op.part), chain.began, now, alone);
  ++counts_of(chain.run).kernels_ended;
  RankStreams& streams = streams_of(chain);
  streams.computes = false;
  next_operator(id);
  if (streams.waiting.empty() || paused(device_of(chain))) return;
  const ChainId next = streams.waiting.front();
  streams.waiting.pop_front();
  begin_kernel(next);
}

void KernelExecutor::end_chain(ChainId id) {
  const Chain& chain = chains_[id];
  Run& run = runs_[chain.run];
  const Time now = simulation_->now();
  const bool first = run.chains_left == run.chains.size();
  const auto place = [&](ChainId one) { return std::pair{chains_[one].rank, chains_[one].lane}; };
  if (first || now > run.last_end || place(id) < place(run.last)) {
    run.last = id;
    run.last_end = now;
    run.time = chain.path;
  }
  if (--run.chains_left > 0) return;
  for (const std::uint32_t slot : run.collectives) free_collectives_.push_back(slot);
  for (const ChainId one : run.chains) free_chains_.push_back(one);
  core::check(run.time.total == now - run.began, "the parts of a step add up to its time");
  run.time.slowest_shard_rows = run.program.slowest_shard_rows;
  run.time.all_shard_rows = run.program.all_shard_rows;
  run.active = false;
  happened_.push_back(*run.ended);
}

}  // namespace moesim::execution
