// A file mapped into memory for reading.
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>

namespace moesim::reference {

// The pages are read when they are looked at, so a checkpoint of many gigabytes costs what is used of it. A
// file that another program shortens while it is mapped ends this program, as with every reader that maps.
class MappedFile {
 public:
  // Throws io::IoError if the file cannot be opened or is no regular file.
  explicit MappedFile(const std::filesystem::path& path);
  ~MappedFile();
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;

  [[nodiscard]] std::span<const std::byte> bytes() const { return {data_, size_}; }
  // The path as it was given.
  [[nodiscard]] const std::string& name() const { return name_; }

 private:
  std::string name_;
  const std::byte* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace moesim::reference
