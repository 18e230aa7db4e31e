#include "sim/io/encoder.hpp"

#include <zlib.h>
#include <zstd.h>

#include <new>
#include <vector>

#include "sim/core/check.hpp"

namespace moesim::io {
namespace {

// The levels are part of the promise of equal bytes: these are what the gzip and zstd tools use.
constexpr int kGzipLevel = 6;
constexpr int kZstdLevel = 3;
constexpr std::size_t kOutputBytes = std::size_t{1} << 16;

class PlainEncoder final : public Encoder {
 public:
  void encode(std::string_view in, bool /*last*/, std::string& out) override { out.append(in); }
};

class GzipEncoder final : public Encoder {
 public:
  GzipEncoder() : buffer_(kOutputBytes) {
    // zlib's own header has no time and no name.
    constexpr int kGzipHeader = 16;
    constexpr int kMemoryLevel = 8;
    if (deflateInit2(&stream_, kGzipLevel, Z_DEFLATED, MAX_WBITS + kGzipHeader, kMemoryLevel,
                     Z_DEFAULT_STRATEGY) != Z_OK) {
      throw std::bad_alloc();
    }
  }
  ~GzipEncoder() override { deflateEnd(&stream_); }
  GzipEncoder(const GzipEncoder&) = delete;
  GzipEncoder& operator=(const GzipEncoder&) = delete;

  void encode(std::string_view in, bool last, std::string& out) override {
    // zlib's interface is older than const.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    core::check(stream_.avail_in == in.size(), "block too large for zlib");
    do {
      stream_.next_out = buffer_.data();
      stream_.avail_out = static_cast<uInt>(buffer_.size());
      const int status = deflate(&stream_, last ? Z_FINISH : Z_NO_FLUSH);
      core::check(status == Z_OK || status == Z_STREAM_END || status == Z_BUF_ERROR, "deflate failed");
      out.append(reinterpret_cast<const char*>(buffer_.data()), buffer_.size() - stream_.avail_out);
    } while (stream_.avail_out == 0);
    core::check(stream_.avail_in == 0, "deflate left input behind");
  }

 private:
  z_stream stream_{};
  std::vector<Bytef> buffer_;
};

class ZstdEncoder final : public Encoder {
 public:
  ZstdEncoder() : context_(ZSTD_createCCtx(), ZSTD_freeCCtx), buffer_(kOutputBytes) {
    if (context_ == nullptr) {
      throw std::bad_alloc();
    }
    set(ZSTD_c_compressionLevel, kZstdLevel);
    set(ZSTD_c_checksumFlag, 1);  // so that damage is found
  }

  void encode(std::string_view in, bool last, std::string& out) override {
    ZSTD_inBuffer input{in.data(), in.size(), 0};
    bool done = false;
    while (!done) {
      ZSTD_outBuffer output{buffer_.data(), buffer_.size(), 0};
      const std::size_t left =
          ZSTD_compressStream2(context_.get(), &output, &input, last ? ZSTD_e_end : ZSTD_e_continue);
      core::check(ZSTD_isError(left) == 0, "zstd compression failed");
      out.append(buffer_.data(), output.pos);
      done = last ? left == 0 : input.pos == input.size;
    }
  }

 private:
  void set(ZSTD_cParameter parameter, int value) {
    const std::size_t status = ZSTD_CCtx_setParameter(context_.get(), parameter, value);
    core::check(ZSTD_isError(status) == 0, "zstd refuses a parameter");
  }

  std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context_;
  std::vector<char> buffer_;
};

}  // namespace

std::unique_ptr<Encoder> make_encoder(const std::filesystem::path& path) {
  const std::filesystem::path extension = path.extension();
  if (extension == ".gz") {
    return std::make_unique<GzipEncoder>();
  }
  if (extension == ".zst") {
    return std::make_unique<ZstdEncoder>();
  }
  return std::make_unique<PlainEncoder>();
}

}  // namespace moesim::io
