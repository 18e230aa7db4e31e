// The reader of golden vectors with broken and hostile files, and how results are compared.
#include "models/reference/golden.hpp"

#include <bit>
#include <cstring>
#include <limits>

#include "sim/config/diagnostics.hpp"
#include "sim/io/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"

namespace moesim::reference {
namespace {

const float kInfinity = std::numeric_limits<float>::infinity();
const float kNotANumber = std::numeric_limits<float>::quiet_NaN();

std::vector<std::byte> bytes_of(const std::vector<float>& values) {
  std::vector<std::byte> bytes(values.size() * sizeof(float));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

std::string document(const std::string& cases, std::size_t bytes) {
  return R"({"format": "gvec-1", "endian": "little", "bin": "f.bin", "nbytes": )" + std::to_string(bytes) +
         R"(, "cases": [)" + cases + "]}";
}

// One case with one output tensor.
std::string one_case(const std::string& tensor, const std::string& tolerance = R"({"kind": "exact"})",
                     const std::string& params = "{}") {
  return R"({"name": "c", "kind": "k", "params": )" + params + R"(, "tensors": {"y": )" + tensor +
         R"(}, "tol": {"y": )" + tolerance + "}}";
}

const std::string kTensor = R"({"role": "out", "dtype": "f32", "shape": [2, 2], "offset": 0, "nbytes": 16})";

GoldenFamily parse(const std::string& cases, const std::vector<float>& values = {1, 2, 3, 4}) {
  return parse_golden_family(document(cases, values.size() * sizeof(float)), "f", bytes_of(values));
}

std::string problem_of(const std::string& cases) {
  try {
    (void)parse(cases);
  } catch (const GoldenError& error) {
    return error.what();
  }
  return "";
}

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

// The first failure after giving `values` for the output of one_case with this tolerance.
std::string failure_of(const std::string& tolerance, const std::vector<float>& want,
                       const std::vector<float>& got) {
  GoldenFamily family = parse(one_case(kTensor, tolerance), want);
  family.cases[0].give("y", std::span<const float>(got));
  return family.cases[0].results()[0].failure;
}

TEST_CASE("a golden case gives its tensors and parameters") {
  GoldenFamily family = parse(one_case(
      kTensor, R"({"kind": "mixed", "abs": 1, "rel": 0.5, "note": "n"})",
      R"({"n": 3, "whole": 4.0, "x": 0.5, "on": true, "word": "w", "many": [1, 2.5], "in": {"deep": 7}, "no": null})"));
  REQUIRE(family.cases.size() == 1);
  const GoldenCase& golden = family.cases[0];
  CHECK(golden.name() == "c");
  CHECK(golden.kind() == "k");
  CHECK(golden.integer("n") == 3);
  CHECK(golden.integer("whole") == 4);
  CHECK(golden.number("n") == 3.0);
  CHECK(golden.number("x") == 0.5);
  CHECK(golden.flag("on"));
  CHECK(golden.text("word") == "w");
  CHECK(golden.numbers("many") == std::vector<double>{1, 2.5});
  CHECK(golden.integer("in.deep") == 7);
  CHECK_FALSE(golden.has("no"));
  CHECK_FALSE(golden.has("in.shallow"));
  CHECK_FALSE(golden.has("n.deep"));
  CHECK(golden.integer_or("no", 9) == 9);
  CHECK(golden.number_or("x", 9) == 0.5);
  CHECK(golden.flag_or("off", true));
  CHECK(golden.text_or("word", "v") == "w");
  CHECK_THROWS_AS(golden.integer("x"), GoldenError);
  CHECK_THROWS_AS(golden.integer("absent"), GoldenError);
  CHECK_THROWS_AS(golden.flag("n"), GoldenError);
  CHECK_THROWS_AS(golden.text("n"), GoldenError);
  CHECK_THROWS_AS(golden.number("word"), GoldenError);
  CHECK_THROWS_AS(golden.numbers("n"), GoldenError);
  CHECK(golden.f32("y")[3] == 4.0F);
  CHECK(golden.tensor("y").tolerance.absolute == 1.0);
  CHECK(golden.tensor("y").tolerance.relative == 0.5);
  CHECK(golden.f64("y")[3] == 4.0);
  CHECK_THROWS_AS(golden.i32("y"), GoldenError);
  CHECK_THROWS_AS(golden.u8("y"), GoldenError);
  CHECK_THROWS_AS(golden.f32("z"), GoldenError);
}

TEST_CASE("hostile tensors are refused in words that name the case and the tensor") {
  const auto tensor_problem = [](const std::string& tensor) { return problem_of(one_case(tensor)); };
  const auto with = [](const std::string& type, const std::string& shape, const std::string& offset,
                       const std::string& bytes) {
    return R"({"role": "out", "dtype": ")" + type + R"(", "shape": )" + shape + R"(, "offset": )" + offset +
           R"(, "nbytes": )" + bytes + "}";
  };
  CHECK(problem_of(one_case(kTensor)).empty());
  const std::string outside = tensor_problem(with("f32", "[8]", "0", "32"));
  CHECK(holds(outside, "f.json:1:"));
  CHECK(holds(outside, "case c, tensor y: "));
  CHECK(holds(outside, "outside the data of 16 bytes"));
  CHECK(holds(tensor_problem(with("f32", "[4]", "64", "16")), "outside the data"));
  CHECK(holds(tensor_problem(with("f32", "[2]", "9223372036854775807", "8")), "outside the data"));
  CHECK(holds(tensor_problem(with("f32", "[2]", "8", "8")), "must be a multiple of 64"));
  CHECK(holds(tensor_problem(with("f32", "[2]", "-64", "8")), "must not be negative"));
  CHECK(holds(tensor_problem(with("f32", "[-2, -2]", "0", "16")), "must not be negative"));
  CHECK(holds(tensor_problem(with("f32", "[3]", "0", "16")), "the shape needs 12 bytes, \"nbytes\" says 16"));
  CHECK(holds(tensor_problem(with("f32", "[4294967296, 4294967296, 4]", "0", "0")), "too large"));
  CHECK(holds(tensor_problem(with("f32", "[1.5]", "0", "16")), "must be a"));
  CHECK(holds(tensor_problem(with("f32", "[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]", "0", "4")), "dimensions"));
  CHECK(holds(tensor_problem(with("f33", "[4]", "0", "16")), "\"f33\", which is not known"));
  CHECK(holds(tensor_problem("[]"), "a tensor must be an object"));
  CHECK(holds(tensor_problem(R"({"role": "both", "dtype": "f32", "shape": [], "offset": 0, "nbytes": 4})"),
              "\"both\""));
  // An empty tensor may stand anywhere.
  CHECK(tensor_problem(with("f32", "[0, 5]", "6400", "0")).empty());
}

TEST_CASE("broken cases are refused") {
  CHECK(holds(problem_of(one_case(kTensor, R"({"kind": "loose"})")), "\"loose\" is no kind of tolerance"));
  CHECK(holds(problem_of(one_case(kTensor, R"({"kind": "mixed", "abs": -1, "rel": 0})")), "negative"));
  CHECK(holds(problem_of(one_case(kTensor, R"({"kind": "mixed", "abs": 1})")), "\"rel\" is missing"));
  CHECK(holds(problem_of(one_case(kTensor) + "," + one_case(kTensor)), "the case c is given twice"));
  CHECK(holds(
      problem_of(
          R"({"name": "c", "kind": "k", "params": {}, "tensors": {}, "tol": {"z": {"kind": "exact"}}})"),
      "names \"z\", which is no output"));
  CHECK(holds(
      problem_of(R"({"name": "c", "kind": "k", "params": {}, "tol": {}, "tensors": {"y": )" + kTensor + "}}"),
      "an output needs a tolerance"));
  CHECK(holds(problem_of("5"), "a case must be an object"));
  CHECK(holds(problem_of("{}"), "\"name\" is missing"));
  CHECK_THROWS_AS(parse(R"({"name": "c", "name": "d"})"), config::InputError);
}

TEST_CASE("a family document says what it is and where its data lies") {
  const auto problem = [](std::string text, std::size_t bytes = 0) -> std::string {
    try {
      (void)parse_golden_family(std::move(text), "f", std::vector<std::byte>(bytes));
    } catch (const GoldenError& error) {
      return error.what();
    }
    return "";
  };
  const auto with_bin = [](const std::string& bin) {
    return R"({"format": "gvec-1", "endian": "little", "nbytes": 0, "cases": [], "bin": )" + bin + "}";
  };
  CHECK(problem(with_bin("\"f.bin\"")).empty());
  for (const char* hostile :
       {"\"../f.bin\"", "\"/etc/passwd\"", "\"\"", "\"..\"", "\"a\\u0000b\"", "\"a\\\\b\""}) {
    CHECK(holds(problem(with_bin(hostile)), "plain name"));
  }
  CHECK(holds(problem(with_bin("5")), "\"bin\" must be a string"));
  CHECK(holds(problem(document("", 4), 3), "the data has 3 bytes, \"nbytes\" says 4"));
  CHECK(holds(problem(R"({"format": "gvec-2"})"), "only \"gvec-1\" can be read"));
  CHECK(holds(problem(R"({"format": "gvec-1", "endian": "big"})"), "only \"little\" can be read"));
  CHECK(holds(problem("[]"), "the document must be an object"));
  CHECK_THROWS_AS(problem("{"), config::InputError);
}

TEST_CASE("exact results agree in every bit but the sign of zero and the NaN") {
  const std::string exact = R"({"kind": "exact"})";
  CHECK(failure_of(exact, {1, 0.0F, kNotANumber, -kInfinity}, {1, -0.0F, -kNotANumber, -kInfinity}).empty());
  CHECK(holds(failure_of(exact, {1, 2, 3, 4}, {1, 2, 3, std::nextafter(4.0F, 5.0F)}),
              "1 of 4 values are wrong, the first at [1, 1]"));
  CHECK_FALSE(failure_of(exact, {kNotANumber, 2, 3, 4}, {1, 2, 3, 4}).empty());
  CHECK(holds(failure_of(exact, {1, 2, 3, 4}, {1, 2}), "gives 2 values, the file holds 4"));
}

TEST_CASE("mixed tolerances allow what they say and no more") {
  const std::string mixed = R"({"kind": "mixed", "abs": 0.5, "rel": 0.25})";
  CHECK(failure_of(mixed, {4, -4, kInfinity, 0}, {5.5F, -2.5F, kInfinity, 0.5F}).empty());
  CHECK_FALSE(failure_of(mixed, {4, 0, 0, 0}, {5.5000005F, 0, 0, 0}).empty());
  CHECK_FALSE(failure_of(mixed, {kInfinity, 0, 0, 0}, {1, 0, 0, 0}).empty());
  CHECK_FALSE(failure_of(mixed, {kInfinity, 0, 0, 0}, {-kInfinity, 0, 0, 0}).empty());
  CHECK_FALSE(failure_of(mixed, {1, 0, 0, 0}, {kInfinity, 0, 0, 0}).empty());
  CHECK_FALSE(failure_of(mixed, {kNotANumber, 0, 0, 0}, {kNotANumber, 0, 0, 0}).empty());
  GoldenFamily family = parse(one_case(kTensor, mixed), {4, 0, 0, 0});
  family.cases[0].give("y", std::span<const float>(std::vector<float>{4.75F, 0, 0, 0}));
  CHECK(family.cases[0].results()[0].worst == 0.5);
}

TEST_CASE("outputs that are missing or of another kind are failures") {
  GoldenFamily family = parse(one_case(kTensor));
  GoldenCase& golden = family.cases[0];
  golden.give("z", std::span<const float>());
  golden.give_integers("y", std::span<const int>(std::vector<int>{1, 2, 3, 4}));
  // What the case does not ask for is dropped.
  REQUIRE(golden.results().size() == 1);
  CHECK(holds(golden.results()[0].failure, "gives whole numbers, the file holds f32"));
  golden.give_count("absent", 1);
  CHECK(golden.results().size() == 1);
  std::string input = one_case(kTensor);
  input.replace(input.find("\"out\""), 5, "\"in\"");
  input.replace(input.find("\"tol\": {"), std::string::npos, "\"tol\": {}}");
  GoldenFamily given = parse(input);
  given.cases[0].give("y", std::span<const float>(std::vector<float>{1, 2, 3, 4}));
  CHECK(holds(given.cases[0].results()[0].failure, "no output of the case"));

  GoldenFamily silent = parse(one_case(kTensor));
  silent.cases[0].finish();
  REQUIRE(silent.cases[0].results().size() == 1);
  CHECK(holds(silent.cases[0].results()[0].failure, "did not give"));
  GoldenFamily info = parse(one_case(kTensor, R"({"kind": "info"})"));
  info.cases[0].finish();
  CHECK(info.cases[0].results().empty());
}

TEST_CASE("whole numbers and counts are compared as such") {
  const std::string tensor = R"({"role": "out", "dtype": "u32", "shape": [2], "offset": 0, "nbytes": 8})";
  const std::vector<float> data{std::bit_cast<float>(0xFFFFFFFFU), std::bit_cast<float>(1U)};
  GoldenFamily family = parse(one_case(tensor, R"({"kind": "exact"})", R"({"count": 12})"), data);
  GoldenCase& golden = family.cases[0];
  golden.give_integers("y", std::span<const std::uint32_t>(std::vector<std::uint32_t>{0xFFFFFFFFU, 1}));
  golden.give_integers("y", std::span<const int>(std::vector<int>{-1, 1}));
  golden.give_count("count", 12);
  golden.give_count("count", 13);
  CHECK(golden.results()[0].failure.empty());
  CHECK(holds(golden.results()[1].failure, "-1 instead of 4294967295"));
  CHECK(golden.results()[2].failure.empty());
  CHECK(holds(golden.results()[3].failure, "counted 13, the file says 12"));
}

TEST_CASE("a case of an unknown kind fails, and no kind is run by two kernels") {
  GoldenFamily family = parse(one_case(kTensor));
  const GoldenVerdict verdict = run_golden_case("f", family.cases[0]);
  CHECK_FALSE(verdict.passed);
  CHECK(holds(verdict.failure, "no kernel runs cases of the kind \"k\""));
  const std::vector<GoldenKind> kinds = golden_kinds();
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    for (std::size_t j = i + 1; j < kinds.size(); ++j) CHECK(kinds[i].kind != kinds[j].kind);
  }
}

TEST_CASE("families are read from files, whatever their data looks like") {
  const io::testing::TemporaryFolder folder;
  // Data that starts like a gzip file is not unpacked.
  std::string data(16, '\0');
  data[0] = '\x1f';
  data[1] = '\x8b';
  folder.put("f.bin", data);
  const auto json = folder.put("f.json", document(one_case(kTensor), 16));
  const GoldenFamily family = read_golden_family(json);
  CHECK(family.name == "f");
  CHECK(family.data.size() == 16);
  CHECK(reinterpret_cast<std::uintptr_t>(family.data.data()) % kGoldenAlignment == 0);
  CHECK(std::to_integer<int>(family.data[1]) == 0x8b);
  CHECK(golden_files(folder.path()) == std::vector<std::filesystem::path>{json});
  std::filesystem::remove(folder / "f.bin");
  CHECK_THROWS_AS(read_golden_family(json), io::IoError);
  std::filesystem::remove(json);
  CHECK_THROWS_AS(check_golden_folder(folder.path()), GoldenError);
  CHECK_THROWS_AS(check_golden_folder(folder / "absent"), io::IoError);
}

}  // namespace
}  // namespace moesim::reference
