#include "models/reference/weights/safetensors.hpp"

#include "sim/io/error.hpp"
#include "tests/unit/io/temporary_folder.hpp"
#include "tests/unit/weights/files.hpp"

namespace moesim::reference::testing {

namespace {

// A file with that header and so many bytes of data.
std::string file_of(std::string_view header, std::size_t data) {
  std::string file;
  for (int i = 0; i < 8; ++i) file += static_cast<char>(header.size() >> (8 * i) & 0xFF);
  return file + std::string(header) + std::string(data, '\1');
}

std::string problem(std::string_view header, std::size_t data) {
  const std::string file = file_of(header, data);
  return error_of([&] { static_cast<void>(parse_safetensors(as_bytes(file), "x.safetensors")); });
}

}  // namespace

TEST_CASE("safetensors of an independent writer read back bit for bit") {
  const config::Document expected = expected_file("expected_safetensors.json");
  check_against(WeightSet(weights_folder() / "types.safetensors"), *expected.root.find("types"));
  check_against(WeightSet(weights_folder() / "fp8.safetensors"), *expected.root.find("fp8"));
  check_against(WeightSet(weights_folder() / "sharded"), *expected.root.find("sharded"));
}

TEST_CASE("tensors of a safetensors file come in the order of the data, with its metadata") {
  const std::string file = file_of(
      R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]},"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},)"
      R"("__metadata__":{"format":"pt"}})",
      3);
  const Safetensors read = parse_safetensors(as_bytes(file), "x");
  REQUIRE(read.tensors.size() == 2);
  CHECK(read.tensors[0].name == "a");
  CHECK(read.tensors[1].name == "b");
  CHECK(read.tensors[1].bytes.data() == as_bytes(file).data() + file.size() - 2);
  CHECK(read.metadata == std::vector<std::pair<std::string, std::string>>{{"format", "pt"}});
  CHECK(parse_safetensors(as_bytes(file_of("{}", 0)), "x").tensors.empty());
}

TEST_CASE("what is wrong with a safetensors file is said") {
  struct Case {
    std::string_view header;
    std::size_t data;
    std::string_view error;
  };
  const Case cases[] = {
      {"[]", 0, "wrong_type: the header is not a JSON object"},
      {"{", 0, "syntax"},
      {"", 0, "syntax"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})",
       2, "duplicate_key"},
      {R"({"a":1})", 0, "wrong_type: the tensor is not described by an object"},
      {R"({"a":{"shape":[1],"data_offsets":[0,1]}})", 1, "wrong_type: the tensor has no text \"dtype\""},
      {R"({"a":{"dtype":"U8","data_offsets":[0,1]}})", 1, "wrong_type: the tensor has no list \"shape\""},
      {R"({"a":{"dtype":"U8","shape":[1]}})", 1, "wrong_type: the tensor has no list \"data_offsets\""},
      {R"({"a":{"dtype":"U8","shape":[-1],"data_offsets":[0,1]}})", 1, "out_of_range"},
      {R"({"a":{"dtype":"U8","shape":[1.5],"data_offsets":[0,1]}})", 1, "out_of_range"},
      {R"({"a":{"dtype":"U8","shape":[18446744073709551615],"data_offsets":[0,1]}})", 1, "out_of_range"},
      {R"({"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}})", 0,
       "out_of_range: the shape [4294967296, 4294967296] has too many values"},
      {R"({"a":{"dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0]}})", 0, "out_of_range"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,0]}})", 1, "bad_offsets"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0]}})", 1, "bad_offsets"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1,2]}})", 2, "bad_offsets"},
      {R"({"a":{"dtype":"U8","shape":[3],"data_offsets":[0,3]}})", 2,
       "truncated: the tensor ends at byte 3 of the data, which has 2"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[9223372036854775807,9223372036854775807]}})", 1,
       "truncated"},
      {R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,7]}})", 7,
       "wrong_size: 2 values of F32 take 8 bytes, not the 7 of \"data_offsets\""},
      {R"({"a":{"dtype":"F4","shape":[3],"data_offsets":[0,2]}})", 2, "wrong_size"},
      {R"({"a":{"dtype":"U8","shape":[2],"data_offsets":[0,2]},"b":{"dtype":"U8","shape":[2],"data_offsets":[1,3]}})",
       3, "overlap: the data of \"b\" overlaps that of \"a\""},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[2,3]}})",
       3, "hole: bytes 1 to 2 of the data belong to no tensor"},
      {R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 2, "hole: bytes 1 to 2"},
      {R"({"a\u0000b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, "bad_name"},
      {R"({"":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1, "bad_name"},
      {R"({"__metadata__":{"format":1}})", 0, "wrong_type: metadata are texts"},
      {R"({"__metadata__":[]})", 0, "wrong_type"},
  };
  for (const Case& one : cases) {
    INFO(one.header);
    CHECK_THAT(problem(one.header, one.data), Catch::Matchers::StartsWith(std::string(one.error)));
  }
}

TEST_CASE("the length of a safetensors header is believed only as far as the file goes") {
  const auto of = [](std::string_view bytes) {
    return error_of([&] { static_cast<void>(parse_safetensors(as_bytes(bytes), "x.safetensors")); });
  };
  CHECK(of("") == "bad_safetensors: x.safetensors: at byte 0: the file has only 0 bytes");
  CHECK(of("1234567") == "bad_safetensors: x.safetensors: at byte 0: the file has only 7 bytes");
  CHECK(of(std::string_view("\3\0\0\0\0\0\0\0{}", 10)) ==
        "bad_safetensors: x.safetensors: at byte 0: the header is said to have 3 bytes; the file has 10");
  CHECK_THAT(of("\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF{}"), Catch::Matchers::StartsWith("bad_safetensors"));
  const std::string large(kMaxSafetensorsHeader + 1, ' ');
  CHECK_THAT(problem(large, 0), contains("at most"));
}

TEST_CASE("a folder of shards is as good as its index") {
  const io::testing::TemporaryFolder folder;
  const auto open = [&] { return error_of([&] { WeightSet set(folder.path()); }); };
  CHECK_THAT(open(), contains("holds no .safetensors and no .gguf file"));
  const std::string a = file_of(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}})", 1);
  static_cast<void>(folder.put("one.safetensors", a));
  CHECK(open().empty());
  static_cast<void>(folder.put("two.safetensors", a));
  CHECK_THAT(open(), Catch::Matchers::StartsWith("duplicate_key: the tensor \"a\" is both in "));
  const auto index = [&](std::string_view map) {
    static_cast<void>(
        folder.put("model.safetensors.index.json", R"({"weight_map": )" + std::string(map) + "}"));
    return open();
  };
  CHECK(index(R"({"a": "one.safetensors"})").empty());
  CHECK_THAT(index(R"({"b": "one.safetensors"})"), Catch::Matchers::StartsWith("unknown_name"));
  CHECK_THAT(index(R"({"a": "../one.safetensors"})"), Catch::Matchers::StartsWith("bad_name"));
  CHECK_THAT(index(R"({"a": "one.safetensors\u0000"})"), Catch::Matchers::StartsWith("bad_name"));
  CHECK_THAT(index(R"({"a": ".."})"), Catch::Matchers::StartsWith("bad_name"));
  CHECK_THAT(index(R"({"a": 1})"), Catch::Matchers::StartsWith("wrong_type"));
  CHECK_THAT(index(R"([])"), Catch::Matchers::StartsWith("wrong_type"));
  CHECK_THROWS_AS(index(R"({"a": "three.safetensors"})"), io::IoError);
}

TEST_CASE("scales of another shape than one a block are refused") {
  const io::testing::TemporaryFolder folder;
  const auto file = folder.put(
      "x.safetensors", file_of(R"({"w":{"dtype":"F8_E4M3","shape":[2,2],"data_offsets":[0,4]},)"
                               R"("w_scale_inv":{"dtype":"F32","shape":[2,1],"data_offsets":[4,12]}})",
                               12));
  const WeightSet set(file);
  CHECK_THAT(error_of([&] { static_cast<void>(set.to_floats(*set.find("w"))); }),
             contains("one for each block of 128 x 128 of \"w\" would be [1, 1]"));
}

TEST_CASE("each block of 128 x 128 has its own scale") {
  constexpr std::size_t kSize = 129;
  constexpr char kOne = 0x38;
  std::string file = file_of(R"({"w":{"dtype":"F8_E4M3","shape":[129,129],"data_offsets":[0,16641]},)"
                             R"("w_scale_inv":{"dtype":"F32","shape":[2,2],"data_offsets":[16641,16657]}})",
                             0);
  file.append(kSize * kSize, kOne);
  for (const float scale : {2.0F, 3.0F, 5.0F, 7.0F}) {
    file.append(reinterpret_cast<const char*>(&scale), sizeof scale);
  }
  const io::testing::TemporaryFolder folder;
  const WeightSet set(folder.put("x.safetensors", file));
  const std::vector<float> values = set.to_floats(*set.find("w"));
  REQUIRE(values.size() == kSize * kSize);
  CHECK(values[0] == 2.0F);
  CHECK(values[127 * kSize + 127] == 2.0F);
  CHECK(values[127 * kSize + 128] == 3.0F);
  CHECK(values[128 * kSize + 127] == 5.0F);
  CHECK(values[128 * kSize + 128] == 7.0F);
}

TEST_CASE("only regular files are mapped") {
  CHECK_THROWS_AS(WeightSet("/dev/null"), io::IoError);
  CHECK_THROWS_AS(WeightSet("/nowhere/x.safetensors"), io::IoError);
  CHECK_THROWS_AS(WeightSet(std::filesystem::path(std::string("/dev/zero\0x", 11))), io::IoError);
}

TEST_CASE("integers of a checkpoint read as integers") {
  const WeightSet set(weights_folder() / "types.safetensors");
  const config::Document expected = expected_file("expected_safetensors.json");
  for (const char* name : {"i64", "i32", "i16", "i8", "u8"}) {
    const std::vector<std::int64_t> read = to_integers(*set.find(name));
    const config::Node& values = *expected.root.find("types")->find(name)->find("values");
    REQUIRE(read.size() == values.items.size());
    for (std::size_t i = 0; i < read.size(); ++i) CHECK(read[i] == values.items[i].integer);
  }
  CHECK_THAT(error_of([&] { static_cast<void>(to_integers(*set.find("f32"))); }),
             Catch::Matchers::StartsWith("unsupported_type"));
}

}  // namespace moesim::reference::testing
