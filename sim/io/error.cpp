#include "sim/io/error.hpp"

#include <utility>

namespace moesim::io {
namespace {

std::string place_and_message(const std::string& path, std::size_t line, const std::string& message) {
  std::string text;
  for (const char c : path) {
    // what() ends at the first NUL, and would lose the message.
    text += c == '\0' ? std::string("\\0") : std::string(1, c);
  }
  if (line != 0) {
    text += ":" + std::to_string(line);
  }
  return text + ": " + message;
}

}  // namespace

IoError::IoError(std::string path, std::size_t line, std::string message)
    : std::runtime_error(place_and_message(path, line, message)),
      path_(std::move(path)),
      line_(line),
      message_(std::move(message)) {}

}  // namespace moesim::io
