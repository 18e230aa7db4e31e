#include "sim/studies/numerics_problems.hpp"

#include "sim/core/math.hpp"

namespace moesim::studies {

LatentProblem latent_problem(const llm::LatentAttention& shape, std::int64_t heads,
                             const NumericsSequence& sequence, NumericsDraws& draws) {
  LatentProblem p;
  p.sizes.heads = heads;
  p.sizes.latent = shape.kv_lora_rank;
  p.sizes.nope = shape.nope_head_dim;
  p.sizes.rope = shape.rope_head_dim;
  p.sizes.value = shape.v_head_dim;
  p.queries = sequence.tokens;
  p.keys = sequence.keys();
  p.q = draws.values(heads * p.queries * p.sizes.query_dim(), 2.0);
  p.latent = draws.values(p.keys * p.sizes.latent, 1.0);
  p.rope = draws.values(p.keys * p.sizes.rope, 1.0);
  p.up = draws.values(heads * (p.sizes.nope + p.sizes.value) * p.sizes.latent,
                      core::math::sqrt(3.0 / static_cast<double>(p.sizes.latent)));
  p.options.scale = 1.0 / core::math::sqrt(static_cast<double>(p.sizes.query_dim()));
  p.options.first_query = sequence.context;
  if (!shape.indexer) return p;
  p.top_k = shape.indexer->top_k;
  p.index = {p.queries, p.keys, shape.indexer->heads, shape.indexer->head_dim, sequence.context};
  p.index_queries = draws.values(p.queries * p.index.heads * p.index.head_dim, 1.0);
  p.index_keys = draws.values(p.keys * p.index.head_dim, 1.0);
  p.index_weights = draws.values(p.queries * p.index.heads, 1.0);
  return p;
}

DeltaProblem delta_problem(const llm::RecurrentAttention& shape, std::int64_t ranks, std::int64_t tokens,
                           NumericsDraws& draws) {
  DeltaProblem p;
  p.sizes = {tokens, shape.key_heads / ranks, shape.value_heads / ranks, shape.key_dim, shape.value_dim};
  p.options.chunk = shape.chunk_tokens;
  const bool by_channel = shape.recurrence == llm::RecurrentKind::kimi_delta;
  // As bf16 would hold them.
  const auto drawn = [&](std::int64_t n) { return as_floats(draws.values(n, 1.0)); };
  p.queries = drawn(tokens * p.sizes.key_heads * p.sizes.key_dim);
  p.keys = drawn(tokens * p.sizes.key_heads * p.sizes.key_dim);
  p.values = drawn(tokens * p.sizes.value_heads * p.sizes.value_dim);
  p.log_decay = draws.floats(tokens * p.sizes.value_heads * (by_channel ? p.sizes.key_dim : 1), 0.5);
  for (float& g : p.log_decay) g -= 0.5F;
  p.beta = draws.floats(tokens * p.sizes.value_heads, 0.5);
  for (float& beta : p.beta) beta += 0.5F;
  p.state = draws.floats(p.sizes.value_heads * p.sizes.key_dim * p.sizes.value_dim, 1.0);
  return p;
}

}  // namespace moesim::studies
