#include "models/reference/weights/gguf.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <limits>
#include <string>
#include <unordered_set>
#include <utility>

#include "models/reference/weights/gguf_types.hpp"
#include "sim/config/diagnostics.hpp"

namespace moesim::reference {

namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint64_t kMaxGgufDimensions = 4;
constexpr std::uint64_t kMaxKeyBytes = 65535;  // docs/gguf.md
constexpr std::uint64_t kDefaultAlignment = 32;
// The smallest entries there can be, in bytes: a count beyond what the file could hold is refused before
// anything is set aside for it.
constexpr std::uint64_t kLeastMetadataBytes = 8 + 4 + 1;
constexpr std::uint64_t kLeastTensorBytes = 8 + 4 + 4 + 8;

// Takes values off the front of a file, never past its end.
class Cursor {
 public:
  Cursor(std::span<const std::byte> file, const std::string& name) : file_(file), name_(&name) {}

  [[nodiscard]] std::size_t at() const { return at_; }
  [[nodiscard]] std::size_t left() const { return file_.size() - at_; }

  [[noreturn]] void fail(std::size_t where, const std::string& message) const {
    throw config::InputError("bad_gguf", fmt::format("{}: at byte {}: {}", *name_, where, message));
  }

  std::span<const std::byte> take(std::uint64_t bytes, std::string_view what) {
    if (bytes > left()) {
      fail(at_, fmt::format("{} takes {} bytes; the file ends after {}", what, bytes, left()));
    }
    const auto taken = file_.subspan(at_, static_cast<std::size_t>(bytes));
    at_ += taken.size();
    return taken;
  }
  std::uint64_t unsigned_number(std::size_t bytes, std::string_view what) {
    std::uint64_t value = 0;
    std::size_t shift = 0;
    for (const std::byte byte : take(bytes, what)) {
      value |= static_cast<std::uint64_t>(byte) << shift;
      shift += 8;
    }
    return value;
  }
  std::uint32_t u32(std::string_view what) { return static_cast<std::uint32_t>(unsigned_number(4, what)); }
  std::uint64_t u64(std::string_view what) { return unsigned_number(8, what); }

  std::string_view string(std::string_view what, std::uint64_t most) {
    const std::size_t where = at_;
    const std::uint64_t length = u64(what);
    if (length > most) fail(where, fmt::format("{} has {} bytes; at most {} are read", what, length, most));
    const auto bytes = take(length, what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  // A count of entries of at least `least` bytes each.
  std::uint64_t count(std::string_view what, std::uint64_t least) {
    const std::size_t where = at_;
    const std::uint64_t value = u64(what);
    if (value > left() / least) {
      fail(where, fmt::format("{} is {}; the {} bytes that follow cannot hold so many", what, value, left()));
    }
    return value;
  }

 private:
  std::span<const std::byte> file_;
  const std::string* name_;
  std::size_t at_ = 0;
};

// Bytes of a value of fixed size; 0 for strings and arrays.
std::size_t size_of(GgufType type) {
  switch (type) {
    case GgufType::u8:
    case GgufType::i8:
    case GgufType::boolean:
      return 1;
    case GgufType::u16:
    case GgufType::i16:
      return 2;
    case GgufType::u32:
    case GgufType::i32:
    case GgufType::f32:
      return 4;
    case GgufType::u64:
    case GgufType::i64:
    case GgufType::f64:
      return 8;
    case GgufType::string:
    case GgufType::array:
      return 0;
  }
  return 0;
}

GgufType value_type(Cursor& cursor) {
  const std::size_t where = cursor.at();
  const std::uint32_t number = cursor.u32("a type of metadata");
  if (number > static_cast<std::uint32_t>(GgufType::f64)) {
    cursor.fail(where, fmt::format("{} is no type of metadata (0 to 12)", number));
  }
  return static_cast<GgufType>(number);
}

std::uint64_t flag(Cursor& cursor) {
  const std::size_t where = cursor.at();
  const std::uint64_t value = cursor.unsigned_number(1, "a truth value");
  if (value > 1) cursor.fail(where, fmt::format("{} is no truth value (0 or 1)", value));
  return value;
}

void read_array(Cursor& cursor, GgufValue& value, int depth);

void skip_items(Cursor& cursor, GgufType type, std::uint64_t count, int depth) {
  if (type == GgufType::string) {
    for (std::uint64_t i = 0; i < count; ++i) {
      static_cast<void>(cursor.string("a text", std::numeric_limits<std::uint64_t>::max()));
    }
  } else if (type == GgufType::array) {
    for (std::uint64_t i = 0; i < count; ++i) {
      GgufValue inner;
      read_array(cursor, inner, depth + 1);
    }
  } else if (type == GgufType::boolean) {
    for (std::uint64_t i = 0; i < count; ++i) static_cast<void>(flag(cursor));
  } else {
    // The count was checked against the rest of the file: the product fits.
    static_cast<void>(cursor.take(count * size_of(type), "a list"));
  }
}

void read_array(Cursor& cursor, GgufValue& value, int depth) {
  if (depth > kMaxGgufDepth) cursor.fail(cursor.at(), "lists are nested too deep");
  value.element = value_type(cursor);
  constexpr std::size_t kLeastString = 8, kLeastArray = 12;
  const std::size_t least = value.element == GgufType::string  ? kLeastString
                            : value.element == GgufType::array ? kLeastArray
                                                               : size_of(value.element);
  value.count = cursor.count("the length of a list", least);
  Cursor items = cursor;
  skip_items(cursor, value.element, value.count, depth);
  value.items = items.take(cursor.at() - items.at(), "a list");
}

std::int64_t sign_extended(std::uint64_t bits, std::size_t bytes) {
  const std::size_t shift = 64 - 8 * bytes;
  return static_cast<std::int64_t>(bits << shift) >> shift;
}

GgufValue read_value(Cursor& cursor) {
  GgufValue value;
  value.type = value_type(cursor);
  const auto whole = [&](std::int64_t integer) {
    value.integer = integer;
    value.number = static_cast<double>(integer);
  };
  switch (value.type) {
    case GgufType::u8:
    case GgufType::u16:
    case GgufType::u32:
      whole(static_cast<std::int64_t>(cursor.unsigned_number(size_of(value.type), "a number")));
      break;
    case GgufType::i8:
    case GgufType::i16:
    case GgufType::i32:
    case GgufType::i64: {
      const std::size_t bytes = size_of(value.type);
      whole(sign_extended(cursor.unsigned_number(bytes, "a number"), bytes));
      break;
    }
    case GgufType::u64: {
      const std::uint64_t bits = cursor.u64("a number");
      if (std::in_range<std::int64_t>(bits)) whole(static_cast<std::int64_t>(bits));
      value.number = static_cast<double>(bits);
      break;
    }
    case GgufType::f32:
      value.number = static_cast<double>(std::bit_cast<float>(cursor.u32("a number")));
      break;
    case GgufType::f64:
      value.number = std::bit_cast<double>(cursor.u64("a number"));
      break;
    case GgufType::boolean:
      whole(static_cast<std::int64_t>(flag(cursor)));
      break;
    case GgufType::string:
      value.text = cursor.string("a text", std::numeric_limits<std::uint64_t>::max());
      break;
    case GgufType::array:
      read_array(cursor, value, 1);
      break;
  }
  return value;
}

// A tensor whose data is still to be found.
struct PendingTensor {
  std::size_t index = 0;  // in Gguf::tensors
  std::size_t where = 0;  // of its entry
  std::uint64_t offset = 0;
  std::uint64_t size = 0;
};

const GgufTensorType* tensor_type(std::uint32_t number) {
  const auto found = std::find_if(kGgufTensorTypes.begin(), kGgufTensorTypes.end(),
                                  [&](const GgufTensorType& type) { return type.number == number; });
  return found == kGgufTensorTypes.end() ? nullptr : &*found;
}

std::vector<std::int64_t> read_shape(Cursor& cursor, const std::string& tensor) {
  const std::size_t where = cursor.at();
  const std::uint64_t dimensions = cursor.u32("a number of dimensions");
  if (dimensions > kMaxGgufDimensions) {
    cursor.fail(where, fmt::format("the tensor \"{}\" has {} dimensions; at most {} are read", tensor,
                                   dimensions, kMaxGgufDimensions));
  }
  std::vector<std::int64_t> shape;
  for (std::uint64_t i = 0; i < dimensions; ++i) {
    const std::size_t place = cursor.at();
    const std::uint64_t size = cursor.u64("a dimension");
    if (!std::in_range<std::int64_t>(size)) {
      cursor.fail(place, fmt::format("the dimension {} of the tensor \"{}\" is too large", size, tensor));
    }
    shape.push_back(static_cast<std::int64_t>(size));
  }
  // The file gives the fastest dimension first.
  std::reverse(shape.begin(), shape.end());
  return shape;
}

// Bytes of a tensor. Blocks never straddle rows.
std::uint64_t tensor_bytes(const Cursor& cursor, std::size_t where, const WeightTensor& tensor,
                           const GgufTensorType* type) {
  const auto count = element_count(tensor.shape);
  // No type takes more than 64 bits a value.
  if (!count || *count > INT64_MAX / 64) {
    cursor.fail(where, fmt::format("the shape {} of the tensor \"{}\" has too many values",
                                   shape_text(tensor.shape), tensor.name));
  }
  if (type == nullptr) return 0;
  if (tensor.columns() % type->block_values != 0) {
    cursor.fail(where, fmt::format("the rows of the tensor \"{}\" have {} values; {} comes in blocks of {}",
                                   tensor.name, tensor.columns(), type->name, type->block_values));
  }
  return static_cast<std::uint64_t>(*count / type->block_values * type->block_bytes);
}

PendingTensor read_tensor(Cursor& cursor, Gguf& out, const std::string& file) {
  PendingTensor pending;
  pending.index = out.tensors.size();
  pending.where = cursor.at();
  WeightTensor& tensor = out.tensors.emplace_back();
  tensor.name = cursor.string("a tensor's name", kMaxTensorName);
  tensor.file = file;
  if (const std::string problem = name_problem(tensor.name); !problem.empty())
    cursor.fail(pending.where, problem);
  tensor.shape = read_shape(cursor, tensor.name);
  const std::uint32_t number = cursor.u32("a tensor's type");
  const GgufTensorType* type = tensor_type(number);
  tensor.type = type == nullptr ? WeightType::other : type->type;
  tensor.type_name = type == nullptr ? fmt::format("type {}", number) : std::string(type->name);
  pending.size = tensor_bytes(cursor, pending.where, tensor, type);
  pending.offset = cursor.u64("a tensor's offset");
  return pending;
}

std::uint64_t alignment_of(const Cursor& cursor, const Gguf& out) {
  const GgufValue* value = out.find("general.alignment");
  if (value == nullptr) return kDefaultAlignment;
  constexpr std::int64_t kMostAlignment = std::int64_t{1} << 20;
  if (!value->is_integer() || value->integer < 1 || value->integer > kMostAlignment ||
      !std::has_single_bit(static_cast<std::uint64_t>(value->integer))) {
    cursor.fail(cursor.at(), "\"general.alignment\" is not a power of two up to 2^20");
  }
  return static_cast<std::uint64_t>(value->integer);
}

// Gives each tensor its bytes, and refuses data that overlaps.
void place_tensors(const Cursor& cursor, std::span<const std::byte> file, std::vector<PendingTensor>& pending,
                   Gguf& out) {
  const std::uint64_t alignment = alignment_of(cursor, out);
  const std::uint64_t start = (cursor.at() + alignment - 1) / alignment * alignment;
  const std::uint64_t available = start > file.size() ? 0 : file.size() - start;
  for (const PendingTensor& one : pending) {
    const std::string& name = out.tensors[one.index].name;
    if (one.offset % alignment != 0) {
      cursor.fail(one.where,
                  fmt::format("the offset {} of the tensor \"{}\" is not a multiple of the alignment {}",
                              one.offset, name, alignment));
    }
    if (one.offset > available || one.size > available - one.offset) {
      cursor.fail(one.where,
                  fmt::format("the tensor \"{}\" needs {} bytes from byte {} of the data, which has {}", name,
                              one.size, one.offset, available));
    }
    if (one.size > 0) {
      out.tensors[one.index].bytes =
          file.subspan(static_cast<std::size_t>(start + one.offset), static_cast<std::size_t>(one.size));
    }
  }
  std::stable_sort(pending.begin(), pending.end(),
                   [](const PendingTensor& a, const PendingTensor& b) { return a.offset < b.offset; });
  const PendingTensor* before = nullptr;
  for (const PendingTensor& one : pending) {
    if (one.size == 0) continue;
    if (before != nullptr && one.offset < before->offset + before->size) {
      cursor.fail(one.where, fmt::format("the data of the tensor \"{}\" overlaps that of \"{}\"",
                                         out.tensors[one.index].name, out.tensors[before->index].name));
    }
    before = &one;
  }
}

void read_metadata(Cursor& cursor, std::uint64_t count, Gguf& out) {
  std::unordered_set<std::string_view> seen;
  for (std::uint64_t i = 0; i < count; ++i) {
    const std::size_t where = cursor.at();
    const std::string_view key = cursor.string("a key of the metadata", kMaxKeyBytes);
    if (const std::string problem = name_problem(key); !problem.empty()) {
      cursor.fail(where, "a key of the metadata is empty, too long or has a control character");
    }
    if (!seen.insert(key).second) cursor.fail(where, fmt::format("the key \"{}\" is given twice", key));
    out.metadata.push_back({std::string(key), read_value(cursor)});
  }
}

std::uint32_t read_version(Cursor& cursor) {
  if (cursor.u32("the magic number") != kMagic)
    cursor.fail(0, "this is no GGUF file: it does not start with GGUF");
  const std::uint32_t version = cursor.u32("the version");
  if (version == 2 || version == 3) return version;
  const bool swapped = (version & 0xFFFFU) == 0 && version != 0;
  cursor.fail(4, swapped ? std::string("big-endian files are not read")
                         : fmt::format("version {} is not read; versions 2 and 3 are", version));
}

}  // namespace

bool GgufValue::is_integer() const {
  switch (type) {
    case GgufType::f32:
    case GgufType::f64:
    case GgufType::string:
    case GgufType::array:
      return false;
    case GgufType::u64:
      // 2^63 and more are not in `integer`.
      return number < 0x1p63;
    default:
      return true;
  }
}

const GgufValue* Gguf::find(std::string_view key) const {
  const auto found = std::find_if(metadata.begin(), metadata.end(),
                                  [&](const GgufMetadata& entry) { return entry.key == key; });
  return found == metadata.end() ? nullptr : &found->value;
}

std::optional<std::int64_t> Gguf::integer(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr || !value->is_integer()) return std::nullopt;
  return value->integer;
}

std::optional<double> Gguf::number(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr || value->type == GgufType::string || value->type == GgufType::array)
    return std::nullopt;
  return value->number;
}

std::optional<std::string_view> Gguf::text(std::string_view key) const {
  const GgufValue* value = find(key);
  if (value == nullptr || value->type != GgufType::string) return std::nullopt;
  return value->text;
}

Gguf parse_gguf(std::span<const std::byte> file, const std::string& name) {
  Gguf out;
  Cursor cursor(file, name);
  out.version = read_version(cursor);
  const std::uint64_t tensors = cursor.count("the number of tensors", kLeastTensorBytes);
  const std::uint64_t keys = cursor.count("the number of metadata keys", kLeastMetadataBytes);
  read_metadata(cursor, keys, out);
  std::vector<PendingTensor> pending;
  std::unordered_set<std::string> seen;
  for (std::uint64_t i = 0; i < tensors; ++i) {
    pending.push_back(read_tensor(cursor, out, name));
    const std::string& tensor = out.tensors.back().name;
    if (!seen.insert(tensor).second) {
      cursor.fail(pending.back().where, fmt::format("the tensor \"{}\" is there twice", tensor));
    }
  }
  place_tensors(cursor, file, pending, out);
  return out;
}

}  // namespace moesim::reference
