// Golden cases of attention. Every kernel that can compute a case does, and each result is compared.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>

#include "models/reference/attention_merge.hpp"
#include "models/reference/delta_chunk.hpp"
#include "models/reference/golden.hpp"
#include "models/reference/golden_rope.hpp"
#include "models/reference/indexer.hpp"
#include "models/reference/mla.hpp"

namespace moesim::reference {

namespace {

// A number of heads, tokens or elements. Sizes that no case has are refused before memory is asked for.
std::int64_t size_parameter(const GoldenCase& golden, const char* name, std::int64_t otherwise = -1) {
  constexpr std::int64_t kLargest = 1 << 20;
  const std::int64_t size = otherwise < 0 ? golden.integer(name) : golden.integer_or(name, otherwise);
  if (size < 0 || size > kLargest)
    throw GoldenError(fmt::format("case {}: {} is {}", golden.name(), name, size));
  return size;
}

// Results that are about to be made must be as many as the file holds.
void expect_elements(const GoldenCase& golden, const char* output, std::int64_t elements) {
  constexpr std::int64_t kMost = std::int64_t{1} << 26;  // of a result that the file does not hold
  if (!golden.has_tensor(output)) {
    if (elements <= kMost) return;
    throw GoldenError(
        fmt::format("case {}: the sizes give {} elements of {}", golden.name(), elements, output));
  }
  if (golden.tensor(output).elements() != elements) {
    throw GoldenError(fmt::format("case {}: the sizes give {} elements of {}, the file holds {}",
                                  golden.name(), elements, output, golden.tensor(output).elements()));
  }
}

// The tensors and parameters of a case of plain attention.
struct AttentionCase {
  QueryRows<float> queries;
  ContiguousKeyValues<float> source;
  AttentionOptions options;
  std::int64_t heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t count = 0;  // queries
  std::int64_t keys = 0;
  std::int64_t value_dim = 0;

  explicit AttentionCase(const GoldenCase& golden)
      : heads(size_parameter(golden, "heads_q", golden.dimension("q", 0))),
        kv_heads(size_parameter(golden, "heads_kv", golden.dimension("k", 0))),
        count(size_parameter(golden, "nq", golden.dimension("q", 1))),
        keys(size_parameter(golden, "nk", golden.dimension("k", 1))),
        value_dim(size_parameter(golden, "dv", golden.dimension("v", 2))) {
    const std::int64_t key_dim = size_parameter(golden, "d", golden.dimension("q", 2));
    if (key_dim == 0) throw GoldenError(fmt::format("case {}: keys have no elements", golden.name()));
    expect_elements(golden, "o", heads * count * value_dim);
    expect_elements(golden, "lse", heads * count);
    if (kv_heads == 0 || heads % kv_heads != 0) {
      throw GoldenError(
          fmt::format("case {}: heads_q {} is no multiple of heads_kv {}", golden.name(), heads, kv_heads));
    }
    expect_elements(golden, "q", heads * count * key_dim);
    expect_elements(golden, "k", kv_heads * keys * key_dim);
    expect_elements(golden, "v", kv_heads * keys * value_dim);
    queries.rows = heads_first(golden.f32("q"), heads, count, key_dim);
    source.key_rows = heads_first(golden.f32("k"), kv_heads, keys, key_dim);
    source.value_rows = heads_first(golden.f32("v"), kv_heads, keys, value_dim);
    if (golden.flag_or("sink", golden.has_tensor("sink"))) queries.sinks = golden.f32("sink");
    options.scale = golden.number_or("scale", 1.0 / std::sqrt(static_cast<double>(key_dim)));
    options.soft_cap = golden.number_or("softcap", 0.0);
    options.first_query = keys - count;
    options.mask.window = size_parameter(golden, "window", 0);
    options.mask.chunk = size_parameter(golden, "chunk", 0);
    const std::string kind = golden.text_or("kind", golden.has_tensor("mask") ? "custom" : "causal");
    options.mask.causal = kind == "causal";
    if (kind == "custom") {
      options.mask.custom = golden.u8("mask");
      options.mask.custom_keys = keys;
    } else if (kind != "causal" && kind != "full") {
      throw GoldenError(fmt::format("case {}: unknown mask \"{}\"", golden.name(), kind));
    }
  }
};

// Results [heads, queries, value_dim] and log-sum-exps of one kernel.
struct Results {
  std::vector<float> o;
  std::vector<float> lse;
  AttentionOutput<float> output;

  explicit Results(const AttentionCase& shape)
      : o(static_cast<std::size_t>(shape.heads * shape.count * shape.value_dim)),
        lse(static_cast<std::size_t>(shape.heads * shape.count)),
        output{heads_first(std::span<float>(o), shape.heads, shape.count, shape.value_dim), lse} {}
  Results(const Results&) = delete;
  Results& operator=(const Results&) = delete;

  void give(GoldenCase& golden) const {
    golden.give("o", std::span<const float>(o));
    golden.give("lse", std::span<const float>(lse));
  }
  [[nodiscard]] bool same_bits(const Results& other) const {
    const auto same = [](float a, float b) {
      return std::bit_cast<std::uint32_t>(a) == std::bit_cast<std::uint32_t>(b);
    };
    return std::equal(o.begin(), o.end(), other.o.begin(), same) &&
           std::equal(lse.begin(), lse.end(), other.lse.begin(), same);
  }
};

// The keys and values of a case in pages that lie in a pool in reverse order.
struct Pages {
  static constexpr std::int64_t kRows = 3;
  std::vector<float> keys;
  std::vector<float> values;
  std::vector<std::int32_t> table;
  PagedKeyValues<float> source;

  explicit Pages(const AttentionCase& shape) {
    const std::int64_t pages = core::divide_up(shape.keys, kRows);
    for (std::int64_t i = pages; i-- > 0;) table.push_back(static_cast<std::int32_t>(i));
    const auto fill = [&](const HeadRows<const float>& rows, std::vector<float>& pool) {
      pool.resize(static_cast<std::size_t>(pages * kRows * rows.heads * rows.width));
      for (std::int64_t j = 0; j < shape.keys; ++j) {
        const std::int64_t at = (pages - 1 - j / kRows) * kRows + j % kRows;
        for (std::int64_t h = 0; h < rows.heads; ++h)
          std::copy_n(rows.row(h, j), rows.width, pool.data() + (at * rows.heads + h) * rows.width);
      }
    };
    fill(shape.source.key_rows, keys);
    fill(shape.source.value_rows, values);
    source.key_pool = keys;
    source.value_pool = values;
    source.pages = table;
    source.page_rows = kRows;
    source.keys = shape.keys;
    source.kv_heads = shape.kv_heads;
    source.key_width = shape.source.key_dim();
    source.value_width = shape.value_dim;
  }
};

void give_counts(GoldenCase& golden, const AttentionCase& shape, const Counts& tiled, const Counts& naive) {
  const std::int64_t per_pair = shape.heads * (shape.source.key_dim() + shape.value_dim);
  if (per_pair > 0 && golden.has("unmasked_pairs"))
    golden.give_count("unmasked_pairs", tiled.useful_macs / per_pair);
  if (golden.has("flops_exact")) golden.give_count("flops_exact", 2 * tiled.useful_macs);
  if (golden.has("flops_full")) golden.give_count("flops_full", 2 * naive.executed_macs);
}

// Split keys: partial results, and their merge at once and one after another.
void give_splits(GoldenCase& golden, const AttentionCase& shape) {
  const std::int64_t parts = size_parameter(golden, "splits", 0);
  if (parts <= 0) return;
  expect_elements(golden, "partial_lse", parts * shape.heads * shape.count);
  const std::vector<KeyRange> ranges = split_keys({0, shape.keys}, parts);
  const SplitResult split = attention_split(shape.queries, shape.source, shape.options, ranges);
  golden.give("partial_o", std::span<const float>(split.partial_o));
  golden.give("partial_lse", std::span<const float>(split.partial_lse));
  golden.give("o", std::span<const float>(split.o));
  golden.give("lse", std::span<const float>(split.lse));
  if (!shape.queries.sinks.empty()) return;
  Results ring(shape);
  std::fill(ring.lse.begin(), ring.lse.end(), detail::kMinusInfinity<float>);
  const auto width = static_cast<std::size_t>(shape.value_dim);
  for (std::size_t part = 0; part < ranges.size(); ++part) {
    for (std::size_t row = 0; row < ring.lse.size(); ++row) {
      const std::size_t from = part * ring.lse.size() + row;
      merge_into<float>(std::span(ring.o).subspan(row * width, width), ring.lse[row],
                        std::span(split.partial_o).subspan(from * width, width), split.partial_lse[from]);
    }
  }
  ring.give(golden);
}

void run_attention(GoldenCase& golden) {
  AttentionCase shape(golden);
  Results naive(shape), tiled(shape), small(shape), decode(shape), paged(shape);
  CountingProbe naive_probe, tiled_probe;
  attention_naive<float>(shape.queries, shape.source, shape.options,
                         AttentionOutput<float, float>{naive.output.rows, naive.output.lse}, naive_probe);
  attention_tiled(shape.queries, shape.source, shape.options, tiled.output, tiled_probe);
  attention_decode(shape.queries, shape.source, shape.options, decode.output);
  const Pages pages(shape);
  attention_decode(shape.queries, pages.source, shape.options, paged.output);
  shape.options.tile = {3, 7};
  attention_tiled(shape.queries, shape.source, shape.options, small.output);
  for (const Results* results : {&naive, &tiled, &small, &decode}) results->give(golden);
  if (!decode.same_bits(tiled) || !paged.same_bits(tiled)) {
    throw GoldenError(fmt::format(
        "case {}: decode and prefill order or paged and contiguous keys give different bits", golden.name()));
  }
  give_counts(golden, shape, tiled_probe.result(), naive_probe.result());
  give_splits(golden, shape);
}

LatentWeights<float> latent_weights(const GoldenCase& golden, const LatentSizes& sizes) {
  LatentWeights<float> weights;
  if (sizes.query_rank > 0) {
    weights.query_down = golden.f32("wq_a");
    weights.query_norm = golden.f32("q_norm");
  }
  weights.query_up = golden.f32(golden.has_tensor("wq_b") ? "wq_b" : "wq");
  weights.key_value_down = golden.f32("wkv_a");
  weights.key_value_norm = golden.f32("kv_norm");
  weights.key_value_up = golden.f32("wkv_b");
  weights.output = golden.f32("wo");
  return weights;
}

void run_latent(GoldenCase& golden) {
  LatentSizes sizes;
  sizes.heads = size_parameter(golden, "heads");
  sizes.hidden = size_parameter(golden, "dim");
  sizes.query_rank = size_parameter(golden, "q_lora_rank", 0);
  sizes.latent = size_parameter(golden, "kv_lora_rank");
  sizes.nope = size_parameter(golden, "qk_nope");
  sizes.rope = size_parameter(golden, "qk_rope");
  sizes.value = size_parameter(golden, "v");
  const std::int64_t tokens = size_parameter(golden, "tokens"), past = size_parameter(golden, "past", 0);
  expect_elements(golden, "attn_out", sizes.heads * tokens * sizes.value);
  expect_elements(golden, "lse", sizes.heads * tokens);
  expect_elements(golden, "rope_cache", (past + tokens) * sizes.rope);
  std::vector<std::int64_t> positions;
  for (std::int64_t t = 0; t < past + tokens; ++t) positions.push_back(t);
  RopeTable table;
  if (sizes.rope > 0 && golden.has("rope")) {
    const RopeConfig rope = golden_rope_config(golden, "rope.", sizes.rope);
    table = rope_table(inverse_frequencies(rope), attention_factor(rope), RopeAngle::exact, positions);
  }
  const RopeLayout layout =
      golden.flag_or("rope.interleaved", true) ? RopeLayout::interleaved : RopeLayout::half_split;
  const LatentWeights<float> weights = latent_weights(golden, sizes);
  const LatentProjection projection = latent_projection(golden.f32("x"), weights, sizes, table, layout,
                                                        static_cast<float>(golden.number("eps")));
  golden.give_count("kv_cache_bytes_per_token_bf16", 2 * (sizes.latent + sizes.rope));
  golden.give("latent_cache", std::span<const float>(projection.latent_rows));
  golden.give("rope_cache", std::span<const float>(projection.rope_rows));
  QueryRows<float> queries;
  queries.rows =
      heads_first(std::span<const float>(projection.queries), sizes.heads, past + tokens, sizes.query_dim());
  queries.rows.data += past * sizes.query_dim();
  queries.rows.rows = tokens;
  AttentionOptions options;
  options.scale = golden.number("scale");
  options.first_query = past;
  const LatentKeyValues<float> cache = latent_cache(std::span<const float>(projection.latent_rows),
                                                    std::span<const float>(projection.rope_rows), sizes);
  for (const bool absorbed : {false, true}) {
    std::vector<float> heads_out(static_cast<std::size_t>(sizes.heads * tokens * sizes.value));
    std::vector<float> lse(static_cast<std::size_t>(sizes.heads * tokens));
    const AttentionOutput<float> output{
        heads_first(std::span<float>(heads_out), sizes.heads, tokens, sizes.value), lse};
    if (absorbed) {
      latent_attention_absorbed(queries, cache, weights.key_value_up, sizes, options, output);
    } else {
      latent_attention_naive(queries, cache, weights.key_value_up, sizes, options, output);
    }
    golden.give("attn_out", std::span<const float>(heads_out));
    golden.give("lse", std::span<const float>(lse));
    golden.give("y", std::span<const float>(latent_output(heads_out, weights, sizes)));
  }
}

void run_indexer(GoldenCase& golden) {
  IndexSizes sizes;
  sizes.queries = size_parameter(golden, "tokens", golden.dimension("q", 0));
  sizes.keys = size_parameter(golden, "keys", golden.dimension("k", 0));
  sizes.heads = size_parameter(golden, "index_heads", golden.dimension("q", 1));
  sizes.head_dim = size_parameter(golden, "index_dim", golden.dimension("q", 2));
  sizes.first_query = sizes.keys - sizes.queries;
  expect_elements(golden, "scores", sizes.queries * sizes.keys);
  std::vector<float> scores(static_cast<std::size_t>(sizes.queries * sizes.keys));
  index_scores<float>(golden.f32("q"), golden.f32("k"), golden.f32("head_weights"), sizes, std::span(scores));
  golden.give("scores", std::span<const float>(scores));
  if (!golden.has_tensor("topk_sorted")) return;
  const std::int64_t top_k =
      golden.tensor("topk_sorted").elements() / std::max<std::int64_t>(sizes.queries, 1);
  std::vector<std::int32_t> chosen(static_cast<std::size_t>(sizes.queries * top_k));
  choose_keys(scores, sizes.queries, sizes.keys, top_k, chosen);
  // Where a query has fewer candidates, the file counts the hidden keys with the lowest numbers among the
  // best.
  for (std::int64_t t = 0; t < sizes.queries; ++t) {
    const auto row =
        std::span(chosen).subspan(static_cast<std::size_t>(t * top_k), static_cast<std::size_t>(top_k));
    auto place = std::find(row.begin(), row.end(), -1);
    for (std::int64_t s = 0; s < sizes.keys && place != row.end(); ++s) {
      if (!(scores[static_cast<std::size_t>(t * sizes.keys + s)] > detail::kMinusInfinity<float>)) {
        *place++ = static_cast<std::int32_t>(s);
      }
    }
    std::sort(row.begin(), row.end());
  }
  golden.give_integers("topk_sorted", std::span<const std::int32_t>(chosen));
}

void run_gated_delta(GoldenCase& golden) {
  DeltaSizes sizes;
  sizes.tokens = size_parameter(golden, "tokens", golden.dimension("v", 0));
  sizes.value_heads = size_parameter(golden, "heads", golden.dimension("v", 1));
  sizes.key_heads = size_parameter(golden, "key_heads", golden.dimension("k", 1));
  sizes.key_dim = size_parameter(golden, "dk", golden.dimension("k", 2));
  sizes.value_dim = size_parameter(golden, "dv", golden.dimension("v", 2));
  const DeltaInputs<float> inputs{golden.f32("q"), golden.f32("k"), golden.f32("v"), golden.f32("g"),
                                  golden.f32("beta")};
  DeltaOptions options;
  expect_elements(golden, "o", sizes.tokens * sizes.value_heads * sizes.value_dim);
  expect_elements(golden, "state", sizes.value_heads * sizes.key_dim * sizes.value_dim);
  options.norm_epsilon = golden.number_or("qk_l2norm_eps", options.norm_epsilon);
  options.chunk = std::max<std::int64_t>(size_parameter(golden, "chunk", options.chunk), 1);
  for (const std::int64_t chunk : {std::int64_t{0}, options.chunk, std::int64_t{5}}) {
    std::vector<float> state(static_cast<std::size_t>(sizes.value_heads * sizes.key_dim * sizes.value_dim));
    std::vector<float> out(static_cast<std::size_t>(sizes.tokens * sizes.value_heads * sizes.value_dim));
    options.chunk = chunk;
    if (chunk == 0) {
      delta_rule_recurrent<float>(inputs, sizes, options, std::span(state), std::span(out));
    } else {
      delta_rule_chunked<float>(inputs, sizes, options, std::span(state), std::span(out));
    }
    golden.give("o", std::span<const float>(out));
    golden.give("state", std::span<const float>(state));
  }
}

void run_temperature(GoldenCase& golden) {
  std::vector<float> scales;
  for (const std::int64_t position : golden.i64("pos")) {
    scales.push_back(static_cast<float>(
        attention_temperature(position, golden.number("floor_scale"), golden.number("attn_scale"))));
  }
  golden.give("scale", std::span<const float>(scales));
}

constexpr std::array kAttentionKinds = {
    GoldenKind{"attention", run_attention},   GoldenKind{"mla", run_latent},
    GoldenKind{"dsa_indexer", run_indexer},   GoldenKind{"gated_delta", run_gated_delta},
    GoldenKind{"attn_temp", run_temperature},
};

}  // namespace

std::span<const GoldenKind> golden_attention_kinds() { return kAttentionKinds; }

}  // namespace moesim::reference
