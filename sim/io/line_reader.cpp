#include "sim/io/line_reader.hpp"

#include <cstring>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "sim/core/check.hpp"
#include "sim/io/byte_source.hpp"
#include "sim/io/error.hpp"

namespace moesim::io {
namespace {

constexpr std::size_t kLineBufferBytes = std::size_t{1} << 16;
constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

}  // namespace

struct LineReader::State {
  explicit State(const std::filesystem::path& path)
      : name(path.string()), source(open_byte_source(path)), buffer(kLineBufferBytes) {}

  std::string name;
  std::unique_ptr<ByteSource> source;
  std::vector<char> buffer;
  std::size_t begin = 0;
  std::size_t end = 0;
  bool started = false;
  bool at_end = false;
  std::string carry;  // the part of a line that lay in earlier buffers
  std::size_t line_number = 0;
  std::string_view line_end;
  std::optional<IoError> failure;  // what next() threw; going on would return parts of lines

  [[noreturn]] void fail(const std::string& message) {
    failure.emplace(name, line_number + 1, message);
    throw IoError(*failure);
  }

  void read_more() {
    try {
      const std::size_t count = source->read(std::span<char>(buffer).subspan(end));
      end += count;
      at_end = count == 0;
    } catch (const IoError& error) {
      fail(error.message());
    }
  }

  void skip_byte_order_mark() {
    while (end < kByteOrderMark.size() && !at_end) {
      read_more();
    }
    if (std::string_view(buffer.data(), end).starts_with(kByteOrderMark)) {
      begin = kByteOrderMark.size();
    }
    started = true;
  }

  // What is buffered; refilled when empty, so that an empty view means the end of the file.
  std::string_view chunk() {
    if (begin == end && !at_end) {
      begin = 0;
      end = 0;
      read_more();
    }
    return {buffer.data() + begin, end - begin};
  }

  // Checks the limit and counts the line.
  void accept(std::string_view line) {
    if (line.size() > kMaxLineBytes) {
      fail("line longer than " + std::to_string(kMaxLineBytes) + " bytes");
    }
    ++line_number;
  }

  bool next(std::string_view& line) {
    if (failure.has_value()) {
      throw IoError(*failure);
    }
    if (!started) {
      skip_byte_order_mark();
    }
    carry.clear();
    for (std::string_view bytes = chunk(); !bytes.empty(); bytes = chunk()) {
      const void* const found = std::memchr(bytes.data(), '\n', bytes.size());
      if (found != nullptr) {
        const auto length = static_cast<std::size_t>(static_cast<const char*>(found) - bytes.data());
        begin += length + 1;
        line = joined(bytes.substr(0, length));
        line_end = "\n";
        if (line.ends_with('\r')) {
          line.remove_suffix(1);
          line_end = "\r\n";
        }
        accept(line);
        return true;
      }
      carry.append(bytes);
      begin = end;
      // One more than the limit may still be the CR of a line end.
      if (carry.size() > kMaxLineBytes + 1) {
        accept(carry);
      }
    }
    if (carry.empty()) {
      return false;
    }
    line = carry;
    line_end = {};
    accept(line);
    return true;
  }

  std::string_view joined(std::string_view last_part) {
    if (carry.empty()) {
      return last_part;
    }
    carry.append(last_part);
    return carry;
  }
};

LineReader::LineReader(const std::filesystem::path& path) : state_(std::make_unique<State>(path)) {}
LineReader::~LineReader() = default;
LineReader::LineReader(LineReader&&) noexcept = default;
LineReader& LineReader::operator=(LineReader&&) noexcept = default;

bool LineReader::next(std::string_view& line) {
  core::check(state_ != nullptr, "LineReader used after it was moved from");
  return state_->next(line);
}

std::size_t LineReader::line_number() const { return state_->line_number; }
std::string_view LineReader::line_end() const { return state_->line_end; }
const std::string& LineReader::name() const { return state_->name; }

std::string read_file(const std::filesystem::path& path, std::size_t max_bytes) {
  const std::unique_ptr<ByteSource> source = open_byte_source(path);
  std::vector<char> buffer(kLineBufferBytes);
  std::string text;
  while (const std::size_t count = source->read(buffer)) {
    if (count > max_bytes - text.size()) {
      throw IoError(path.string(), 0, "larger than " + std::to_string(max_bytes) + " bytes");
    }
    text.append(buffer.data(), count);
  }
  return text;
}

}  // namespace moesim::io
