#include "sim/io/byte_source.hpp"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <new>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "sim/io/error.hpp"
#include "sim/io/input_file.hpp"

namespace moesim::io {
namespace {

constexpr std::size_t kBufferBytes = std::size_t{1} << 16;
constexpr std::size_t kMagicBytes = 4;
constexpr std::string_view kGzipMagic = "\x1f\x8b";
constexpr std::string_view kZstdMagic = "\x28\xb5\x2f\xfd";
constexpr unsigned kSkippableMagic = 0x50;  // the upper half of the first byte of a skippable frame
// Frames that need a larger window (zstd --long) are refused: 128 MiB, the limit of the zstd tool too.
constexpr int kZstdWindowLog = 27;

// The raw bytes of the file with a look at what comes next.
class RawBytes {
 public:
  explicit RawBytes(const std::filesystem::path& path) : file_(path), buffer_(kBufferBytes) {
    while (end_ < kMagicBytes && !at_end_) {
      read_more();
    }
  }

  // What is buffered; refilled when empty, so that an empty view means the end of the file.
  [[nodiscard]] std::string_view view() {
    if (begin_ == end_ && !at_end_) {
      begin_ = 0;
      end_ = 0;
      read_more();
    }
    return {buffer_.data() + begin_, end_ - begin_};
  }
  void consume(std::size_t count) { begin_ += count; }

  [[nodiscard]] InputFile& file() { return file_; }

 private:
  void read_more() {
    const std::size_t count = file_.read(std::span<char>(buffer_).subspan(end_));
    end_ += count;
    at_end_ = count == 0;
  }

  InputFile file_;
  std::vector<char> buffer_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  bool at_end_ = false;
};

class PlainSource final : public ByteSource {
 public:
  explicit PlainSource(std::unique_ptr<RawBytes> raw) : raw_(std::move(raw)) {}

  std::size_t read(std::span<char> to) override {
    const std::string_view bytes = raw_->view();
    const std::size_t count = std::min(bytes.size(), to.size());
    std::copy_n(bytes.data(), count, to.data());
    raw_->consume(count);
    return count;
  }

 private:
  std::unique_ptr<RawBytes> raw_;
};

// What gzip and zstd share: a failure is told only after the bytes before it, and then for ever.
class DecodingSource : public ByteSource {
 public:
  explicit DecodingSource(std::unique_ptr<RawBytes> raw) : raw_(std::move(raw)) {}

  std::size_t read(std::span<char> to) final {
    std::size_t produced = 0;
    if (failure_.empty()) {
      produced = decode(to);
    }
    if (produced == 0 && !failure_.empty()) {
      throw IoError(raw_->file().name(), 0, failure_);
    }
    return produced;
  }

 protected:
  // Decodes until something came out, the data ended, or it failed.
  [[nodiscard]] virtual std::size_t decode(std::span<char> to) = 0;
  void fail(std::string message) { failure_ = std::move(message); }
  [[nodiscard]] RawBytes& raw() { return *raw_; }

 private:
  std::unique_ptr<RawBytes> raw_;
  std::string failure_;
};

class GzipSource final : public DecodingSource {
 public:
  explicit GzipSource(std::unique_ptr<RawBytes> raw) : DecodingSource(std::move(raw)) {
    constexpr int kGzipOnly = 16;
    if (inflateInit2(&stream_, MAX_WBITS + kGzipOnly) != Z_OK) {
      throw std::bad_alloc();
    }
  }
  ~GzipSource() override { inflateEnd(&stream_); }
  GzipSource(const GzipSource&) = delete;
  GzipSource& operator=(const GzipSource&) = delete;

 private:
  std::size_t decode(std::span<char> to) override {
    const std::size_t capacity = std::min(to.size(), kBufferBytes);
    stream_.next_out = reinterpret_cast<Bytef*>(to.data());
    stream_.avail_out = static_cast<uInt>(capacity);
    while (stream_.avail_out == capacity) {
      const std::string_view input = raw().view();
      if (input.empty()) {
        if (inside_member_) {
          fail("truncated gzip data");
        }
        break;
      }
      if (!inflate_some(input)) {
        break;
      }
    }
    return capacity - stream_.avail_out;
  }

  // False when the data is damaged.
  bool inflate_some(std::string_view input) {
    if (!inside_member_) {
      // Another member may follow; anything else would be lost in silence.
      if (input.front() != kGzipMagic.front()) {
        fail("bytes that are no gzip data after its end");
        return false;
      }
      inflateReset(&stream_);
      inside_member_ = true;
    }
    // zlib's interface is older than const.
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input.data()));
    stream_.avail_in = static_cast<uInt>(input.size());
    const int status = inflate(&stream_, Z_NO_FLUSH);
    raw().consume(input.size() - stream_.avail_in);
    if (status == Z_STREAM_END) {
      inside_member_ = false;
    } else if (status != Z_OK) {
      fail(std::string("damaged gzip data: ") + (stream_.msg != nullptr ? stream_.msg : zError(status)));
      return false;
    }
    return true;
  }

  z_stream stream_{};
  bool inside_member_ = true;
};

class ZstdSource final : public DecodingSource {
 public:
  explicit ZstdSource(std::unique_ptr<RawBytes> raw)
      : DecodingSource(std::move(raw)), context_(ZSTD_createDCtx(), ZSTD_freeDCtx) {
    if (context_ == nullptr ||
        ZSTD_isError(ZSTD_DCtx_setParameter(context_.get(), ZSTD_d_windowLogMax, kZstdWindowLog)) != 0) {
      throw std::bad_alloc();
    }
  }

 private:
  std::size_t decode(std::span<char> to) override {
    ZSTD_outBuffer output{to.data(), to.size(), 0};
    while (output.pos == 0) {
      const std::string_view bytes = raw().view();
      // At the end of the file there may still be output inside the context; a call without input brings it.
      if (bytes.empty() && !inside_frame_) {
        break;
      }
      if (!inside_frame_ && !may_start_frame(bytes.front())) {
        fail("bytes that are no zstd data after its end");
        break;
      }
      ZSTD_inBuffer input{bytes.data(), bytes.size(), 0};
      const std::size_t status = ZSTD_decompressStream(context_.get(), &output, &input);
      raw().consume(input.pos);
      if (ZSTD_isError(status) != 0) {
        fail(std::string("damaged zstd data: ") + ZSTD_getErrorName(status));
        break;
      }
      inside_frame_ = status != 0;
      if (bytes.empty() && output.pos == 0 && inside_frame_) {
        fail("truncated zstd data");
        break;
      }
    }
    return output.pos;
  }

  [[nodiscard]] static bool may_start_frame(char first) {
    return first == kZstdMagic.front() || (static_cast<unsigned char>(first) & 0xF0U) == kSkippableMagic;
  }

  std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context_;
  bool inside_frame_ = true;
};

bool is_zstd(std::string_view bytes) {
  if (bytes.starts_with(kZstdMagic)) {
    return true;
  }
  // Skippable frames, which pzstd writes first: 0x184D2A50 to 0x184D2A5F, little endian.
  return bytes.size() >= kMagicBytes &&
         (static_cast<unsigned char>(bytes.front()) & 0xF0U) == kSkippableMagic &&
         bytes.substr(1, 3) == "\x2a\x4d\x18";
}

// A file too short to show its format, but whose name tells it: an interrupted copy and not an empty text.
bool is_cut_in_magic(const std::filesystem::path& path, std::string_view bytes) {
  const std::filesystem::path extension = path.extension();
  return (extension == ".gz" && bytes.size() < kGzipMagic.size() && kGzipMagic.starts_with(bytes)) ||
         (extension == ".zst" && bytes.size() < kZstdMagic.size() && kZstdMagic.starts_with(bytes));
}

}  // namespace

std::unique_ptr<ByteSource> open_byte_source(const std::filesystem::path& path) {
  auto raw = std::make_unique<RawBytes>(path);
  const std::string_view first = raw->view();
  if (is_cut_in_magic(path, first)) {
    throw IoError(path.string(), 0,
                  "truncated compressed data: only " + std::to_string(first.size()) + " bytes");
  }
  if (first.starts_with(kGzipMagic)) {
    return std::make_unique<GzipSource>(std::move(raw));
  }
  if (is_zstd(first)) {
    return std::make_unique<ZstdSource>(std::move(raw));
  }
  return std::make_unique<PlainSource>(std::move(raw));
}

}  // namespace moesim::io
