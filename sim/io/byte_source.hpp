// The bytes of a plain, gzip or zstd file after decompression (internal to sim/io).
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>

namespace moesim::io {

class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Reads some bytes into `to` (not empty) and returns how many; 0 only at the sound end of the data. Throws
  // IoError (line 0) on a read error and on damaged or truncated data, after all bytes before it were
  // returned; and again on every later call.
  [[nodiscard]] virtual std::size_t read(std::span<char> to) = 0;
};

// Opens a file and chooses the decoder by its first bytes. Throws IoError if it cannot be opened.
[[nodiscard]] std::unique_ptr<ByteSource> open_byte_source(const std::filesystem::path& path);

}  // namespace moesim::io
