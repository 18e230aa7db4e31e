#include "sim/io/sha256.hpp"

#include <openssl/evp.h>

#include <array>
#include <memory>
#include <vector>

#include "sim/core/check.hpp"
#include "sim/io/input_file.hpp"

namespace moesim::io {
namespace {

class Sha256 {
 public:
  Sha256() : context_(EVP_MD_CTX_new(), EVP_MD_CTX_free) {
    core::check(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1,
                "libcrypto has no SHA-256");
  }

  void add(std::string_view bytes) {
    core::check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1, "SHA-256 failed");
  }

  [[nodiscard]] std::string hex() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    core::check(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1, "SHA-256 failed");
    constexpr std::string_view kDigits = "0123456789abcdef";
    std::string text;
    for (unsigned int i = 0; i < size; ++i) {
      text.push_back(kDigits[digest[i] >> 4U]);
      text.push_back(kDigits[digest[i] & 0xFU]);
    }
    return text;
  }

 private:
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context_;
};

}  // namespace

std::string sha256_hex(std::string_view bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.hex();
}

std::string sha256_hex_of_file(const std::filesystem::path& path) {
  constexpr std::size_t kBufferBytes = std::size_t{1} << 16;
  InputFile file(path);
  std::vector<char> buffer(kBufferBytes);
  Sha256 hash;
  while (const std::size_t count = file.read(buffer)) {
    hash.add({buffer.data(), count});
  }
  return hash.hex();
}

}  // namespace moesim::io
