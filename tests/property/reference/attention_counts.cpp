// What attention kernels count while they run is what the operators of the simulator say.
#include <algorithm>
#include <vector>

#include "models/llm/key_rule.hpp"
#include "models/llm/operator.hpp"
#include "models/llm/tile_work.hpp"
#include "models/reference/attention_kernels.hpp"
#include "models/reference/indexer.hpp"
#include "models/reference/mla.hpp"
#include "rapidcheck.h"
#include "tests/support/catch.hpp"

namespace moesim::reference {
namespace {

// rapidcheck makes 100 cases; each looks at three shapes.
constexpr int kShapes = 3;

std::int64_t between(std::int64_t low, std::int64_t high) {
  return *rc::gen::resize(rc::kNominalSize, rc::gen::inRange<std::int64_t>(low, high + 1));
}

// Values matter to no count here but the number of rescalings, which is `extra`.
template <class Value>
std::vector<Value> some_values(std::int64_t count) {
  std::vector<Value> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float value = static_cast<float>((i * 7919) % 201) / 100.0F - 1.0F;
    if constexpr (std::is_same_v<Value, Bf16>) {
      values[i] = to_bf16(value);
    } else {
      values[i] = static_cast<Value>(value * 100.0F);
    }
  }
  return values;
}

// One sequence under a rule of visible keys.
struct Shape {
  llm::Phase phase = llm::Phase::prefill;
  llm::KeyRule rule;
  std::int64_t first = 0;
  std::int64_t queries = 0;

  [[nodiscard]] std::int64_t keys() const { return first + queries; }
  [[nodiscard]] std::int64_t pairs() const { return llm::visible_pairs(rule, first, queries); }
  [[nodiscard]] std::int64_t visible() const { return llm::visible_keys(rule, first, queries); }
};

Shape any_shape() {
  Shape shape;
  shape.phase = *rc::gen::element(llm::Phase::prefill, llm::Phase::decode);
  shape.first = between(0, 300);
  shape.queries = shape.phase == llm::Phase::decode ? between(1, 4) : between(1, 200);
  switch (between(0, 2)) {
    case 1:
      shape.rule.limit = between(1, 200);
      shape.rule.latest = true;
      break;
    case 2:
      shape.rule.chunk = between(1, 200);
      break;
    default:
      break;
  }
  return shape;
}

AttentionOptions options_of(const Shape& shape) {
  AttentionOptions options;
  options.first_query = shape.first;
  options.mask.window = shape.rule.limit;
  options.mask.chunk = shape.rule.chunk;
  const llm::AttentionTile tile = shape.phase == llm::Phase::prefill ? llm::kPrefillTile : llm::kDecodeTile;
  options.tile = {tile.queries, tile.keys};
  return options;
}

llm::Attention operator_of(const Shape& shape, llm::AttentionForm form) {
  llm::Attention op;
  op.form = form;
  op.phase = shape.phase;
  op.sequences = 1;
  op.query_tokens = shape.queries;
  op.pairs = shape.pairs();
  op.kv_tokens = shape.visible();
  return op;
}

void expect_work(const Counts& counts, const llm::Work& work) {
  RC_ASSERT(2 * counts.useful_macs == work.matmul_flops);
  RC_ASSERT(counts.other_flops == work.other_flops);
  RC_ASSERT(counts.specials == work.specials);
  RC_ASSERT(counts.compulsory(Operand::weights) == work.weight_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::keys_values) == work.kv_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::activations) == work.activation_read_bytes);
  RC_ASSERT(counts.compulsory(Operand::result) == work.activation_write_bytes);
  RC_ASSERT(counts.compulsory(Operand::cached_result) == work.kv_write_bytes);
}

// Executed multiply-accumulates. Decode kernels are said to tile the keys from the first visible one on;
// these tile them from position 0 (so that results do not depend on how a prompt was cut), which may take one
// tile more behind a window or chunk.
void expect_tiles(const Counts& counts, const Shape& shape, const llm::Attention& op) {
  const llm::SequenceAttention sequence{shape.phase,    shape.rule,  shape.first, shape.queries,
                                        op.query_heads, op.kv_heads, op.qk_dim,   op.v_dim};
  const llm::Macs macs = llm::macs_of(sequence);
  RC_ASSERT(counts.useful_macs == macs.useful);
  if (shape.phase == llm::Phase::prefill || (!shape.rule.latest && shape.rule.chunk == 0)) {
    RC_ASSERT(counts.executed_macs == macs.executed);
    return;
  }
  const std::int64_t first = shape.keys() - shape.visible(), tile = llm::kDecodeTile.keys;
  const std::int64_t tiles = core::divide_up(shape.keys(), tile) - first / tile;
  const std::int64_t said = core::divide_up(shape.visible(), tile);
  RC_ASSERT(tiles == said || tiles == said + 1);
  RC_ASSERT(counts.executed_macs * said == macs.executed * tiles);
}

// Grouped attention over keys and values stored as Value.
template <class Value, class Decode>
void check_grouped(llm::NumberFormat format, const Decode& decode) {
  const Shape shape = any_shape();
  llm::Attention op = operator_of(shape, llm::AttentionForm::grouped);
  op.kv_heads = between(1, 3);
  op.query_heads = op.kv_heads * between(1, 4);
  op.qk_dim = between(1, 12);
  op.v_dim = between(1, 12);
  op.kv = format;
  op.score_cap = *rc::gen::arbitrary<bool>();
  op.sinks = *rc::gen::arbitrary<bool>();
  const auto q = some_values<Bf16>(op.query_heads * shape.queries * op.qk_dim);
  const auto k = some_values<Value>(op.kv_heads * shape.keys() * op.qk_dim);
  const auto v = some_values<Value>(op.kv_heads * shape.keys() * op.v_dim);
  const auto sinks = some_values<Bf16>(op.query_heads);
  QueryRows<Bf16> queries{rows_first(std::span<const Bf16>(q), op.query_heads, shape.queries, op.qk_dim)};
  if (op.sinks) queries.sinks = sinks;
  ContiguousKeyValues<Value, Decode> source;
  source.key_rows = rows_first(std::span<const Value>(k), op.kv_heads, shape.keys(), op.qk_dim);
  source.value_rows = heads_first(std::span<const Value>(v), op.kv_heads, shape.keys(), op.v_dim);
  source.key_decode = decode;
  source.value_decode = decode;
  std::vector<Bf16> o(static_cast<std::size_t>(op.query_heads * shape.queries * op.v_dim));
  const AttentionOutput<Bf16> output{rows_first(std::span(o), op.query_heads, shape.queries, op.v_dim)};
  AttentionOptions options = options_of(shape);
  options.soft_cap = op.score_cap ? 20.0 : 0.0;
  CountingProbe probe;
  if (shape.phase == llm::Phase::prefill) {
    attention_tiled(queries, source, options, output, probe);
  } else {
    attention_decode(queries, source, options, output, probe);
  }
  expect_work(probe.result(), llm::work_of(op));
  expect_tiles(probe.result(), shape, op);
  // Decode reads each element once for all query heads that share it; prefill once per query head and tile.
  if (shape.phase == llm::Phase::decode) {
    RC_ASSERT(probe.result().actual(Operand::keys_values) == probe.result().compulsory(Operand::keys_values));
  }
}

TEST_CASE("grouped attention counts the work of its operator") {
  const std::vector<float> table(256, 0.5F), scale = {0.25F};
  CHECK(rc::check([&] {
    for (int i = 0; i < kShapes; ++i) check_grouped<Bf16>(llm::NumberFormat::bf16, PlainDecode{});
    check_grouped<std::uint8_t>(llm::NumberFormat::fp8, TableDecode{table, scale});
    check_grouped<std::int8_t>(llm::NumberFormat::int8, IntegerDecode{scale});
  }));
}

// Tensors of latent attention on one sequence.
struct Latent {
  LatentSizes sizes;
  std::vector<Bf16> q, latent, rope, up, o;
  QueryRows<Bf16> queries;
  LatentKeyValues<Bf16> cache;
  AttentionOutput<Bf16> output;

  explicit Latent(const Shape& shape) {
    sizes.heads = between(1, 5);
    sizes.latent = between(1, 12);
    sizes.nope = between(1, 6);
    sizes.rope = 2 * between(1, 3);
    sizes.value = between(1, 6);
    q = some_values<Bf16>(sizes.heads * shape.queries * sizes.query_dim());
    latent = some_values<Bf16>(shape.keys() * sizes.latent);
    rope = some_values<Bf16>(shape.keys() * sizes.rope);
    up = some_values<Bf16>(sizes.heads * (sizes.nope + sizes.value) * sizes.latent);
    o.resize(static_cast<std::size_t>(sizes.heads * shape.queries * sizes.value));
    queries.rows = heads_first(std::span<const Bf16>(q), sizes.heads, shape.queries, sizes.query_dim());
    cache = latent_cache(std::span<const Bf16>(latent), std::span<const Bf16>(rope), sizes);
    output.rows = heads_first(std::span<Bf16>(o), sizes.heads, shape.queries, sizes.value);
  }
  Latent(const Latent&) = delete;
  Latent& operator=(const Latent&) = delete;
};

TEST_CASE("both forms of latent attention count the work of their operators") {
  CHECK(rc::check([] {
    for (int i = 0; i < kShapes; ++i) {
      Shape shape = any_shape();
      shape.rule = {};
      shape.phase = llm::Phase::prefill;
      const Latent naive(shape);
      CountingProbe probe;
      latent_attention_naive(naive.queries, naive.cache, std::span<const Bf16>(naive.up), naive.sizes,
                             options_of(shape), naive.output, probe);
      llm::Attention op = operator_of(shape, llm::AttentionForm::latent_naive);
      op.query_heads = op.kv_heads = naive.sizes.heads;
      op.qk_dim = naive.sizes.query_dim();
      op.v_dim = naive.sizes.value;
      expect_work(probe.result(), llm::work_of(op));
      expect_tiles(probe.result(), shape, op);

      shape.phase = llm::Phase::decode;
      shape.queries = std::min<std::int64_t>(shape.queries, 5);
      const Latent absorbed(shape);
      CountingProbe decode;
      latent_attention_absorbed(absorbed.queries, absorbed.cache, std::span<const Bf16>(absorbed.up),
                                absorbed.sizes, options_of(shape), absorbed.output, decode);
      op = operator_of(shape, llm::AttentionForm::latent_absorbed);
      op.query_heads = absorbed.sizes.heads;
      op.kv_heads = 1;
      op.qk_dim = absorbed.sizes.cached_dim();
      op.v_dim = absorbed.sizes.latent;
      expect_work(decode.result(), llm::work_of(op));
      expect_tiles(decode.result(), shape, op);
    }
  }));
}

// Chooses among all earlier keys by scores of whole numbers, with ties.
std::vector<std::int32_t> choose(const Shape& shape, Counts& counts) {
  std::vector<float> scores(static_cast<std::size_t>(shape.queries * shape.keys()),
                            detail::kMinusInfinity<float>);
  for (std::int64_t t = 0; t < shape.queries; ++t) {
    for (std::int64_t s = 0; s <= shape.first + t; ++s)
      scores[static_cast<std::size_t>(t * shape.keys() + s)] = static_cast<float>((s * 31 + t * 17) % 13);
  }
  std::vector<std::int32_t> chosen(static_cast<std::size_t>(shape.queries * shape.rule.limit));
  CountingProbe probe;
  choose_keys(scores, shape.queries, shape.keys(), shape.rule.limit, chosen, probe);
  counts = probe.result();
  return chosen;
}

TEST_CASE("the indexer, its choice and attention over it count the work of their operators") {
  CHECK(rc::check([] {
    for (int i = 0; i < kShapes; ++i) {
      Shape shape = any_shape();
      shape.rule = {};
      shape.queries = std::min<std::int64_t>(shape.queries, 40);
      const IndexSizes sizes{shape.queries, shape.keys(), between(1, 5), between(1, 9), shape.first};
      const auto q = some_values<Bf16>(sizes.queries * sizes.heads * sizes.head_dim);
      const auto k = some_values<Bf16>(sizes.keys * sizes.head_dim);
      const auto w = some_values<Bf16>(sizes.queries * sizes.heads);
      std::vector<float> scores(static_cast<std::size_t>(sizes.queries * sizes.keys));
      CountingProbe probe;
      index_scores<float, Bf16>(q, k, w, sizes, scores, probe);
      expect_work(probe.result(),
                  llm::work_of(llm::IndexScores{shape.phase, shape.queries, shape.pairs(), shape.visible(),
                                                sizes.heads, sizes.head_dim, 2 * sizes.head_dim}));
      const std::int64_t candidates = shape.pairs();
      shape.rule.limit = between(1, 200);
      Counts counts;
      const std::vector<std::int32_t> chosen = choose(shape, counts);
      expect_work(counts, llm::work_of(llm::KeyChoice{candidates, shape.pairs()}));

      const Latent latent(shape);
      AttentionOptions options = options_of(shape);
      if (shape.phase == llm::Phase::prefill)
        options.tile.queries = 1;  // executed_pairs: one query at a time
      if (shape.phase == llm::Phase::decode && shape.queries > 1) options.tile.queries = 1;
      CountingProbe sparse;
      latent_attention_absorbed(latent.queries, latent.cache, std::span<const Bf16>(latent.up), latent.sizes,
                                options, latent.output, sparse, chosen, shape.rule.limit);
      llm::Attention op = operator_of(shape, llm::AttentionForm::latent_absorbed);
      op.query_heads = latent.sizes.heads;
      op.kv_heads = 1;
      op.qk_dim = latent.sizes.cached_dim();
      op.v_dim = latent.sizes.latent;
      // Keys that several queries choose are said to be read as often as they can differ.
      const std::int64_t row = 2 * op.qk_dim;
      const std::int64_t read = sparse.result().compulsory(Operand::keys_values);
      RC_ASSERT(read % row == 0 && read / row <= op.kv_tokens);
      if (shape.queries == 1) RC_ASSERT(read / row == op.kv_tokens);
      op.kv_tokens = read / row;
      expect_work(sparse.result(), llm::work_of(op));
      if (shape.phase == llm::Phase::prefill || shape.queries == 1) expect_tiles(sparse.result(), shape, op);
    }
  }));
}

}  // namespace
}  // namespace moesim::reference
