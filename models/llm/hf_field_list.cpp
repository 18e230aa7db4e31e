// What the fields of a config.json mean to the importer where no family asked for them.
#include <algorithm>

#include "models/llm/hf_families.hpp"

namespace moesim::llm {

namespace {

// Fields that change neither shapes nor work.
constexpr std::string_view kHarmless[] = {
    // What the file is, and for which program.
    "_name_or_path",
    "architectures",
    "auto_map",
    "dtype",
    "ep_size",
    "model_type",
    "output_attentions",
    "output_hidden_states",
    "pretraining_tp",
    "pruned_heads",
    "return_dict",
    "tokenizer_class",
    "torch_dtype",
    "torchscript",
    "transformers_version",
    "unsloth_fixed",
    "use_bfloat16",
    "use_cache",
    "tf_legacy_loss",
    "is_decoder",
    "tie_encoder_decoder",
    "finetuning_task",
    "id2label",
    "label2id",
    "problem_type",
    "prefix",
    "task_specific_params",
    "ignore_index",
    // Training and initialisation.
    "aux_loss_alpha",
    "embd_pdrop",
    "initializer_range",
    "initializer_factor",
    "moe_loss_weight",
    "output_router_logits",
    "resid_pdrop",
    "router_aux_loss_coef",
    "router_z_loss_coef",
    "seq_aux",
    "use_aux_loss",
    // Constants of the arithmetic.
    "layer_norm_eps",
    "layernorm_epsilon",
    "norm_eps",
    "norm_topk_prob",
    "rms_norm_eps",
    "rope_interleave",
    "rope_parameters",
    "rope_scaling",
    "rope_theta",
    "routed_scaling_factor",
    "scoring_func",
    "router_jitter_noise",
    "input_jitter_noise",
    "use_mrope",
    "clip_qkv",
    "clip_embedding",
    "original_max_position_embeddings",
    // Which of the experts a token may choose: a matter of routing.
    "n_group",
    "topk_group",
    // Defaults of text generation.
    "bad_words_ids",
    "begin_suppress_tokens",
    "chunk_size_feed_forward",
    "diversity_penalty",
    "do_sample",
    "early_stopping",
    "encoder_no_repeat_ngram_size",
    "exponential_decay_length_penalty",
    "length_penalty",
    "max_length",
    "min_length",
    "no_repeat_ngram_size",
    "num_beam_groups",
    "num_beams",
    "num_return_sequences",
    "output_scores",
    "remove_invalid_values",
    "repetition_penalty",
    "return_dict_in_generate",
    "suppress_tokens",
    "temperature",
    "top_k",
    "top_p",
    "typical_p",
    // Of a model with pictures.
    "image_placeholder",
    "image_seq_length",
    "mm_tokens_per_image",
    "use_unified_vision_chunk",
    "video_placeholder",
};

constexpr std::string_view kHarmlessEnds[] = {"_token_id", "_token_ids", "_token_index", "_dropout",
                                              "_token"};

struct Unsupported {
  std::string_view key;
  std::string_view missing;
};

constexpr std::string_view kNeedsIndexer = "sparse attention with an indexer";
constexpr std::string_view kNeedsState = "linear attention with a constant state";
constexpr std::string_view kNeedsStateSpace = "state-space layers";
constexpr std::string_view kNeedsCompression = "compressed attention";
constexpr std::string_view kNeedsMixing = "residual streams that are mixed (hyper-connections)";

// Fields that change the work. A family that has such a thing reads its field; for any other the field says
// that the model is not what the family's code makes of it.
constexpr Unsupported kUnsupported[] = {
    {"add_cross_attention", "cross-attention to an encoder"},
    {"attention_chunk_size", "attention in chunks"},
    {"attention_sinks", "attention sinks"},
    {"attn_logit_softcapping", "a soft cap on the scores in this family"},
    {"attn_output_gate", "a gate on the result of attention"},
    {"block_configs", "layers of many different shapes"},
    {"compress_ratios", kNeedsCompression},
    {"cross_layer_attention", "layers that share keys and values"},
    {"full_attention_interval", kNeedsState},
    {"hc_mult", kNeedsMixing},
    {"hybrid_layer_pattern", "layers with different attention"},
    {"hybrid_override_pattern", kNeedsStateSpace},
    {"index_head_dim", kNeedsIndexer},
    {"index_n_heads", kNeedsIndexer},
    {"index_topk", kNeedsIndexer},
    {"interleave_moe_layer_step", "experts in some layers, in this family"},
    {"is_encoder_decoder", "an encoder"},
    {"layer_types", "layers with different attention"},
    {"linear_attn_config", kNeedsState},
    {"linear_conv_kernel_dim", kNeedsState},
    {"linear_key_head_dim", kNeedsState},
    {"linear_num_key_heads", kNeedsState},
    {"linear_num_value_heads", kNeedsState},
    {"linear_value_head_dim", kNeedsState},
    {"mamba_num_heads", kNeedsStateSpace},
    {"mlp_bias", "biases of the FFN"},
    {"moe_latent_size", "experts in a latent space"},
    {"no_rope_layers", "layers without rotation"},
    {"num_hash_layers", "layers routed by a hash of the token"},
    {"num_kv_shared_layers", "layers that share keys and values"},
    {"o_groups", "a grouped output projection"},
    {"o_lora_rank", "an output projection of low rank"},
    {"parallel_attn", "attention beside the FFN"},
    {"residual_moe", "a dense FFN beside the experts"},
    {"routed_expert_hidden_size", "experts in a latent space"},
    {"sliding_window", "sliding-window attention"},
    {"sparse_attention_config", "block-sparse attention"},
    {"ssm_state_size", kNeedsStateSpace},
    {"swiglu_limit", "clamped activations of the experts"},
    {"use_bias", "biases in every projection"},
    {"use_parallel_residual", "attention beside the FFN"},
    {"use_sliding_window", "sliding-window attention"},
    {"zero_expert_num", "experts that do nothing"},
};

constexpr std::string_view kNeedsExperts = "a mixture of experts";
constexpr std::string_view kNeedsLatent = "latent attention";

constexpr HfNonDenseField kNonDense[] = {
    {"kv_lora_rank", kNeedsLatent},
    {"moe_intermediate_size", kNeedsExperts},
    {"moe_num_experts", kNeedsExperts},
    {"moe_top_k", kNeedsExperts},
    {"n_routed_experts", kNeedsExperts},
    {"n_shared_experts", kNeedsExperts},
    {"num_experts", kNeedsExperts},
    {"num_experts_per_tok", kNeedsExperts},
    {"num_experts_per_token", kNeedsExperts},
    {"num_local_experts", kNeedsExperts},
    {"num_shared_experts", kNeedsExperts},
    {"q_lora_rank", kNeedsLatent},
    {"qk_nope_head_dim", kNeedsLatent},
    {"qk_rope_head_dim", kNeedsLatent},
    {"shared_expert_intermediate_size", kNeedsExperts},
    {"v_head_dim", "values of another width than keys"},
};

}  // namespace

std::span<const HfNonDenseField> hf_non_dense_fields() { return kNonDense; }

HfFieldMeaning hf_field_meaning(std::string_view key) {
  for (const Unsupported& one : kUnsupported) {
    if (one.key == key) return {HfFieldKind::unsupported, one.missing};
  }
  const bool harmless = std::find(std::begin(kHarmless), std::end(kHarmless), key) != std::end(kHarmless) ||
                        std::any_of(std::begin(kHarmlessEnds), std::end(kHarmlessEnds),
                                    [&](std::string_view end) { return key.ends_with(end); });
  return {harmless ? HfFieldKind::harmless : HfFieldKind::unknown, ""};
}

}  // namespace moesim::llm
