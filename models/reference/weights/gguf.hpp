// The GGUF format, versions 2 and 3 (ggml-org/ggml docs/gguf.md; little-endian): metadata as typed keys and
// values, then the names, shapes and places of tensors, then their data.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/reference/weights/weight_tensor.hpp"

namespace moesim::reference {

// Types of metadata, with the numbers of the format.
enum class GgufType : std::uint32_t {
  u8 = 0,
  i8 = 1,
  u16 = 2,
  i16 = 3,
  u32 = 4,
  i32 = 5,
  f32 = 6,
  boolean = 7,
  string = 8,
  array = 9,
  u64 = 10,
  i64 = 11,
  f64 = 12,
};

// A value of the metadata. Strings and arrays are views of the file: a vocabulary costs nothing until it is
// read.
struct GgufValue {
  GgufType type = GgufType::u32;
  std::int64_t integer = 0;          // integers and booleans; u64 above 2^63 - 1 is kept in `number` only
  double number = 0.0;               // integers and floats
  std::string_view text;             // strings
  GgufType element{};                // arrays: the type of the items
  std::uint64_t count = 0;           // arrays: number of items
  std::span<const std::byte> items;  // arrays: their encoded bytes, checked to hold `count` items

  [[nodiscard]] bool is_integer() const;
};

struct GgufMetadata {
  std::string key;
  GgufValue value;
};

struct Gguf {
  std::uint32_t version = 0;
  std::vector<GgufMetadata> metadata;  // in the order of the file
  std::vector<WeightTensor> tensors;   // in the order of the file; shapes with the slowest dimension first

  // The value of a key, or nullptr.
  [[nodiscard]] const GgufValue* find(std::string_view key) const;
  // An integer or boolean of the metadata; nullopt if it is absent or of another type.
  [[nodiscard]] std::optional<std::int64_t> integer(std::string_view key) const;
  // A float or integer of the metadata.
  [[nodiscard]] std::optional<double> number(std::string_view key) const;
  [[nodiscard]] std::optional<std::string_view> text(std::string_view key) const;
};

// Arrays in arrays are read to this depth.
inline constexpr int kMaxGgufDepth = 4;

// Reads the head of a file in memory; views point into it. `name` is the file's, for messages. Throws
// config::InputError that names the byte: a wrong magic number or version, counts and lengths that pass the
// end of the file, unknown types of metadata, repeated keys or names, sizes that do not fit, data that
// overlaps or passes the end. A tensor of a type without a known size has no bytes.
[[nodiscard]] Gguf parse_gguf(std::span<const std::byte> file, const std::string& name);

}  // namespace moesim::reference
