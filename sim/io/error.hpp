// Failures of files and streams.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace moesim::io {

// A file that cannot be read or written, or whose bytes are damaged. `line` is 0 when no line is meant.
class IoError : public std::runtime_error {
 public:
  // what() is "path:line: message", or "path: message" when line is 0.
  IoError(std::string path, std::size_t line, std::string message);
  [[nodiscard]] const std::string& path() const { return path_; }
  [[nodiscard]] std::size_t line() const { return line_; }
  // The message alone, for callers that print the place themselves.
  [[nodiscard]] const std::string& message() const { return message_; }

 private:
  std::string path_;
  std::size_t line_;
  std::string message_;
};

}  // namespace moesim::io
