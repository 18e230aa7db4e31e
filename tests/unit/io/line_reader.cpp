#include "sim/io/line_reader.hpp"

#include <zlib.h>
#include <zstd.h>

#include <string>
#include <string_view>
#include <vector>

#include "sim/io/atomic_file.hpp"
#include "sim/io/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"

using Catch::Matchers::Contains;
using moesim::io::IoError;
using moesim::io::LineReader;
using moesim::io::read_file;
using moesim::io::write_file;
using moesim::io::testing::raw_bytes;
using moesim::io::testing::TemporaryFolder;

namespace {

std::vector<std::string> lines_of(const std::filesystem::path& path) {
  LineReader reader(path);
  std::vector<std::string> lines;
  std::string_view line;
  while (reader.next(line)) {
    lines.emplace_back(line);
    REQUIRE(reader.line_number() == lines.size());
  }
  return lines;
}

// What happens when a file is read to its end: the lines before the failure, and the failure.
struct Outcome {
  std::vector<std::string> lines;
  std::string message;  // empty when there was no failure
  std::size_t line = 0;
};

Outcome read_all(const std::filesystem::path& path) {
  Outcome outcome;
  try {
    LineReader reader(path);
    std::string_view line;
    while (reader.next(line)) {
      outcome.lines.emplace_back(line);
    }
  } catch (const IoError& error) {
    outcome.message = error.message();
    outcome.line = error.line();
  }
  return outcome;
}

std::string compressed(const std::string& extension, std::string_view bytes) {
  const TemporaryFolder folder;
  write_file(folder / ("x" + extension), bytes);
  return raw_bytes(folder / ("x" + extension));
}

// Text that does not compress to nothing, so that cuts and flips hit different parts of the stream.
std::string sample_text(int line_count) {
  std::string text;
  unsigned state = 1;
  for (int i = 0; i < line_count; ++i) {
    state = state * 1664525U + 1013904223U;
    text += std::to_string(i) + "," + std::to_string(state) + "\n";
  }
  return text;
}

using Lines = std::vector<std::string>;

}  // namespace

TEST_CASE("lines end with LF, CR LF or the end of the file") {
  const TemporaryFolder folder;
  CHECK(lines_of(folder.put("empty", "")).empty());
  CHECK(lines_of(folder.put("one", "a")) == Lines{"a"});
  CHECK(lines_of(folder.put("lf", "a\nb\n")) == Lines{"a", "b"});
  CHECK(lines_of(folder.put("crlf", "a\r\nb\r\nc")) == Lines{"a", "b", "c"});
  CHECK(lines_of(folder.put("blank", "\n\r\n\n")) == Lines{"", "", ""});
  // A CR that no LF follows is part of the text.
  CHECK(lines_of(folder.put("cr", "a\rb\nc\r")) == Lines{"a\rb", "c\r"});
  CHECK(lines_of(folder.put("crcrlf", "a\r\r\n")) == Lines{"a\r"});
}

TEST_CASE("the end of each line is told") {
  const TemporaryFolder folder;
  LineReader reader(folder.put("mixed", "a\r\nb\nc"));
  std::string_view line;
  REQUIRE(reader.next(line));
  CHECK(reader.line_end() == "\r\n");
  REQUIRE(reader.next(line));
  CHECK(reader.line_end() == "\n");
  REQUIRE(reader.next(line));
  CHECK(reader.line_end().empty());
  CHECK_FALSE(reader.next(line));
  CHECK_FALSE(reader.next(line));
  CHECK(reader.line_number() == 3);
  CHECK(reader.name() == (folder / "mixed").string());
}

TEST_CASE("a byte order mark is skipped at the start only") {
  const TemporaryFolder folder;
  const std::string mark = "\xef\xbb\xbf";
  CHECK(lines_of(folder.put("a", mark + "x\n" + mark + "y\n")) == Lines{"x", mark + "y"});
  CHECK(lines_of(folder.put("b", mark)).empty());
  CHECK(lines_of(folder.put("c", mark + "\n")) == Lines{""});
  CHECK(lines_of(folder.put("d", mark + mark)) == Lines{mark});
  CHECK(lines_of(folder.put("e", "\xef\xbb")) == Lines{"\xef\xbb"});
  CHECK(lines_of(folder.put("f.gz", compressed(".gz", mark + "x"))) == Lines{"x"});
}

TEST_CASE("NUL bytes are passed through") {
  using namespace std::string_literals;
  const TemporaryFolder folder;
  CHECK(lines_of(folder.put("nul", "a\0b\n\0"s)) == Lines{"a\0b"s, "\0"s});
}

TEST_CASE("lines are put together across buffers") {
  const TemporaryFolder folder;
  constexpr std::size_t kBuffer = std::size_t{1} << 16;
  for (const std::size_t length : {kBuffer - 2, kBuffer - 1, kBuffer, kBuffer + 1, 3 * kBuffer}) {
    const std::string first(length, 'x');
    CHECK(lines_of(folder.put("long", first + "\r\nb\n")) == Lines{first, "b"});
    CHECK(lines_of(folder.put("long.gz", compressed(".gz", first + "\r\nb"))) == Lines{first, "b"});
    CHECK(lines_of(folder.put("long.zst", compressed(".zst", first + "\r\nb"))) == Lines{first, "b"});
  }
}

TEST_CASE("a line may be as long as the limit and no longer") {
  const TemporaryFolder folder;
  const std::string longest(LineReader::kMaxLineBytes, 'x');
  CHECK(read_all(folder.put("fits", "a\n" + longest + "\r\nb\n")).lines == Lines{"a", longest, "b"});
  CHECK(read_all(folder.put("last", longest)).lines == Lines{longest});
  for (const char* const end : {"", "\n", "\r\n", "y\n", "yyy", "\r"}) {
    const bool fits = std::string_view(end) == "\n" || std::string_view(end) == "\r\n" || *end == '\0';
    const Outcome outcome = read_all(folder.put("long", "a\n" + longest + end));
    CHECK(outcome.message == (fits ? "" : "line longer than 16777216 bytes"));
    CHECK(outcome.line == (fits ? 0 : 2));
  }
}

TEST_CASE("a longest line may have its CR and LF in two buffers") {
  const TemporaryFolder folder;
  const std::string first((std::size_t{1} << 16) - 2, 'a');
  const std::string longest(LineReader::kMaxLineBytes, 'x');
  CHECK(read_all(folder.put("fits", first + "\n" + longest + "\r\nb")).lines == Lines{first, longest, "b"});
}

TEST_CASE("after a failure every further call fails the same way") {
  const TemporaryFolder folder;
  const std::string long_line(LineReader::kMaxLineBytes + 100000, 'x');
  LineReader reader(folder.put("long", "a\n" + long_line + "\nb\n"));
  std::string_view line;
  REQUIRE(reader.next(line));
  CHECK_THROWS_AS(reader.next(line), IoError);
  CHECK_THROWS_AS(reader.next(line), IoError);
}

TEST_CASE("a bomb is met with bounded memory") {
  // 256 MiB without a line end in some kilobytes: refused after one line's worth.
  const TemporaryFolder folder;
  for (const std::string name : {"bomb.gz", "bomb.zst"}) {
    moesim::io::AtomicFile file(folder / name);
    const std::string block(std::size_t{1} << 20, 'x');
    for (int i = 0; i < 64; ++i) {
      file.write(block);
    }
    file.commit();
    CHECK(read_all(folder / name).message == "line longer than 16777216 bytes");
    CHECK_THROWS_WITH(read_file(folder / name, 1000), Contains("larger than 1000 bytes"));
  }
}

TEST_CASE("files that cannot be opened say why") {
  const TemporaryFolder folder;
  const std::string missing = (folder / "missing").string();
  CHECK_THROWS_WITH(LineReader(missing), missing + ": cannot open: No such file or directory");
  CHECK_THROWS_WITH(LineReader(folder.path()), Contains("cannot open: Is a directory"));
  CHECK_THROWS_WITH(read_file(missing, 10), Contains("cannot open: No such file or directory"));
  CHECK_THROWS_WITH(read_file(folder.path(), 10), Contains("cannot open: Is a directory"));
  CHECK_THROWS_WITH(LineReader(folder.put("file", "x") / "below"), Contains("cannot open: Not a directory"));
  CHECK_THROWS_WITH(LineReader(""), Contains("cannot open: No such file or directory"));
  CHECK_THROWS_WITH(LineReader(std::string("a\0b", 3)), Contains("a\\0b: cannot open: Invalid argument"));
}

TEST_CASE("the format is told by the first bytes and not by the name") {
  const TemporaryFolder folder;
  const std::string text = sample_text(100);
  const Lines expected = lines_of(folder.put("plain", text));
  REQUIRE(expected.size() == 100);
  CHECK(lines_of(folder.put("plain.gz", text)) == expected);
  CHECK(lines_of(folder.put("gzip.txt", compressed(".gz", text))) == expected);
  CHECK(lines_of(folder.put("zstd.txt", compressed(".zst", text))) == expected);
}

TEST_CASE("every truncation of compressed data is found") {
  const TemporaryFolder folder;
  const std::string text = sample_text(20);
  const Lines whole = lines_of(folder.put("plain", text));
  for (const std::string extension : {".gz", ".zst"}) {
    const std::string bytes = compressed(extension, text);
    REQUIRE(read_all(folder.put("whole" + extension, bytes)).message.empty());
    for (std::size_t size = 0; size < bytes.size(); ++size) {
      const Outcome outcome = read_all(folder.put("cut" + extension, bytes.substr(0, size)));
      INFO(extension << " cut at " << size << " of " << bytes.size());
      CHECK_THAT(outcome.message, Contains("truncated"));
      REQUIRE(outcome.lines.size() <= whole.size());
      CHECK(std::equal(outcome.lines.begin(), outcome.lines.end(), whole.begin()));
      CHECK((size < 4 || outcome.line == outcome.lines.size() + 1));
    }
  }
}

TEST_CASE("sound lines before damage are returned, and the line of the damage is told") {
  const TemporaryFolder folder;
  const std::string text = sample_text(50000);
  const Lines whole = lines_of(folder.put("plain", text));
  for (const std::string extension : {".gz", ".zst"}) {
    std::string bytes = compressed(extension, text);
    for (const std::size_t part : {1U, 2U, 3U}) {
      const Outcome outcome =
          read_all(folder.put("cut" + extension, std::string_view(bytes).substr(0, bytes.size() * part / 4)));
      CHECK_THAT(outcome.message, Contains("truncated"));
      CHECK(outcome.lines.size() > whole.size() * part / 8);
      CHECK(outcome.line == outcome.lines.size() + 1);
    }
  }
}

TEST_CASE("a wrong gzip checksum is told after the lines it is about") {
  const TemporaryFolder folder;
  std::string bytes = compressed(".gz", "a\nb\n");
  bytes[bytes.size() - 8] = static_cast<char>(bytes[bytes.size() - 8] ^ 1);
  const Outcome outcome = read_all(folder.put("a.gz", bytes));
  CHECK(outcome.message == "damaged gzip data: incorrect data check");
  CHECK(outcome.lines == Lines{"a", "b"});
  CHECK(outcome.line == 3);
}

TEST_CASE("corrupted bytes are found") {
  const TemporaryFolder folder;
  const std::string text = sample_text(30);
  for (const std::string extension : {".gz", ".zst"}) {
    const std::string bytes = compressed(extension, text);
    // Behind the header; a flip inside it may change only what nobody reads (time stamp, system).
    const std::size_t header = extension == ".gz" ? 10 : 6;
    for (std::size_t at = header; at < bytes.size(); ++at) {
      std::string damaged = bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
      INFO(extension << " flip at " << at << " of " << bytes.size());
      CHECK_FALSE(read_all(folder.put("flip" + extension, damaged)).message.empty());
    }
  }
  CHECK_THAT(read_all(folder.put("magic.gz", "\x1f\x8bxxxxxxxxxxxxxxxxx")).message,
             Contains("damaged gzip data: unknown compression method"));
  CHECK_THAT(read_all(folder.put("magic.zst", "\x28\xb5\x2f\xfd" + std::string(20, '\xff'))).message,
             Contains("damaged zstd data: "));
}

TEST_CASE("members and frames one after the other are one text, other bytes an error") {
  const TemporaryFolder folder;
  for (const std::string extension : {".gz", ".zst"}) {
    const std::string first = compressed(extension, "a\nb");
    const std::string second = compressed(extension, "c\nd\n");
    const std::string empty = compressed(extension, "");
    CHECK(lines_of(folder.put("two", first + second)) == Lines{"a", "bc", "d"});
    CHECK(lines_of(folder.put("three", empty + first + empty + empty + second)) == Lines{"a", "bc", "d"});
    CHECK(lines_of(folder.put("none", empty + empty)).empty());
    for (const std::string& garbage : {std::string("x"), std::string("\n"), std::string(100, '\0')}) {
      const Outcome outcome = read_all(folder.put("garbage", second + garbage));
      CHECK_THAT(outcome.message, Contains("data after its end"));
      CHECK(outcome.lines == Lines{"c", "d"});
      CHECK(outcome.line == 3);
    }
    const Outcome cut = read_all(folder.put("cut", second + second.substr(0, 7)));
    CHECK_THAT(cut.message, Contains("truncated"));
    CHECK(cut.lines == Lines{"c", "d"});
  }
}

TEST_CASE("skippable zstd frames are skipped") {
  const TemporaryFolder folder;
  const std::string skippable("\x53\x2a\x4d\x18\x03\x00\x00\x00xyz", 11);
  const std::string frame = compressed(".zst", "a\n");
  CHECK(lines_of(folder.put("skip", skippable + frame + skippable)) == Lines{"a"});
  CHECK_THAT(read_all(folder.put("cut", skippable.substr(0, 9))).message, Contains("truncated"));
}

TEST_CASE("zstd frames that ask for more memory than the limit are refused") {
  const TemporaryFolder folder;
  // Magic, a frame header without content size, and a window of 2^31 bytes.
  const std::string huge("\x28\xb5\x2f\xfd\x00\xa8\x01\x00\x00", 9);
  CHECK_THAT(read_all(folder.put("huge.zst", huge)).message, Contains("memory"));
}

TEST_CASE("a file compressed by the plain zlib and zstd calls is read") {
  const TemporaryFolder folder;
  const std::string text = sample_text(1000);
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 19));
  CHECK(read_file(folder.put("a.zst", packed), text.size()) == text);

  const std::string gz_name = (folder / "a.gz").string();
  gzFile file = gzopen(gz_name.c_str(), "wb9");
  REQUIRE(gzwrite(file, text.data(), static_cast<unsigned>(text.size())) == static_cast<int>(text.size()));
  REQUIRE(gzclose(file) == Z_OK);
  CHECK(read_file(gz_name, text.size()) == text);
}

TEST_CASE("read_file gives all bytes up to its limit") {
  using namespace std::string_literals;
  const TemporaryFolder folder;
  const std::string bytes = "\xef\xbb\xbf"s + "a\r\n\0b"s;
  CHECK(read_file(folder.put("a", bytes), bytes.size()) == bytes);
  CHECK_THROWS_WITH(read_file(folder / "a", bytes.size() - 1), Contains("larger than 7 bytes"));
  CHECK(read_file(folder.put("empty", ""), 0).empty());
  CHECK_THROWS_WITH(read_file(folder.put("cut.gz", compressed(".gz", "abc").substr(0, 15)), 100),
                    Contains("truncated gzip data"));
}

TEST_CASE("a reader can be moved") {
  const TemporaryFolder folder;
  LineReader first(folder.put("a", "a\nb\n"));
  std::string_view line;
  REQUIRE(first.next(line));
  LineReader second(std::move(first));
  REQUIRE(second.next(line));
  CHECK(line == "b");
  second = LineReader(folder.put("c", "c"));
  REQUIRE(second.next(line));
  CHECK(line == "c");
}

TEST_CASE("an IoError carries its place") {
  const IoError with_line("a.csv", 3, "bad");
  CHECK(std::string(with_line.what()) == "a.csv:3: bad");
  CHECK(with_line.path() == "a.csv");
  CHECK(with_line.line() == 3);
  CHECK(with_line.message() == "bad");
  CHECK(std::string(IoError("a.csv", 0, "bad").what()) == "a.csv: bad");
}
