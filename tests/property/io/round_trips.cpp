// What is written reads back the same, for anything that can be written.
#include <rapidcheck.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "sim/io/atomic_file.hpp"
#include "sim/io/csv.hpp"
#include "sim/io/error.hpp"
#include "sim/io/line_reader.hpp"
#include "sim/io/numbers.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"

namespace io = moesim::io;
using io::testing::raw_bytes;
using io::testing::TemporaryFolder;

namespace {

const std::vector<std::string> kNames = {"a.txt", "a.gz", "a.zst"};

// Lines of any bytes but LF; sometimes repeated so often that they cross buffers.
rc::Gen<std::string> arbitrary_line() {
  return rc::gen::map(
      rc::gen::pair(rc::gen::container<std::string>(rc::gen::distinctFrom('\n')), rc::gen::inRange(0, 100)),
      [](const std::pair<std::string, int>& drawn) {
        std::string line;
        const int times = drawn.second < 90 ? 1 : 1 << (drawn.second - 85);
        for (int i = 0; i < times; ++i) {
          line += drawn.first;
        }
        return line;
      });
}

// Fields rich in the characters that need care.
rc::Gen<std::string> arbitrary_field() {
  return rc::gen::container<std::string>(
      rc::gen::oneOf(rc::gen::element('"', ',', '\r', '\n', ' ', 'a', '\0', '\xef', '\xbb', '\xbf'),
                     rc::gen::arbitrary<char>()));
}

// What a text file of these lines means to a reader: the mark in front is skipped, CR LF is one end.
std::vector<std::string> as_read(std::vector<std::string> lines, bool crlf) {
  if (!lines.empty() && lines[0].starts_with("\xef\xbb\xbf")) {
    lines[0].erase(0, 3);
  }
  for (std::string& line : lines) {
    if (!crlf && line.ends_with('\r')) {
      line.pop_back();
    }
  }
  return lines;
}

std::vector<std::string> read_lines(const std::filesystem::path& path) {
  io::LineReader reader(path);
  std::vector<std::string> lines;
  std::string_view line;
  while (reader.next(line)) {
    lines.emplace_back(line);
  }
  return lines;
}

}  // namespace

TEST_CASE("lines read back the same, plain, gzip and zstd") {
  const TemporaryFolder folder;
  CHECK(rc::check([&] {
    const auto lines = *rc::gen::container<std::vector<std::string>>(arbitrary_line());
    const auto name = *rc::gen::elementOf(kNames);
    const auto crlf = *rc::gen::arbitrary<bool>();
    io::AtomicFile file(folder / name);
    for (const std::string& line : lines) {
      file.write(line);
      file.write(crlf ? "\r\n" : "\n");
    }
    file.commit();
    RC_ASSERT(read_lines(folder / name) == as_read(lines, crlf));
  }));
}

TEST_CASE("bytes read back the same, however they are cut into writes") {
  const TemporaryFolder folder;
  CHECK(rc::check([&] {
    const auto pieces = *rc::gen::container<std::vector<std::string>>(arbitrary_line());
    const auto name = *rc::gen::elementOf(kNames);
    std::string whole;
    io::AtomicFile file(folder / name);
    for (const std::string& piece : pieces) {
      file.write(piece);
      whole += piece;
    }
    file.commit();
    const std::string in_pieces = raw_bytes(folder / name);
    io::write_file(folder / name, whole);
    RC_ASSERT(raw_bytes(folder / name) == in_pieces);
    RC_ASSERT(io::read_file(folder / name, whole.size()) == whole);
    RC_ASSERT(folder.count_files() <= kNames.size());
  }));
}

TEST_CASE("damaged compressed data never reads as other lines in silence") {
  const TemporaryFolder folder;
  CHECK(rc::check([&] {
    const auto text = *arbitrary_line();
    const auto name = *rc::gen::element<std::string>("a.gz", "a.zst");
    io::write_file(folder / name, text);
    std::string bytes = raw_bytes(folder / name);
    const auto at = *rc::gen::inRange<std::size_t>(0, bytes.size());
    const auto bit = *rc::gen::inRange(0, 8);
    bytes[at] = static_cast<char>(bytes[at] ^ (1 << bit));
    folder.put("damaged", bytes);
    try {
      // A flip in the magic makes it a plain file of the raw bytes; in unused header fields it changes
      // nothing.
      const std::string back = io::read_file(folder / "damaged", text.size() + bytes.size());
      RC_ASSERT(back == text || back == bytes);
    } catch (const io::IoError& error) {
      RC_ASSERT(!error.message().empty());
    }
  }));
}

TEST_CASE("CSV records read back the same") {
  const TemporaryFolder folder;
  CHECK(rc::check([&] {
    const auto records = *rc::gen::container<std::vector<std::vector<std::string>>>(
        rc::gen::nonEmpty(rc::gen::container<std::vector<std::string>>(arbitrary_field())));
    const auto end = *rc::gen::element<std::string>("\n", "\r\n");
    std::string text;
    for (const std::vector<std::string>& record : records) {
      std::string line;
      for (const std::string& field : record) {
        io::append_csv_field(line, field);
      }
      text += line + end;
    }
    io::LineReader lines(folder.put("a.csv", text));
    io::CsvReader reader(lines);
    std::vector<std::vector<std::string>> back;
    std::vector<io::CsvField> fields;
    while (reader.next(fields)) {
      std::vector<std::string>& record = back.emplace_back();
      for (const io::CsvField& field : fields) {
        RC_ASSERT(field.begin <= field.end);
        RC_ASSERT(field.end <= reader.line_text().size());
        record.push_back(field.text);
      }
    }
    RC_ASSERT(back == records);
  }));
}

TEST_CASE("every finite double reads back bit for bit") {
  const auto round_trips = [](double value) {
    const std::string text = io::format_double(value);
    const std::optional<double> back = io::parse_double(text);
    RC_ASSERT(back.has_value());
    RC_ASSERT(std::bit_cast<std::uint64_t>(*back) == std::bit_cast<std::uint64_t>(value));
  };
  // rapidcheck's integers grow from small to large: without the multiplier most patterns would be denormal.
  CHECK(rc::check([&](std::uint64_t drawn) {
    const auto value = std::bit_cast<double>(drawn * 0x9E3779B97F4A7C15U);
    RC_PRE(std::isfinite(value));
    round_trips(value);
  }));
  CHECK(rc::check([&](std::uint64_t bits) {
    const auto value = std::bit_cast<double>(bits);
    RC_PRE(std::isfinite(value));
    round_trips(value);
  }));
  CHECK(rc::check([&](double value) { round_trips(value); }));
}

TEST_CASE("every integer reads back, and integers are plain digits as doubles too") {
  CHECK(rc::check([](std::int64_t value) { RC_ASSERT(io::parse_int64(std::to_string(value)) == value); }));
  CHECK(rc::check([] {
    const auto value = *rc::gen::inRange<std::int64_t>(-9999999999999999, 9999999999999999);
    const auto as_double = static_cast<double>(value);
    RC_PRE(static_cast<std::int64_t>(as_double) == value);
    RC_ASSERT(io::format_double(as_double) == std::to_string(value));
  }));
}
