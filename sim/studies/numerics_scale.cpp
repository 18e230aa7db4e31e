#include "sim/studies/numerics_scale.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

namespace moesim::studies {

namespace {

std::int64_t halved(std::int64_t size, std::int64_t limit) {
  while (size > limit) size = (size + 1) / 2;
  return size;
}

std::int64_t whole(std::int64_t size, std::int64_t multiple) {
  return (size + multiple - 1) / multiple * multiple;
}

// Halves a number of heads or experts while it stays even, at least `least` and a multiple of `divisor`.
std::int64_t fewer(std::int64_t n, std::int64_t least, std::int64_t divisor) {
  while (n % 2 == 0 && n / 2 >= least && n / 2 % divisor == 0) n /= 2;
  return n;
}

// Values along the depth that share a scale.
std::int64_t quantisation_block(llm::NumberFormat format) {
  switch (format) {
    case llm::NumberFormat::fp8_block:
    case llm::NumberFormat::int4:
      return 128;
    case llm::NumberFormat::int4_g32:
    case llm::NumberFormat::mxfp4:
      return 32;
    default:
      return 16;
  }
}

class Scaler {
 public:
  Scaler(const llm::Architecture& model, const llm::Layout& layout, const llm::Formats& formats)
      : model_(model), layout_(layout) {
    using llm::WeightKind;
    for (const WeightKind kind : {WeightKind::attention, WeightKind::dense, WeightKind::experts}) {
      const llm::LinearFormats own = formats.of(kind);
      block_ = std::max({block_, quantisation_block(own.weights), quantisation_block(own.activations)});
    }
  }

  ScaledModel run() {
    ScaledModel scaled;
    scaled.layout = layout_;
    scaled.layout.pp = scaled.layout.dcp = scaled.layout.cp = 1;
    scaled.layout.dp = layout_.token_groups();
    scaled.model = model_;
    scaled.model.order.clear();
    scaled.model.encoder.clear();
    scaled.model.prediction.reset();
    scaled.model.vocab_size = 256;
    scaled.model.residual_streams = 1;
    for (const llm::LayerGroup& group : model_.layers) {
      if (const auto* moe = std::get_if<llm::MoeFfn>(&group.ffn); moe && experts_of(*moe) > 64) limit_ = 128;
    }
    scaled.model.hidden_size = whole(halved(model_.hidden_size, limit_), block_);
    for (llm::LayerGroup& group : scaled.model.layers) {
      group.count = 1;
      group.cross_attention.reset();
      part_ = &scaled.attention.emplace_back();
      size("hidden size", model_.hidden_size, scaled.model.hidden_size);
      name_attention(group);
      std::visit([&](auto& attention) { scale(attention, group); }, group.attention);
      part_ = &scaled.ffn.emplace_back();
      size("hidden size", model_.hidden_size, scaled.model.hidden_size);
      std::visit([&](auto& ffn) { scale(ffn); }, group.ffn);
    }
    for (std::size_t i = 0; i < model_.layers.size(); ++i) {
      if (model_.layers[i].cross_attention) {
        scaled.attention[i].not_checked.emplace_back(
            "encoder and attention to its result: the simulator has no step of them");
      }
    }
    return scaled;
  }

 private:
  void size(std::string name, std::int64_t model, std::int64_t scaled) {
    part_->sizes.push_back({std::move(name), model, scaled});
  }
  void set(std::string name, std::int64_t& value, std::int64_t scaled) {
    size(std::move(name), value, scaled);
    value = scaled;
  }
  void name_attention(const llm::LayerGroup& group) {
    if (std::holds_alternative<llm::NoAttention>(group.attention)) return;
    if (layout_.cp > 1) {
      part_->not_checked.push_back(
          fmt::format("{} context-parallel ranks: each token group has its prompts whole", layout_.cp));
    }
    if (layout_.dcp > 1) {
      part_->not_checked.push_back(
          fmt::format("{} decode-context ranks: keys of a sequence lie on one rank", layout_.dcp));
    }
    if (model_.residual_streams > 1) {
      part_->not_checked.emplace_back("hyper-connections: there is no reference kernel of them");
    }
  }

  [[nodiscard]] std::int64_t experts_of(const llm::MoeFfn& moe) const {
    return fewer(moe.experts, std::max(moe.top_k, std::min<std::int64_t>(32, moe.experts)), layout_.ep);
  }

  void scale(llm::GroupedQueryAttention& a, llm::LayerGroup&) {
    const std::int64_t per_kv = a.query_heads / a.kv_heads;
    if (a.kv_heads >= layout_.tp) {
      set("KV heads", a.kv_heads, fewer(a.kv_heads, std::max<std::int64_t>(layout_.tp, 2), layout_.tp));
      set("query heads", a.query_heads, a.kv_heads * per_kv);
    } else {
      size("KV heads", a.kv_heads, a.kv_heads);
      size("query heads", a.query_heads, a.query_heads);
    }
    const std::int64_t value = a.value_head_dim, rotated = a.rotated_dim, dim = a.head_dim;
    set("head dimension", a.head_dim, whole(halved(dim, 32), 2));
    const std::int64_t factor = std::max<std::int64_t>(1, dim / a.head_dim);
    if (value > 0) set("value dimension", a.value_head_dim, std::max<std::int64_t>(8, value / factor));
    if (rotated > 0)
      set("rotated dimension", a.rotated_dim, whole(std::max<std::int64_t>(2, rotated / factor), 2));
    if (a.window_tokens > 0) set("window", a.window_tokens, halved(a.window_tokens, 48));
    if (a.chunk_tokens > 0) set("chunk", a.chunk_tokens, halved(a.chunk_tokens, 48));
  }
  void scale(llm::LatentAttention& a, llm::LayerGroup&) {
    set("heads", a.heads, fewer(a.heads, std::max<std::int64_t>(layout_.tp, 4), layout_.tp));
    const auto eighth = [&](std::string name, std::int64_t& n, std::int64_t multiple) {
      if (n > 0) set(std::move(name), n, std::max(multiple, whole(n / 8, multiple)));
    };
    eighth("query rank", a.q_lora_rank, 16);
    eighth("latent width", a.kv_lora_rank, 16);
    eighth("rotated dimension", a.rope_head_dim, 2);
    eighth("not rotated dimension", a.nope_head_dim, 2);
    eighth("value dimension", a.v_head_dim, 2);
    if (!a.indexer) return;
    set("index heads", a.indexer->heads, std::max<std::int64_t>(1, a.indexer->heads / 8));
    set("index dimension", a.indexer->head_dim, std::max<std::int64_t>(8, a.indexer->head_dim / 8));
    set("chosen keys", a.indexer->top_k, halved(a.indexer->top_k, 24));
  }
  void scale(llm::CompressedAttention&, llm::LayerGroup& group) {
    leave_out(group, "attention over a window and pooled entries");
  }
  void scale(llm::RecurrentAttention& a, llm::LayerGroup& group) {
    if (a.recurrence == llm::RecurrentKind::mamba2) return leave_out(group, "Mamba-2 layers");
    if (a.recurrence == llm::RecurrentKind::lightning) return leave_out(group, "lightning attention");
    const std::int64_t per_key = a.value_heads / a.key_heads;
    set("key heads", a.key_heads, fewer(a.key_heads, std::max<std::int64_t>(layout_.tp, 2), layout_.tp));
    set("value heads", a.value_heads, a.key_heads * per_key);
    set("key dimension", a.key_dim, halved(a.key_dim, 16));
    set("value dimension", a.value_dim, halved(a.value_dim, 16));
    set("chunk", a.chunk_tokens, halved(a.chunk_tokens, 16));
    if (a.gate_rank > 0) set("gate rank", a.gate_rank, halved(a.gate_rank, 16));
  }
  void scale(llm::NoAttention&, llm::LayerGroup&) {}

  void leave_out(llm::LayerGroup& group, std::string_view what) {
    part_->not_checked.push_back(fmt::format("{}: there is no reference kernel of it", what));
    group.attention = llm::NoAttention{};
  }

  void scale(llm::DenseFfn& ffn) {
    set("width", ffn.width, whole(halved(ffn.width, 256), std::lcm(block_, layout_.tp)));
  }
  void scale(llm::MoeFfn& ffn) {
    set("experts", ffn.experts, experts_of(ffn));
    size("top_k", ffn.top_k, ffn.top_k);
    if (ffn.zero_experts > 0) {
      part_->not_checked.emplace_back("experts without weights: left out");
      ffn.zero_experts = 0;
    }
    set("expert width", ffn.expert_width,
        whole(halved(ffn.expert_width, limit_), std::lcm(block_, layout_.moe_tp())));
    if (ffn.shared_experts > 0) {
      set("shared expert width", ffn.shared_width,
          whole(halved(ffn.shared_width, limit_), std::lcm(block_, llm::shared_expert_shards(layout_))));
    }
    if (ffn.latent_width > 0)
      set("latent width", ffn.latent_width, whole(halved(ffn.latent_width, limit_ / 2), block_));
  }
  void scale(llm::NoFfn&) {}

  const llm::Architecture& model_;
  llm::Layout layout_;
  std::int64_t block_ = 16;
  std::int64_t limit_ = 256;
  ScaledModel::Part* part_ = nullptr;
};

}  // namespace

ScaledModel scale_model(const llm::Architecture& model, const llm::Layout& layout,
                        const llm::Formats& formats) {
  return Scaler(model, layout, formats).run();
}

}  // namespace moesim::studies
