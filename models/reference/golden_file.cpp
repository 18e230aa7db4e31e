#include <fmt/format.h>

#include <bit>
#include <cstring>
#include <memory>
#include <optional>
#include <unordered_set>
#include <utility>

#include "models/reference/golden.hpp"
#include "sim/config/document.hpp"
#include "sim/io/error.hpp"
#include "sim/io/input_file.hpp"
#include "sim/io/line_reader.hpp"

namespace moesim::reference {

static_assert(std::endian::native == std::endian::little, "golden data is read in place");

namespace {

using config::Node;

constexpr std::size_t kMaxDimensions = 16;

struct TypeInfo {
  std::string_view name;
  GoldenType type;
  std::int64_t bytes;
};
constexpr TypeInfo kTypes[] = {
    {"f32", GoldenType::f32, 4}, {"f64", GoldenType::f64, 8}, {"i32", GoldenType::i32, 4},
    {"i64", GoldenType::i64, 8}, {"u8", GoldenType::u8, 1},   {"i8", GoldenType::i8, 1},
    {"u16", GoldenType::u16, 2}, {"u32", GoldenType::u32, 4},
};

// Reads one document. Every message starts with the file, the line, and what was being read.
class FamilyReader {
 public:
  FamilyReader(config::Document document, std::string name)
      : document_(std::move(document)), name_(std::move(name)) {
    check_kind(document_.root, Node::Kind::object, "the document");
    expect_text("format", "gvec-1");
    expect_text("endian", "little");
  }

  // The name of the file of data: one plain name, so that a document cannot reach into other folders.
  [[nodiscard]] std::string data_name() const {
    const Node& node = member(document_.root, "bin", Node::Kind::string);
    const std::string& text = node.text;
    if (text.empty() || text == "." || text == ".." ||
        text.find_first_of(std::string_view("/\\\0", 3)) != text.npos) {
      fail(node, "\"bin\" must be the plain name of a file beside this one");
    }
    return text;
  }

  [[nodiscard]] GoldenFamily read(std::vector<std::byte> data) {
    GoldenFamily family;
    family.name = name_;
    place_data(family, data);
    const std::int64_t bytes = count(document_.root, "nbytes");
    if (std::cmp_not_equal(bytes, family.data.size())) {
      fail(*document_.root.find("nbytes"),
           fmt::format("the data has {} bytes, \"nbytes\" says {}", family.data.size(), bytes));
    }
    std::unordered_set<std::string_view> names;
    for (const Node& node : member(document_.root, "cases", Node::Kind::array).items) {
      family.cases.push_back(read_case(node, family.data));
      if (!names.insert(node.find("name")->text).second) {
        fail(node, fmt::format("the case {} is given twice", family.cases.back().name()));
      }
    }
    return family;
  }

 private:
  [[noreturn]] void fail(const Node& at, std::string_view message) const {
    const config::LineColumn place = document_.sources.line_column(at.where);
    throw GoldenError(fmt::format("{}:{}:{}: {}{}", document_.sources.at(0).name, place.line, place.column,
                                  where_, message));
  }

  void check_kind(const Node& node, Node::Kind kind, std::string_view what) const {
    if (node.kind == kind) return;
    fail(node,
         fmt::format("{} must be {}, not {}", what, config::kind_words(kind), config::kind_words(node.kind)));
  }

  [[nodiscard]] const Node& member(const Node& object, std::string_view key, Node::Kind kind) const {
    const Node* node = object.find(key);
    if (node == nullptr) fail(object, fmt::format("\"{}\" is missing", key));
    check_kind(*node, kind, fmt::format("\"{}\"", key));
    return *node;
  }

  [[nodiscard]] std::int64_t count(const Node& object, std::string_view key) const {
    const Node& node = member(object, key, Node::Kind::integer);
    if (node.integer < 0) fail(node, fmt::format("\"{}\" must not be negative", key));
    return node.integer;
  }

  void expect_text(std::string_view key, std::string_view wanted) const {
    const Node& node = member(document_.root, key, Node::Kind::string);
    if (node.text != wanted) {
      fail(node, fmt::format("\"{}\" is \"{}\"; only \"{}\" can be read", key, node.text, wanted));
    }
  }

  static void place_data(GoldenFamily& family, const std::vector<std::byte>& data) {
    family.storage.resize(data.size() + kGoldenAlignment);
    void* begin = family.storage.data();
    std::size_t space = family.storage.size();
    std::align(kGoldenAlignment, data.size(), begin, space);
    if (!data.empty()) std::memcpy(begin, data.data(), data.size());
    family.data = {static_cast<const std::byte*>(begin), data.size()};
  }

  [[nodiscard]] GoldenCase read_case(const Node& node, std::span<const std::byte> data) {
    where_.clear();
    check_kind(node, Node::Kind::object, "a case");
    const std::string name = member(node, "name", Node::Kind::string).text;
    const std::string in_case = fmt::format("case {}: ", name);
    where_ = in_case;
    const std::string kind = member(node, "kind", Node::Kind::string).text;
    const Node& params = member(node, "params", Node::Kind::object);
    const Node& tolerances = member(node, "tol", Node::Kind::object);
    std::vector<GoldenTensor> tensors;
    for (const config::Member& one : member(node, "tensors", Node::Kind::object).members) {
      where_ = fmt::format("case {}, tensor {}: ", name, one.key);
      tensors.push_back(read_tensor(one.key, one.value, data));
      if (tensors.back().output) {
        const Node* tolerance = tolerances.find(one.key);
        if (tolerance == nullptr) fail(one.value, "an output needs a tolerance in \"tol\"");
        tensors.back().tolerance = read_tolerance(*tolerance);
      }
    }
    where_ = in_case;
    check_tolerances(tolerances, tensors);
    where_.clear();
    return GoldenCase(name, kind, params, std::move(tensors));
  }

  void check_tolerances(const Node& tolerances, const std::vector<GoldenTensor>& tensors) const {
    std::unordered_set<std::string_view> outputs;
    for (const GoldenTensor& tensor : tensors) {
      if (tensor.output) outputs.insert(tensor.name);
    }
    for (const config::Member& one : tolerances.members) {
      if (outputs.count(one.key) == 0) {
        fail(one.value, fmt::format("\"tol\" names \"{}\", which is no output", one.key));
      }
    }
  }

  [[nodiscard]] GoldenTolerance read_tolerance(const Node& node) const {
    check_kind(node, Node::Kind::object, "a tolerance");
    const Node& kind = member(node, "kind", Node::Kind::string);
    if (kind.text == "exact") return {};
    if (kind.text == "info") return {GoldenTolerance::Kind::info, 0.0, 0.0};
    if (kind.text != "mixed") {
      fail(kind, fmt::format("\"{}\" is no kind of tolerance: exact, mixed or info", kind.text));
    }
    return {GoldenTolerance::Kind::mixed, allowance(node, "abs"), allowance(node, "rel")};
  }

  [[nodiscard]] double allowance(const Node& object, std::string_view key) const {
    const Node* node = object.find(key);
    if (node == nullptr) fail(object, fmt::format("\"{}\" is missing", key));
    const bool whole = node->kind == Node::Kind::integer;
    if (!whole) check_kind(*node, Node::Kind::real, fmt::format("\"{}\"", key));
    const double value = whole ? static_cast<double>(node->integer) : node->real;
    if (!(value >= 0.0)) fail(*node, fmt::format("\"{}\" must not be negative", key));
    return value;
  }

  [[nodiscard]] GoldenTensor read_tensor(const std::string& name, const Node& node,
                                         std::span<const std::byte> data) const {
    check_kind(node, Node::Kind::object, "a tensor");
    GoldenTensor tensor;
    tensor.name = name;
    const Node& role = member(node, "role", Node::Kind::string);
    if (role.text != "in" && role.text != "out") {
      fail(role, fmt::format("\"role\" is \"{}\", it must be \"in\" or \"out\"", role.text));
    }
    tensor.output = role.text == "out";
    const TypeInfo& type = read_type(member(node, "dtype", Node::Kind::string));
    tensor.type = type.type;
    const Node& shape = member(node, "shape", Node::Kind::array);
    tensor.shape = read_shape(shape);
    const std::int64_t bytes = count(node, "nbytes");
    const std::optional<std::int64_t> needed = size_of(tensor.shape, type.bytes);
    if (!needed || *needed != bytes) {
      fail(shape, needed ? fmt::format("the shape needs {} bytes, \"nbytes\" says {}", *needed, bytes)
                         : std::string("the shape is too large"));
    }
    tensor.bytes = slice(node, data, bytes);
    return tensor;
  }

  [[nodiscard]] const TypeInfo& read_type(const Node& node) const {
    for (const TypeInfo& type : kTypes) {
      if (type.name == node.text) return type;
    }
    fail(node, fmt::format("\"dtype\" is \"{}\", which is not known", node.text));
  }

  [[nodiscard]] std::vector<std::int64_t> read_shape(const Node& node) const {
    if (node.items.size() > kMaxDimensions) {
      fail(node, fmt::format("\"shape\" has more than {} dimensions", kMaxDimensions));
    }
    std::vector<std::int64_t> shape;
    for (const Node& item : node.items) {
      check_kind(item, Node::Kind::integer, "a size of \"shape\"");
      if (item.integer < 0) fail(item, "a size of \"shape\" must not be negative");
      shape.push_back(item.integer);
    }
    return shape;
  }

  // Bytes of a shape; nullopt if they do not fit into 63 bits.
  [[nodiscard]] static std::optional<std::int64_t> size_of(const std::vector<std::int64_t>& shape,
                                                           std::int64_t element_bytes) {
    std::int64_t product = element_bytes;
    for (const std::int64_t size : shape) {
      if (__builtin_mul_overflow(product, size, &product)) return std::nullopt;
    }
    return product;
  }

  [[nodiscard]] std::span<const std::byte> slice(const Node& node, std::span<const std::byte> data,
                                                 std::int64_t bytes) const {
    const std::int64_t offset = count(node, "offset");
    if (bytes == 0) return data.first(0);
    const auto size = static_cast<std::int64_t>(data.size());
    if (offset > size || bytes > size - offset) {
      fail(node, fmt::format("bytes {} and {} more lie outside the data of {} bytes", offset, bytes, size));
    }
    if (offset % static_cast<std::int64_t>(kGoldenAlignment) != 0) {
      fail(*node.find("offset"), fmt::format("\"offset\" must be a multiple of {}", kGoldenAlignment));
    }
    return data.subspan(static_cast<std::size_t>(offset), static_cast<std::size_t>(bytes));
  }

  config::Document document_;
  std::string name_;
  std::string where_;  // "case NAME, tensor NAME: "
};

// All bytes of a file as they are. io::read_file would unpack data that starts like a gzip file.
std::vector<std::byte> read_raw(const std::filesystem::path& file) {
  constexpr std::size_t kStep = std::size_t{1} << 20;
  io::InputFile input(file);
  std::vector<char> buffer(kStep);
  std::vector<std::byte> data;
  while (const std::size_t n = input.read(buffer)) {
    if (n > kMaxGoldenBytes - data.size()) {
      throw io::IoError(file.string(), 0, fmt::format("larger than {} bytes", kMaxGoldenBytes));
    }
    const auto* begin = reinterpret_cast<const std::byte*>(buffer.data());
    data.insert(data.end(), begin, begin + n);
  }
  return data;
}

}  // namespace

GoldenFamily read_golden_family(const std::filesystem::path& json_file) {
  FamilyReader reader(config::parse_text(io::read_file(json_file, config::kMaxFileBytes), json_file.string()),
                      json_file.stem().string());
  return reader.read(read_raw(json_file.parent_path() / reader.data_name()));
}

GoldenFamily parse_golden_family(std::string json, std::string name, std::vector<std::byte> data) {
  config::Document document = config::parse_text(std::move(json), name + ".json");
  FamilyReader reader(std::move(document), std::move(name));
  (void)reader.data_name();
  return reader.read(std::move(data));
}

}  // namespace moesim::reference
