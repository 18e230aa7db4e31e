#include "sim/io/atomic_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <string>
#include <system_error>
#include <utility>

#include "sim/core/check.hpp"
#include "sim/io/encoder.hpp"
#include "sim/io/error.hpp"
#include "sim/io/input_file.hpp"

namespace moesim::io {
namespace {

// Input is compressed in blocks of this size, so that the result does not depend on the sizes of the writes.
constexpr std::size_t kBlockBytes = std::size_t{1} << 16;

// The file to replace: links are followed, so that a link stays one. Throws for what must not be replaced.
std::filesystem::path target_of(const std::filesystem::path& path) {
  const std::string name = path.string();
  if (!path.has_filename() || name.find('\0') != std::string::npos) {
    throw IoError(name, 0, "cannot write: not the name of a file");
  }
  std::error_code error;
  const std::filesystem::file_status status = std::filesystem::status(path, error);
  if (std::filesystem::is_directory(status)) {
    throw IoError(name, 0, system_message("cannot write", EISDIR));
  }
  if (std::filesystem::exists(status) && !std::filesystem::is_regular_file(status)) {
    throw IoError(name, 0, "cannot write: Not a regular file");
  }
  if (std::filesystem::is_regular_file(status)) {
    const std::filesystem::path real = std::filesystem::canonical(path, error);
    if (!error) {
      return real;
    }
  }
  return path;
}

}  // namespace

struct AtomicFile::State {
  explicit State(std::filesystem::path given)
      : path(std::move(given)), target(target_of(path)), encoder(make_encoder(path)) {
    block.reserve(kBlockBytes);
    create_temporary();
  }
  ~State() {
    if (descriptor >= 0) {
      ::close(descriptor);
    }
    if (!temporary.empty()) {
      ::unlink(temporary.c_str());
    }
  }
  State(const State&) = delete;
  State& operator=(const State&) = delete;

  [[noreturn]] void fail(const std::string& what, int error_number) {
    failed = true;
    throw IoError(path.string(), 0, system_message(what, error_number));
  }

  // O_EXCL makes the name ours; a name that another thread or a dead process with our id took is passed over.
  void create_temporary() {
    constexpr int kMaxTries = 10000;
    constexpr mode_t kMode = 0666;  // less the umask, as for any new file
    for (int i = 0; i < kMaxTries; ++i) {
      const std::filesystem::path candidate =
          target.parent_path() / (".moesim-" + std::to_string(::getpid()) + "-" + std::to_string(i) + ".tmp");
      descriptor = ::open(candidate.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kMode);
      if (descriptor >= 0) {
        temporary = candidate;
        return;
      }
      if (errno != EEXIST) {
        break;
      }
    }
    const std::string folder = target.has_parent_path() ? target.parent_path().string() : ".";
    fail("cannot create a file in " + folder, errno);
  }

  void add(std::string_view bytes) {
    while (!bytes.empty()) {
      const std::size_t count = std::min(kBlockBytes - block.size(), bytes.size());
      block.append(bytes.substr(0, count));
      bytes.remove_prefix(count);
      if (block.size() == kBlockBytes) {
        flush_block(false);
      }
    }
  }

  void flush_block(bool last) {
    encoded.clear();
    encoder->encode(block, last, encoded);
    block.clear();
    std::string_view left = encoded;
    while (!left.empty()) {
      const ::ssize_t count = ::write(descriptor, left.data(), left.size());
      if (count >= 0) {
        left.remove_prefix(static_cast<std::size_t>(count));
      } else if (errno != EINTR) {
        fail("cannot write", errno);
      }
    }
  }

  void commit() {
    flush_block(true);
    // Some file systems cannot flush and say EINVAL; that is no reason to lose the results.
    if (::fsync(descriptor) != 0 && errno != EINVAL) {
      fail("cannot flush", errno);
    }
    const int closed = ::close(std::exchange(descriptor, -1));
    if (closed != 0) {
      fail("cannot close", errno);
    }
    if (std::rename(temporary.c_str(), target.c_str()) != 0) {
      fail("cannot rename " + temporary.string(), errno);
    }
    temporary.clear();
  }

  std::filesystem::path path;    // as given
  std::filesystem::path target;  // what is replaced
  std::filesystem::path temporary;
  std::unique_ptr<Encoder> encoder;
  std::string block;
  std::string encoded;
  int descriptor = -1;
  bool failed = false;
};

AtomicFile::AtomicFile(std::filesystem::path path) : state_(std::make_unique<State>(std::move(path))) {}
AtomicFile::~AtomicFile() = default;
AtomicFile::AtomicFile(AtomicFile&&) noexcept = default;
AtomicFile& AtomicFile::operator=(AtomicFile&&) noexcept = default;

void AtomicFile::write(std::string_view bytes) {
  core::check(state_ != nullptr, "AtomicFile used after it was moved from");
  if (state_->failed) {
    throw IoError(state_->path.string(), 0, "cannot write: an earlier write failed");
  }
  core::check(state_->descriptor >= 0, "write to an AtomicFile after its end");
  state_->add(bytes);
}

void AtomicFile::commit() {
  core::check(state_ != nullptr, "AtomicFile used after it was moved from");
  if (state_->failed) {
    throw IoError(state_->path.string(), 0, "cannot write: an earlier write failed");
  }
  core::check(state_->descriptor >= 0, "AtomicFile committed twice");
  state_->commit();
}

void write_file(const std::filesystem::path& path, std::string_view bytes) {
  AtomicFile file(path);
  file.write(bytes);
  file.commit();
}

}  // namespace moesim::io
