#include "sim/studies/router_inputs.hpp"

#include <fmt/format.h>

#include <array>
#include <utility>

#include "sim/config/document.hpp"
#include "sim/io/error.hpp"
#include "sim/io/line_reader.hpp"
#include "sim/io/numbers.hpp"

namespace moesim::studies {

using reference::WeightTensor;
using reference::WeightType;

namespace {

constexpr std::array<std::string_view, 4> kIdKeys = {"input_ids", "prompt_token_ids", "token_ids", "tokens"};

bool is_integer_type(WeightType type) {
  switch (type) {
    case WeightType::i64:
    case WeightType::i32:
    case WeightType::i16:
    case WeightType::i8:
    case WeightType::u8:
      return true;
    default:
      return false;
  }
}

// Token ids of one text line.
class IdLine {
 public:
  IdLine(const io::LineReader& lines, std::string_view text, std::vector<std::int64_t>& ids)
      : lines_(&lines), text_(text), ids_(&ids) {}

  void read() {
    const std::size_t first = text_.find_first_not_of(" \t\r");
    if (first == std::string_view::npos) return;
    if (text_[first] == '[' || text_[first] == '{') return read_json();
    for (std::size_t at = first; at < text_.size();) {
      const std::size_t end = std::min(text_.find_first_of(" \t\r,", at), text_.size());
      const auto id = io::parse_int64(text_.substr(at, end - at));
      if (!id || *id < 0) fail(at, end, "this is no token id");
      add(*id, at, end);
      at = std::min(text_.find_first_not_of(" \t\r,", end), text_.size());
    }
  }

 private:
  [[noreturn]] void fail(std::size_t begin, std::size_t end, std::string message) const {
    throw config::line_error(lines_->name(), lines_->line_number(), text_, begin, end, "bad_token",
                             std::move(message), "whole numbers from 0, or a JSON list of them");
  }

  void add(std::int64_t id, std::size_t begin, std::size_t end) {
    if (ids_->size() == kMaxRoutedTokens)
      fail(begin, end, fmt::format("more than {} tokens", kMaxRoutedTokens));
    ids_->push_back(id);
  }

  void read_json() {
    const config::Document document =
        config::parse_text(std::string(text_), fmt::format("{}:{}", lines_->name(), lines_->line_number()));
    const config::Node* list = &document.root;
    if (document.root.kind == config::Node::Kind::object) {
      list = nullptr;
      for (const std::string_view key : kIdKeys) {
        if (list == nullptr) list = document.root.find(key);
      }
    }
    if (list == nullptr || list->kind != config::Node::Kind::array) {
      fail(0, text_.size(), fmt::format("no list of token ids; looked for {}", fmt::join(kIdKeys, ", ")));
    }
    for (const config::Node& id : list->items) {
      if (id.kind != config::Node::Kind::integer || id.integer < 0) {
        fail(id.where.begin, id.where.end, "this is no token id");
      }
      add(id.integer, id.where.begin, id.where.end);
    }
  }

  const io::LineReader* lines_;
  std::string_view text_;
  std::vector<std::int64_t>* ids_;
};

}  // namespace

RouterInputs::RouterInputs(const std::filesystem::path& file) : file_(file.string()) {
  if (file.extension() == ".safetensors") {
    set_.emplace(file);
    read_tensors();
  } else if (file.extension() == ".f32") {
    raw_.emplace(file);
  } else {
    read_text(file);
  }
}

void RouterInputs::read_tensors() {
  const WeightTensor* ids = nullptr;
  bool floats = false;
  for (const WeightTensor& tensor : set_->tensors()) {
    if (!is_integer_type(tensor.type)) {
      floats = true;
      continue;
    }
    if (ids != nullptr) {
      throw config::InputError("ambiguous", fmt::format("{}: two tensors of token ids: \"{}\" and \"{}\"",
                                                        file_, ids->name, tensor.name));
    }
    ids = &tensor;
  }
  if (floats) return;
  if (ids == nullptr || ids->elements() == 0) {
    throw config::InputError("empty_file", fmt::format("{} holds no tokens", file_));
  }
  if (std::cmp_greater(ids->elements(), kMaxRoutedTokens)) {
    throw config::InputError("out_of_range",
                             fmt::format("{} holds more than {} tokens", file_, kMaxRoutedTokens));
  }
  ids_ = reference::to_integers(*ids);
  set_.reset();
}

void RouterInputs::read_text(const std::filesystem::path& file) {
  io::LineReader lines(file);
  std::string_view text;
  while (lines.next(text)) IdLine(lines, text, ids_).read();
  if (ids_.empty()) throw config::InputError("empty_file", fmt::format("{} holds no tokens", file_));
}

std::optional<WeightTensor> RouterInputs::states(std::int64_t layer, std::int64_t hidden_size) const {
  WeightTensor states;
  if (raw_) {
    const std::size_t row = static_cast<std::size_t>(hidden_size) * sizeof(float);
    if (raw_->bytes().empty() || raw_->bytes().size() % row != 0) {
      throw config::InputError("wrong_size", fmt::format("{} has {} bytes; rows of {} f32 values have {}",
                                                         file_, raw_->bytes().size(), hidden_size, row));
    }
    states.name = file_;
    states.file = file_;
    states.type = WeightType::f32;
    states.type_name = "F32";
    states.shape = {static_cast<std::int64_t>(raw_->bytes().size() / row), hidden_size};
    states.bytes = raw_->bytes();
    return states;
  }
  const WeightTensor* own = nullptr;
  const WeightTensor* common = nullptr;
  for (const WeightTensor& tensor : set_->tensors()) {
    if (is_integer_type(tensor.type)) continue;
    const auto number = layer_of_states(tensor.name);
    const WeightTensor*& place = number ? own : common;
    if (number && *number != layer) continue;
    if (place != nullptr) {
      throw config::InputError(
          "ambiguous", fmt::format("{}: two tensors are the input of layer {}: \"{}\" and \"{}\"", file_,
                                   layer, place->name, tensor.name));
    }
    place = &tensor;
  }
  const WeightTensor* found = own != nullptr ? own : common;
  if (found == nullptr) return std::nullopt;
  if (found->shape.size() < 2 || found->columns() != hidden_size || found->elements() == 0) {
    throw config::InputError(
        "wrong_shape",
        fmt::format("{}: the tensor \"{}\" has the shape {}; the router of layer {} takes "
                    "[tokens, {}]",
                    file_, found->name, reference::shape_text(found->shape), layer, hidden_size));
  }
  return *found;
}

std::optional<std::int64_t> layer_of_states(std::string_view name) {
  const std::size_t last = name.find_last_of("0123456789");
  if (last == std::string_view::npos) return std::nullopt;
  const std::size_t before = name.find_last_not_of("0123456789", last);
  const std::size_t first = before == std::string_view::npos ? 0 : before + 1;
  return io::parse_int64(name.substr(first, last + 1 - first));
}

}  // namespace moesim::studies
