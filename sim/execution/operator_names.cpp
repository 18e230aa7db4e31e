#include "sim/execution/operator_names.hpp"

#include <variant>

namespace moesim::execution {

namespace {

std::string_view gemm_name(llm::GemmRole role) {
  switch (role) {
    case llm::GemmRole::query_key_value:
      return "query, key and value projection";
    case llm::GemmRole::latent_down:
      return "latent down projection";
    case llm::GemmRole::query_up:
      return "query up projection";
    case llm::GemmRole::key_value_up:
      return "key and value up projection";
    case llm::GemmRole::query_absorb:
      return "query absorption";
    case llm::GemmRole::value_absorb:
      return "value absorption";
    case llm::GemmRole::attention_output:
      return "attention output projection";
    case llm::GemmRole::gate_up:
      return "FFN gate and up";
    case llm::GemmRole::down:
      return "FFN down";
    case llm::GemmRole::shared_gate_up:
      return "shared expert gate and up";
    case llm::GemmRole::shared_down:
      return "shared expert down";
    case llm::GemmRole::shared_gate:
      return "shared expert gate";
    case llm::GemmRole::expert_gate_up:
      return "experts gate and up";
    case llm::GemmRole::expert_down:
      return "experts down";
    case llm::GemmRole::head:
      return "output head";
    case llm::GemmRole::attention_gate:
      return "attention gate projection";
    case llm::GemmRole::index_query:
      return "index query projection";
    case llm::GemmRole::index_down:
      return "index key projection";
    case llm::GemmRole::output_down:
      return "attention output down projection";
    case llm::GemmRole::pooling:
      return "pooling projection";
    case llm::GemmRole::recurrent_in:
      return "recurrent input projection";
    case llm::GemmRole::recurrent_gate_down:
      return "recurrent gate down projection";
    case llm::GemmRole::recurrent_gate_up:
      return "recurrent gate up projection";
    case llm::GemmRole::decay_down:
      return "decay down projection";
    case llm::GemmRole::decay_up:
      return "decay up projection";
    case llm::GemmRole::expert_latent_down:
      return "projection to latent experts";
    case llm::GemmRole::expert_latent_up:
      return "projection from latent experts";
    case llm::GemmRole::hyper_connection:
      return "hyper-connection factors";
    case llm::GemmRole::prediction_join:
      return "prediction layer projection";
  }
  return "?";
}

std::string_view elementwise_name(llm::ElementwiseRole role) {
  switch (role) {
    case llm::ElementwiseRole::input_norm:
      return "input norm";
    case llm::ElementwiseRole::post_attention_norm:
      return "post-attention norm";
    case llm::ElementwiseRole::final_norm:
      return "final norm";
    case llm::ElementwiseRole::attention_output_norm:
      return "attention output norm";
    case llm::ElementwiseRole::ffn_output_norm:
      return "FFN output norm";
    case llm::ElementwiseRole::query_key_norm:
      return "query and key norm";
    case llm::ElementwiseRole::latent_norm:
      return "latent norm";
    case llm::ElementwiseRole::rope_and_cache:
      return "rotary embedding and cache write";
    case llm::ElementwiseRole::activation:
      return "FFN activation";
    case llm::ElementwiseRole::shared_activation:
      return "shared expert activation";
    case llm::ElementwiseRole::combine_sum:
      return "sum of expert results";
    case llm::ElementwiseRole::shared_add:
      return "shared expert add";
    case llm::ElementwiseRole::attention_gate:
      return "attention gate";
    case llm::ElementwiseRole::index_keys:
      return "index keys";
    case llm::ElementwiseRole::pool_entries:
      return "pooling of entries";
    case llm::ElementwiseRole::convolution:
      return "short convolution";
    case llm::ElementwiseRole::recurrent_gates:
      return "recurrent decays";
    case llm::ElementwiseRole::recurrent_output:
      return "recurrent output norm and gate";
    case llm::ElementwiseRole::latent_expert_norm:
      return "latent expert norm";
    case llm::ElementwiseRole::hyper_connection:
      return "hyper-connections";
  }
  return "?";
}

std::string_view routed_name(llm::RoutedRole role) {
  switch (role) {
    case llm::RoutedRole::permute:
      return "permutation to experts";
    case llm::RoutedRole::expert_activation:
      return "experts activation";
    case llm::RoutedRole::unpermute:
      return "permutation from experts";
  }
  return "?";
}

std::string_view attention_name(const llm::Attention& op) {
  const bool prefill = op.phase == llm::Phase::prefill;
  if (op.form == llm::AttentionForm::latent_absorbed) return "latent attention, absorbed";
  if (op.form == llm::AttentionForm::latent_naive) return "latent attention, expanded";
  if (op.form == llm::AttentionForm::compressed)
    return prefill ? "compressed prefill attention" : "compressed decode attention";
  return prefill ? "prefill attention" : "decode attention";
}

struct Names {
  std::string_view operator()(const llm::Gemm& op) const { return gemm_name(op.role); }
  std::string_view operator()(const llm::GroupedGemm& op) const { return gemm_name(op.role); }
  std::string_view operator()(const llm::Attention& op) const { return attention_name(op); }
  std::string_view operator()(const llm::IndexScores&) const { return "index scores"; }
  std::string_view operator()(const llm::KeyChoice&) const { return "choice of keys"; }
  std::string_view operator()(const llm::Recurrence& op) const {
    return op.phase == llm::Phase::prefill ? "chunked recurrence" : "recurrent step";
  }
  std::string_view operator()(const llm::Elementwise& op) const { return elementwise_name(op.role); }
  std::string_view operator()(const llm::RoutedElementwise& op) const { return routed_name(op.role); }
  std::string_view operator()(const llm::Router&) const { return "router"; }
  std::string_view operator()(const llm::TopK&) const { return "top-k"; }
  std::string_view operator()(const llm::Embedding&) const { return "embedding"; }
  std::string_view operator()(const llm::Sampling&) const { return "sampling"; }
  std::string_view operator()(const llm::AllReduce&) const { return "all-reduce"; }
  std::string_view operator()(const llm::AllGather&) const { return "all-gather"; }
  std::string_view operator()(const llm::ReduceScatter&) const { return "reduce-scatter"; }
  std::string_view operator()(const llm::RingPass&) const { return "ring pass of keys and values"; }
  std::string_view operator()(const llm::StageSend&) const { return "send to the next stage"; }
  std::string_view operator()(const llm::Dispatch&) const { return "dispatch"; }
  std::string_view operator()(const llm::Combine&) const { return "combine"; }
};

}  // namespace

std::string_view name_of(const llm::Operator& op) { return std::visit(Names{}, op); }

}  // namespace moesim::execution
