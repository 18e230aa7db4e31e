// What a kernel did, counted while it ran, and faults that tests plant into it.
//
// Every kernel takes a probe as a template parameter. NoProbe costs nothing: each of its members is an empty
// inline function. CountingProbe counts. A probe with a fault makes the kernel wrong in one known way, so
// that tests can show that the error bounds notice.
#pragma once

#include <concepts>
#include <cstdint>
#include <vector>

namespace moesim::reference {

// The operands of a kernel, as llm::Work tells them apart.
enum class Operand : std::uint8_t { weights, keys_values, activations, result, cached_result };
inline constexpr std::size_t kOperands = 5;

// Ways in which a kernel can be wrong. tests/unit/reference/mutation_test.cpp goes through all of them.
enum class Fault : std::uint8_t {
  none,
  // Products and experts.
  drop_depth_tail,   // the last depth element of a product is left out
  bf16_accumulator,  // sums are rounded to bf16 after each block of depth
  neighbour_expert,  // the last row of an expert is multiplied by the next expert's weights
  drop_gate_bias,
  down_bias_twice,
  skip_clamp,  // of clamped activations
  gate_and_up_swapped,
  shared_expert_twice,
  reverse_combine_order,
  drop_last_choice,      // a token's last choice does not enter its sum
  weight_on_wrong_side,  // routing weight on the output of an expert that wants it on the input
  // Attention.
  window_off_by_one,
  causal_off_by_one,
  chunk_off_by_one,
  missing_rescale,  // the running sum of values is not rescaled when the maximum rises
  missing_denominator_rescale,
  sink_in_values,  // the sink adds to the values too
  drop_sink,
  wrong_group_head,  // a query head reads the next KV head
  cap_after_mask,    // soft cap on masked scores
  drop_soft_cap,
  scale_twice,
  page_off_by_one,  // the last key of a page is read from the next page
  last_tile_dropped,
  merge_without_weights,  // partial states are averaged
  merge_base_two,         // log-sum-exp taken as a power of two
  latent_rope_dropped,    // rotated part of latent scores left out
  absorbed_value_transposed,
  index_relu_dropped,
  delta_decay_dropped,
  delta_beta_dropped,
  delta_state_not_carried,  // chunks start from an empty state
  delta_norm_dropped,       // queries and keys are not normed
  index_tie_highest,        // of equal scores the higher key wins
  // Rotations and norms.
  rope_interleaved_swapped,
  rope_position_off_by_one,
  rope_sine_negated,
  norm_epsilon_outside,     // added after the square root
  norm_last_value_dropped,  // from the sum of squares
  norm_weight_minus_one,    // the weight is not raised by one where the model wants it
  norm_mean_not_subtracted,
  norm_residual_dropped,
  // Collectives.
  ring_starts_elsewhere,
  drop_last_rank,
  chunk_of_neighbour,  // reduce-scatter leaves each rank with the next rank's chunk
  rows_to_wrong_rank,  // all-to-all sends to the next rank
};

// Counts of one kernel. Integers; 2 FLOP a multiply-accumulate.
struct Counts {
  std::int64_t useful_macs = 0;
  // Scheduled: what a kernel of whole tiles multiplies, padding and masked pairs included. Plain kernels
  // count these and skip the padding, but for the squares of delta_rule_chunked, which are multiplied as they
  // are.
  std::int64_t executed_macs = 0;
  std::int64_t other_flops = 0;  // additions, multiplications, divisions, comparisons outside products
  std::int64_t specials = 0;     // exponentials, logarithms, reciprocal square roots
  // What the schedule of a kernel needs beside the work of its operator: rescaling of running sums, merges of
  // partial results, comparisons of a sort.
  std::int64_t extra_flops = 0;
  std::int64_t extra_specials = 0;
  std::int64_t compulsory_bytes[kOperands] = {};  // each element touched counts once
  std::int64_t actual_bytes[kOperands] = {};      // each touch counts

  [[nodiscard]] std::int64_t compulsory(Operand operand) const {
    return compulsory_bytes[static_cast<std::size_t>(operand)];
  }
  [[nodiscard]] std::int64_t actual(Operand operand) const {
    return actual_bytes[static_cast<std::size_t>(operand)];
  }
};

// Counts nothing, plants nothing.
struct NoProbe {
  static constexpr bool is_counting = false;
  [[nodiscard]] static constexpr bool has(Fault /*fault*/) { return false; }
  void macs(std::int64_t /*useful*/, std::int64_t /*executed*/) const {}
  void flops(std::int64_t /*n*/) const {}
  void specials(std::int64_t /*n*/) const {}
  void extra(std::int64_t /*flops*/, std::int64_t /*specials*/) const {}
  // Elements first, ..., first + n - 1 of a tensor are read or written, each of `bits` bits.
  void touch(Operand /*operand*/, int /*tensor*/, std::int64_t /*first*/, std::int64_t /*n*/,
             int /*bits*/) const {}
};

// Counts. Tensors of one kernel are told apart by a small number, elements by their index.
class CountingProbe {
 public:
  static constexpr bool is_counting = true;
  [[nodiscard]] static constexpr bool has(Fault /*fault*/) { return false; }
  void macs(std::int64_t useful, std::int64_t executed) {
    counts_.useful_macs += useful;
    counts_.executed_macs += executed;
  }
  void flops(std::int64_t n) { counts_.other_flops += n; }
  void specials(std::int64_t n) { counts_.specials += n; }
  void extra(std::int64_t flops, std::int64_t specials) {
    counts_.extra_flops += flops;
    counts_.extra_specials += specials;
  }
  void touch(Operand operand, int tensor, std::int64_t first, std::int64_t n, int bits);

  // The counts so far. Bits of an operand are added up and rounded up to whole bytes.
  [[nodiscard]] Counts result() const;

 private:
  struct Touched {
    Operand operand = Operand::weights;
    std::int64_t distinct_bits = 0;
    std::int64_t touched_bits = 0;
    std::vector<bool> seen;
  };
  Counts counts_;
  std::vector<Touched> tensors_;
};

// Plants one fault.
template <Fault kFault>
struct FaultProbe : NoProbe {
  [[nodiscard]] static constexpr bool has(Fault fault) { return fault == kFault; }
};

template <class P>
concept Probe = requires(P& probe) {
  { P::is_counting } -> std::convertible_to<bool>;
  probe.macs(std::int64_t{}, std::int64_t{});
  probe.touch(Operand::weights, 0, std::int64_t{}, std::int64_t{}, 16);
};

}  // namespace moesim::reference
