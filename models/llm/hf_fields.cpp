#include "models/llm/hf_fields.hpp"

#include <fmt/format.h>

#include <algorithm>

namespace moesim::llm {

using config::Node;

namespace {

// Runs `body` with the reader's pointer at the end of `path`.
template <class Body>
bool at_path(config::Reader& reader, const std::vector<std::string>& path, std::size_t from, Body&& body) {
  if (from == path.size()) return body();
  return reader.inside(path[from], [&] { return at_path(reader, path, from + 1, body); });
}

}  // namespace

template <class Body>
bool HfFields::inside(std::string_view key, Body&& body) {
  return at_path(*reader_, path_, 0, [&] { return reader_->inside(key, [&] { return body(); }); });
}

std::string HfFields::pointer(std::string_view key) const {
  std::string pointer = reader_->pointer();
  for (const std::string& token : path_) pointer = config::pointer_join(pointer, token);
  return key.empty() ? pointer : config::pointer_join(pointer, key);
}

const Node* HfFields::take(std::string_view key) {
  known_.emplace(key);
  if (const Node* value = object_->find(key)) return value->kind == Node::Kind::null ? nullptr : value;
  const Node* fixed = defaults_.find(key);
  if (fixed == nullptr) return nullptr;
  const std::string used = fmt::format("{} {}", key, fixed->integer);
  if (std::find(used_defaults_.begin(), used_defaults_.end(), used) == used_defaults_.end())
    used_defaults_.push_back(used);
  return fixed;
}

void HfFields::use_defaults(std::string_view class_name,
                            std::initializer_list<std::pair<std::string_view, std::int64_t>> defaults) {
  class_name_ = class_name;
  for (const auto& [key, value] : defaults) {
    Node node = Node::of(value);
    node.where = {object_->where.source, object_->where.begin, object_->where.begin + 1};
    defaults_.set(key, std::move(node));
  }
}

std::string HfFields::used_defaults() const {
  return used_defaults_.empty() ? "" : fmt::format("{}: {}", class_name_, fmt::join(used_defaults_, ", "));
}

void HfFields::skip(std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) known_.emplace(key);
}

std::int64_t HfFields::whole(std::string_view key, std::int64_t low, std::int64_t high) {
  if (take(key) == nullptr) {
    report("missing_key", key, fmt::format("the configuration needs \"{}\", a whole number", key));
    return low;
  }
  return whole_or(key, low, low, high);
}

std::int64_t HfFields::whole_or(std::string_view key, std::int64_t fallback, std::int64_t low,
                                std::int64_t high) {
  const Node* value = take(key);
  std::int64_t number = fallback;
  if (value == nullptr) return number;
  const config::Bounds bounds = config::between(static_cast<double>(low), static_cast<double>(high));
  if (!inside(key, [&] { return config::detail::read_integer(*value, *reader_, bounds, number); }))
    return low;
  return number;
}

bool HfFields::flag_or(std::string_view key, bool fallback) {
  const Node* value = take(key);
  bool flag = fallback;
  if (value != nullptr) inside(key, [&] { return config::detail::read_bool(*value, *reader_, flag); });
  return flag;
}

double HfFields::number_or(std::string_view key, double fallback, double low, double high) {
  const Node* value = take(key);
  double number = fallback;
  const config::Bounds bounds = config::between(low, high);
  if (value != nullptr)
    inside(key, [&] { return config::detail::read_number(*value, *reader_, bounds, number); });
  return number;
}

std::string HfFields::text_or(std::string_view key, std::string_view fallback) {
  const Node* value = take(key);
  std::string text(fallback);
  if (value != nullptr) inside(key, [&] { return config::detail::read_string(*value, *reader_, {}, text); });
  return text;
}

std::vector<std::int64_t> HfFields::wholes(std::string_view key) {
  std::vector<std::int64_t> list;
  const Node* value = take(key);
  if (value == nullptr || !inside(key, [&] { return config::detail::read_array(*value, *reader_); }))
    return list;
  for (std::size_t i = 0; i < value->items.size(); ++i) {
    std::int64_t number = 0;
    inside(key, [&] {
      return reader_->inside(std::to_string(i), [&] {
        return config::detail::read_integer(value->items[i], *reader_, config::between(0, 1e9), number);
      });
    });
    list.push_back(number);
  }
  return list;
}

std::vector<std::string> HfFields::texts(std::string_view key) {
  std::vector<std::string> list;
  const Node* value = take(key);
  if (value == nullptr || !inside(key, [&] { return config::detail::read_array(*value, *reader_); }))
    return list;
  for (std::size_t i = 0; i < value->items.size(); ++i) {
    std::string text;
    inside(key, [&] {
      return reader_->inside(std::to_string(i), [&] {
        return config::detail::read_string(value->items[i], *reader_, {}, text);
      });
    });
    list.push_back(std::move(text));
  }
  return list;
}

HfFields& HfFields::object(std::string_view key) {
  for (const auto& [name, child] : children_) {
    if (name == key) return *child;
  }
  const Node* value = take(key);
  if (value == nullptr) report("missing_key", key, fmt::format("the configuration needs \"{}\"", key));
  const bool usable =
      value != nullptr && inside(key, [&] { return config::detail::read_object(*value, *reader_); });
  std::vector<std::string> path = path_;
  path.emplace_back(key);
  empty_.where = value != nullptr ? value->where : object_->where;
  children_.emplace_back(std::string(key),
                         std::make_unique<HfFields>(usable ? *value : empty_, std::move(path), *reader_));
  children_.back().second->errors_before_ = errors_before_;
  return *children_.back().second;
}

void HfFields::report(std::string code, std::string_view key, std::string message, bool warning) {
  Node at;
  const Node* value = object_->find(key);
  at.where = value != nullptr
                 ? value->where
                 : config::Location{object_->where.source, object_->where.begin, object_->where.begin + 1};
  // A missing field is a problem of the object that lacks it.
  const auto add = [&] {
    if (warning) {
      reader_->add({std::move(code), reader_->pointer(), at.where, std::move(message), "", "", false, true});
    } else {
      reader_->error(std::move(code), at, std::move(message), "", "", false);
    }
    return false;
  };
  if (value == nullptr) {
    at_path(*reader_, path_, 0, add);
  } else {
    inside(key, add);
  }
}

void HfFields::refuse(std::string_view key, std::string message) {
  known_.emplace(key);
  report("unsupported", key, std::move(message));
}

void HfFields::warn(std::string code, std::string_view key, std::string message) {
  report(std::move(code), key, std::move(message), true);
}

void HfFields::contradiction(std::string_view key, std::string message) {
  if (reader_->diagnostics().error_count() == errors_before_)
    report("contradiction", key, std::move(message));
}

void HfFields::leave_out(std::string_view key, std::string_view what) {
  const Node* value = take(key);
  if (value != nullptr && active(*value)) left_out_.push_back(fmt::format("{} ({})", what, key));
}

bool HfFields::active(const Node& value) {
  switch (value.kind) {
    case Node::Kind::null:
      return false;
    case Node::Kind::boolean:
      return value.boolean;
    case Node::Kind::integer:
      return value.integer != 0;
    case Node::Kind::real:
      return value.real != 0;
    case Node::Kind::string:
      return !value.text.empty();
    case Node::Kind::array:
      return !value.items.empty();
    case Node::Kind::object:
      return !value.members.empty();
  }
  return true;
}

std::vector<HfFields::Unknown> HfFields::unknown() {
  std::vector<Unknown> list;
  std::string prefix;
  for (const std::string& token : path_) prefix += token + ".";
  for (const config::Member& member : object_->members) {
    if (!known_.contains(member.key)) list.push_back({prefix + member.key, &member, this});
  }
  for (auto& [key, child] : children_) {
    for (Unknown& one : child->unknown()) list.push_back(std::move(one));
  }
  return list;
}

std::vector<std::string> HfFields::left_out() const {
  std::vector<std::string> list = left_out_;
  for (const auto& [key, child] : children_) {
    for (std::string& one : child->left_out()) list.push_back(std::move(one));
  }
  return list;
}

config::Location HfFields::place_of(std::string_view key) const {
  const Node* value = object_->find(key);
  if (value != nullptr && value->kind != Node::Kind::null && known_.contains(key)) return value->where;
  for (const auto& [name, child] : children_) {
    const config::Location place = child->place_of(key);
    if (place.source >= 0) return place;
  }
  return {};
}

}  // namespace moesim::llm
