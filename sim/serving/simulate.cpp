#include "sim/serving/simulate.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "models/hardware/topology.hpp"
#include "sim/core/process.hpp"
#include "sim/core/simulation.hpp"
#include "sim/execution/kernel_executor.hpp"
#include "sim/serving/disturber.hpp"
#include "sim/serving/events.hpp"
#include "sim/serving/fleet.hpp"
#include "sim/serving/memory.hpp"
#include "sim/serving/memory_events.hpp"
#include "sim/serving/memory_series.hpp"
#include "sim/serving/recorder.hpp"
#include "sim/serving/routing_trace.hpp"
#include "sim/serving/step_trace.hpp"
#include "sim/serving/summary.hpp"
#include "workloads/source.hpp"
#include "workloads/time_limit.hpp"

namespace moesim::serving {

namespace {

using core::Duration;
using core::Phase;
using core::Time;
using workloads::Request;

// Nothing is simulated beyond: what an event adds to the clock (an answer's way, the next step) fits in the
// other half of a Time.
constexpr Time kEndOfRun = workloads::kLatestArrival;

// Requests on their way share the last target once all others are taken.
constexpr std::uint32_t kSharedSlot = core::kEventTargets - 1;

// One run. The event loop and the state it changes.
class Server {
 public:
  Server(const Scenario& scenario, const RunOptions& options)
      : scenario_(&scenario),
        options_(&options),
        budgets_(memory_budgets(scenario)),
        fleet_(scenario, budgets_, options.step),
        source_(workloads::make_source(scenario.workload, static_cast<std::uint64_t>(scenario.seed),
                                       {options.scenario_dir, options.data_dir})),
        recorder_(static_cast<std::int64_t>(fleet_.groups())),
        trace_(options.timeline, fleet_),
        memory_watch_(budgets_.size()),
        kv_ledger_(fleet_, budgets_.size(), state_),
        sim_(core::SimulationLimits{options.max_events, core::kEventSequences}),
        processes_(sim_, Event::wake_up),
        idle_(fleet_.groups()),
        step_ended_(fleet_.groups(), Time{-1}) {
    if (scenario.fidelity != Fidelity::kernel) return;
    topology_.emplace(scenario.cluster);
    kernels_.emplace(*topology_, sim_, processes_,
                     execution::KernelEvents::from(static_cast<std::uint8_t>(Event::kernels)),
                     options.timeline);
    kernels_->machine().verify_every(options.verify_every);
    disturber_.emplace(scenario, *topology_, processes_, *kernels_);
  }

  Results run() {
    if (disturber_) disturber_->start();
    for (std::size_t index = 0; index < fleet_.groups(); ++index) {
      processes_.start(run_group(processes_, index));
    }
    pull();
    const bool until = options_->until && options_->until->ps <= kEndOfRun.ps;
    const Time end = until ? Time{options_->until->ps} : kEndOfRun;
    RunEnd how = RunEnd::complete;
    while (true) {
      const core::RunEnd chunk = run_chunk(end);
      if (chunk == core::RunEnd::no_more_events || chunk == core::RunEnd::time_reached) {
        if (chunk == core::RunEnd::time_reached) how = until ? RunEnd::until : RunEnd::time_limit;
        // A step at kernel fidelity that cannot go on has no event.
        if (endless_step_ || (kernels_ && state_.busy_groups > 0))
          how = until ? RunEnd::until : RunEnd::time_limit;
        break;
      }
      if (sums_full_) {
        how = RunEnd::time_limit;
        break;
      }
      if (sim_.executed() >= options_->max_events) {
        how = RunEnd::event_limit;
        break;
      }
      if (options_->keep_going && !options_->keep_going({sim_.now().seconds(), finished_, sim_.executed()})) {
        how = RunEnd::interrupted;
        break;
      }
    }
    return finish(how);
  }

 private:
  // A bounded number of events, so that a caller can look at the clock and at signals in between.
  core::RunEnd run_chunk(Time end) {
    constexpr int kChunk = 4096;
    const auto handler = [this](core::EventKey key) { return handle(key); };
    for (int i = 0; i < kChunk && !sums_full_; ++i) {
      if (sim_.pending() == 0 || all_done()) return core::RunEnd::no_more_events;
      if (!sim_.pending_by(end)) return core::RunEnd::time_reached;
      if (!sim_.step(handler)) return core::RunEnd::event_limit;
    }
    return core::RunEnd::event_limit;
  }

  core::Handled handle(core::EventKey key) {
    if (kernels_ && kernels_->owns(key)) return kernels_->handle(key);
    if (key.kind<Event>() == Event::wake_up) {
      processes_.resume(key);
    } else {
      enqueue(key.target());
    }
    return core::Handled::executed;
  }

  // Background traffic and faults may go on for ever: the run ends with its last request.
  [[nodiscard]] bool all_done() const {
    return disturber_ && !disturber_->idle() && source_empty_ && on_the_way_ == 0 && state_.running == 0 &&
           state_.waiting == 0 && state_.busy_groups == 0;
  }

  // Brings the recorder and the trace up to now with the state that has held so far: first thing in every
  // handler.
  void record() {
    recorder_.advance(sim_.now(), state_);
    trace_.advance(sim_.now(), state_);
  }

  void send(const Request& request) {
    ++on_the_way_;
    const Time arrives = request.arrival + scenario_->deployment.engine.host.http.value;
    std::uint32_t slot = 0;
    if (free_slots_.empty() && slots_.size() == kSharedSlot) {
      crowd_.emplace(std::pair{arrives, sim_.scheduled()}, request);
      sim_.schedule(arrives, Phase::arrival, Event::enqueue, kSharedSlot);
      return;
    }
    if (free_slots_.empty()) {
      slot = static_cast<std::uint32_t>(slots_.size());
      slots_.emplace_back();
    } else {
      slot = free_slots_.back();
      free_slots_.pop_back();
    }
    slots_[slot] = request;
    sim_.schedule(arrives, Phase::arrival, Event::enqueue, slot);
  }

  Request take(std::uint32_t slot) {
    --on_the_way_;
    // Events of the shared slot come in the order of the map's keys.
    if (slot == kSharedSlot) return std::move(crowd_.extract(crowd_.begin()).mapped());
    free_slots_.push_back(slot);
    return std::move(slots_[slot]);
  }

  // Takes the next request that needs no completion; one open-loop request is on its way at a time, all
  // requests of one instant (the burst of a closed loop) together.
  void pull() {
    if (open_on_the_way_) return;
    source_empty_ = false;
    while (const auto request = source_->next()) {
      send(*request);
      if (request->arrival > sim_.now()) {
        open_on_the_way_ = true;
        open_request_ = request->id;
        return;
      }
    }
    source_empty_ = true;
  }

  RequestRow& row_of(const Request& request) {
    const auto id = static_cast<std::size_t>(request.id);
    if (id >= rows_.size()) rows_.resize(id + 1);
    if (id >= requests_.size()) requests_.resize(id + 1);
    if (id >= engine_times_.size()) engine_times_.resize(id + 1);
    RequestRow& row = rows_[id];
    row.id = request.id;
    row.warmup = request.warmup;
    row.session = request.session;
    row.input_tokens = request.input_tokens;
    row.output_tokens = request.output_tokens;
    row.arrival = request.arrival;
    requests_[id] = request;
    requests_[id].prefix_blocks.clear();
    requests_[id].prefix_blocks.shrink_to_fit();
    return row;
  }

  // Why no replica can ever serve a request, or "".
  [[nodiscard]] std::string refusal(const Request& request) const {
    const std::int64_t tokens = request.input_tokens + request.output_tokens;
    if (tokens > scenario_->model.max_context_tokens) {
      return fmt::format("{} tokens pass the model's context of {}", tokens,
                         scenario_->model.max_context_tokens);
    }
    if (tokens > fleet_.capacity_tokens()) {
      return fmt::format("{} tokens pass the {} that the KV blocks of a rank hold", tokens,
                         fleet_.capacity_tokens());
    }
    const std::int64_t budget = effective_limits(*scenario_).max_num_batched_tokens;
    if (!scenario_->deployment.engine.scheduler.chunked_prefill && request.input_tokens > budget) {
      return fmt::format(
          "a prompt of {} tokens passes the budget of {} tokens a step, and prompts are not cut",
          request.input_tokens, budget);
    }
    return "";
  }

  void enqueue(std::uint32_t slot) {
    record();
    const Request request = take(slot);
    if (open_on_the_way_ && request.id == open_request_) {
      open_on_the_way_ = false;
      pull();
    }
    RequestRow& row = row_of(request);
    if (!request.warmup) recorder_.open_window();
    recorder_.count_arrival();
    row.reason = refusal(request);
    if (!row.reason.empty()) {
      row.status = RequestStatus::refused;
      ++finished_;
      // The client learns of it as late as of any answer.
      release(request, sim_.now() + scenario_->deployment.engine.host.http.value, workloads::Ending::refused);
      return;
    }
    const std::size_t chosen = fleet_.choose(request.input_tokens + request.output_tokens);
    FleetMember& member = fleet_.members()[chosen];
    row.replica = static_cast<std::int64_t>(chosen);
    const Sequence sequence{request.id, request.input_tokens, request.output_tokens, 0, 0, 0, 0};
    const Replica::Binding bound = member.replica.enqueue(sequence);
    row.dp_rank = bound.dp_rank;
    engine_times_[static_cast<std::size_t>(request.id)] = {sim_.now(), sim_.now(), Duration{}};
    ++state_.waiting;
    wake(fleet_.group_index(chosen, bound.group));
  }

  // Tells the source that a request left, and sends what that releases.
  void release(const Request& request, Time at, workloads::Ending ending) {
    for (const Request& released : source_->on_finished(request, at, ending)) send(released);
    pull();
  }

  // A group that waits for work gets to decide at this instant, once.
  void wake(std::size_t index) {
    if (idle_[index] && !idle_[index]->triggered()) idle_[index]->trigger();
  }

  // Ranks that step together: a step after the other while there is work, else they wait for some. Decisions
  // come after all that ends and arrives at their instant.
  core::Process run_group(core::ProcessContext&, std::size_t index) {
    while (true) {
      if (!choose_step(index)) {
        core::Event work = processes_.event();
        idle_[index] = work;
        co_await work;
      } else {
        std::uint32_t run = 0;
        core::Event ended = begin_step(index, run);
        co_await ended;
        end_step(index, run);
      }
      core::Event decision = processes_.delay(Duration{}, Phase::decision);
      co_await decision;
    }
  }

  bool choose_step(std::size_t index) {
    record();
    StepGroup& group = fleet_.group(index);
    const bool chosen = group.choose_step(step_ended_[index] == sim_.now());
    std::int64_t preempted = 0, stopped = 0;
    for (const EngineRank& rank : group.ranks()) {
      for (const std::int64_t id : rank.preempted()) ++rows_[static_cast<std::size_t>(id)].preemptions;
      for (const std::int64_t id : rank.admitted()) {
        RequestRow& row = rows_[static_cast<std::size_t>(id)];
        if (row.scheduled < Time{}) row.scheduled = sim_.now();
      }
      preempted += static_cast<std::int64_t>(rank.preempted().size());
      stopped += rank.stalled() ? 1 : 0;
    }
    recorder_.count_preemptions(preempted);
    recorder_.count_admission_stops(stopped);
    memory_watch_.look(fleet_, index, sim_.now());
    update_state(index);
    return chosen;
  }

  // Returns the event of the end of the chosen step. One that outlasts the run is left out of the sums, as
  // its parts may have none.
  core::Event begin_step(std::size_t index, std::uint32_t& run) {
    StepGroup& group = fleet_.group(index);
    ++state_.busy_groups;
    trace_.begin_step(index, sim_.now(), group);
    ++steps_;
    const std::int64_t tokens = group.step_tokens();
    const std::int64_t decodes = group.step_decode_tokens();
    recorder_.count_step(tokens - decodes, decodes);
    const std::int64_t epoch = sim_.now().ps / scenario_->routing.epoch.ps;
    routed_tokens_[routing::drifts(scenario_->routing.popularity) ? epoch : 0] += tokens;
    if (kernels_) return kernels_->start(group.plan(epoch), group.exposed_host_time(), run);
    const execution::StepTime time = group.set_gpu_time(group.price(epoch));
    const bool ends = time.total <= kEndOfRun - sim_.now();
    endless_step_ |= !ends;
    if (!ends) return processes_.event();
    add_step_time(time);
    return processes_.delay(time.total, Phase::completion);
  }

  void add_step_time(const execution::StepTime& time) {
    sums_full_ = time.total.ps > INT64_MAX - step_time_.total.ps;
    if (!sums_full_) step_time_ += time;
  }

  // The sums over replicas after a group of ranks changed.
  void update_state(std::size_t group) {
    kv_ledger_.update(fleet_, group, sim_.now(), state_);
    state_.running = 0;
    state_.waiting = 0;
    state_.kv_bytes = 0;
    state_.kv_waste_bytes = 0;
    for (const FleetMember& member : fleet_.members()) {
      state_.running += member.replica.running();
      state_.waiting += member.replica.waiting();
      state_.kv_bytes += member.replica.kv_blocks_used() * member.block_bytes * member.tp;
    }
    for (const PoolParts& pool : kv_ledger_.pools()) {
      for (std::size_t i = pool.first; i < pool.first + pool.count; ++i)
        state_.kv_waste_bytes += (state_.kv[i].used - state_.kv[i].held) * pool.tp;
    }
  }

  void end_step(std::size_t index, std::uint32_t run) {
    record();
    tokens_out_.clear();
    StepGroup& group = fleet_.group(index);
    if (kernels_) add_step_time(group.set_gpu_time(kernels_->take_time(run)));
    group.finish_step(tokens_out_);
    trace_.end_step(index, sim_.now());
    --state_.busy_groups;
    step_ended_[index] = sim_.now();
    update_state(index);
    const Time delivered = sim_.now() + scenario_->deployment.engine.host.http.value;
    for (const TokenOut& token : tokens_out_) deliver(token, delivered);
  }

  void deliver(const TokenOut& token, Time delivered) {
    const auto id = static_cast<std::size_t>(token.request);
    RequestRow& row = rows_[id];
    EngineTimes& times = engine_times_[id];
    ++row.generated_tokens;
    if (token.first) {
      row.first_token = delivered;
    } else {
      times.longest_gap = std::max(times.longest_gap, sim_.now() - times.last_token);
    }
    times.last_token = sim_.now();
    if (!token.last) return;
    row.status = RequestStatus::served;
    row.finished = delivered;
    residence_ += (sim_.now() - times.enqueued).ps;
    ++finished_;
    recorder_.count_finish();
    if (!row.warmup) recorder_.close_window();
    release(requests_[id], delivered, workloads::Ending::served);
  }

  Results finish(RunEnd how) {
    record();
    if (how == RunEnd::until) recorder_.advance(Time{options_->until->ps}, state_);
    if (how != RunEnd::complete) recorder_.close_window();
    trace_.finish(recorder_.now(), state_);
    if (kernels_) kernels_->finish_trace();
    Results results;
    results.end = how;
    results.gpus = fleet_.gpus();
    results.order_hash = sim_.order_hash();
    results.events = sim_.executed();
    results.steps = steps_;
    results.step_time = step_time_;
    if (kernels_) {
      const execution::Machine& machine = kernels_->machine();
      results.kernels = {kernels_->counts(), kernels_->background_counts(), machine.begun(), machine.slowed(),
                         machine.verified()};
    }
    results.memory = budgets_;
    results.memory_events = memory_watch_.events(*scenario_, fleet_);
    results.requests = std::move(rows_);
    results.timeseries = recorder_.rows();
    summarise_memory_series(kv_ledger_, recorder_, results);
    RunFacts facts;
    facts.residence_of_served = residence_;
    facts.kv_parts = kv_ledger_.pools();
    facts.scheduled = sim_.scheduled();
    facts.executed = sim_.executed();
    facts.cancelled = sim_.cancelled();
    facts.pending = sim_.pending();
    facts.routed_tokens = std::move(routed_tokens_);
    facts.longest_gaps.reserve(engine_times_.size());
    for (const EngineTimes& times : engine_times_) facts.longest_gaps.push_back(times.longest_gap);
    summarise(*scenario_, fleet_, recorder_, facts, results);
    return results;
  }

  struct EngineTimes {
    Time enqueued;
    Time last_token;
    Duration longest_gap;
  };

  const Scenario* scenario_;
  const RunOptions* options_;
  std::vector<MemoryBudget> budgets_;
  Fleet fleet_;
  std::unique_ptr<workloads::RequestSource> source_;
  Recorder recorder_;
  StepTrace trace_;
  MemoryWatch memory_watch_;
  SystemState state_;
  KvLedger kv_ledger_;
  core::Simulation<> sim_;
  core::Processes<Event> processes_;
  std::optional<hardware::Topology> topology_;  // as the two below, at kernel fidelity only
  std::optional<execution::KernelExecutor> kernels_;
  std::optional<Disturber> disturber_;
  std::vector<std::optional<core::Event>> idle_;  // by group: what it waits for, if for work
  std::vector<Time> step_ended_;                  // when the last step of each group ended
  std::vector<Request> slots_;                    // requests between client and engine
  std::vector<std::uint32_t> free_slots_;
  std::map<std::pair<Time, std::uint64_t>, Request> crowd_;  // those beyond, by instant and order of sending
  bool endless_step_ = false;  // some group is in a step that ends after kEndOfRun
  bool sums_full_ = false;     // the replicas together worked for longer than a Duration holds
  bool open_on_the_way_ = false;
  bool source_empty_ = false;    // it has no request until one of those in the system ends
  std::int64_t on_the_way_ = 0;  // between client and engine
  std::int64_t open_request_ = -1;
  std::vector<RequestRow> rows_;
  std::vector<Request> requests_;
  std::vector<EngineTimes> engine_times_;
  std::vector<TokenOut> tokens_out_;
  std::int64_t finished_ = 0, steps_ = 0;
  core::Int128 residence_ = 0;
  execution::StepTime step_time_;
  std::map<std::int64_t, std::int64_t> routed_tokens_;  // by routing epoch
};

}  // namespace

Results simulate(const Scenario& scenario, const RunOptions& options) {
  if (!std::holds_alternative<routing::TracePopularity>(scenario.routing.popularity)) {
    return Server(scenario, options).run();
  }
  Scenario resolved = scenario;
  resolved.routing.popularity = resolved_popularity(scenario, {options.scenario_dir, options.data_dir});
  return Server(resolved, options).run();
}

}  // namespace moesim::serving
