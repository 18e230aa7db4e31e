#include "models/reference/weights/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <utility>

#include "sim/io/error.hpp"
#include "sim/io/input_file.hpp"

namespace moesim::reference {

namespace {

// Closes a descriptor at the end of a scope: a mapping outlives it.
class OpenFile {
 public:
  explicit OpenFile(const std::string& name)
      : descriptor_(::open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {}
  ~OpenFile() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  [[nodiscard]] int descriptor() const { return descriptor_; }

 private:
  int descriptor_;
};

}  // namespace

MappedFile::MappedFile(const std::filesystem::path& path) : name_(path.string()) {
  // An embedded NUL would open another file than the one named.
  if (name_.find('\0') != std::string::npos) {
    throw io::IoError(name_, 0, io::system_message("cannot open", EINVAL));
  }
  const OpenFile file(name_);
  if (file.descriptor() < 0) throw io::IoError(name_, 0, io::system_message("cannot open", errno));
  struct stat status {};
  if (::fstat(file.descriptor(), &status) != 0) {
    throw io::IoError(name_, 0, io::system_message("cannot open", errno));
  }
  if (S_ISDIR(status.st_mode)) throw io::IoError(name_, 0, io::system_message("cannot open", EISDIR));
  if (!S_ISREG(status.st_mode)) throw io::IoError(name_, 0, "cannot open: not a regular file");
  if (std::cmp_greater(status.st_size, std::numeric_limits<std::ptrdiff_t>::max())) {
    throw io::IoError(name_, 0, io::system_message("cannot map", EFBIG));
  }
  size_ = static_cast<std::size_t>(status.st_size);
  if (size_ == 0) return;  // an empty mapping does not exist
  void* const mapped = ::mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (mapped == MAP_FAILED) throw io::IoError(name_, 0, io::system_message("cannot map", errno));
  data_ = static_cast<const std::byte*>(mapped);
}

MappedFile::~MappedFile() {
  if (data_ != nullptr) ::munmap(const_cast<std::byte*>(data_), size_);
}

MappedFile::MappedFile(MappedFile&& other) noexcept
    : name_(std::move(other.name_)),
      data_(std::exchange(other.data_, nullptr)),
      size_(std::exchange(other.size_, 0)) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

}  // namespace moesim::reference
