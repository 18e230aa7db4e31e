#include "models/cost/price_memo.hpp"

#include <variant>

namespace moesim::cost {

namespace {

template <class E>
constexpr std::int64_t word(E value) {
  return static_cast<std::int64_t>(value);
}

// Small enumerations and flags in one word.
template <class... Parts>
constexpr std::int64_t packed(Parts... parts) {
  std::int64_t all = 0;
  ((all = (all << 8U) | word(parts)), ...);
  return all;
}

struct KeyOf {
  std::optional<OperatorKey> operator()(const llm::Gemm& op) const {
    return OperatorKey{
        1, packed(op.role, op.weights, op.activations, op.bias), op.batch, op.rows, op.columns, op.depth};
  }
  std::optional<OperatorKey> operator()(const llm::Attention& op) const {
    return OperatorKey{2,
                       packed(op.form, op.phase, op.kv, op.compute, op.score_cap, op.sinks),
                       op.sequences,
                       op.query_tokens,
                       op.pairs,
                       op.kv_tokens,
                       op.query_heads,
                       op.kv_heads,
                       op.qk_dim,
                       op.v_dim,
                       op.cached_row_bytes};
  }
  std::optional<OperatorKey> operator()(const llm::IndexScores& op) const {
    return OperatorKey{
        3,           packed(op.phase, op.compute), op.query_tokens, op.pairs, op.keys, op.heads, op.head_dim,
        op.key_bytes};
  }
  std::optional<OperatorKey> operator()(const llm::KeyChoice& op) const {
    return OperatorKey{4, op.candidates, op.chosen};
  }
  std::optional<OperatorKey> operator()(const llm::Recurrence& op) const {
    return OperatorKey{5,
                       packed(op.recurrence, op.phase),
                       op.sequences,
                       op.tokens,
                       op.key_heads,
                       op.value_heads,
                       op.key_dim,
                       op.value_dim,
                       op.chunk_tokens};
  }
  std::optional<OperatorKey> operator()(const llm::Elementwise& op) const {
    return OperatorKey{6,
                       word(op.role),
                       op.elements,
                       op.read_bytes,
                       op.write_bytes,
                       op.kv_write_bytes,
                       op.other_flops,
                       op.specials};
  }
  std::optional<OperatorKey> operator()(const llm::Router& op) const {
    return OperatorKey{7, op.tokens, op.experts, op.hidden};
  }
  std::optional<OperatorKey> operator()(const llm::TopK& op) const {
    return OperatorKey{8, op.tokens, op.experts, op.top_k, word(op.table)};
  }
  std::optional<OperatorKey> operator()(const llm::Embedding& op) const {
    return OperatorKey{9, op.tokens, op.hidden};
  }
  std::optional<OperatorKey> operator()(const llm::Sampling& op) const {
    return OperatorKey{10, op.sequences, op.vocab};
  }
  template <class Op>
  std::optional<OperatorKey> operator()(const Op&) const {
    return std::nullopt;
  }
};

// Multiply and fold, word by word (constants of splitmix64: Steele, Lea and Flood, OOPSLA 2014).
std::size_t hash_of(const OperatorKey& key) {
  std::uint64_t state = 0x9E3779B97F4A7C15U;
  for (const std::int64_t one : key) {
    state = (state ^ static_cast<std::uint64_t>(one)) * 0xBF58476D1CE4E5B9U;
    state ^= state >> 29U;
  }
  return static_cast<std::size_t>(state);
}

}  // namespace

std::optional<OperatorKey> key_of(const llm::Operator& op) { return std::visit(KeyOf{}, op); }

void PriceMemo::grow() {
  const std::size_t slots = slots_.empty() ? 256 : 2 * slots_.size();
  slots_.assign(slots, 0);
  for (std::size_t e = 0; e < entries_.size(); ++e) {
    std::size_t at = hash_of(entries_[e].key) & (slots - 1);
    while (slots_[at] != 0) at = (at + 1) & (slots - 1);
    slots_[at] = static_cast<std::uint32_t>(e + 1);
  }
}

const Price& PriceMemo::price(const DevicePricer& pricer, const llm::Operator& op) {
  const std::optional<OperatorKey> key = key_of(op);
  if (!key) return last_ = pricer.price(op);
  if (entries_.size() >= kMost) {
    entries_.clear();
    slots_.clear();
  }
  if (2 * (entries_.size() + 1) > slots_.size()) grow();
  const std::size_t mask = slots_.size() - 1;
  std::size_t at = hash_of(*key) & mask;
  for (; slots_[at] != 0; at = (at + 1) & mask) {
    const Entry& entry = entries_[slots_[at] - 1];
    if (entry.key == *key) return entry.price;
  }
  entries_.push_back({*key, pricer.price(op)});
  slots_[at] = static_cast<std::uint32_t>(entries_.size());
  return entries_.back().price;
}

}  // namespace moesim::cost
