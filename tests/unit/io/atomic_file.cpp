#include "sim/io/atomic_file.hpp"

#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <vector>

#include "sim/core/check.hpp"
#include "sim/io/error.hpp"
#include "sim/io/line_reader.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"

using Catch::Matchers::Contains;
using moesim::io::AtomicFile;
using moesim::io::IoError;
using moesim::io::read_file;
using moesim::io::write_file;
using moesim::io::testing::raw_bytes;
using moesim::io::testing::TemporaryFolder;

namespace {

// Makes writes beyond `bytes` fail, as a full disk does, for as long as it lives.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) : old_handler_(std::signal(SIGXFSZ, SIG_IGN)) {
    ::getrlimit(RLIMIT_FSIZE, &old_limit_);
    rlimit limit = old_limit_;
    limit.rlim_cur = bytes;
    ::setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &old_limit_);
    std::signal(SIGXFSZ, old_handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit old_limit_{};
  void (*old_handler_)(int);
};

template <typename Action>
std::string message_of(Action action) {
  try {
    action();
  } catch (const IoError& error) {
    return error.what();
  }
  return "";
}

}  // namespace

TEST_CASE("a file appears with commit and not before") {
  const TemporaryFolder folder;
  {
    AtomicFile file(folder / "a");
    file.write("one ");
    CHECK_FALSE(std::filesystem::exists(folder / "a"));
    file.write("two");
    file.commit();
    CHECK(raw_bytes(folder / "a") == "one two");
  }
  CHECK(raw_bytes(folder / "a") == "one two");
  CHECK(folder.count_files() == 1);
}

TEST_CASE("without commit the old content stays and nothing is left behind") {
  const TemporaryFolder folder;
  folder.put("a", "old");
  try {
    AtomicFile file(folder / "a");
    file.write(std::string(200000, 'x'));
    CHECK(raw_bytes(folder / "a") == "old");
    CHECK(folder.count_files() == 2);
    throw std::runtime_error("in the middle");
  } catch (const std::runtime_error&) {
  }
  CHECK(raw_bytes(folder / "a") == "old");
  CHECK(folder.count_files() == 1);
  write_file(folder / "a", "new");
  CHECK(raw_bytes(folder / "a") == "new");
  CHECK(folder.count_files() == 1);
}

TEST_CASE("a failed write keeps the old content and cannot be committed") {
  const TemporaryFolder folder;
  folder.put("a", "old");
  std::string first;
  std::string second;
  std::string third;
  {
    AtomicFile file(folder / "a");
    const std::string bytes(300000, 'x');
    {
      const FileSizeLimit limit(100000);
      first = message_of([&] { file.write(bytes); });
    }
    second = message_of([&] { file.write("x"); });
    third = message_of([&] { file.commit(); });
  }
  CHECK_THAT(first, Contains("cannot write: File too large"));
  CHECK_THAT(second, Contains("an earlier write failed"));
  CHECK_THAT(third, Contains("an earlier write failed"));
  CHECK(raw_bytes(folder / "a") == "old");
  CHECK(folder.count_files() == 1);
}

TEST_CASE("a write that fails only at commit is told") {
  const TemporaryFolder folder;
  for (const std::string name : {"a", "a.gz", "a.zst"}) {
    std::string message;
    {
      const FileSizeLimit limit(10);
      message = message_of([&] { write_file(folder / name, "more than ten bytes"); });
    }
    CHECK_THAT(message, Contains("cannot write: File too large"));
  }
  CHECK(folder.count_files() == 0);
}

TEST_CASE("what cannot be a file is refused at once") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "folder");
  CHECK_THROWS_WITH(AtomicFile(folder / "folder"), Contains("cannot write: Is a directory"));
  CHECK_THROWS_WITH(AtomicFile((folder / "name").string() + "/"), Contains("not the name of a file"));
  CHECK_THROWS_WITH(AtomicFile(""), Contains("not the name of a file"));
  CHECK_THROWS_WITH(AtomicFile(folder / std::string("a\0b", 3)), Contains("not the name of a file"));
  CHECK_THROWS_WITH(AtomicFile("/dev/null"), Contains("Not a regular file"));
  CHECK_THROWS_WITH(AtomicFile(folder / "missing" / "a"), Contains("No such file or directory"));
  CHECK_THROWS_WITH(AtomicFile(folder.put("file", "x") / "a"), Contains("Not a directory"));
  CHECK(folder.count_files() == 2);
}

TEST_CASE("a folder that takes the name before commit is not replaced") {
  const TemporaryFolder folder;
  {
    AtomicFile file(folder / "a");
    std::filesystem::create_directory(folder / "a");
    CHECK_THROWS_WITH(file.commit(), Contains("cannot rename"));
  }
  CHECK(std::filesystem::is_directory(folder / "a"));
  CHECK(folder.count_files() == 1);
}

TEST_CASE("a symbolic link stays one") {
  const TemporaryFolder folder;
  std::filesystem::create_directory(folder / "other");
  write_file(folder / "other" / "a", "old");
  std::filesystem::create_symlink(folder / "other" / "a", folder / "link");
  write_file(folder / "link", "new");
  CHECK(std::filesystem::is_symlink(folder / "link"));
  CHECK(raw_bytes(folder / "other" / "a") == "new");
}

TEST_CASE("permissions are those of a new file") {
  const TemporaryFolder folder;
  const mode_t old_mask = ::umask(027);
  write_file(folder / "a", "x");
  ::umask(old_mask);
  struct stat status {};
  REQUIRE(::stat((folder / "a").c_str(), &status) == 0);
  CHECK((status.st_mode & 0777U) == 0640U);
}

TEST_CASE("files can be written side by side, also with the same name") {
  const TemporaryFolder folder;
  std::vector<AtomicFile> files;
  for (int i = 0; i < 10; ++i) {
    files.emplace_back(folder / "a").write(std::to_string(i));
  }
  CHECK(folder.count_files() == 10);
  for (AtomicFile& file : files) {
    file.commit();
  }
  CHECK(raw_bytes(folder / "a") == "9");
  CHECK(folder.count_files() == 1);
}

TEST_CASE("moving an AtomicFile over another drops the other") {
  const TemporaryFolder folder;
  AtomicFile file(folder / "a");
  file = AtomicFile(folder / "b");
  CHECK(folder.count_files() == 1);
  file.write("x");
  file.commit();
  CHECK(raw_bytes(folder / "b") == "x");
  CHECK(folder.count_files() == 1);
}

TEST_CASE("writing after commit is a mistake of the program") {
  const TemporaryFolder folder;
  AtomicFile file(folder / "a");
  file.commit();
  CHECK_THROWS_AS(file.write("x"), moesim::core::InvariantError);
  CHECK_THROWS_AS(file.commit(), moesim::core::InvariantError);
  CHECK(raw_bytes(folder / "a").empty());
}

TEST_CASE("the extension chooses the compression, with equal bytes every time") {
  const TemporaryFolder folder;
  std::string text;
  for (int i = 0; i < 30000; ++i) {
    text += std::to_string(i * i % 7919) + "\n";
  }
  for (const std::string name : {"a", "a.gz", "a.zst"}) {
    write_file(folder / name, text);
    const std::string whole = raw_bytes(folder / name);
    CHECK(read_file(folder / name, text.size()) == text);
    // The cut into writes leaves no trace.
    AtomicFile file(folder / name);
    for (std::size_t at = 0; at < text.size(); at += 777) {
      file.write(std::string_view(text).substr(at, 777));
    }
    file.commit();
    CHECK(raw_bytes(folder / name) == whole);
  }
  CHECK(raw_bytes(folder / "a") == text);
  // Magic, deflate, no flags (no name), time 0.
  CHECK(raw_bytes(folder / "a.gz").substr(0, 8) == std::string("\x1f\x8b\x08\0\0\0\0\0", 8));
  CHECK(raw_bytes(folder / "a.zst").substr(0, 4) == "\x28\xb5\x2f\xfd");
  CHECK(raw_bytes(folder / "a.gz").size() < text.size() / 2);
  CHECK(raw_bytes(folder / "a.zst").size() < text.size() / 2);
}
