// The ValueType of every C++ type that a field can have. Included by record.hpp.
#pragma once

#include <array>
#include <span>

#include "sim/config/record.hpp"

namespace moesim::config {

namespace detail {

// Runs `body` with `token` added to the pointer of reported problems.
bool read_inside(Reader& reader, std::string_view token, const std::function<bool()>& body);

bool read_bool(const Node& in, Reader& reader, bool& out);
bool read_integer(const Node& in, Reader& reader, const Bounds& bounds, std::int64_t& out);
bool read_number(const Node& in, Reader& reader, const Bounds& bounds, double& out);
bool read_string(const Node& in, Reader& reader, const Bounds& bounds, std::string& out);
bool read_exact_quantity(const Node& in, Reader& reader, Dimension dimension, const Bounds& bounds,
                         std::int64_t& out);
bool read_real_quantity(const Node& in, Reader& reader, Dimension dimension, const Bounds& bounds,
                        double& out);
// Index of the text in `names`; reports an error with a suggestion otherwise.
bool read_choice(const Node& in, Reader& reader, std::span<const std::string_view> names, std::size_t& index);
bool read_array(const Node& in, Reader& reader);
bool read_object(const Node& in, Reader& reader);
// Reads the tag of a variant; false after reporting an error.
bool read_tag(const Node& in, Reader& reader, std::string_view key, std::span<const std::string_view> names,
              std::size_t& index);
// Checks that a map key is an identifier.
bool read_map_key(const Member& member, Reader& reader);
// True for a number with a source whose value an override gave: bare, or as "value".
bool is_overridden_number(const Node& in, const Reader& reader);
// Such a number as {"value", "source", "label"}: an assumption whose source is the override, unless the
// override names a source itself.
Node sourced_by_override(const Node& in, const Reader& reader);
// Checks that a number with its source is an object; the error shows the object to write.
bool read_sourced(const Node& in, Reader& reader);
// The record itself, or what a name, a path or "extends" stands for.
bool read_record(const RecordTable& record, const Node& in, Reader& reader, void* out, Node& resolved);

[[nodiscard]] Node boolean_schema();
[[nodiscard]] Node integer_schema(const Bounds& bounds);
[[nodiscard]] Node number_schema(const Bounds& bounds);
[[nodiscard]] Node string_schema(const Bounds& bounds);
[[nodiscard]] Node quantity_schema(Dimension dimension);
[[nodiscard]] Node choice_schema(std::span<const std::string_view> names);
[[nodiscard]] Node array_schema(Node items);
[[nodiscard]] Node map_schema(Node values);
[[nodiscard]] Node record_schema(const RecordTable& record, SchemaBuilder& builder);
[[nodiscard]] Node one_of_schema(std::vector<Node> alternatives);

[[nodiscard]] std::string integer_summary(const Bounds& bounds);
[[nodiscard]] std::string number_summary(const Bounds& bounds);
[[nodiscard]] std::string quantity_summary(Dimension dimension, const Bounds& bounds);
[[nodiscard]] std::string choice_summary(std::span<const std::string_view> names);

class BooleanType final : public ValueType {
 public:
  bool read(const Node& in, Reader& reader, void* out, Node& resolved) const override {
    resolved = in;
    return read_bool(in, reader, *static_cast<bool*>(out));
  }
  [[nodiscard]] Node write(const void* in) const override { return Node::of(*static_cast<const bool*>(in)); }
  [[nodiscard]] Node schema(SchemaBuilder&) const override { return boolean_schema(); }
  [[nodiscard]] std::string summary() const override { return "true or false"; }
};

class IntegerType final : public ValueType {
 public:
  explicit IntegerType(Bounds bounds) : bounds_(bounds) {}
  bool read(const Node& in, Reader& reader, void* out, Node& resolved) const override {
    resolved = in;
    return read_integer(in, reader, bounds_, *static_cast<std::int64_t*>(out));
  }
  [[nodiscard]] Node write(const void* in) const override {
    return Node::of(*static_cast<const std::int64_t*>(in));
  }
  [[nodiscard]] Node schema(SchemaBuilder&) const override { return integer_schema(bounds_); }
  [[nodiscard]] std::string summary() const override { return integer_summary(bounds_); }

 private:
  Bounds bounds_;
};

class NumberType final : public ValueType {
 public:
  explicit NumberType(Bounds bounds) : bounds_(bounds) {}
  bool read(const Node& in, Reader& reader, void* out, Node& resolved) const override {
    resolved = in;
    return read_number(in, reader, bounds_, *static_cast<double*>(out));
  }
  [[nodiscard]] Node write(const void* in) const override {
    return Node::of(*static_cast<const double*>(in));
  }
  [[nodiscard]] Node schema(SchemaBuilder&) const override { return number_schema(bounds_); }
  [[nodiscard]] std::string summary() const override { return number_summary(bounds_); }

 private:
  Bounds bounds_;
};

class StringType final : public ValueType {
 public:
  explicit StringType(Bounds bounds) : bounds_(bounds) {}
  bool read(const Node& in, Reader& reader, void* out, Node& resolved) const override {
    resolved = in;
    return read_string(in, reader, bounds_, *static_cast<std::string*>(out));
  }
  [[nodiscard]] Node write(const void* in) const override {
    return Node::of(std::string_view(*static_cast<const std::string*>(in)));
  }
  [[nodiscard]] Node schema(SchemaBuilder&) const override { return string_schema(bounds_); }
  [[nodiscard]] std::string summary() const override { return "text"; }

 private:
  Bounds bounds_;
};

template <class Q>
class QuantityValueType final : public ValueType {
 public:
  explicit QuantityValueType(Bounds bounds) : bounds_(bounds) {}
  bool read(const Node& in, Reader& reader, void* out, Node& resolved) const override {
    resolved = in;
    auto& quantity = *static_cast<Q*>(out);
    if constexpr (std::is_same_v<Q, core::Duration>) {
      return read_exact_quantity(in, reader, kDimension, bounds_, quantity.ps);
    } else if constexpr (std::is_same_v<typename Q::rep, std::int64_t>) {
      return read_exact_quantity(in, reader, kDimension, bounds_, quantity.value);
    } else {
      return read_real_quantity(in, reader, kDimension, bounds_, quantity.value);
    }
  }
  [[nodiscard]] Node write(const void* in) const override {
    const auto& quantity = *static_cast<const Q*>(in);
    if constexpr (std::is_same_v<Q, core::Duration>) {
      return Node::of(std::string_view(format_exact(quantity.ps, kDimension)));
    } else if constexpr (std::is_same_v<typename Q::rep, std::int64_t>) {
      return Node::of(std::string_view(format_exact(quantity.value, kDimension)));
    } else {
      return Node::of(std::string_view(format_real(quantity.value, kDimension)));
    }
  }
  [[nodiscard]] Node schema(SchemaBuilder&) const override { return quantity_schema(kDimension); }
  [[nodiscard]] std::string summary() const override { return quantity_summary(kDimension, bounds_); }

 private:
  static constexpr Dimension kDimension = DimensionOf<Q>::value;
  Bounds bounds_;
};

template <class E>
class EnumType final : public ValueType {
 public:
  bool read(const Node& in, Reader& reader, void* out, Node& resolved) const override {
    resolved = in;
    std::size_t index = 0;
    if (!read_choice(in, reader, names(), index)) return false;
    *static_cast<E*>(out) = EnumNames<E>::table[index].value;
    return true;
  }
  [[nodiscard]] Node write(const void* in) const override {
    return Node::of(enum_name(*static_cast<const E*>(in)));
  }
  [[nodiscard]] Node schema(SchemaBuilder&) const override { return choice_schema(names()); }
  [[nodiscard]] std::string summary() const override { return choice_summary(names()); }

 private:
  static std::span<const std::string_view> names() {
    static const auto list = [] {
      std::array<std::string_view, std::size(EnumNames<E>::table)> all{};
      for (std::size_t i = 0; i < all.size(); ++i) all[i] = EnumNames<E>::table[i].name;
      return all;
    }();
    return list;
  }
};

template <class T>
class RecordType final : public ValueType {
 public:
  bool read(const Node& in, Reader& reader, void* out, Node& resolved) const override {
    return read_record(record_of(Type<T>{}), in, reader, out, resolved);
  }
  [[nodiscard]] Node write(const void* in) const override { return record_of(Type<T>{}).write(in); }
  [[nodiscard]] Node schema(SchemaBuilder& builder) const override {
    return record_schema(record_of(Type<T>{}), builder);
  }
  [[nodiscard]] std::string summary() const override {
    const RecordTable& record = record_of(Type<T>{});
    return record.catalogue_folder().empty()
               ? "an object (" + record.name() + ")"
               : "a name or path of a " + record.catalogue_noun() + ", or an object";
  }
};

template <class T>
class SourcedType final : public ValueType {
 public:
  explicit SourcedType(Bounds bounds)
      : record_("sourced number", "A number with its source and how good it is") {
    record_.required("value", &Sourced<T>::value, "The number", bounds);
    record_.required("source", &Sourced<T>::source, "Identifier of an entry of the file's \"sources\"");
    record_.required("label", &Sourced<T>::label, "How the number was obtained");
    record_.optional("note", &Sourced<T>::note, "How it was derived, or a warning");
  }
  bool read(const Node& in, Reader& reader, void* out, Node& resolved) const override {
    const bool overridden = is_overridden_number(in, reader);
    static_cast<Sourced<T>*>(out)->overridden = overridden;
    if (overridden) return record_.read(sourced_by_override(in, reader), reader, out, resolved);
    return read_sourced(in, reader) && record_.read(in, reader, out, resolved);
  }
  [[nodiscard]] Node write(const void* in) const override { return record_.write(in); }
  [[nodiscard]] Node schema(SchemaBuilder& builder) const override { return record_.schema(builder); }
  [[nodiscard]] std::string summary() const override {
    return "{\"value\": " + record_.fields().front().type->summary() + ", \"source\", \"label\"}";
  }

 private:
  Record<Sourced<T>> record_;
};

template <class T>
class OptionalType final : public ValueType {
 public:
  explicit OptionalType(Bounds bounds) : inner_(make_value_type<T>(bounds)) {}
  bool read(const Node& in, Reader& reader, void* out, Node& resolved) const override {
    auto& optional = *static_cast<std::optional<T>*>(out);
    optional.emplace();
    return inner_->read(in, reader, &*optional, resolved);
  }
  [[nodiscard]] Node write(const void* in) const override {
    const auto& optional = *static_cast<const std::optional<T>*>(in);
    return optional ? inner_->write(&*optional) : Node{};
  }
  [[nodiscard]] Node schema(SchemaBuilder& builder) const override { return inner_->schema(builder); }
  [[nodiscard]] std::string summary() const override { return inner_->summary(); }
  [[nodiscard]] bool absent(const void* in) const override {
    return !static_cast<const std::optional<T>*>(in)->has_value();
  }

 private:
  std::shared_ptr<const ValueType> inner_;
};

template <class T>
class VectorType final : public ValueType {
 public:
  explicit VectorType(Bounds bounds) : inner_(make_value_type<T>(bounds)) {}
  bool read(const Node& in, Reader& reader, void* out, Node& resolved) const override {
    if (!read_array(in, reader)) return false;
    auto& list = *static_cast<std::vector<T>*>(out);
    list.clear();
    resolved = Node::array();
    resolved.where = in.where;
    bool good = true;
    for (std::size_t i = 0; i < in.items.size(); ++i) {
      T value{};
      Node child;
      good &= read_inside(reader, std::to_string(i),
                          [&] { return inner_->read(in.items[i], reader, &value, child); });
      list.push_back(std::move(value));
      resolved.items.push_back(std::move(child));
    }
    return good;
  }
  [[nodiscard]] Node write(const void* in) const override {
    Node node = Node::array();
    for (const T& value : *static_cast<const std::vector<T>*>(in))
      node.items.push_back(inner_->write(&value));
    return node;
  }
  [[nodiscard]] Node schema(SchemaBuilder& builder) const override {
    return array_schema(inner_->schema(builder));
  }
  [[nodiscard]] std::string summary() const override { return "a list of: " + inner_->summary(); }
  [[nodiscard]] bool absent(const void* in) const override {
    return static_cast<const std::vector<T>*>(in)->empty();
  }

 private:
  std::shared_ptr<const ValueType> inner_;
};

template <class T>
class MapType final : public ValueType {
 public:
  explicit MapType(Bounds bounds) : inner_(make_value_type<T>(bounds)) {}
  bool read(const Node& in, Reader& reader, void* out, Node& resolved) const override {
    if (!read_object(in, reader)) return false;
    auto& map = *static_cast<std::map<std::string, T>*>(out);
    map.clear();
    resolved = Node::object();
    resolved.where = in.where;
    bool good = true;
    for (const Member& member : in.members) {
      if (!read_map_key(member, reader)) {
        good = false;
        continue;
      }
      Node child;
      good &= read_inside(reader, member.key,
                          [&] { return inner_->read(member.value, reader, &map[member.key], child); });
      resolved.set(member.key, std::move(child));
    }
    return good;
  }
  [[nodiscard]] Node write(const void* in) const override {
    Node node = Node::object();
    for (const auto& [key, value] : *static_cast<const std::map<std::string, T>*>(in)) {
      node.set(key, inner_->write(&value));
    }
    return node;
  }
  [[nodiscard]] Node schema(SchemaBuilder& builder) const override {
    return map_schema(inner_->schema(builder));
  }
  [[nodiscard]] std::string summary() const override { return "named entries, each: " + inner_->summary(); }
  [[nodiscard]] bool absent(const void* in) const override {
    return static_cast<const std::map<std::string, T>*>(in)->empty();
  }

 private:
  std::shared_ptr<const ValueType> inner_;
};

template <class V>
class VariantType;

template <class... Alternatives>
class VariantType<std::variant<Alternatives...>> final : public ValueType {
  using Variant = std::variant<Alternatives...>;
  using Tag = VariantTag<Variant>;

 public:
  bool read(const Node& in, Reader& reader, void* out, Node& resolved) const override {
    std::size_t index = 0;
    if (!read_tag(in, reader, Tag::key, Tag::names, index)) return false;
    bool good = false;
    std::size_t i = 0;
    ((i++ == index ? (good = read_alternative<Alternatives>(in, reader, out, resolved), 0) : 0), ...);
    return good;
  }
  [[nodiscard]] Node write(const void* in) const override {
    const auto& variant = *static_cast<const Variant*>(in);
    Node node = std::visit(
        [](const auto& value) {
          return record_of(Type<std::remove_cvref_t<decltype(value)>>{}).write(&value);
        },
        variant);
    Member tag{std::string(Tag::key), {}, Node::of(Tag::names[variant.index()])};
    node.members.insert(node.members.begin(), std::move(tag));
    return node;
  }
  [[nodiscard]] Node schema(SchemaBuilder& builder) const override {
    std::vector<Node> all;
    std::size_t i = 0;
    (all.push_back(record_of(Type<Alternatives>{}).schema(builder, Tag::key, Tag::names[i++])), ...);
    return one_of_schema(std::move(all));
  }
  [[nodiscard]] std::string summary() const override {
    return "an object whose \"" + std::string(Tag::key) + "\" is " + choice_summary(Tag::names);
  }
  // The field tables of the alternatives, for documentation.
  [[nodiscard]] static std::vector<const RecordTable*> tables() {
    return {&record_of(Type<Alternatives>{})...};
  }

 private:
  template <class T>
  static bool read_alternative(const Node& in, Reader& reader, void* out, Node& resolved) {
    T value{};
    const bool good = record_of(Type<T>{}).read(in, reader, &value, resolved, Tag::key);
    resolved.members.insert(resolved.members.begin(), {std::string(Tag::key), in.where, *in.find(Tag::key)});
    *static_cast<Variant*>(out) = std::move(value);
    return good;
  }
};

template <class T>
struct Make {
  static std::shared_ptr<const ValueType> type(Bounds bounds) {
    if constexpr (std::is_same_v<T, bool>) {
      return std::make_shared<BooleanType>();
    } else if constexpr (std::is_same_v<T, std::int64_t>) {
      return std::make_shared<IntegerType>(bounds);
    } else if constexpr (std::is_same_v<T, double>) {
      return std::make_shared<NumberType>(bounds);
    } else if constexpr (std::is_same_v<T, std::string>) {
      return std::make_shared<StringType>(bounds);
    } else if constexpr (QuantityType<T>) {
      return std::make_shared<QuantityValueType<T>>(bounds);
    } else if constexpr (std::is_enum_v<T>) {
      return std::make_shared<EnumType<T>>();
    } else {
      return std::make_shared<RecordType<T>>();
    }
  }
};
template <class T>
struct Make<Sourced<T>> {
  static std::shared_ptr<const ValueType> type(Bounds bounds) {
    return std::make_shared<SourcedType<T>>(bounds);
  }
};
template <class T>
struct Make<std::optional<T>> {
  static std::shared_ptr<const ValueType> type(Bounds bounds) {
    return std::make_shared<OptionalType<T>>(bounds);
  }
};
template <class T>
struct Make<std::vector<T>> {
  static std::shared_ptr<const ValueType> type(Bounds bounds) {
    return std::make_shared<VectorType<T>>(bounds);
  }
};
template <class T>
struct Make<std::map<std::string, T>> {
  static std::shared_ptr<const ValueType> type(Bounds bounds) { return std::make_shared<MapType<T>>(bounds); }
};
template <class... T>
struct Make<std::variant<T...>> {
  static std::shared_ptr<const ValueType> type(Bounds) {
    return std::make_shared<VariantType<std::variant<T...>>>();
  }
};

}  // namespace detail

template <class M>
std::shared_ptr<const ValueType> make_value_type(Bounds bounds) {
  return detail::Make<M>::type(bounds);
}

}  // namespace moesim::config
