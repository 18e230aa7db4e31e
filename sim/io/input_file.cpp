#include "sim/io/input_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>

#include "sim/io/error.hpp"

namespace moesim::io {

std::string system_message(const std::string& what, int error_number) {
  return what + ": " + std::generic_category().message(error_number);
}

InputFile::InputFile(const std::filesystem::path& path) : name_(path.string()) {
  // An embedded NUL would open another file than the one named.
  if (name_.find('\0') != std::string::npos) {
    throw IoError(name_, 0, system_message("cannot open", EINVAL));
  }
  descriptor_ = ::open(name_.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor_ < 0) {
    throw IoError(name_, 0, system_message("cannot open", errno));
  }
  // A directory can be opened; say so here and not at the first read.
  struct stat status {};
  if (::fstat(descriptor_, &status) == 0 && S_ISDIR(status.st_mode)) {
    ::close(descriptor_);
    throw IoError(name_, 0, system_message("cannot open", EISDIR));
  }
}

InputFile::~InputFile() { ::close(descriptor_); }

std::size_t InputFile::read(std::span<char> to) {
  for (;;) {
    const ::ssize_t count = ::read(descriptor_, to.data(), to.size());
    if (count >= 0) {
      return static_cast<std::size_t>(count);
    }
    if (errno != EINTR) {
      throw IoError(name_, 0, system_message("cannot read", errno));
    }
  }
}

}  // namespace moesim::io
