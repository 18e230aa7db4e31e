#include "models/reference/quantised_gemv.hpp"

#include <algorithm>
#include <bit>
#include <utility>

#include "models/reference/small_float.hpp"
#include "sim/core/check.hpp"

namespace moesim::reference {

namespace {

constexpr std::int64_t kWideChunk = 128;  // weights in 64 bytes
constexpr std::int64_t kRowsOfThread = 64;

[[nodiscard]] std::int64_t bytes_of_scale(FourBitScale scale) {
  return scale == FourBitScale::e8m0 ? 1 : scale == FourBitScale::bf16 ? 2 : 4;
}

// Where weight k of a row lies: its byte, and its half of it.
struct CodePlace {
  std::int64_t byte = 0;
  bool high = false;
};
[[nodiscard]] CodePlace code_place(FourBitOrder order, std::int64_t k) {
  if (order == FourBitOrder::natural) return {k / 2, k % 2 != 0};
  const std::int64_t in_block = k % kFourBitBlock;
  return {k / kFourBitBlock * 16 + in_block % 16, in_block >= 16};
}

// The activations in the order in which the wide path meets the weights of 64 bytes: first those of the
// lowest four bits of all 16-bit words, then of the next four bits, and so on. What is past the end is zero.
std::vector<Line> planes_of(const FourBitWeights& weights, std::span<const Bf16> x) {
  std::vector<Line> planes(static_cast<std::size_t>((weights.columns + kWideChunk - 1) / kWideChunk * 4));
  for (std::int64_t k = 0; k < weights.columns; ++k) {
    const CodePlace place = code_place(weights.order, k);
    const std::int64_t plane = place.byte % 2 * 2 + (place.high ? 1 : 0), word = place.byte % 64 / 2;
    Unit& unit = planes[static_cast<std::size_t>(place.byte / 64 * 4 + plane)].units[word / 2];
    unit |= static_cast<Unit>(x[static_cast<std::size_t>(k)].bits) << (word % 2 * 16);
  }
  return planes;
}

}  // namespace

float four_bit_value(FourBitCode code, std::uint8_t bits) {
  const int value = bits & 0xF;
  switch (code) {
    case FourBitCode::e2m1:
      return kE2m1.decode(static_cast<std::uint8_t>(value));
    case FourBitCode::int4_offset:
      return static_cast<float>(value - 8);
    case FourBitCode::int4_twos_complement:
      break;
  }
  return static_cast<float>(value < 8 ? value : value - 16);
}

float four_bit_scale(const FourBitWeights& weights, std::int64_t index) {
  const std::byte* at = weights.scales.data() + index * bytes_of_scale(weights.scale);
  if (weights.scale == FourBitScale::f32) {
    float value = 0.0F;
    std::memcpy(&value, at, sizeof value);
    return value;
  }
  if (weights.scale == FourBitScale::bf16) {
    Bf16 value;
    std::memcpy(&value, at, sizeof value);
    return to_float(value);
  }
  const auto exponent = std::to_integer<std::uint32_t>(*at);
  if (exponent == 0) return std::bit_cast<float>(0x00400000U);  // 2^-127
  return std::bit_cast<float>(exponent == 255 ? 0x7FC00000U : exponent << 23U);
}

void portable_four_bit_rows(const FourBitRows& part) {
  const FourBitWeights& weights = *part.weights;
  const std::int64_t blocks = weights.columns / kFourBitBlock;
  float values[16];
  for (std::uint8_t bits = 0; bits < 16; ++bits) values[bits] = four_bit_value(weights.code, bits);
  for (std::int64_t row = part.first; row < part.first + part.rows; ++row) {
    const std::uint8_t* codes = weights.codes.data() + row * weights.columns / 2;
    float total = 0.0F;
    for (std::int64_t block = 0; block < blocks; ++block) {
      float sum = 0.0F;
      for (std::int64_t k = block * kFourBitBlock; k < (block + 1) * kFourBitBlock; ++k) {
        const CodePlace place = code_place(weights.order, k);
        const int bits = place.high ? codes[place.byte] >> 4 : codes[place.byte] & 0xF;
        sum += values[bits] * to_float(part.x[static_cast<std::size_t>(k)]);
      }
      total += sum * four_bit_scale(weights, row * blocks + block);
    }
    part.out[row] = total;
  }
}

void quantised_gemv(const FourBitWeights& weights, std::span<const Bf16> x, std::span<float> out,
                    const FastOptions& options) {
  const std::int64_t elements = weights.rows * weights.columns;
  core::check(weights.columns % kFourBitBlock == 0, "four-bit weights come in blocks of 32");
  core::check(
      std::cmp_equal(weights.codes.size(), elements / 2) &&
          std::cmp_equal(weights.scales.size(), elements / kFourBitBlock * bytes_of_scale(weights.scale)) &&
          std::cmp_equal(x.size(), weights.columns) && std::cmp_equal(out.size(), weights.rows),
      "the tensors of a four-bit product have the sizes of its shape");
  const bool wide = resolved(options.isa, true) == Isa::avx512 && avx512_four_bit_rows() != nullptr;
  const auto kernel = wide ? avx512_four_bit_rows() : portable_four_bit_rows;
  const std::vector<Line> planes = wide ? planes_of(weights, x) : std::vector<Line>();
  run_parts(options, (weights.rows + kRowsOfThread - 1) / kRowsOfThread, [&](int /*worker*/, std::int64_t i) {
    const std::int64_t first = i * kRowsOfThread;
    kernel({.weights = &weights,
            .planes = planes.data(),
            .x = x,
            .first = first,
            .rows = std::min(kRowsOfThread, weights.rows - first),
            .out = out.data()});
  });
}

}  // namespace moesim::reference
