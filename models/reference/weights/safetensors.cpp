#include "models/reference/weights/safetensors.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <optional>
#include <string_view>

#include "sim/config/document.hpp"

namespace moesim::reference {

namespace {

constexpr std::size_t kLengthBytes = 8;

struct SafetensorsType {
  std::string_view name;
  WeightType type;
  std::int64_t bits;
};

constexpr std::array<SafetensorsType, 21> kSafetensorsTypes = {{
    {"F64", WeightType::f64, 64},
    {"F32", WeightType::f32, 32},
    {"F16", WeightType::f16, 16},
    {"BF16", WeightType::bf16, 16},
    {"F8_E4M3", WeightType::f8_e4m3, 8},
    {"F8_E5M2", WeightType::f8_e5m2, 8},
    {"I64", WeightType::i64, 64},
    {"I32", WeightType::i32, 32},
    {"I16", WeightType::i16, 16},
    {"I8", WeightType::i8, 8},
    {"U8", WeightType::u8, 8},
    {"BOOL", WeightType::boolean, 8},
    {"U16", WeightType::other, 16},
    {"U32", WeightType::other, 32},
    {"U64", WeightType::other, 64},
    {"F8_E8M0", WeightType::other, 8},
    {"F6_E2M3", WeightType::other, 6},
    {"F6_E3M2", WeightType::other, 6},
    {"F4", WeightType::other, 4},
    {"C64", WeightType::other, 64},
    {"F8_E4M3FNUZ", WeightType::other, 8},
}};

// Collects what is wrong with the header's entries.
class HeaderReader {
 public:
  HeaderReader(config::Document& header, std::span<const std::byte> data, const std::string& name)
      : header_(&header), data_(data), name_(&name) {}

  Safetensors read() {
    if (header_->root.kind != config::Node::Kind::object) {
      error(header_->root, "", "wrong_type", "the header is not a JSON object");
    }
    for (const config::Member& member : header_->root.members) {
      const std::string pointer = config::pointer_join("", member.key);
      if (member.key == "__metadata__") {
        read_metadata(member.value, pointer);
      } else {
        read_tensor(member, pointer);
      }
    }
    if (!problems_.has_errors()) check_cover();
    if (problems_.has_errors()) throw config::InputError(std::move(header_->sources), std::move(problems_));
    for (Placed& placed : placed_) out_.tensors.push_back(std::move(placed.tensor));
    return std::move(out_);
  }

 private:
  struct Placed {
    WeightTensor tensor;
    std::int64_t begin = 0;
    std::int64_t end = 0;
    const config::Node* offsets = nullptr;
  };

  void error(const config::Node& at, std::string pointer, std::string code, std::string message) {
    config::Diagnostic problem;
    problem.code = std::move(code);
    problem.pointer = std::move(pointer);
    problem.where = at.where;
    problem.message = std::move(message);
    problems_.add(std::move(problem));
  }

  void read_metadata(const config::Node& node, const std::string& pointer) {
    if (node.kind != config::Node::Kind::object) {
      return error(node, pointer, "wrong_type", "\"__metadata__\" is not an object of texts");
    }
    for (const config::Member& member : node.members) {
      if (member.value.kind != config::Node::Kind::string) {
        error(member.value, config::pointer_join(pointer, member.key), "wrong_type", "metadata are texts");
        continue;
      }
      out_.metadata.emplace_back(member.key, member.value.text);
    }
  }

  // The whole numbers >= 0 of a list, or nullopt after reporting an error.
  std::optional<std::vector<std::int64_t>> numbers(const config::Member& tensor, std::string_view key,
                                                   const std::string& pointer) {
    const config::Node* list = tensor.value.find(key);
    if (list == nullptr || list->kind != config::Node::Kind::array) {
      error(list == nullptr ? tensor.value : *list, pointer, "wrong_type",
            fmt::format("the tensor has no list \"{}\"", key));
      return std::nullopt;
    }
    std::vector<std::int64_t> out;
    for (const config::Node& item : list->items) {
      if (item.kind != config::Node::Kind::integer || item.integer < 0) {
        error(item, pointer, "out_of_range",
              fmt::format("\"{}\" holds something else than whole numbers from 0 to 2^63 - 1", key));
        return std::nullopt;
      }
      out.push_back(item.integer);
    }
    return out;
  }

  void read_tensor(const config::Member& member, const std::string& pointer) {
    if (const std::string problem = name_problem(member.key); !problem.empty()) {
      return error(member.value, pointer, "bad_name", problem);
    }
    if (member.value.kind != config::Node::Kind::object) {
      return error(member.value, pointer, "wrong_type", "the tensor is not described by an object");
    }
    const config::Node* dtype = member.value.find("dtype");
    if (dtype == nullptr || dtype->kind != config::Node::Kind::string) {
      return error(dtype == nullptr ? member.value : *dtype, pointer, "wrong_type",
                   "the tensor has no text \"dtype\"");
    }
    auto shape = numbers(member, "shape", pointer);
    const auto offsets = numbers(member, "data_offsets", pointer);
    if (!shape || !offsets) return;
    const config::Node& place = *member.value.find("data_offsets");
    if (shape->size() > kMaxTensorRank) {
      return error(
          member.value, pointer, "out_of_range",
          fmt::format("the tensor has {} dimensions; at most {} are read", shape->size(), kMaxTensorRank));
    }
    if (offsets->size() != 2 || (*offsets)[0] > (*offsets)[1]) {
      return error(place, pointer, "bad_offsets", "\"data_offsets\" is not [begin, end] with begin <= end");
    }
    if (std::cmp_greater((*offsets)[1], data_.size())) {
      return error(
          place, pointer, "truncated",
          fmt::format("the tensor ends at byte {} of the data, which has {}", (*offsets)[1], data_.size()));
    }
    add(member, dtype->text, std::move(*shape), (*offsets)[0], (*offsets)[1], place, pointer);
  }

  void add(const config::Member& member, const std::string& dtype, std::vector<std::int64_t> shape,
           std::int64_t begin, std::int64_t end, const config::Node& place, const std::string& pointer) {
    const auto known = std::find_if(kSafetensorsTypes.begin(), kSafetensorsTypes.end(),
                                    [&](const SafetensorsType& type) { return type.name == dtype; });
    const std::optional<std::int64_t> count = element_count(shape);
    // 64 bits a value at most: a count above 2^57 has no bytes that fit a file.
    if (!count || *count > INT64_MAX / 64) {
      return error(member.value, pointer, "out_of_range",
                   fmt::format("the shape {} has too many values", shape_text(shape)));
    }
    // The size of a type that is not known is not known either.
    if (known != kSafetensorsTypes.end()) {
      const std::int64_t bits = *count * known->bits;
      if (bits % 8 != 0 || bits / 8 != end - begin) {
        return error(place, pointer, "wrong_size",
                     fmt::format("{} values of {} take {} bytes, not the {} of \"data_offsets\"", *count,
                                 dtype, (bits + 7) / 8, end - begin));
      }
    }
    Placed placed{{}, begin, end, &place};
    placed.tensor.name = member.key;
    placed.tensor.type = known == kSafetensorsTypes.end() ? WeightType::other : known->type;
    placed.tensor.type_name = dtype;
    placed.tensor.shape = std::move(shape);
    placed.tensor.bytes =
        data_.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin));
    placed.tensor.file = *name_;
    placed_.push_back(std::move(placed));
  }

  // The format wants every byte of the data in exactly one tensor.
  void check_cover() {
    std::stable_sort(placed_.begin(), placed_.end(), [](const Placed& a, const Placed& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end < b.end;
    });
    std::int64_t covered = 0;
    const std::string* before = nullptr;
    for (const Placed& placed : placed_) {
      const std::string pointer = config::pointer_join("", placed.tensor.name);
      if (placed.begin < covered) {
        return error(*placed.offsets, pointer, "overlap",
                     fmt::format("the data of \"{}\" overlaps that of \"{}\"", placed.tensor.name, *before));
      }
      if (placed.begin > covered) {
        return error(*placed.offsets, pointer, "hole",
                     fmt::format("bytes {} to {} of the data belong to no tensor", covered, placed.begin));
      }
      covered = placed.end;
      before = &placed.tensor.name;
    }
    if (std::cmp_not_equal(covered, data_.size())) {
      error(header_->root, "", "hole",
            fmt::format("bytes {} to {} of the data belong to no tensor", covered, data_.size()));
    }
  }

  config::Document* header_;
  std::span<const std::byte> data_;
  const std::string* name_;
  config::Diagnostics problems_;
  std::vector<Placed> placed_;
  Safetensors out_;
};

[[noreturn]] void fail_at_start(const std::string& name, std::string message) {
  throw config::InputError("bad_safetensors", fmt::format("{}: at byte 0: {}", name, message), "",
                           "a safetensors file starts with the length of its header in 8 bytes");
}

}  // namespace

Safetensors parse_safetensors(std::span<const std::byte> file, const std::string& name) {
  if (file.size() < kLengthBytes) fail_at_start(name, fmt::format("the file has only {} bytes", file.size()));
  std::uint64_t length = 0;
  for (std::size_t i = 0; i < kLengthBytes; ++i) {
    length |= static_cast<std::uint64_t>(file[i]) << (8 * i);
  }
  if (length > file.size() - kLengthBytes) {
    fail_at_start(name,
                  fmt::format("the header is said to have {} bytes; the file has {}", length, file.size()));
  }
  if (length > kMaxSafetensorsHeader) {
    fail_at_start(name,
                  fmt::format("the header has {} bytes; at most {} are read", length, kMaxSafetensorsHeader));
  }
  const auto header_bytes = file.subspan(kLengthBytes, static_cast<std::size_t>(length));
  std::string text(header_bytes.size(), '\0');
  if (!text.empty()) std::memcpy(text.data(), header_bytes.data(), text.size());
  config::Document header = config::parse_text(std::move(text), name + " (header)");
  return HeaderReader(header, file.subspan(kLengthBytes + header_bytes.size()), name).read();
}

}  // namespace moesim::reference
