#include "models/llm/batch.hpp"

#include <unordered_set>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

using test::zoo;

RankBatch batch_of(const SequenceChunk& chunk, const BatchRule& rule) {
  RankBatch batch;
  add_chunk(batch, chunk, rule);
  return batch;
}

TEST_CASE("unmasked pairs, counted one by one") {
  for (std::int64_t keys = 1; keys <= 20; ++keys) {
    for (std::int64_t queries = 1; queries <= keys; ++queries) {
      std::int64_t pairs = 0;
      for (std::int64_t q = 0; q < queries; ++q) pairs += keys - queries + q + 1;
      CHECK(visible_pairs({}, keys - (queries), queries) == pairs);
    }
  }
  CHECK(visible_pairs({}, 40 - (24), 24) == 684);  // golden case attn_causal_gqa
  CHECK(visible_pairs({}, 32 - (32), 32) == 528);  // golden case attn_mha_prefill
  CHECK(visible_pairs({}, 65 - (1), 1) == 65);     // golden case attn_mqa_decode
  CHECK_THROWS_AS(visible_pairs({}, 2 - (3), 3), core::InvariantError);
}

TEST_CASE("a decode token reads its context and itself in whole blocks") {
  const BatchRule rule{64, {KeyRule{}}};
  CHECK(batch_of({1, 0}, rule).loads[0].decode == AttentionLoad{1, 1, 64, 64});
  CHECK(batch_of({1, 63}, rule).loads[0].decode == AttentionLoad{1, 1, 64, 64});
  CHECK(batch_of({1, 64}, rule).loads[0].decode == AttentionLoad{1, 1, 128, 128});
  CHECK(batch_of({1, 64}, {1, {KeyRule{}}}).loads[0].decode == AttentionLoad{1, 1, 65, 65});
  CHECK(batch_of({1, 64}, rule).loads[0].prefill == AttentionLoad{});
  CHECK(batch_of({1, 100}, rule) == batch_of({1, 126}, rule));  // the same memo key until a block is entered
  CHECK_FALSE(batch_of({1, 100}, rule) == batch_of({1, 128}, rule));
}

TEST_CASE("a prefill chunk rounds its context, not its own triangle") {
  const BatchRule rule{64, {KeyRule{}}};
  CHECK(batch_of({100, 0}, rule).loads[0].prefill == AttentionLoad{1, 100, 5050, 100});
  CHECK(batch_of({100, 65}, rule).loads[0].prefill == AttentionLoad{1, 100, 100 * 128 + 5050, 228});
  CHECK(batch_of({100, 65}, rule).loads[0].decode == AttentionLoad{});
}

TEST_CASE("a batch adds up and knows which sequences need logits") {
  const BatchRule rule{1, {KeyRule{}}};
  RankBatch batch;
  add_chunk(batch, {512, 0, false}, rule);
  add_chunk(batch, {10, 20}, rule);
  add_chunk(batch, {1, 99}, rule);
  CHECK(batch.tokens == 523);
  CHECK(batch.logit_sequences == 2);
  CHECK(batch.loads[0].prefill == AttentionLoad{2, 522, 512 * 513 / 2 + 10 * 20 + 55, 512 + 30});
  CHECK(batch.loads[0].decode == AttentionLoad{1, 1, 100, 100});
}

TEST_CASE("latent attention takes the form with fewer multiply-accumulates") {
  const BatchRule rule = batch_rule(zoo("deepseek-v3"), 1);
  CHECK(rule.rules[0].naive_saves_per_pair == (576 + 512) - (192 + 128));
  CHECK(rule.rules[0].expand_per_key == 512 * 256);
  // Both forms written out, per head: expansion of all keys against queries into and results out of latent
  // space.
  for (const std::int64_t context : {0, 1, 100, 4096, 100'000}) {
    for (const std::int64_t chunk : {2, 16, 170, 171, 172, 200, 512}) {
      const std::int64_t pairs = visible_pairs({}, context + chunk - (chunk), chunk);
      const std::int64_t naive = pairs * 320 + (context + chunk) * 512 * 256;
      const std::int64_t absorbed = pairs * 1088 + chunk * (128 * 512 + 512 * 128);
      const RankBatch batch = batch_of({chunk, context}, rule);
      CHECK(batch.loads[0].decode.sequences == (absorbed < naive ? 1 : 0));
      CHECK(batch.loads[0].prefill.sequences == (absorbed < naive ? 0 : 1));
    }
  }
  CHECK(batch_rule(zoo("llama-3.1-8b"), 128).rules[0].naive_saves_per_pair == 0);
}

TEST_CASE("hashes differ where batches differ") {
  std::unordered_set<std::size_t> hashes;
  std::size_t batches = 0;
  for (std::int64_t chunk = 1; chunk <= 20; ++chunk) {
    for (std::int64_t context = 0; context < 50; ++context) {
      hashes.insert(std::hash<RankBatch>{}(batch_of({chunk, context}, {1, {KeyRule{}}})));
      hashes.insert(std::hash<RankBatch>{}(batch_of({chunk, context, false}, {1, {KeyRule{}}})));
      batches += 2;
    }
  }
  CHECK(hashes.size() == batches);
}

TEST_CASE("impossible chunks are mistakes of the caller") {
  RankBatch batch;
  CHECK_THROWS_AS(add_chunk(batch, {0, 5}, {64, {KeyRule{}}}), core::InvariantError);
  CHECK_THROWS_AS(add_chunk(batch, {1, -1}, {64, {KeyRule{}}}), core::InvariantError);
  CHECK_THROWS_AS(add_chunk(batch, {1, 1}, {0, {KeyRule{}}}), core::InvariantError);
}

}  // namespace
}  // namespace moesim::llm
