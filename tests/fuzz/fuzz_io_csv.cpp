// Any file reads as records or fails with an IoError; records written again read back the same.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/io/csv.hpp"
#include "sim/io/error.hpp"
#include "sim/io/line_reader.hpp"
#include "tests/fuzz/io_memory_file.hpp"

namespace io = moesim::io;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

using Records = std::vector<std::vector<std::string>>;

// The records before the first error.
Records read(std::string_view text) {
  const io::testing::MemoryFile file(text);
  io::LineReader lines(file.path());
  io::CsvReader reader(lines);
  Records records;
  std::vector<io::CsvField> fields;
  while (reader.next(fields)) {
    io::testing::require(!fields.empty());
    std::vector<std::string>& record = records.emplace_back();
    for (const io::CsvField& field : fields) {
      io::testing::require(field.begin <= field.end && field.end <= reader.line_text().size());
      record.push_back(field.text);
    }
  }
  return records;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  Records records;
  // Compressed input is the matter of io_line_reader; a comma in front makes it text.
  const std::string input = "," + std::string(io::testing::as_text(data, size));
  try {
    records = read(input);
  } catch (const io::IoError& error) {
    io::testing::require(!error.message().empty() && error.line() > 0);
    return 0;
  }
  std::string text;
  for (const std::vector<std::string>& record : records) {
    std::string line;
    for (const std::string& field : record) {
      io::append_csv_field(line, field);
    }
    text += line + "\n";
  }
  io::testing::require(read(text) == records);
  return 0;
}
