// A file opened for reading, as raw bytes (internal to sim/io).
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace moesim::io {

// "what: reason", with the reason the system gives for an errno value.
[[nodiscard]] std::string system_message(const std::string& what, int error_number);

class InputFile {
 public:
  // Throws IoError if the file cannot be opened or is a directory.
  explicit InputFile(const std::filesystem::path& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  // Reads some bytes into `to` and returns how many; 0 only at the end of the file. Throws IoError.
  [[nodiscard]] std::size_t read(std::span<char> to);
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  std::string name_;
  int descriptor_ = -1;
};

}  // namespace moesim::io
