// Any file reads as lines or fails with an IoError; lines and their ends put together are the file.
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "sim/io/error.hpp"
#include "sim/io/line_reader.hpp"
#include "tests/fuzz/io_memory_file.hpp"

namespace io = moesim::io;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using io::testing::require;
  constexpr std::size_t kMaxBytes = std::size_t{64} << 20;
  const io::testing::MemoryFile file(io::testing::as_text(data, size));
  std::string joined;
  bool sound = true;
  std::size_t count = 0;
  try {
    io::LineReader reader(file.path());
    std::string_view line;
    while (joined.size() <= kMaxBytes && reader.next(line)) {
      ++count;
      require(reader.line_number() == count);
      require(line.find('\n') == std::string_view::npos);
      require(line.size() <= io::LineReader::kMaxLineBytes);
      joined.append(line).append(reader.line_end());
    }
  } catch (const io::IoError& error) {
    require(!error.message().empty());
    require(error.line() == 0 || error.line() == count + 1);
    sound = false;
  }
  std::optional<std::string> whole;
  try {
    whole = io::read_file(file.path(), kMaxBytes);
  } catch (const io::IoError& error) {
    require(!error.message().empty());
  }
  if (sound && whole.has_value()) {
    if (whole->starts_with("\xef\xbb\xbf")) {
      whole->erase(0, 3);
    }
    require(joined == *whole);
  }
  return 0;
}
