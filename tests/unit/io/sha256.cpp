#include "sim/io/sha256.hpp"

#include "sim/io/atomic_file.hpp"
#include "sim/io/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"

using moesim::io::sha256_hex;
using moesim::io::sha256_hex_of_file;
using moesim::io::testing::raw_bytes;
using moesim::io::testing::TemporaryFolder;

// Vectors of FIPS 180-2, appendix B.
TEST_CASE("SHA-256 gives the published digests") {
  CHECK(sha256_hex("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256_hex("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
        "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  CHECK(sha256_hex(std::string(1000000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("SHA-256 of a file is that of its bytes") {
  const TemporaryFolder folder;
  const std::string bytes(200001, 'a');
  CHECK(sha256_hex_of_file(folder.put("a", bytes)) == sha256_hex(bytes));
  CHECK(sha256_hex_of_file(folder.put("empty", "")) == sha256_hex(""));
  moesim::io::write_file(folder / "a.gz", bytes);
  CHECK(sha256_hex_of_file(folder / "a.gz") == sha256_hex(raw_bytes(folder / "a.gz")));
  CHECK_THROWS_AS(sha256_hex_of_file(folder / "missing"), moesim::io::IoError);
  CHECK_THROWS_AS(sha256_hex_of_file(folder.path()), moesim::io::IoError);
}
