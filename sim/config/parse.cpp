// JSON text to Node. nlohmann-json judges the syntax; this file adds what it does not give: the position of
// every value, duplicate keys, and limits that hold before anything large is built.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "sim/config/document.hpp"

namespace moesim::config {

namespace {

constexpr std::size_t kMaxValues = 1'000'000;  // about 150 MB of nodes

// A character of a number or a literal.
bool is_word(char c) {
  return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' || c == '-' ||
         c == '.';
}

// Finds the byte range of each token that the SAX parser reports, by walking the same text once.
class TokenCursor {
 public:
  explicit TokenCursor(std::string_view text) : text_(text) {
    if (text_.starts_with("\xEF\xBB\xBF")) at_ = 3;
  }

  // The range of the next token: a string, a number, a literal or one of { } [ ].
  Location next(int source) {
    skip_filler();
    const std::size_t begin = at_;
    if (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        skip_string();
      } else if (c == '{' || c == '}' || c == '[' || c == ']') {
        ++at_;
      } else {
        while (at_ < text_.size() && is_word(text_[at_])) ++at_;
      }
    }
    return {source, begin, at_};
  }

 private:
  void skip_filler() {
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '/' && at_ + 1 < text_.size() && text_[at_ + 1] == '/') {
        at_ = std::min(text_.find('\n', at_), text_.size());
      } else if (c == '/' && at_ + 1 < text_.size() && text_[at_ + 1] == '*') {
        const std::size_t end = text_.find("*/", at_ + 2);
        at_ = end == std::string_view::npos ? text_.size() : end + 2;
      } else if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',' || c == ':') {
        ++at_;
      } else {
        return;
      }
    }
  }
  void skip_string() {
    for (++at_; at_ < text_.size() && text_[at_] != '"'; ++at_) {
      if (text_[at_] == '\\') ++at_;
    }
    at_ = std::min(at_ + 1, text_.size());
  }

  std::string_view text_;
  std::size_t at_ = 0;
};

class Builder : public nlohmann::json_sax<nlohmann::json> {
 public:
  Builder(std::string_view text, int source, Diagnostics& diagnostics)
      : text_(text), source_(source), diagnostics_(&diagnostics), cursor_(text) {}

  bool null() override { return put(Node{}); }
  bool boolean(bool value) override { return put(Node::of(value)); }
  bool number_integer(number_integer_t value) override { return put(Node::of(std::int64_t{value})); }
  bool number_unsigned(number_unsigned_t value) override {
    if (value <= static_cast<number_unsigned_t>(INT64_MAX))
      return put(Node::of(static_cast<std::int64_t>(value)));
    return put(Node::of(static_cast<double>(value)));
  }
  bool number_float(number_float_t value, const string_t&) override { return put(Node::of(double{value})); }
  bool string(string_t& value) override { return put(Node::of(std::string_view(value))); }
  bool binary(binary_t&) override { return false; }

  bool start_object(std::size_t) override { return open(Node::object()); }
  bool start_array(std::size_t) override { return open(Node::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }

  bool key(string_t& value) override {
    const Location where = cursor_.next(source_);
    Frame& frame = stack_.back();
    frame.ignore_next = !frame.keys.insert(value).second;
    if (frame.ignore_next) {
      diagnostics_->add({"duplicate_key", pointer_join(frame.pointer, value), where,
                         fmt::format("the key \"{}\" is given twice in one object", value), "", "", false,
                         false});
    }
    frame.key = value;
    frame.key_where = where;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const nlohmann::json::exception& ex) override {
    // nlohmann-json says how far it read; the word or character that ends there is the culprit.
    const std::size_t end = std::min(position, text_.size());
    std::size_t begin = end == 0 ? 0 : end - 1;
    while (begin > 0 && is_word(text_[begin]) && is_word(text_[begin - 1]) && end - begin < 64) --begin;
    Diagnostic problem{
        "syntax", "",   {source_, begin, std::max(end, begin + 1)}, syntax_message(ex.what()), "", "",
        false,    false};
    if (stack_.empty() && values_ > 0) {
      problem.message = "text after the end of the document";
    } else if (ex.id == 406) {
      problem.message = "the number is out of range";
      problem.suggestion = "a finite number";
    } else if (const std::size_t comma = trailing_comma(begin); comma != std::string_view::npos) {
      problem.message = fmt::format("a comma before \"{}\" is not allowed in JSON", text_[begin]);
      problem.where = {source_, comma, comma + 1};
    } else if (is_non_finite(begin)) {
      problem.message = "not a number: JSON knows finite numbers only";
    } else if (const std::string_view words = foreign_syntax(begin); !words.empty()) {
      problem.message = words;
    }
    diagnostics_->add(std::move(problem));
    return false;
  }

  Node take() { return std::move(root_); }

 private:
  struct Frame {
    Node node;
    std::string pointer;
    std::unordered_set<std::string> keys;
    std::string key;
    Location key_where;
    bool ignore_next = false;
  };

  // nlohmann's sentence without its prefix, its position and its echo of the input.
  static std::string syntax_message(std::string message) {
    if (const std::size_t at = message.rfind("syntax error"); at != std::string::npos) {
      message.erase(0, at);
    } else if (const std::size_t close = message.find("] "); close != std::string::npos) {
      message.erase(0, close + 2);
    }
    if (const std::size_t at = message.find("; last read"); at != std::string::npos) message.resize(at);
    if (message.size() > 300) message.resize(300);
    return message;
  }

  bool is_non_finite(std::size_t begin) const {
    const std::string_view rest = text_.substr(begin);
    for (const std::string_view word : {"NaN", "nan", "Inf", "inf", "-Inf", "-inf"}) {
      if (rest.starts_with(word)) return true;
    }
    return false;
  }

  // What JSON has instead of the syntax of other languages, or "".
  std::string_view foreign_syntax(std::size_t begin) const {
    if (text_.empty()) return "the file is empty";
    if (text_.starts_with("\xFF\xFE") || text_.starts_with("\xFE\xFF"))
      return "the text is UTF-16: save it as UTF-8";
    if (begin >= text_.size()) return "";
    const std::string_view rest = text_.substr(begin);
    if (rest.front() == '\0') return "the text holds a NUL byte";
    if (rest.front() == '\'') return "strings and keys are written in double quotes";
    if (rest.front() == '#') return "comments start with // or are written /* ... */";
    for (const std::string_view word : {"True", "False", "None"}) {
      if (rest.starts_with(word)) return "JSON writes true, false and null in lower case";
    }
    const bool letter =
        (rest.front() >= 'a' && rest.front() <= 'z') || (rest.front() >= 'A' && rest.front() <= 'Z');
    const bool literal = rest.starts_with("true") || rest.starts_with("false") || rest.starts_with("null");
    return letter && !literal ? "keys and strings are written in double quotes" : "";
  }

  // The position of a comma right before the closing bracket at `begin`, or npos.
  std::size_t trailing_comma(std::size_t begin) const {
    if (begin >= text_.size() || (text_[begin] != '}' && text_[begin] != ']')) return std::string_view::npos;
    while (begin > 0) {
      const char c = text_[--begin];
      if (c == ',') return begin;
      if (c != ' ' && c != '\n' && c != '\r' && c != '\t') break;
    }
    return std::string_view::npos;
  }

  std::string child_pointer() const {
    if (stack_.empty()) return "";
    const Frame& frame = stack_.back();
    return frame.node.kind == Node::Kind::array
               ? pointer_join(frame.pointer, std::to_string(frame.node.items.size()))
               : pointer_join(frame.pointer, frame.key);
  }

  bool count_value(const Location& where) {
    if (++values_ <= kMaxValues) return true;
    diagnostics_->add({"too_large", "", where,
                       fmt::format("the document holds more than {} values", kMaxValues), "", "", false,
                       false});
    return false;
  }

  bool put(Node node) {
    node.where = cursor_.next(source_);
    return count_value(node.where) && attach(std::move(node));
  }

  bool attach(Node node) {
    if (stack_.empty()) {
      root_ = std::move(node);
      return true;
    }
    Frame& frame = stack_.back();
    if (frame.node.kind == Node::Kind::array) {
      frame.node.items.push_back(std::move(node));
    } else if (!frame.ignore_next) {
      frame.node.members.push_back({frame.key, frame.key_where, std::move(node)});
    }
    return true;
  }

  bool open(Node node) {
    node.where = cursor_.next(source_);
    if (!count_value(node.where)) return false;
    if (stack_.size() >= kMaxDepth) {
      diagnostics_->add({"too_deep", "", node.where, fmt::format("nested deeper than {} levels", kMaxDepth),
                         "", "", false, false});
      return false;
    }
    std::string pointer = child_pointer();
    stack_.push_back({std::move(node), std::move(pointer), {}, "", {}, false});
    return true;
  }

  bool close() {
    const Location where = cursor_.next(source_);
    Frame frame = std::move(stack_.back());
    stack_.pop_back();
    frame.node.where.end = where.end;
    return attach(std::move(frame.node));
  }

  std::string_view text_;
  int source_;
  Diagnostics* diagnostics_;
  TokenCursor cursor_;
  std::vector<Frame> stack_;
  Node root_;
  std::size_t values_ = 0;
};

}  // namespace

Node parse_source(SourceSet& sources, int source, Diagnostics& diagnostics) {
  const std::string& text = sources.at(source).text;
  if (text.size() > kMaxFileBytes) {
    diagnostics.add({"too_large",
                     "",
                     {source, 0, 0},
                     fmt::format("the file is larger than {} MiB", kMaxFileBytes >> 20),
                     "",
                     "",
                     false,
                     false});
    return {};
  }
  Builder builder(text, source, diagnostics);
  constexpr bool kStrict = true, kComments = true;
  const bool good = nlohmann::json::sax_parse(text.begin(), text.end(), &builder,
                                              nlohmann::json::input_format_t::json, kStrict, kComments);
  if (!good && !diagnostics.has_errors()) {
    diagnostics.add({"syntax", "", {source, 0, 0}, "the text is not JSON", "", "", false, false});
  }
  return builder.take();
}

}  // namespace moesim::config
