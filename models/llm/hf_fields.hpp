// Reading a config.json of the Hugging Face hub field by field, so that nothing in it is passed over in
// silence.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/config/document.hpp"

namespace moesim::llm {

// Most layers that a configuration may have: far above any model.
inline constexpr std::int64_t kMostHfLayers = 100'000;

// One object of a configuration. Each look at a field marks it as known; what was never looked at is unknown.
// Problems go to the reader, with the place of the field. After an error the functions return a harmless
// value.
class HfFields {
 public:
  // `path`: the keys from the configuration's root to the object. The object and the reader must outlive
  // this.
  HfFields(const config::Node& object, std::vector<std::string> path, config::Reader& reader)
      : object_(&object),
        path_(std::move(path)),
        reader_(&reader),
        errors_before_(reader.diagnostics().error_count()) {}

  // What the maker's class has for sizes that a file may leave out. A default that is used is noted; null is
  // not left out.
  void use_defaults(std::string_view class_name,
                    std::initializer_list<std::pair<std::string_view, std::int64_t>> defaults);
  // The value, that of the class where it is absent, or nullptr if it is absent or null, which mean the same
  // on the hub. Marks the field as known.
  const config::Node* take(std::string_view key);
  // Marks fields as known that say nothing about this model.
  void skip(std::initializer_list<std::string_view> keys);

  // A whole number from `low` to `high`, which must be given.
  std::int64_t whole(std::string_view key, std::int64_t low = 1, std::int64_t high = 1'000'000'000);
  // The same, or `fallback` where the field is absent or null.
  std::int64_t whole_or(std::string_view key, std::int64_t fallback, std::int64_t low = 0,
                        std::int64_t high = 1'000'000'000);
  bool flag_or(std::string_view key, bool fallback);
  double number_or(std::string_view key, double fallback, double low, double high);
  std::string text_or(std::string_view key, std::string_view fallback);
  // An absent list is empty.
  std::vector<std::int64_t> wholes(std::string_view key);
  std::vector<std::string> texts(std::string_view key);
  // The fields of an object inside, which must be given. Lives as long as this; always the same for a key.
  HfFields& object(std::string_view key);

  // Adds an error at a field: what it asks for cannot be expressed by an Architecture.
  void refuse(std::string_view key, std::string message);
  // Adds an error at a field that contradicts another, unless there are errors already, which may be the
  // cause.
  void contradiction(std::string_view key, std::string message);
  // Adds a warning at a field, or at the object that lacks it.
  void warn(std::string code, std::string_view key, std::string message);
  // Notes a part of the model that is not imported.
  void leave_out(std::string_view key, std::string_view what);

  // True for a value that switches something on: not null, false, 0, "", [] or {}.
  [[nodiscard]] static bool active(const config::Node& value);

  // Members that nothing asked for, here and in the objects inside, with the dotted path.
  struct Unknown {
    std::string path;
    const config::Member* member = nullptr;
    HfFields* owner = nullptr;
  };
  [[nodiscard]] std::vector<Unknown> unknown();
  // "the multi-token prediction layers (num_nextn_predict_layers)", ...
  [[nodiscard]] std::vector<std::string> left_out() const;
  // "Gemma3TextConfig: vocab_size 262208, sliding_window 4096", or "" where no default was used.
  [[nodiscard]] std::string used_defaults() const;
  // The place of the first of these fields that was given and read, here or inside; else source -1.
  [[nodiscard]] config::Location place_of(std::string_view key) const;
  [[nodiscard]] const config::Node& node() const { return *object_; }
  [[nodiscard]] const std::vector<std::string>& path() const { return path_; }
  [[nodiscard]] config::Reader& reader() const { return *reader_; }
  [[nodiscard]] std::string pointer(std::string_view key = "") const;

 private:
  void report(std::string code, std::string_view key, std::string message, bool warning = false);
  template <class Body>
  bool inside(std::string_view key, Body&& body);

  const config::Node* object_;
  std::vector<std::string> path_;
  config::Reader* reader_;
  std::size_t errors_before_;  // that were there before this configuration was read
  std::set<std::string, std::less<>> known_;
  std::vector<std::pair<std::string, std::unique_ptr<HfFields>>> children_;
  std::vector<std::string> left_out_;
  std::string class_name_;
  config::Node defaults_ = config::Node::object();
  std::vector<std::string> used_defaults_;
  config::Node empty_ = config::Node::object();
};

}  // namespace moesim::llm
