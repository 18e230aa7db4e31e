#include "sim/execution/replica_pricer.hpp"

#include <algorithm>
#include <type_traits>
#include <utility>
#include <variant>

#include "sim/core/check.hpp"
#include "sim/core/integers.hpp"

namespace moesim::execution {

namespace {

Part part_of_gemm(const llm::Gemm& op) {
  switch (op.role) {
    case llm::GemmRole::gate_up:
    case llm::GemmRole::down:
      return Part::dense_ffn;
    case llm::GemmRole::shared_gate_up:
    case llm::GemmRole::shared_down:
    case llm::GemmRole::shared_gate:
      return Part::shared_experts;
    case llm::GemmRole::expert_gate_up:
    case llm::GemmRole::expert_down:
    case llm::GemmRole::expert_latent_down:
    case llm::GemmRole::expert_latent_up:
      return Part::routed_experts;
    case llm::GemmRole::hyper_connection:
      return Part::hyper_connections;
    case llm::GemmRole::head:
      return Part::embedding_head;
    default:
      return Part::attention;
  }
}

// Norms and rotations of all models are one part; what only some kinds of layers have belongs to these
// layers.
Part part_of_elementwise(const llm::Elementwise& op) {
  switch (op.role) {
    case llm::ElementwiseRole::attention_gate:
    case llm::ElementwiseRole::index_keys:
    case llm::ElementwiseRole::pool_entries:
    case llm::ElementwiseRole::convolution:
    case llm::ElementwiseRole::recurrent_gates:
    case llm::ElementwiseRole::recurrent_output:
      return Part::attention;
    case llm::ElementwiseRole::latent_expert_norm:
      return Part::routed_experts;
    case llm::ElementwiseRole::hyper_connection:
      return Part::hyper_connections;
    default:
      return Part::norms;
  }
}

}  // namespace

Part part_of(const llm::Operator& op) {
  return std::visit(
      [](const auto& one) {
        using Op = std::remove_cvref_t<decltype(one)>;
        if constexpr (std::is_same_v<Op, llm::Gemm>) {
          return part_of_gemm(one);
        } else if constexpr (std::is_same_v<Op, llm::GroupedGemm> ||
                             std::is_same_v<Op, llm::RoutedElementwise>) {
          return Part::routed_experts;
        } else if constexpr (std::is_same_v<Op, llm::Attention> || std::is_same_v<Op, llm::IndexScores> ||
                             std::is_same_v<Op, llm::KeyChoice> || std::is_same_v<Op, llm::Recurrence>) {
          return Part::attention;
        } else if constexpr (std::is_same_v<Op, llm::Elementwise>) {
          return part_of_elementwise(one);
        } else if constexpr (std::is_same_v<Op, llm::Router> || std::is_same_v<Op, llm::TopK>) {
          return Part::router;
        } else if constexpr (std::is_same_v<Op, llm::Embedding> || std::is_same_v<Op, llm::Sampling>) {
          return Part::embedding_head;
        } else if constexpr (std::is_same_v<Op, llm::Dispatch> || std::is_same_v<Op, llm::Combine>) {
          return Part::dispatch_combine;
        } else {
          return Part::all_reduce;
        }
      },
      op);
}

bool is_meeting(const llm::Operator& op) {
  if (std::holds_alternative<llm::Dispatch>(op) || std::holds_alternative<llm::Combine>(op)) return true;
  const auto* gather = std::get_if<llm::AllGather>(&op);
  const auto* scatter = std::get_if<llm::ReduceScatter>(&op);
  return (gather != nullptr && gather->group == llm::Group::data) ||
         (scatter != nullptr && scatter->group == llm::Group::data);
}

bool is_routed(const llm::Operator& op) {
  return std::holds_alternative<llm::GroupedGemm>(op) || std::holds_alternative<llm::RoutedElementwise>(op);
}

cost::CollectivePricer pricer_of(const ReplicaSetup& setup, const hardware::GroupProfile& group) {
  return cost::CollectivePricer(group, setup.engine, setup.link_labels, {setup.kernels, setup.collectives});
}

ReplicaPricer::ReplicaPricer(ReplicaSetup setup, bool memo)
    : setup_(std::move(setup)),
      rule_(llm::batch_rule(setup_.architecture, setup_.block_tokens)),
      device_(setup_.gpu, setup_.kernels),
      tensor_(pricer_of(setup_, setup_.tensor_group)),
      data_(pricer_of(setup_, setup_.data_group)),
      expert_(pricer_of(setup_, setup_.expert_group)),
      decode_context_(
          pricer_of(setup_, setup_.layout.dcp > 1 ? setup_.decode_context_group : setup_.tensor_group)),
      routed_(setup_, device_, memo) {}

const cost::CollectivePricer& ReplicaPricer::group(llm::Group which) const {
  switch (which) {
    case llm::Group::tensor:
      return tensor_;
    case llm::Group::data:
      return data_;
    case llm::Group::expert:
      return expert_;
    case llm::Group::decode_context:
      return decode_context_;
    case llm::Group::context:
      break;  // refused when the scenario is read (llm::run_problems)
  }
  core::fail_invariant("a group without a pricer");
}

cost::Price ReplicaPricer::price(const llm::Operator& op) const {
  if (const auto* reduce = std::get_if<llm::AllReduce>(&op))
    return group(reduce->group).all_reduce(reduce->bytes);
  if (const auto* gather = std::get_if<llm::AllGather>(&op))
    return group(gather->group).all_gather(gather->bytes);
  if (const auto* scatter = std::get_if<llm::ReduceScatter>(&op)) {
    return group(scatter->group).reduce_scatter(scatter->bytes);
  }
  return memo_.price(device_, op);
}

cost::Price ReplicaPricer::meeting_price(const llm::Operator& op, std::int64_t tokens,
                                         const RoutedLoad& load) const {
  const auto exchange = [&](const auto& one, bool combine) {
    // Rows of experts that cost nothing stay where they are.
    const std::int64_t sent = core::divide_up(one.tokens * load.rows(), tokens);
    const cost::ExchangeLoad rows{tokens, one.tokens, std::min(sent, one.tokens * one.top_k),
                                  load.slowest_rows, static_cast<std::int64_t>(load.rows_by_expert.size())};
    return expert_.exchange(rows, one.bytes_per_row, combine);
  };
  if (const auto* dispatch = std::get_if<llm::Dispatch>(&op)) return exchange(*dispatch, false);
  if (const auto* combine = std::get_if<llm::Combine>(&op)) return exchange(*combine, true);
  return price(op);
}

}  // namespace moesim::execution
