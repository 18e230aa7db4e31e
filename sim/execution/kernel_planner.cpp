#include "sim/execution/kernel_planner.hpp"

#include <algorithm>
#include <initializer_list>
#include <map>
#include <tuple>
#include <utility>
#include <variant>

#include "models/routing/token_map.hpp"
#include "sim/core/check.hpp"
#include "sim/execution/operator_names.hpp"

namespace moesim::execution {

using core::Duration;
using cost::Resource;
using hardware::DeviceIndex;

namespace {

Duration busy(const cost::Price& price, Resource resource) {
  const cost::Demand& demand = price.demand[cost::index(resource)];
  return core::saturating_duration_for(demand.work, demand.rate);
}

KernelOp priced(const cost::Price& price, std::string_view name, Part part) {
  KernelOp op;
  op.name = name;
  op.part = part;
  op.binding = price.binding;
  op.label = price.label;
  op.speed_of_light = price.speed_of_light;
  op.latency = price.latency;
  op.alone = price.time - price.latency;
  return op;
}

llm::Group group_of(const llm::Operator& op) {
  return std::visit(
      [](const auto& one) {
        if constexpr (requires { one.group; }) {
          return one.group;
        } else {
          core::fail_invariant("an operator that is no collective has no group");
          return llm::Group::tensor;
        }
      },
      op);
}

// One number for several: each is mixed in with the finaliser of splitmix64 (Steele, Lea and Flood, OOPSLA
// 2014).
std::uint64_t mixed(std::initializer_list<std::uint64_t> values) {
  std::uint64_t state = 0;
  for (const std::uint64_t value : values) {
    state = (state ^ value) + 0x9E3779B97F4A7C15U;
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9U;
    state = (state ^ (state >> 27)) * 0x94D049BB133111EBU;
    state ^= state >> 31;
  }
  return state;
}

bool is_collective(const llm::Operator& op) {
  return std::visit(
      [](const auto& one) {
        return requires { one.group; };
      },
      op);
}

bool is_exchange(const llm::Operator& op) {
  return std::holds_alternative<llm::Dispatch>(op) || std::holds_alternative<llm::Combine>(op);
}

}  // namespace

struct KernelPlanner::Step {
  std::vector<llm::RankBatch> batches;  // by data-parallel rank
  std::size_t lane = 0;
  std::int64_t tokens = 0;  // of all data-parallel ranks
  // By layer group: the operators at which all ranks meet, and the load of the experts.
  struct Group {
    std::vector<KernelOp> meetings;
    RoutedLoad load;
  };
  std::vector<Group> groups;
};

KernelPlanner::KernelPlanner(ReplicaSetup setup, bool memo)
    : pricer_(std::move(setup), memo), runs_(llm::layer_runs(pricer_.setup().architecture)) {
  const auto& multiprocessors = pricer_.setup().engine.comm.multiprocessors;
  if (!multiprocessors) return;
  collective_multiprocessors_ = std::min(1.0, static_cast<double>(multiprocessors->value) /
                                                  static_cast<double>(pricer_.setup().gpu.sm_count.value));
}

KernelOp KernelPlanner::kernel(const llm::Operator& op, Part part) const {
  const cost::Price price = pricer_.price(op);
  KernelOp kernel = priced(price, name_of(op), part);
  // A kernel has its multiprocessors to itself as long as the busier of their units needs.
  kernel.multiprocessors_busy = std::max(busy(price, Resource::tensor), busy(price, Resource::vector));
  kernel.hbm_busy = busy(price, Resource::hbm);
  return kernel;
}

// The bytes on links are read from HBM at one end and written at the other. That memory traffic is not part
// of the price.
KernelOp KernelPlanner::collective(const cost::Price& price, std::string_view name, Part part) const {
  KernelOp op = priced(price, name, part);
  op.shape = CollectiveShape::ring;
  op.scale_up_busy = busy(price, Resource::scale_up);
  op.network_busy = busy(price, Resource::network);
  op.bytes =
      price.demand[cost::index(Resource::scale_up)].work + price.demand[cost::index(Resource::network)].work;
  op.hbm_rate = pricer_.device().hbm_rate();
  op.hbm_busy = core::saturating_multiply(core::saturating_duration_for(op.bytes, op.hbm_rate), 2);
  op.multiprocessor_share = collective_multiprocessors_;
  op.multiprocessors_busy = {
      static_cast<std::int64_t>(static_cast<double>(op.alone.ps) * collective_multiprocessors_)};
  return op;
}

// Tensor groups by data-parallel rank, then data groups by tensor rank, then all ranks, then groups of
// neighbours that share KV rows.
std::uint32_t KernelPlanner::communicator(llm::Group group, std::size_t rank) const {
  const auto tp = static_cast<std::size_t>(pricer_.setup().layout.tp);
  const auto dp = static_cast<std::size_t>(pricer_.setup().layout.dp);
  switch (group) {
    case llm::Group::tensor:
      return static_cast<std::uint32_t>(rank / tp);
    case llm::Group::data:
      return static_cast<std::uint32_t>(dp + rank % tp);
    case llm::Group::expert:
      return static_cast<std::uint32_t>(dp + tp);
    case llm::Group::decode_context:
      return static_cast<std::uint32_t>(dp + tp + 1 +
                                        rank / static_cast<std::size_t>(pricer_.setup().layout.dcp));
    case llm::Group::context:
      break;  // refused when the scenario is read (llm::run_problems)
  }
  core::fail_invariant("a group without a communicator");
}

std::shared_ptr<const PairBytes> KernelPlanner::pair_bytes(const std::vector<std::int64_t>& rows,
                                                           std::int64_t bytes_per_row, bool combine) const {
  const auto ranks = static_cast<std::size_t>(pricer_.setup().layout.ranks());
  auto pairs = std::make_shared<PairBytes>();
  pairs->ranks = static_cast<std::int64_t>(ranks);
  pairs->bytes.resize(ranks * ranks);
  for (std::size_t from = 0; from < ranks; ++from) {
    for (std::size_t to = 0; to < ranks; ++to) {
      if (from == to) continue;
      const std::size_t row = combine ? to * ranks + from : from * ranks + to;
      pairs->bytes[from * ranks + to] = rows[row] * bytes_per_row;
    }
  }
  return pairs;
}

// Rows that each rank sends to each when its own tokens are dispatched: a data-parallel rank's tokens are
// split evenly over its tensor ranks.
static std::vector<std::int64_t> exchanged_rows(const ReplicaSetup& setup,
                                                std::span<const llm::RankBatch> batches,
                                                const RoutedLoad& load, std::int64_t top_k,
                                                std::uint64_t draw) {
  // Rows of experts that cost nothing are not sent: each rank's part of the sum, cut at whole rows.
  const std::int64_t routed = load.rows();
  std::int64_t chosen = 0;
  for (const llm::RankBatch& batch : batches) chosen += batch.tokens * top_k;
  core::Int128 before = 0;
  std::int64_t sent_before = 0;
  std::vector<std::int64_t> sent, received;
  for (const llm::RankBatch& batch : batches) {
    for (std::int64_t t = 0; t < setup.layout.tp; ++t) {
      before += (batch.tokens / setup.layout.tp + (t < batch.tokens % setup.layout.tp ? 1 : 0)) * top_k;
      const auto scaled = static_cast<std::int64_t>(before * routed / chosen);
      sent.push_back(scaled - sent_before);
      sent_before = scaled;
    }
  }
  for (std::int64_t shard = 0; shard < load.shards; ++shard) {
    std::int64_t rows = 0;
    for (const std::int64_t count : load.rows_of(shard)) rows += count;
    received.push_back(rows);
  }
  return routing::draw_pair_rows(setup.seed, draw, sent, received);
}

void KernelPlanner::add_meetings(Step& step, std::size_t group, const llm::RankBatch& fullest,
                                 std::int64_t epoch, KernelProgram& program) {
  const ReplicaSetup& setup = pricer_.setup();
  Step::Group& out = step.groups[group];
  llm::lower(setup.architecture, setup.layout, setup.formats, fullest, step.tokens, lowered_);
  llm::LayerOperators& layer = lowered_.layers[group];
  if (std::none_of(layer.operators.begin(), layer.operators.end(), is_routed)) return;
  out.load = pricer_.routed_load(group, step.tokens, epoch);
  const auto& moe = std::get<llm::MoeFfn>(setup.architecture.layers[group].ffn);
  program.slowest_shard_rows += out.load.slowest_rows * setup.layout.ep * layer.count;
  program.all_shard_rows += out.load.rows() * layer.count;
  const cost::CollectivePricer& expert = pricer_.group(llm::Group::expert);
  const bool balanced = std::holds_alternative<routing::BalancedPopularity>(setup.popularity);
  const std::uint64_t effective_epoch =
      routing::drifts(setup.popularity) ? static_cast<std::uint64_t>(epoch) : 0;
  std::vector<std::int64_t> rows;
  for (const llm::Operator& op : layer.operators) {
    if (!is_meeting(op)) continue;
    const cost::Price price = pricer_.meeting_price(op, step.tokens, out.load);
    KernelOp meeting = collective(price, name_of(op), part_of(op));
    if (is_exchange(op) && expert.exchanges_rows()) {
      meeting.shape = CollectiveShape::exchange;
      meeting.scale_up_efficiency = expert.exchange_link_share();
      meeting.network_efficiency = expert.exchange_network_share();
      if (!balanced) {
        if (rows.empty()) {
          const std::uint64_t draw =
              mixed({effective_epoch, group, step.lane, static_cast<std::uint64_t>(step.tokens)});
          rows = exchanged_rows(setup, step.batches, out.load, moe.top_k, draw);
        }
        const auto* dispatch = std::get_if<llm::Dispatch>(&op);
        const std::int64_t bytes_per_row =
            dispatch != nullptr ? dispatch->bytes_per_row : std::get<llm::Combine>(op).bytes_per_row;
        meeting.pairs = pair_bytes(rows, bytes_per_row, dispatch == nullptr);
      }
    }
    out.meetings.push_back(std::move(meeting));
  }
}

// The operators of one layer on one rank.
std::vector<KernelOp> KernelPlanner::operators(const Step& step, std::span<llm::Operator> lowered,
                                               std::size_t group, std::size_t rank) const {
  const Step::Group& together = step.groups[group];
  const auto shard = static_cast<std::int64_t>(rank) / pricer_.setup().layout.moe_tp();
  if (!together.load.rows_by_expert.empty()) {
    llm::set_expert_rows(lowered, together.load.rows_of(shard));
  }
  std::vector<KernelOp> kernels;
  std::size_t meeting = 0;
  for (const llm::Operator& op : lowered) {
    if (is_meeting(op)) {
      kernels.push_back(together.meetings[meeting++]);
    } else if (is_collective(op)) {
      kernels.push_back(collective(pricer_.price(op), name_of(op), part_of(op)));
    } else {
      kernels.push_back(kernel(op, part_of(op)));
      continue;
    }
    kernels.back().communicator = communicator(group_of(op), rank);
  }
  return kernels;
}

// The operators before the first layer and after the last.
std::vector<KernelOp> KernelPlanner::ends(std::span<const llm::Operator> lowered, std::size_t rank) const {
  std::vector<KernelOp> kernels;
  for (const llm::Operator& op : lowered) {
    if (is_collective(op)) {
      kernels.push_back(collective(pricer_.price(op), name_of(op), Part::embedding_head));
      kernels.back().communicator = communicator(group_of(op), rank);
    } else {
      kernels.push_back(kernel(op, Part::embedding_head));
    }
  }
  return kernels;
}

KernelPlanner::Step KernelPlanner::prepare(std::vector<llm::RankBatch> batches, std::size_t lane,
                                           std::int64_t epoch, KernelProgram& program) {
  Step step;
  step.batches = std::move(batches);
  step.lane = lane;
  const llm::RankBatch* fullest = &step.batches.front();
  for (const llm::RankBatch& batch : step.batches) {
    step.tokens += batch.tokens;
    if (batch.tokens > fullest->tokens) fullest = &batch;
  }
  step.groups.resize(pricer_.setup().architecture.layers.size());
  for (std::size_t g = 0; g < step.groups.size(); ++g) add_meetings(step, g, *fullest, epoch, program);
  return step;
}

KernelLane KernelPlanner::lane_of(const Step& step, std::size_t rank) {
  const ReplicaSetup& setup = pricer_.setup();
  const llm::RankBatch& batch = step.batches[rank / static_cast<std::size_t>(setup.layout.tp)];
  const bool gathers = llm::moe_exchange(setup.layout) == llm::MoeExchange::gather_scatter;
  llm::lower(setup.architecture, setup.layout, setup.formats, batch, gathers ? step.tokens : batch.tokens,
             lowered_);
  const auto keep = [](std::vector<KernelOp> list) {
    return std::make_shared<const std::vector<KernelOp>>(std::move(list));
  };
  KernelLane lane;
  lane.push_back({keep(ends(lowered_.embedding, rank)), 1, "", 0});
  std::vector<std::shared_ptr<const std::vector<KernelOp>>> by_group;
  for (std::size_t g = 0; g < step.groups.size(); ++g)
    by_group.push_back(keep(operators(step, lowered_.layers[g].operators, g, rank)));
  std::int64_t first = 0;
  for (const llm::LayerRun& run : runs_) {
    lane.push_back({by_group[run.group], run.count, "layer", first});
    first += run.count;
  }
  lane.push_back({keep(ends(lowered_.head, rank)), 1, "", 0});
  return lane;
}

void KernelPlanner::add_communicators(KernelProgram& program) const {
  const llm::Layout& layout = pricer_.setup().layout;
  const auto add_group = [&](std::int64_t first, std::int64_t count, std::int64_t stride) {
    Communicator members;
    for (std::int64_t i = 0; i < count; ++i)
      members.ranks.push_back(static_cast<std::uint32_t>(first + i * stride));
    program.communicators.push_back(std::move(members));
  };
  for (std::int64_t d = 0; d < layout.dp; ++d) add_group(d * layout.tp, layout.tp, 1);
  for (std::int64_t t = 0; t < layout.tp; ++t) add_group(t, layout.dp, layout.tp);
  add_group(0, layout.ranks(), 1);
  if (layout.dcp == 1) return;
  for (std::int64_t first = 0; first < layout.ranks(); first += layout.dcp) add_group(first, layout.dcp, 1);
}

KernelProgram KernelPlanner::plan(std::span<const llm::RankBatch> batches, std::size_t lanes,
                                  std::int64_t epoch, std::span<const DeviceIndex> devices) {
  const llm::Layout& layout = pricer_.setup().layout;
  const auto dp = static_cast<std::size_t>(layout.dp);
  core::check(lanes >= 1 && batches.size() == dp * lanes &&
                  static_cast<std::int64_t>(devices.size()) == layout.ranks(),
              "the micro-batches of each data-parallel rank and one device per rank");
  KernelProgram program;
  for (const DeviceIndex device : devices) program.ranks.push_back({device, {}});
  for (std::size_t lane = 0; lane < lanes; ++lane) {
    std::vector<llm::RankBatch> own;
    for (std::size_t d = 0; d < dp; ++d) own.push_back(batches[d * lanes + lane]);
    const Step step = prepare(std::move(own), lane, epoch, program);
    for (std::size_t rank = 0; rank < devices.size(); ++rank) {
      program.ranks[rank].lanes.push_back(lane_of(step, rank));
    }
  }
  add_communicators(program);
  return program;
}

KernelProgram KernelPlanner::all_reduce(std::int64_t bytes, std::span<const DeviceIndex> devices,
                                        const hardware::GroupProfile& profile) const {
  const cost::CollectivePricer pricer = pricer_of(pricer_.setup(), profile);
  const auto list = std::make_shared<const std::vector<KernelOp>>(
      1, collective(pricer.all_reduce(bytes), "all-reduce", Part::all_reduce));
  KernelProgram program;
  Communicator all;
  for (const DeviceIndex device : devices) {
    all.ranks.push_back(static_cast<std::uint32_t>(program.ranks.size()));
    program.ranks.push_back({device, {{{list, 1, "", 0}}}});
  }
  program.communicators.push_back(std::move(all));
  return program;
}

}  // namespace moesim::execution
