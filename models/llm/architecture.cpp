#include "models/llm/architecture.hpp"

#include <optional>

#include "models/llm/hf_import.hpp"

namespace moesim::llm {

namespace {

void check_grouped_query(const GroupedQueryAttention& attention, config::Problems& problems) {
  if (attention.query_heads % attention.kv_heads != 0) {
    problems.error("/kv_heads", "query_heads (" + std::to_string(attention.query_heads) +
                                    ") must be a multiple of kv_heads (" +
                                    std::to_string(attention.kv_heads) +
                                    "): each KV head serves the same number of query heads");
  }
  if (attention.query_key_norm_over_heads && !attention.query_key_norm) {
    problems.error("/query_key_norm_over_heads", "a norm over all heads needs \"query_key_norm\": true");
  }
  if (attention.rotated_dim > attention.head_dim || attention.rotated_dim % 2 != 0) {
    problems.error("/rotated_dim", "rotated_dim (" + std::to_string(attention.rotated_dim) +
                                       ") must be even and at most head_dim (" +
                                       std::to_string(attention.head_dim) + ")");
  }
}

void check_latent(const LatentAttention& attention, config::Problems& problems) {
  if (attention.rope_head_dim % 2 != 0) {
    problems.error("/rope_head_dim", "the rotation works on pairs, so rope_head_dim must be even, not " +
                                         std::to_string(attention.rope_head_dim));
  }
}

void check_moe(const MoeFfn& moe, config::Problems& problems) {
  if (moe.top_k > moe.experts) {
    problems.error("/top_k", "top_k (" + std::to_string(moe.top_k) + ") is larger than experts (" +
                                 std::to_string(moe.experts) + ")");
  }
  if ((moe.shared_experts == 0) != (moe.shared_width == 0)) {
    problems.error("/shared_width", "shared_experts (" + std::to_string(moe.shared_experts) +
                                        ") and shared_width (" + std::to_string(moe.shared_width) +
                                        ") must both be given or both be 0");
  }
  if (moe.shared_gate && moe.shared_experts == 0) {
    problems.error("/shared_gate", "there are no shared experts for the gate");
  }
}

// Upper bound of the parameters, in doubles so that it cannot overflow.
double rough_parameters(const Architecture& architecture) {
  const auto real = [](std::int64_t n) { return static_cast<double>(n); };
  const double hidden = real(architecture.hidden_size);
  double sum = 2 * real(architecture.vocab_size) * hidden;
  for (const LayerGroup& group : architecture.layers) {
    double width = 0;
    if (const auto* gqa = std::get_if<GroupedQueryAttention>(&group.attention)) {
      width += 4 * real(gqa->query_heads) * real(gqa->head_dim);
    } else {
      const auto& mla = std::get<LatentAttention>(group.attention);
      width += 4 * real(mla.heads) * (real(mla.naive_key_dim()) + real(mla.v_head_dim)) +
               real(mla.q_lora_rank) + real(mla.cached_dim());
    }
    if (const auto* dense = std::get_if<DenseFfn>(&group.ffn)) {
      width += 3 * real(dense->width);
    } else {
      const auto& moe = std::get<MoeFfn>(group.ffn);
      width += real(moe.experts) * (3 * real(moe.expert_width) + 1) +
               3 * real(moe.shared_experts) * real(moe.shared_width);
    }
    sum += real(group.count) * hidden * width;
  }
  return sum;
}

void check_architecture(const Architecture& architecture, config::Problems& problems) {
  if (architecture.norm_bias && !architecture.layer_norm) {
    problems.error("/norm_bias", "only LayerNorm has biases: it needs \"layer_norm\": true");
  }
  if (architecture.layers.empty()) problems.error("/layers", "a model needs at least one layer");
  // Far above any model, and low enough that bytes and operations of a step stay exact in 64 bits.
  constexpr double kMostParameters = 1e15;
  if (rough_parameters(architecture) > kMostParameters) {
    problems.error("/hidden_size", "the model has more than 1e15 parameters: check its sizes");
  }
  // A step sums the attention of its sequences once for all layers, in the form that is cheaper for this
  // shape.
  std::optional<LatentAttention> first;
  for (std::size_t i = 0; i < architecture.layers.size(); ++i) {
    const auto* latent = std::get_if<LatentAttention>(&architecture.layers[i].attention);
    if (latent == nullptr) continue;
    if (first && *first != *latent) {
      problems.error("/layers/" + std::to_string(i) + "/attention",
                     "all layers with latent attention must have the same dimensions");
    }
    first = *latent;
  }
}

}  // namespace

std::int64_t Architecture::layer_count() const {
  std::int64_t count = 0;
  for (const LayerGroup& group : layers) count += group.count;
  return count;
}

const config::Record<GroupedQueryAttention>& record_of(config::Type<GroupedQueryAttention>) {
  using A = GroupedQueryAttention;
  const auto positive = config::between(1, 1e9);
  static const auto record =
      config::Record<A>("grouped_query_attention", "Multi-head, grouped-query or multi-query attention")
          .required("query_heads", &A::query_heads, "Query heads", positive)
          .required("kv_heads", &A::kv_heads, "Key and value heads", positive)
          .required("head_dim", &A::head_dim, "Width of one head", positive)
          .optional("query_key_norm", &A::query_key_norm, "RMSNorm over each head of q and k")
          .optional("query_key_norm_over_heads", &A::query_key_norm_over_heads,
                    "This norm is over all heads at once, with a weight for each of their elements")
          .optional("qkv_bias", &A::qkv_bias, "Biases on the q, k and v projections")
          .optional("output_bias", &A::output_bias, "Bias on the output projection")
          .optional("rotated_dim", &A::rotated_dim, "Elements of a head that are rotated; 0 for all",
                    config::between(0, 1e9))
          .optional("score_cap", &A::score_cap, "Scores pass through a soft cap, cap * tanh(score / cap)")
          .check(check_grouped_query);
  return record;
}

const config::Record<LatentAttention>& record_of(config::Type<LatentAttention>) {
  using A = LatentAttention;
  const auto positive = config::between(1, 1e9);
  static const auto record =
      config::Record<A>("latent_attention", "Multi-head latent attention (MLA)")
          .required("heads", &A::heads, "Heads", positive)
          .optional("q_lora_rank", &A::q_lora_rank, "Rank of the query projection; 0 for a full projection",
                    config::between(0, 1e9))
          .required("kv_lora_rank", &A::kv_lora_rank, "Width of the cached latent row", positive)
          .required("rope_head_dim", &A::rope_head_dim, "Width of the rotated part of a key", positive)
          .required("nope_head_dim", &A::nope_head_dim, "Width of the unrotated part of a key", positive)
          .required("v_head_dim", &A::v_head_dim, "Width of a value", positive)
          .check(check_latent);
  return record;
}

const config::Record<DenseFfn>& record_of(config::Type<DenseFfn>) {
  static const auto record =
      config::Record<DenseFfn>("dense_ffn", "Gated feed-forward layer (SwiGLU)")
          .required("width", &DenseFfn::width, "Width between the projections", config::between(1, 1e9));
  return record;
}

const config::Record<MoeFfn>& record_of(config::Type<MoeFfn>) {
  const auto positive = config::between(1, 1e9);
  static const auto record =
      config::Record<MoeFfn>("moe_ffn", "Mixture of gated experts (SwiGLU)")
          .required("experts", &MoeFfn::experts, "Routed experts", positive)
          .required("top_k", &MoeFfn::top_k, "Routed experts per token", positive)
          .required("expert_width", &MoeFfn::expert_width, "Width of one routed expert", positive)
          .optional("shared_experts", &MoeFfn::shared_experts, "Experts that every token passes",
                    config::between(0, 1e9))
          .optional("shared_width", &MoeFfn::shared_width, "Width of one shared expert",
                    config::between(0, 1e9))
          .optional("router_score_bias", &MoeFfn::router_score_bias,
                    "A correction per expert that chooses experts but does not weigh them")
          .optional("shared_gate", &MoeFfn::shared_gate,
                    "A learned gate per token weighs the result of the shared experts")
          .check(check_moe);
  return record;
}

const config::Record<LayerGroup>& record_of(config::Type<LayerGroup>) {
  static const auto record =
      config::Record<LayerGroup>("layer_group", "Equal transformer layers in a row")
          .required("count", &LayerGroup::count, "Number of layers", config::between(1, 1e9))
          .required("attention", &LayerGroup::attention, "Attention of each layer")
          .required("ffn", &LayerGroup::ffn, "Feed-forward part of each layer");
  return record;
}

const config::Record<Architecture>& record_of(config::Type<Architecture>) {
  using A = Architecture;
  const auto positive = config::between(1, 1e9);
  static const auto record =
      config::Record<A>("model", "Shape of a large language model")
          .required("name", &A::name, "Name as its makers write it", positive)
          .required("vocab_size", &A::vocab_size, "Rows of the embedding", positive)
          .required("hidden_size", &A::hidden_size, "Width of the residual stream", positive)
          .optional("tied_embeddings", &A::tied_embeddings, "The output head is the embedding matrix")
          .optional("head_bias", &A::head_bias, "Bias on the output head")
          .optional("layer_norm", &A::layer_norm, "LayerNorm in place of RMSNorm")
          .optional("norm_bias", &A::norm_bias, "Biases of the LayerNorms")
          .optional("post_norms", &A::post_norms, "Norms behind attention and FFN too")
          .required("max_context_tokens", &A::max_context_tokens, "Longest context the model was made for",
                    positive)
          .optional("published_weights", &A::published_weights,
                    "Number format of the linear layers in the published checkpoint")
          .required("layers", &A::layers, "Groups of equal layers, in the order of the network", positive)
          .required("sources", &A::sources, "Where the numbers come from")
          .foreign({is_hugging_face, import_hugging_face})
          .check(check_architecture);
  return record;
}

}  // namespace moesim::llm
