#include "models/reference/weights/gguf.hpp"

#include <limits>

#include "tests/unit/weights/files.hpp"

namespace moesim::reference::testing {

namespace {

// Builds a file, byte by byte.
class Bytes {
 public:
  Bytes& u32(std::uint64_t value) { return number(value, 4); }
  Bytes& u64(std::uint64_t value) { return number(value, 8); }
  Bytes& byte(std::uint64_t value) { return number(value, 1); }
  Bytes& text(std::string_view value) {
    u64(value.size());
    bytes_ += value;
    return *this;
  }
  Bytes& zeros(std::size_t count) {
    bytes_.append(count, '\0');
    return *this;
  }
  Bytes& align(std::size_t to = 32) { return zeros((to - bytes_.size() % to) % to); }
  [[nodiscard]] const std::string& get() const { return bytes_; }

 private:
  Bytes& number(std::uint64_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) bytes_ += static_cast<char>(value >> (8 * i) & 0xFF);
    return *this;
  }
  std::string bytes_;
};

constexpr std::uint64_t kHuge = std::numeric_limits<std::uint64_t>::max();

Bytes head(std::uint64_t tensors, std::uint64_t keys, std::uint32_t version = 3) {
  return Bytes().u32(0x46554747).u32(version).u64(tensors).u64(keys);
}

// A tensor "t" of one dimension.
Bytes& tensor(Bytes& bytes, std::string_view name, std::uint64_t size, std::uint32_t type,
              std::uint64_t offset) {
  return bytes.text(name).u32(1).u64(size).u32(type).u64(offset);
}

std::string problem(const Bytes& bytes) {
  return error_of([&] { static_cast<void>(parse_gguf(as_bytes(bytes.get()), "x.gguf")); });
}

Bytes one_tensor(std::uint64_t size, std::uint32_t type, std::uint64_t offset, std::size_t data) {
  Bytes bytes = head(1, 0);
  return tensor(bytes, "t", size, type, offset).align().zeros(data);
}

}  // namespace

TEST_CASE("a GGUF file of an independent writer reads back bit for bit") {
  const config::Document expected = expected_file("expected_gguf.json");
  check_against(WeightSet(weights_folder() / "types.gguf"), *expected.root.find("types"));
}

TEST_CASE("metadata of every type of GGUF reads back") {
  const WeightSet set(weights_folder() / "types.gguf");
  const Gguf& gguf = *set.gguf();
  CHECK(gguf.version == 3);
  CHECK(gguf.text("general.architecture") == "testmoe");
  CHECK(gguf.integer("general.alignment") == 64);
  CHECK(gguf.integer("a.u8") == 200);
  CHECK(gguf.integer("a.i8") == -100);
  CHECK(gguf.integer("a.u16") == 60000);
  CHECK(gguf.integer("a.i16") == -30000);
  CHECK(gguf.integer("a.u32") == 4000000000);
  CHECK(gguf.integer("a.i32") == -2000000000);
  CHECK(gguf.integer("a.i64") == -(std::int64_t{1} << 62));
  CHECK(gguf.integer("a.bool") == 1);
  CHECK(gguf.number("a.f32") == 0.25);
  CHECK(gguf.number("a.f64") == 1e300);
  CHECK(gguf.number("a.u64") == 0x1p63);
  CHECK_FALSE(gguf.integer("a.u64").has_value());  // above all signed numbers
  CHECK_FALSE(gguf.integer("a.f32").has_value());
  CHECK_FALSE(gguf.integer("general.architecture").has_value());
  CHECK_FALSE(gguf.number("a.numbers").has_value());
  CHECK_FALSE(gguf.text("a.u8").has_value());
  CHECK_FALSE(gguf.text("nothing").has_value());
  const GgufValue& tokens = *gguf.find("tokenizer.ggml.tokens");
  CHECK(tokens.element == GgufType::string);
  CHECK(tokens.count == 3);
  CHECK(tokens.items.size() == 3 * 8 + 3 + 0 + 3);
  const GgufValue& lists = *gguf.find("a.lists");
  CHECK(lists.element == GgufType::array);
  CHECK(lists.items.size() == (4 + 8 + 2) + (4 + 8 + 8 + 1));
}

TEST_CASE("version 2 of GGUF reads as version 3") {
  const WeightSet set(weights_folder() / "version2.gguf");
  CHECK(set.gguf()->version == 2);
  const WeightSet third(weights_folder() / "types.gguf");
  CHECK(set.to_floats(*set.find("f32")) == third.to_floats(*third.find("f32")));
}

TEST_CASE("what is wrong with the head of a GGUF file is said with its byte") {
  struct Case {
    Bytes bytes;
    std::string_view error;
  };
  const Case cases[] = {
      {Bytes(), "bad_gguf: x.gguf: at byte 0: the magic number takes 4 bytes; the file ends after 0"},
      {Bytes().u32(0x12345678), "bad_gguf: x.gguf: at byte 0: this is no GGUF file"},
      {Bytes().u32(0x46554747), "bad_gguf: x.gguf: at byte 4: the version takes 4 bytes"},
      {head(0, 0, 1), "bad_gguf: x.gguf: at byte 4: version 1 is not read"},
      {head(0, 0, 4), "bad_gguf: x.gguf: at byte 4: version 4 is not read"},
      {head(0, 0, 0x03000000), "bad_gguf: x.gguf: at byte 4: big-endian files are not read"},
      {head(kHuge, 0), "bad_gguf: x.gguf: at byte 8: the number of tensors is 18446744073709551615"},
      {head(0, kHuge), "bad_gguf: x.gguf: at byte 16: the number of metadata keys is 18446744073709551615"},
      {head(0, 1).u64(kHuge).zeros(99),
       "bad_gguf: x.gguf: at byte 24: a key of the metadata has 184467440737095516"},
      {head(0, 1).u64(100).zeros(50), "bad_gguf: x.gguf: at byte 32: a key of the metadata takes 100 bytes"},
      {head(0, 1).text("").u32(0).zeros(9), "bad_gguf: x.gguf: at byte 24: a key of the metadata is empty"},
      {head(0, 1).text(std::string_view("a\0b", 3)).u32(0).byte(1),
       "bad_gguf: x.gguf: at byte 24: a key of the"},
      {head(0, 1).text("k").u32(13).byte(1), "bad_gguf: x.gguf: at byte 33: 13 is no type of metadata"},
      {head(0, 1).text("k").u32(7).byte(2), "bad_gguf: x.gguf: at byte 37: 2 is no truth value"},
      {head(0, 1).text("k").u32(8).u64(5).byte(1),
       "bad_gguf: x.gguf: at byte 45: a text takes 5 bytes; the file"},
      {head(0, 1).text("k").u32(9).u32(10).u64(2).u64(0),
       "bad_gguf: x.gguf: at byte 41: the length of a list is 2"},
      {head(0, 1).text("k").u32(9).u32(10).u64(kHuge / 8 + 1),
       "bad_gguf: x.gguf: at byte 41: the length of a list"},
      {head(0, 2).text("k").u32(0).byte(1).text("k").u32(0).byte(1),
       "bad_gguf: x.gguf: at byte 38: the key \"k\" is given twice"},
  };
  for (const Case& one : cases)
    CHECK_THAT(problem(one.bytes), Catch::Matchers::StartsWith(std::string(one.error)));
  Bytes deep = head(0, 1).text("k").u32(9);
  for (int i = 0; i < 5; ++i) deep.u32(9).u64(1);
  CHECK_THAT(problem(deep.u32(0).u64(1).byte(1)), contains("lists are nested too deep"));
}

TEST_CASE("what is wrong with a GGUF tensor is said") {
  CHECK(problem(one_tensor(8, 0, 0, 32)).empty());
  CHECK_THAT(problem(one_tensor(9, 0, 0, 32)),
             contains("the tensor \"t\" needs 36 bytes from byte 0 of the data, which has 32"));
  CHECK_THAT(problem(one_tensor(8, 0, 32, 32)), contains("from byte 32 of the data, which has 32"));
  CHECK_THAT(problem(one_tensor(8, 0, kHuge - 31, 32)), contains("which has 32"));
  CHECK_THAT(problem(one_tensor(4, 0, 16, 32)), contains("is not a multiple of the alignment 32"));
  CHECK_THAT(problem(one_tensor(kHuge, 0, 0, 32)), contains("is too large"));
  CHECK_THAT(problem(one_tensor(std::uint64_t{1} << 62, 0, 0, 32)), contains("too many values"));
  CHECK_THAT(problem(one_tensor(33, 8, 0, 64)), contains("Q8_0 comes in blocks of 32"));
  // The product of two dimensions passes all numbers.
  Bytes product = head(1, 0);
  product.text("t").u32(2).u64(std::uint64_t{1} << 40).u64(std::uint64_t{1} << 40).u32(0).u64(0);
  CHECK_THAT(problem(product.align()), contains("too many values"));
  Bytes many = head(1, 0);
  CHECK_THAT(problem(many.text("t").u32(5).zeros(64)), contains("has 5 dimensions; at most 4"));
  Bytes nul = head(1, 0);
  CHECK_THAT(problem(tensor(nul, std::string_view("a\0b", 3), 1, 24, 0).align().zeros(1)),
             contains("control character"));
  Bytes cut = head(1, 0);
  CHECK_THAT(problem(cut.text("t").u32(1).u64(1).u32(0)),
             contains("at byte 49: a tensor's offset takes 8 bytes; the file ends after 0"));
}

TEST_CASE("GGUF tensors share neither names nor data") {
  const auto two = [](std::string_view second, std::uint64_t offset, std::uint64_t size = 16) {
    Bytes bytes = head(2, 0);
    tensor(bytes, "t", 16, 0, 0);
    return problem(tensor(bytes, second, size, 0, offset).align().zeros(128));
  };
  CHECK(two("u", 64).empty());
  CHECK_THAT(two("t", 64), contains("the tensor \"t\" is there twice"));
  CHECK_THAT(two("u", 32), contains("the data of the tensor \"u\" overlaps that of \"t\""));
  CHECK(two("u", 32, 0).empty());  // nothing overlaps nothing
}

TEST_CASE("the alignment of a GGUF file is a power of two") {
  const auto with = [](std::uint32_t type, std::uint64_t value) {
    return problem(head(0, 1).text("general.alignment").u32(type).u32(value));
  };
  CHECK(with(4, 8).empty());
  for (const unsigned value : {0U, 3U, 48U, 1U << 21U}) {
    CHECK_THAT(with(4, value), contains("is not a power of two up to 2^20"));
  }
  CHECK_THAT(with(6, 0x41000000), contains("is not a power of two"));
}

}  // namespace moesim::reference::testing
