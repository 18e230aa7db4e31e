// Rotary position embeddings and their scalings (Hugging Face transformers modeling_rope_utils.py, gpt-oss
// torch/model.py, llama-models rope scaling).
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "models/reference/probe.hpp"
#include "models/reference/storage.hpp"
#include "sim/core/check.hpp"

namespace moesim::reference {

enum class RopeScaling : std::uint8_t {
  none,
  linear,   // f / s
  dynamic,  // the base grows with the sequence beyond max_position
  yarn,     // f / s for long waves, f for short ones, a ramp between
  llama3,   // the same with other edges, in wavelengths
  longrope  // a factor per pair, one list for short sequences and one for long ones
};

struct RopeConfig {
  RopeScaling scaling = RopeScaling::none;
  std::int64_t dim = 0;  // channels that rotate, even
  double base = 10000.0;
  double factor = 1.0;             // s
  double original_position = 0.0;  // of training: yarn, llama3, longrope
  double max_position = 0.0;       // dynamic, longrope
  double sequence = 0.0;           // length of the sequence: dynamic, longrope
  double beta_fast = 32.0;         // yarn: rotations over original_position where the ramp begins and ends
  double beta_slow = 1.0;
  bool truncate = true;                  // yarn: the edges of the ramp are whole numbers (not so for gpt-oss)
  std::optional<double> mscale;          // yarn of DeepSeek
  std::optional<double> mscale_all_dim;  // the same
  double low_frequency_factor = 1.0;     // llama3
  double high_frequency_factor = 4.0;
  std::vector<double> short_factors;  // longrope, one per pair
  std::vector<double> long_factors;
};

// Radians per position of each pair. Throws core::InvariantError for an odd or empty `dim`, a base or factors
// that are not above 0, and lists of another length than dim / 2.
[[nodiscard]] std::vector<double> inverse_frequencies(const RopeConfig& config);
// What cosines and sines are multiplied by: 0.1 ln s + 1 for yarn (its quotient for mscale and mscale_all_dim
// where those are set), sqrt(1 + ln(s) / ln(m)) for longrope with s = max_position / m, else 1.
[[nodiscard]] double attention_factor(const RopeConfig& config);

// How the angle is computed.
enum class RopeAngle : std::uint8_t {
  exact,  // in double: within 1e-6 at every position of today's models
  f32  // frequency, position and their product in f32, as Hugging Face, vLLM and llama.cpp do: wrong by about
       // position x 2^-24 radians
};

// Cosines and sines of some positions, times the attention factor.
struct RopeTable {
  std::int64_t pairs = 0;
  std::vector<float> cosines;  // [positions, pairs]
  std::vector<float> sines;
};
[[nodiscard]] RopeTable rope_table(std::span<const double> frequencies, double factor, RopeAngle angle,
                                   std::span<const std::int64_t> positions);

// Which channels make a pair.
enum class RopeLayout : std::uint8_t {
  half_split,  // i and i + dim / 2
  interleaved  // 2 i and 2 i + 1
};

// Rotates the first 2 x pairs channels of one head in place by the angles in row `t` of the table; 6 FLOP a
// pair.
template <class Value, Probe P>
void rotate_head(std::span<Value> head, const RopeTable& table, std::int64_t t, RopeLayout layout, P& probe) {
  const std::int64_t rows = table.pairs > 0 ? std::ssize(table.cosines) / table.pairs : 0;
  core::check(t >= 0 && t < rows && std::ssize(head) >= 2 * table.pairs,
              "the table must have the position, the head the channels");
  if constexpr (P::has(Fault::rope_position_off_by_one)) t = t + 1 < rows ? t + 1 : t - 1;
  const bool interleaved = (layout == RopeLayout::interleaved) != P::has(Fault::rope_interleaved_swapped);
  const auto pairs = static_cast<std::size_t>(table.pairs);
  const std::size_t row = static_cast<std::size_t>(t) * pairs;
  for (std::size_t i = 0; i < pairs; ++i) {
    const std::size_t first = interleaved ? 2 * i : i;
    const std::size_t second = interleaved ? 2 * i + 1 : i + pairs;
    const float a = to_float(head[first]);
    const float b = to_float(head[second]);
    const float cosine = table.cosines[row + i];
    const float sine = P::has(Fault::rope_sine_negated) ? -table.sines[row + i] : table.sines[row + i];
    head[first] = stored_as<Value>(a * cosine - b * sine);
    head[second] = stored_as<Value>(b * cosine + a * sine);
    probe.flops(6);
  }
}

// Heads of one layer on one rank.
struct RopeHeads {
  std::int64_t query_heads = 0;
  std::int64_t kv_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t value_dim = 0;
};

// Rotates the queries [tokens, query heads, head_dim] in place, and writes rotated keys [tokens, KV heads,
// head_dim] and values [tokens, KV heads, value_dim] to rows `slots` of the cache. Row t of the table is for
// token t. Counts as llm's rope_and_cache: of the queries only the channels that rotate are read and written.
template <class Value, Probe P>
void rope_and_cache(const RopeHeads& heads, const RopeTable& table, RopeLayout layout,
                    std::span<Value> queries, std::span<const Value> keys, std::span<const Value> values,
                    std::span<const std::int64_t> slots, std::span<Value> key_cache,
                    std::span<Value> value_cache, P& probe) {
  constexpr int kBits = kBitsOf<Value>;
  const auto tokens = std::ssize(slots);
  core::check(std::ssize(queries) == tokens * heads.query_heads * heads.head_dim &&
                  std::ssize(keys) == tokens * heads.kv_heads * heads.head_dim &&
                  std::ssize(values) == tokens * heads.kv_heads * heads.value_dim,
              "queries, keys and values must fit the heads");
  const std::int64_t rotated = 2 * table.pairs;
  core::check(rotated <= heads.head_dim, "more channels rotate than a head has");
  for (std::int64_t t = 0; t < tokens; ++t) {
    for (std::int64_t h = 0; h < heads.query_heads; ++h) {
      const std::int64_t first = (t * heads.query_heads + h) * heads.head_dim;
      probe.touch(Operand::activations, 0, first, rotated, kBits);
      rotate_head(queries.subspan(static_cast<std::size_t>(first), static_cast<std::size_t>(heads.head_dim)),
                  table, t, layout, probe);
      probe.touch(Operand::result, 1, first, rotated, kBits);
    }
    const std::int64_t slot = slots[static_cast<std::size_t>(t)];
    for (std::int64_t h = 0; h < heads.kv_heads; ++h) {
      const auto copy = [&](std::span<const Value> from, std::span<Value> to, std::int64_t width,
                            int tensor) {
        const std::int64_t source = (t * heads.kv_heads + h) * width;
        const std::int64_t target = (slot * heads.kv_heads + h) * width;
        core::check(slot >= 0 && target + width <= std::ssize(to), "a slot lies outside the cache");
        probe.touch(Operand::activations, tensor, source, width, kBits);
        probe.touch(Operand::cached_result, tensor + 2, target, width, kBits);
        const auto written = to.subspan(static_cast<std::size_t>(target), static_cast<std::size_t>(width));
        std::copy_n(from.begin() + source, width, written.begin());
        return written;
      };
      const std::span<Value> key = copy(keys, key_cache, heads.head_dim, 2);
      rotate_head(key, table, t, layout, probe);
      (void)copy(values, value_cache, heads.value_dim, 3);
    }
  }
}

// Rotation of one head in double at a position that need not be whole.
[[nodiscard]] std::vector<double> rotate_head_f64(std::span<const double> head,
                                                  std::span<const double> frequencies, double factor,
                                                  double position, RopeLayout layout);

}  // namespace moesim::reference
