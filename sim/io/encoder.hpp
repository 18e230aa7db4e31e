// Compression of what is written (internal to sim/io).
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>

namespace moesim::io {

class Encoder {
 public:
  virtual ~Encoder() = default;
  // Appends to `out` what becomes of `in` so far; with `last` the data is ended and the encoder must not be
  // used again. Some input may stay inside until later.
  virtual void encode(std::string_view in, bool last, std::string& out) = 0;
};

// gzip for .gz, zstd for .zst, otherwise one that copies.
[[nodiscard]] std::unique_ptr<Encoder> make_encoder(const std::filesystem::path& path);

}  // namespace moesim::io
