// Field tables: one table per struct gives parsing, bounds, defaults, JSON Schema and documentation.
//
//   struct Hbm { core::Bytes capacity; std::int64_t stacks = 1; };
//
//   const config::Record<Hbm>& record_of(config::Type<Hbm>) {   // found by argument-dependent lookup
//     static const auto record = config::Record<Hbm>("hbm", "High-bandwidth memory of one GPU")
//         .required("capacity", &Hbm::capacity, "Nominal capacity", config::above(0))
//         .optional("stacks", &Hbm::stacks, "Number of stacks", config::between(1, 16));
//     return record;
//   }
//
// The default of an optional field is the member's value in a default-constructed struct. Member types: bool,
// std::int64_t, double, std::string, an enum with EnumNames, the quantities of core/units.hpp and
// core::Duration (strings with a unit in JSON), config::Sourced<T>, std::optional<T>, std::vector<T>,
// std::map<std::string, T>, another struct with a record, and a std::variant of such structs with VariantTag.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "sim/config/diagnostics.hpp"
#include "sim/config/node.hpp"
#include "sim/config/provenance.hpp"
#include "sim/config/quantity.hpp"

namespace moesim::config {

template <class T>
struct Type {};  // a tag to look up the record of T

class Reader;
class SchemaBuilder;

// Limits on a number, in the SI unit of the field, or on the length of a string. For optional<T>, vector<T>,
// map<string, T> and Sourced<T> they hold for the T inside.
struct Bounds {
  std::optional<double> minimum;
  std::optional<double> maximum;
  bool exclusive_minimum = false;
};
[[nodiscard]] inline Bounds at_least(double low) { return {low, std::nullopt, false}; }
[[nodiscard]] inline Bounds above(double low) { return {low, std::nullopt, true}; }
[[nodiscard]] inline Bounds between(double low, double high) { return {low, high, false}; }
[[nodiscard]] inline Bounds above_up_to(double low, double high) { return {low, high, true}; }

// The JSON names of an enum. Specialise with: static constexpr EnumName<E> table[] = {{E::a, "a",
// "sentence"}, ...};
template <class E>
struct EnumName {
  E value;
  std::string_view name;
  std::string_view sentence;
};
template <class E>
struct EnumNames;

template <>
struct EnumNames<Label> {
  static constexpr EnumName<Label> table[] = {
      {Label::measured, "measured", "read off the hardware or software itself"},
      {Label::calibrated, "calibrated", "fitted to measurements"},
      {Label::datasheet, "datasheet", "stated by the vendor or a source that cites the vendor"},
      {Label::derived, "derived", "computed from datasheet values or scaled from a relative"},
      {Label::assumed, "assumed", "general knowledge or a choice; no source was read"},
  };
};

template <class E>
[[nodiscard]] std::string_view enum_name(E value) {
  for (const auto& entry : EnumNames<E>::table) {
    if (entry.value == value) return entry.name;
  }
  return "?";
}

// How a std::variant of records is told apart in JSON. Specialise with:
//   static constexpr std::string_view key = "process";
//   static constexpr std::string_view names[] = {"poisson", ...};   // in the order of the alternatives
template <class V>
struct VariantTag;

// A record that may also be given by name or path, or by an object with "extends". Specialise with:
//   static constexpr std::string_view folder = "hw_configs/gpus";
//   static constexpr std::string_view noun = "GPU";
template <class T>
struct CatalogueEntry {
  static constexpr std::string_view folder = "";
  static constexpr std::string_view noun = "";
};

// How one C++ type is read from, written to and described in JSON.
class ValueType {
 public:
  virtual ~ValueType() = default;
  // Reads `in` into *out; reports problems to the reader and returns false if there were any. `resolved` gets
  // the value as it will be used: defaults filled in, catalogue names replaced by what they name.
  virtual bool read(const Node& in, Reader& reader, void* out, Node& resolved) const = 0;
  [[nodiscard]] virtual Node write(const void* in) const = 0;
  [[nodiscard]] virtual Node schema(SchemaBuilder& builder) const = 0;
  // What a person may write, for `describe`: "size, for example \"80 GiB\"".
  [[nodiscard]] virtual std::string summary() const = 0;
  // True for types whose empty value is left out when written (optional, vector, map).
  [[nodiscard]] virtual bool absent(const void*) const { return false; }
};

struct Field {
  std::string key;
  std::string sentence;
  bool required = false;
  std::shared_ptr<const ValueType> type;
  std::function<void*(void*)> locate;  // address of the member in a struct
};

// Problems found by a record's own check; pointers are relative to the record ("/hbm/capacity").
class Problems {
 public:
  Problems(Reader& reader, const Node& record, std::string pointer)
      : reader_(&reader), record_(&record), pointer_(std::move(pointer)) {}
  void error(std::string_view relative_pointer, std::string message, std::string suggestion = "",
             std::string code = "contradiction");
  void warning(std::string_view relative_pointer, std::string message, std::string suggestion = "",
               std::string code = "suspicious");

 private:
  void add(std::string_view relative_pointer, std::string message, std::string suggestion, std::string code,
           bool warning);
  Reader* reader_;
  const Node* record_;
  std::string pointer_;
};

// A document in the form of another program that stands for a record, for example a config.json of the
// Hugging Face hub for a model.
struct ForeignForm {
  // True for a tree in that form. Must be false for every tree in the record's own form.
  bool (*recognises)(const Node& tree) = nullptr;
  // The same in the record's own form, each value at the place it comes from. nullopt after reporting errors.
  std::optional<Node> (*translate)(const Node& tree, Reader& reader) = nullptr;
};

// The type-erased part of a field table.
class RecordTable {
 public:
  RecordTable(std::string name, std::string sentence)
      : name_(std::move(name)), sentence_(std::move(sentence)) {}
  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& sentence() const { return sentence_; }
  [[nodiscard]] const std::vector<Field>& fields() const { return fields_; }
  [[nodiscard]] const std::string& catalogue_folder() const { return folder_; }
  [[nodiscard]] const std::string& catalogue_noun() const { return noun_; }
  // Reads an object into the struct at `out`. `tag` is a key that belongs to the enclosing variant.
  bool read(const Node& in, Reader& reader, void* out, Node& resolved, std::string_view tag = "") const;
  [[nodiscard]] Node write(const void* in) const;
  [[nodiscard]] Node schema(SchemaBuilder& builder, std::string_view tag = "",
                            std::string_view tag_value = "") const;

 private:
  bool read_own(const Node& in, Reader& reader, void* out, Node& resolved, std::string_view tag) const;

 protected:
  std::string name_;
  std::string sentence_;
  std::string folder_;
  std::string noun_;
  std::vector<Field> fields_;
  std::function<std::shared_ptr<void>()> make_default_;
  std::function<void(const void*, Problems&)> check_;
  ForeignForm foreign_;
};

template <class M>
[[nodiscard]] std::shared_ptr<const ValueType> make_value_type(Bounds bounds);

template <class T>
class Record : public RecordTable {
 public:
  Record(std::string name, std::string sentence) : RecordTable(std::move(name), std::move(sentence)) {
    folder_ = std::string(CatalogueEntry<T>::folder);
    noun_ = std::string(CatalogueEntry<T>::noun);
    make_default_ = [] { return std::static_pointer_cast<void>(std::make_shared<T>()); };
  }
  // A field that must be given.
  template <class M>
  Record& required(std::string key, M T::*member, std::string sentence, Bounds bounds = {}) {
    return add(std::move(key), member, std::move(sentence), bounds, true);
  }
  // A field that may be left out: then the member keeps its value in T{}.
  template <class M>
  Record& optional(std::string key, M T::*member, std::string sentence, Bounds bounds = {}) {
    return add(std::move(key), member, std::move(sentence), bounds, false);
  }
  // Another form in which the record may be given.
  Record& foreign(ForeignForm form) {
    foreign_ = form;
    return *this;
  }
  // A rule between fields; runs after every field of the record was read without an error.
  Record& check(std::function<void(const T&, Problems&)> rule) {
    check_ = [rule = std::move(rule)](const void* value, Problems& problems) {
      rule(*static_cast<const T*>(value), problems);
    };
    return *this;
  }

 private:
  template <class M>
  Record& add(std::string key, M T::*member, std::string sentence, Bounds bounds, bool required) {
    fields_.push_back({std::move(key), std::move(sentence), required, make_value_type<M>(bounds),
                       [member](void* object) -> void* { return &(static_cast<T*>(object)->*member); }});
    return *this;
  }
};

}  // namespace moesim::config

#include "sim/config/value_types.hpp"
