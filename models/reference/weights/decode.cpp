// Stored values to numbers.
#include <fmt/format.h>

#include <bit>
#include <cstring>

#include "models/reference/float16.hpp"
#include "models/reference/small_float.hpp"
#include "models/reference/weights/weight_tensor.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/core/check.hpp"

namespace moesim::reference {

namespace {

static_assert(std::endian::native == std::endian::little, "checkpoints are little-endian");

[[noreturn]] void fail_type(const WeightTensor& tensor, const std::string& wanted) {
  throw config::InputError("unsupported_type",
                           fmt::format("{}: the tensor \"{}\" is of type {}; {}", tensor.file, tensor.name,
                                       tensor.type_name, wanted));
}

constexpr std::int64_t kBlock = 32;  // values of a block of Q8_0, Q4_0 and MXFP4

// A tensor may start at any byte.
template <class Stored>
Stored stored_at(std::span<const std::byte> bytes, std::int64_t index) {
  Stored value{};
  std::memcpy(&value, bytes.data() + static_cast<std::size_t>(index) * sizeof value, sizeof value);
  return value;
}

template <class Stored, class Convert>
std::vector<float> converted(std::span<const std::byte> bytes, std::int64_t first, std::int64_t count,
                             const Convert& convert) {
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(count));
  for (std::int64_t i = first; i < first + count; ++i) out.push_back(convert(stored_at<Stored>(bytes, i)));
  return out;
}

// Values of rows of blocks. `decode` gets the bytes of a block and appends its values.
template <class Decode>
std::vector<float> from_blocks(std::span<const std::byte> bytes, std::int64_t first, std::int64_t count,
                               std::int64_t block_bytes, const Decode& decode) {
  std::vector<float> out;
  out.reserve(static_cast<std::size_t>(count));
  for (std::int64_t block = first / kBlock; block < (first + count) / kBlock; ++block) {
    decode(
        bytes.subspan(static_cast<std::size_t>(block * block_bytes), static_cast<std::size_t>(block_bytes)),
        out);
  }
  return out;
}

// The formats of ggml-org/ggml src/ggml-quants.c, dequantize_row_*: blocks of 32 values, their scale first.
// In 4-bit blocks the low halves of the 16 bytes are the first 16 values, the high halves the others.
void decode_q8_0(std::span<const std::byte> block, std::vector<float>& out) {
  const float scale = to_float(Fp16{stored_at<std::uint16_t>(block, 0)});
  for (std::int64_t i = 0; i < kBlock; ++i) {
    out.push_back(scale * static_cast<float>(stored_at<std::int8_t>(block.subspan(2), i)));
  }
}

template <class Value>
void decode_halves(std::span<const std::byte> codes, const Value& value, std::vector<float>& out) {
  for (const std::byte code : codes) out.push_back(value(std::to_integer<unsigned>(code & std::byte{0x0F})));
  for (const std::byte code : codes) out.push_back(value(std::to_integer<unsigned>(code >> 4U)));
}

void decode_q4_0(std::span<const std::byte> block, std::vector<float>& out) {
  const float scale = to_float(Fp16{stored_at<std::uint16_t>(block, 0)});
  const auto value = [&](unsigned code) { return scale * static_cast<float>(static_cast<int>(code) - 8); };
  decode_halves(block.subspan(2), value, out);
}

void decode_mxfp4(std::span<const std::byte> block, std::vector<float>& out) {
  const float scale = decode_e8m0(std::to_integer<std::uint8_t>(block[0]));
  const auto value = [&](unsigned code) { return scale * kE2m1.decode(static_cast<std::uint8_t>(code)); };
  decode_halves(block.subspan(1), value, out);
}

const auto kRounded = [](auto value) { return static_cast<float>(value); };

}  // namespace

std::vector<float> to_floats(const WeightTensor& tensor, std::int64_t first_row, std::int64_t rows) {
  core::check(first_row >= 0 && rows >= 0 && first_row <= tensor.rows() - rows, "rows outside the tensor");
  const std::int64_t first = first_row * tensor.columns(), count = rows * tensor.columns();
  switch (tensor.type) {
    case WeightType::f64:
      return converted<double>(tensor.bytes, first, count, kRounded);
    case WeightType::f32:
      return converted<float>(tensor.bytes, first, count, kRounded);
    case WeightType::f16:
      return converted<std::uint16_t>(tensor.bytes, first, count,
                                      [](std::uint16_t bits) { return to_float(Fp16{bits}); });
    case WeightType::bf16:
      return converted<std::uint16_t>(tensor.bytes, first, count,
                                      [](std::uint16_t bits) { return to_float(Bf16{bits}); });
    case WeightType::i64:
      return converted<std::int64_t>(tensor.bytes, first, count, kRounded);
    case WeightType::i32:
      return converted<std::int32_t>(tensor.bytes, first, count, kRounded);
    case WeightType::i16:
      return converted<std::int16_t>(tensor.bytes, first, count, kRounded);
    case WeightType::i8:
      return converted<std::int8_t>(tensor.bytes, first, count, kRounded);
    case WeightType::u8:
    case WeightType::boolean:
      return converted<std::uint8_t>(tensor.bytes, first, count, kRounded);
    case WeightType::f8_e4m3:
      return converted<std::uint8_t>(tensor.bytes, first, count,
                                     [](std::uint8_t code) { return kE4m3fn.decode(code); });
    case WeightType::f8_e5m2:
      return converted<std::uint8_t>(tensor.bytes, first, count,
                                     [](std::uint8_t code) { return kE5m2.decode(code); });
    case WeightType::q8_0:
      return from_blocks(tensor.bytes, first, count, 34, decode_q8_0);
    case WeightType::q4_0:
      return from_blocks(tensor.bytes, first, count, 18, decode_q4_0);
    case WeightType::mxfp4:
      return from_blocks(tensor.bytes, first, count, 17, decode_mxfp4);
    case WeightType::other:
      break;
  }
  fail_type(tensor, "its values cannot be read");
}

std::vector<float> to_floats(const WeightTensor& tensor) { return to_floats(tensor, 0, tensor.rows()); }

std::vector<std::int64_t> to_integers(const WeightTensor& tensor) {
  std::vector<std::int64_t> out;
  const std::int64_t count = tensor.elements();
  const auto append = [&](auto zero) {
    using Stored = decltype(zero);
    out.reserve(static_cast<std::size_t>(count));
    for (std::int64_t i = 0; i < count; ++i) out.push_back(stored_at<Stored>(tensor.bytes, i));
  };
  switch (tensor.type) {
    case WeightType::i64:
      append(std::int64_t{});
      break;
    case WeightType::i32:
      append(std::int32_t{});
      break;
    case WeightType::i16:
      append(std::int16_t{});
      break;
    case WeightType::i8:
      append(std::int8_t{});
      break;
    case WeightType::u8:
      append(std::uint8_t{});
      break;
    default:
      fail_type(tensor, "whole numbers are expected here");
  }
  return out;
}

}  // namespace moesim::reference
