// Output files that appear whole or not at all.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>

namespace moesim::io {

// Writes to a temporary name in the same folder; commit() renames it. Without commit nothing is left behind.
// A path that ends in .gz or .zst is compressed with a fixed level and no time stamp: equal bytes for equal
// input, however it is cut into writes. A symbolic link is followed; permissions are those of a new file
// (umask).
class AtomicFile {
 public:
  // Throws IoError if the folder cannot be written, or if the path is there and is no regular file.
  explicit AtomicFile(std::filesystem::path path);
  ~AtomicFile();
  AtomicFile(AtomicFile&&) noexcept;
  AtomicFile& operator=(AtomicFile&&) noexcept;

  // Adds bytes. Throws IoError, for example when the disk is full; the file cannot be committed after that.
  void write(std::string_view bytes);
  // Flushes to disk and renames; nothing can be written after it. Throws IoError.
  void commit();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// Writes a whole file atomically, compressed as AtomicFile says. Throws IoError.
void write_file(const std::filesystem::path& path, std::string_view bytes);

}  // namespace moesim::io
