#include "workloads/json_line.hpp"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <utility>

namespace moesim::workloads {
namespace {

// A pointer into the line that tells how far the parser has read: its events carry no places.
class CountingIterator {
 public:
  using iterator_category = std::forward_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  CountingIterator(const char* at, const char** read) : at_(at), read_(read) {}
  reference operator*() const { return *at_; }
  CountingIterator& operator++() {
    *read_ = ++at_;
    return *this;
  }
  CountingIterator operator++(int) {
    CountingIterator old = *this;
    ++*this;
    return old;
  }
  friend bool operator==(const CountingIterator& a, const CountingIterator& b) { return a.at_ == b.at_; }

 private:
  const char* at_;
  const char** read_;
};

// "syntax error while parsing value - invalid literal; last read: 'x'" without the library's preamble.
std::string syntax_message(std::string_view what) {
  const std::size_t found = what.find("syntax error");
  const std::string_view detail = found == std::string_view::npos ? what : what.substr(found);
  return "this line is not valid JSON: " + std::string(detail);
}

}  // namespace

// Receives the parser's events (the SAX interface of nlohmann::json).
class JsonLineBuilder {
 public:
  JsonLineBuilder(JsonLine& out, std::string_view line, const char* const& read)
      : out_(&out), line_(line), read_(&read) {}

  bool null() { return add(JsonKind::null); }
  bool boolean(bool) { return add(JsonKind::boolean); }
  bool number_integer(std::int64_t value) { return add_integer(value); }
  bool number_unsigned(std::uint64_t value) {
    return value > INT64_MAX ? add_number(static_cast<double>(value))
                             : add_integer(static_cast<std::int64_t>(value));
  }
  bool number_float(double value, const std::string&) { return add_number(value); }
  bool string(std::string& value) { return add(JsonKind::string, &value); }
  template <class Binary>
  bool binary(Binary&) {
    return fail("syntax", "this line is not valid JSON");  // no event of the text format
  }
  bool start_object(std::size_t) { return open(JsonKind::object); }
  bool end_object() { return close(); }
  bool start_array(std::size_t) { return open(JsonKind::array); }
  bool end_array() { return close(); }

  bool key(std::string& name) {
    add(JsonKind::key, &name);
    const auto self = static_cast<std::uint32_t>(out_->values_.size() - 1);
    std::uint32_t at = open_.back() + 1;
    std::size_t keys = 1;
    while (at < self) {
      if (out_->text(out_->values_[at]) == name)
        return fail("duplicate_key", "the key \"" + name + "\" is given twice");
      ++keys;
      at = out_->values_[at + 1].next;
    }
    if (keys > JsonLine::kMaxKeys) return fail("too_large", "an object has more than 64 keys");
    return true;
  }

  template <class Exception>
  bool parse_error(std::size_t position, const std::string&, const Exception& exception) {
    const std::size_t at = std::min(position == 0 ? 0 : position - 1, line_.size());
    // 101 is a syntax error; the other one that a text can cause is 406, a number beyond all doubles.
    const bool syntax = exception.id == 101;
    error_ = {at, std::min(at + 1, line_.size()), syntax ? "syntax" : "out_of_range",
              syntax ? syntax_message(exception.what()) : "this number is too large"};
    return false;
  }

  [[nodiscard]] JsonLineError& error() { return error_; }

 private:
  bool fail(std::string code, std::string message) {
    const JsonValue& value = out_->values_.back();
    error_ = {value.begin, value.end, std::move(code), std::move(message)};
    return false;
  }

  // Finds the text of the event that just came: it starts after the last one and separators. A number ends
  // before the byte that ended it, which the parser has read.
  bool add(JsonKind kind, const std::string* text = nullptr) {
    auto read = static_cast<std::size_t>(*read_ - line_.data());
    if (kind == JsonKind::integer || kind == JsonKind::real) {
      while (read > last_end_ &&
             std::string_view("0123456789.eE+-").find(line_[read - 1]) == std::string_view::npos) {
        --read;
      }
    }
    const std::size_t begin = std::min(line_.find_first_not_of(" \t\r\n,:", last_end_), read);
    JsonValue value;
    value.kind = kind;
    value.begin = static_cast<std::uint32_t>(begin);
    value.end = static_cast<std::uint32_t>(read);
    value.next = static_cast<std::uint32_t>(out_->values_.size() + 1);
    if (text != nullptr) {
      value.text = static_cast<std::uint32_t>(out_->texts_.size());
      out_->texts_.push_back(*text);
    }
    out_->values_.push_back(value);
    last_end_ = read;
    return true;
  }
  bool add_integer(std::int64_t integer) {
    add(JsonKind::integer);
    out_->values_.back().integer = integer;
    out_->values_.back().real = static_cast<double>(integer);
    return true;
  }
  bool add_number(double number) {
    add(JsonKind::real);
    out_->values_.back().real = number;
    return true;
  }
  bool open(JsonKind kind) {
    add(kind);
    open_.push_back(static_cast<std::uint32_t>(out_->values_.size() - 1));
    if (open_.size() > JsonLine::kMaxDepth) return fail("too_deep", "lists and objects are nested too deep");
    return true;
  }
  bool close() {
    JsonValue& value = out_->values_[open_.back()];
    open_.pop_back();
    last_end_ = static_cast<std::size_t>(*read_ - line_.data());
    value.end = static_cast<std::uint32_t>(last_end_);
    value.next = static_cast<std::uint32_t>(out_->values_.size());
    return true;
  }

  JsonLine* out_;
  std::string_view line_;
  const char* const* read_;
  std::size_t last_end_ = 0;
  std::vector<std::uint32_t> open_;
  JsonLineError error_;
};

std::optional<JsonLineError> JsonLine::parse(std::string_view line) {
  values_.clear();
  texts_.clear();
  const char* read = line.data();
  JsonLineBuilder builder(*this, line, read);
  const CountingIterator first(line.data(), &read);
  const CountingIterator last(line.data() + line.size(), &read);
  if (nlohmann::json::sax_parse(first, last, &builder)) return std::nullopt;
  return std::move(builder.error());
}

}  // namespace moesim::workloads
