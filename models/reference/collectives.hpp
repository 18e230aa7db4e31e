// Collectives with a declared order of additions: their bits can be told from the inputs alone. All ranks'
// buffers lie one after another in one array.
//
// Ring: chunk c of n values is the range [c n / P, (c + 1) n / P). Its sum starts on rank c + 1, passes each
// rank once, and is complete on rank c: ((x_{c+1} + x_{c+2}) + ...) + x_c. Tree: neighbours are added in
// pairs, level by level, ((x_0 + x_1) + (x_2 + x_3)) + ...; one without a neighbour moves up as it is.
#pragma once

#include <algorithm>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "models/reference/probe.hpp"
#include "models/reference/storage.hpp"
#include "sim/core/check.hpp"

namespace moesim::reference {

enum class ReduceOrder : std::uint8_t { ring, tree };

// Where sums are rounded to the storage type.
enum class ReduceRounding : std::uint8_t {
  each_add,  // partial sums travel in the storage type
  once       // partial sums are f32; the result is rounded
};

// Values that each rank sent to others.
using SentValues = std::vector<std::int64_t>;

namespace collective_parts {

struct Chunk {
  std::int64_t first = 0;
  std::int64_t end = 0;
};
[[nodiscard]] inline Chunk chunk_of(std::int64_t chunk, std::int64_t n, std::int64_t ranks) {
  // chunk x n may pass 63 bits for no array that fits into memory.
  return {chunk * n / ranks, (chunk + 1) * n / ranks};
}

inline void check_ranks(std::size_t size, std::int64_t ranks) {
  core::check(ranks > 0 && size % static_cast<std::size_t>(ranks) == 0,
              "a collective needs ranks with buffers of one size");
}

template <class Value>
[[nodiscard]] float added(float a, float b, ReduceRounding rounding) {
  return rounding == ReduceRounding::each_add ? to_float(stored_as<Value>(a + b)) : a + b;
}

// All buffers as f32; reads each once.
template <class Value, Probe P>
[[nodiscard]] std::vector<float> read_buffers(std::span<const Value> x, std::int64_t ranks, P& probe) {
  check_ranks(x.size(), ranks);
  const std::int64_t n = std::ssize(x) / ranks;
  std::vector<float> buffers(x.size());
  std::transform(x.begin(), x.end(), buffers.begin(), [](Value value) { return to_float(value); });
  for (std::int64_t r = 0; r < ranks; ++r) {
    probe.touch(Operand::activations, 0, r * n, n, kBitsOf<Value>);
  }
  if constexpr (P::has(Fault::drop_last_rank)) std::fill(buffers.end() - n, buffers.end(), 0.0F);
  return buffers;
}

// The ring's P - 1 steps of a reduce-scatter, in place. Afterwards chunk c is complete on rank
// ring_owner(c).
template <class Value, Probe P>
void ring_reduce(std::span<float> buffers, std::int64_t ranks, ReduceRounding rounding, SentValues& sent,
                 P& probe) {
  const std::int64_t n = std::ssize(buffers) / ranks;
  constexpr std::int64_t kStart = P::has(Fault::ring_starts_elsewhere) ? 0 : 1;
  for (std::int64_t step = 0; step + 1 < ranks; ++step) {
    for (std::int64_t from = 0; from < ranks; ++from) {
      const Chunk chunk = chunk_of((from - step - kStart + 2 * ranks) % ranks, n, ranks);
      const std::int64_t to = (from + 1) % ranks;
      for (std::int64_t i = chunk.first; i < chunk.end; ++i) {
        float& sum = buffers[static_cast<std::size_t>(to * n + i)];
        sum = added<Value>(buffers[static_cast<std::size_t>(from * n + i)], sum, rounding);
      }
      probe.flops(chunk.end - chunk.first);
      sent[static_cast<std::size_t>(from)] += chunk.end - chunk.first;
    }
  }
}

template <Probe P>
[[nodiscard]] std::int64_t ring_owner(std::int64_t chunk, std::int64_t ranks) {
  return P::has(Fault::ring_starts_elsewhere) ? (chunk + ranks - 1) % ranks : chunk;
}

// The tree's additions; the result lies in the first buffer.
template <class Value, Probe P>
void tree_reduce(std::span<float> buffers, std::int64_t ranks, ReduceRounding rounding, SentValues& sent,
                 P& probe) {
  const std::int64_t n = std::ssize(buffers) / ranks;
  for (std::int64_t distance = 1; distance < ranks; distance *= 2) {
    for (std::int64_t to = 0; to + distance < ranks; to += 2 * distance) {
      const std::int64_t from = to + distance;
      for (std::int64_t i = 0; i < n; ++i) {
        float& sum = buffers[static_cast<std::size_t>(to * n + i)];
        sum = added<Value>(sum, buffers[static_cast<std::size_t>(from * n + i)], rounding);
      }
      probe.flops(n);
      sent[static_cast<std::size_t>(from)] += n;
    }
  }
}

}  // namespace collective_parts

// Every rank gets the sum of all ranks' n values: x and out are [ranks, n]. Adds (ranks - 1) x n times. A
// ring rank sends 2 (ranks - 1) / ranks of its values; in a tree a rank sends n up, and the result goes down
// the same way. Throws core::InvariantError for sizes that do not fit.
template <class Value, Probe P>
SentValues all_reduce(ReduceOrder order, ReduceRounding rounding, std::span<const Value> x,
                      std::int64_t ranks, std::span<Value> out, P& probe) {
  core::check(x.size() == out.size(), "an all-reduce returns as many values as it takes");
  std::vector<float> buffers = collective_parts::read_buffers(x, ranks, probe);
  const std::int64_t n = std::ssize(x) / ranks;
  SentValues sent(static_cast<std::size_t>(ranks));
  const auto row = [&](std::int64_t r, std::int64_t i) { return static_cast<std::size_t>(r * n + i); };
  if (order == ReduceOrder::ring) {
    collective_parts::ring_reduce<Value>(buffers, ranks, rounding, sent, probe);
    for (std::int64_t c = 0; c < ranks; ++c) {
      const auto chunk = collective_parts::chunk_of(c, n, ranks);
      const std::int64_t owner = collective_parts::ring_owner<P>(c, ranks);
      for (std::int64_t r = 0; r < ranks; ++r) {
        for (std::int64_t i = chunk.first; i < chunk.end; ++i) {
          out[row(r, i)] = stored_as<Value>(buffers[row(owner, i)]);
        }
        // Around the ring everyone but the rank before the owner passes the chunk on.
        if ((r + 1) % ranks != owner) sent[static_cast<std::size_t>(r)] += chunk.end - chunk.first;
      }
    }
  } else {
    collective_parts::tree_reduce<Value>(buffers, ranks, rounding, sent, probe);
    for (std::int64_t r = 0; r < ranks; ++r) {
      for (std::int64_t i = 0; i < n; ++i) out[row(r, i)] = stored_as<Value>(buffers[row(0, i)]);
      // Down again: to each rank that sent up, from the one that took it.
      if (r > 0) sent[static_cast<std::size_t>(r - (r & -r))] += n;
    }
  }
  for (std::int64_t r = 0; r < ranks; ++r) probe.touch(Operand::result, 1, r * n, n, kBitsOf<Value>);
  return sent;
}

// Rank c gets chunk c of the sum, in ring order: x is [ranks, n], out has n values, the chunks of all ranks
// one after another. Every rank sends (ranks - 1) / ranks of its values.
template <class Value, Probe P>
SentValues reduce_scatter(ReduceRounding rounding, std::span<const Value> x, std::int64_t ranks,
                          std::span<Value> out, P& probe) {
  std::vector<float> buffers = collective_parts::read_buffers(x, ranks, probe);
  const std::int64_t n = std::ssize(x) / ranks;
  core::check(std::ssize(out) == n, "a reduce-scatter returns one buffer");
  SentValues sent(static_cast<std::size_t>(ranks));
  collective_parts::ring_reduce<Value>(buffers, ranks, rounding, sent, probe);
  for (std::int64_t c = 0; c < ranks; ++c) {
    const auto chunk = collective_parts::chunk_of(c, n, ranks);
    const std::int64_t owner = collective_parts::ring_owner<P>(c, ranks);
    const std::int64_t shift = P::has(Fault::chunk_of_neighbour)
                                   ? collective_parts::chunk_of((c + 1) % ranks, n, ranks).first - chunk.first
                                   : 0;
    for (std::int64_t i = chunk.first; i < chunk.end; ++i) {
      const std::int64_t source = std::min(i + shift, n - 1);
      out[static_cast<std::size_t>(i)] =
          stored_as<Value>(buffers[static_cast<std::size_t>(owner * n + source)]);
    }
    probe.touch(Operand::result, 1, chunk.first, chunk.end - chunk.first, kBitsOf<Value>);
  }
  return sent;
}

// Every rank gets the values of all ranks: `x` holds rank r's counts[r] values one rank after another, out is
// [ranks, all values]. An exact copy.
template <class Value, Probe P>
SentValues all_gather(std::span<const Value> x, std::span<const std::int64_t> counts, std::span<Value> out,
                      P& probe) {
  const auto ranks = std::ssize(counts);
  std::int64_t total = 0;
  for (const std::int64_t count : counts) {
    core::check(count >= 0 && count <= std::ssize(x) - total, "an all-gather needs the values of each rank");
    total += count;
  }
  core::check(total == std::ssize(x) && std::ssize(out) == ranks * total,
              "an all-gather returns all values to each rank");
  SentValues sent;
  for (std::int64_t r = 0; r < ranks; ++r) {
    std::copy(x.begin(), x.end(), out.begin() + r * total);
    probe.touch(Operand::result, 1, r * total, total, kBitsOf<Value>);
    // Around a ring: everything but what the next rank had at the start.
    sent.push_back(total - counts[static_cast<std::size_t>((r + 1) % ranks)]);
  }
  probe.touch(Operand::activations, 0, 0, total, kBitsOf<Value>);
  return sent;
}

// Rank i sends counts[i, j] rows of `width` values to rank j. `x` holds the rows of rank 0 by destination,
// then those of rank 1, ...; `out` gets the rows of rank 0 by source, then those of rank 1, .... An exact
// copy; rows that stay on their rank are not sent. Throws core::InvariantError for sizes that do not fit.
template <class Value, Probe P>
SentValues all_to_all(std::span<const Value> x, std::span<const std::int64_t> counts, std::int64_t ranks,
                      std::int64_t width, std::span<Value> out, P& probe) {
  core::check(ranks > 0 && ranks <= std::ssize(counts) && width >= 0 && std::ssize(counts) == ranks * ranks,
              "an all-to-all needs a count for each pair of ranks");
  std::vector<std::int64_t> first_of(counts.size());  // where the rows from i to j start in x
  std::int64_t rows = 0;
  for (std::size_t pair = 0; pair < counts.size(); ++pair) {
    first_of[pair] = rows;
    core::check(counts[pair] >= 0 && counts[pair] <= INT64_MAX - rows, "a count must not be negative");
    rows += counts[pair];
  }
  core::check(x.size() == out.size() &&
                  (width == 0 ? x.empty() : std::ssize(x) / width == rows && std::ssize(x) % width == 0),
              "an all-to-all needs its rows, and returns as many");
  SentValues sent(static_cast<std::size_t>(ranks));
  std::int64_t at = 0;
  for (std::int64_t to = 0; to < ranks; ++to) {
    for (std::int64_t from = 0; from < ranks; ++from) {
      const std::int64_t meant = P::has(Fault::rows_to_wrong_rank) ? (to + 1) % ranks : to;
      const auto pair = static_cast<std::size_t>(from * ranks + meant);
      const std::int64_t n = counts[pair] * width;
      std::copy_n(x.begin() + first_of[pair] * width, n, out.begin() + at);
      probe.touch(Operand::activations, 0, first_of[pair] * width, n, kBitsOf<Value>);
      probe.touch(Operand::result, 1, at, n, kBitsOf<Value>);
      if (from != to) sent[static_cast<std::size_t>(from)] += n;
      at += n;
    }
  }
  return sent;
}

// |sum computed - exact sum| of one value over the ranks: gamma of the longest chain of additions times the
// sum of magnitudes, and the last rounding where there is one. `storage` is the unit roundoff of the storage
// type (2^-24 for f32, 2^-8 for bf16).
[[nodiscard]] double reduce_error_bound(std::span<const double> values, ReduceOrder order,
                                        ReduceRounding rounding, double storage);

}  // namespace moesim::reference
