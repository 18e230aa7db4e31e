// SHA-256 for manifests (libcrypto).
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace moesim::io {

// The digest as 64 lower-case hexadecimal digits.
[[nodiscard]] std::string sha256_hex(std::string_view bytes);
// The same of the bytes on disk (a compressed file is not unpacked). Throws IoError if it cannot be read.
[[nodiscard]] std::string sha256_hex_of_file(const std::filesystem::path& path);

}  // namespace moesim::io
