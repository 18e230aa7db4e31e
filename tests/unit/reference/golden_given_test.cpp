// What a golden file may leave out, write in another type, or state wrongly.
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "models/reference/golden.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"

namespace moesim::reference {
namespace {

// A family of one case, built tensor by tensor.
class GoldenBuilder {
 public:
  GoldenBuilder(std::string kind, std::string params) : kind_(std::move(kind)), params_(std::move(params)) {}

  template <class Value>
  GoldenBuilder& in(const std::string& name, const std::string& type, const std::string& shape,
                    const std::vector<Value>& values) {
    return add(name, "in", type, shape, values);
  }
  template <class Value>
  GoldenBuilder& out(const std::string& name, const std::string& type, const std::string& shape,
                     const std::vector<Value>& values, const std::string& tolerance) {
    tolerances_ += (tolerances_.empty() ? "\"" : ", \"") + name + "\": " + tolerance;
    return add(name, "out", type, shape, values);
  }

  [[nodiscard]] std::string json() const {
    return R"({"format": "gvec-1", "endian": "little", "bin": "f.bin", "nbytes": )" +
           std::to_string(data_.size()) + R"(, "cases": [{"name": "c", "kind": ")" + kind_ +
           R"(", "params": )" + params_ + R"(, "tensors": {)" + tensors_ + R"(}, "tol": {)" + tolerances_ +
           "}}]}";
  }
  [[nodiscard]] std::string data() const {
    return {reinterpret_cast<const char*>(data_.data()), data_.size()};
  }
  [[nodiscard]] GoldenVerdict verdict() const {
    GoldenFamily family = parse_golden_family(json(), "f", data_);
    return run_golden_case("f", family.cases[0]);
  }

 private:
  template <class Value>
  GoldenBuilder& add(const std::string& name, const std::string& role, const std::string& type,
                     const std::string& shape, const std::vector<Value>& values) {
    data_.resize((data_.size() + kGoldenAlignment - 1) / kGoldenAlignment * kGoldenAlignment);
    const std::size_t bytes = values.size() * sizeof(Value);
    tensors_ += (tensors_.empty() ? "\"" : ", \"") + name + R"(": {"role": ")" + role + R"(", "dtype": ")" +
                type + R"(", "shape": )" + shape + R"(, "offset": )" + std::to_string(data_.size()) +
                R"(, "nbytes": )" + std::to_string(bytes) + "}";
    data_.resize(data_.size() + bytes);
    std::memcpy(data_.data() + data_.size() - bytes, values.data(), bytes);
    return *this;
  }

  std::string kind_;
  std::string params_;
  std::string tensors_;
  std::string tolerances_;
  std::vector<std::byte> data_;
};

using Floats = std::vector<float>;
using Doubles = std::vector<double>;
using Halves = std::vector<std::uint16_t>;

const std::string kExact = R"({"kind": "exact"})";
const std::string kInfo = R"({"kind": "info"})";
const std::string kTight = R"({"kind": "mixed", "abs": 1e-6, "rel": 0})";

bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_CASE("two keys of attention: what the file leaves out is not compared") {
  // One query of zeros: both keys weigh one half.
  const auto attention = [](const std::string& params) {
    GoldenBuilder golden(
        "attention",
        R"({"heads_q": 1, "heads_kv": 1, "nq": 1, "nk": 2, "d": 1, "dv": 1, "scale": 1)" + params + "}");
    golden.in("k", "f64", "[1, 2, 1]", Doubles{1, 2}).in("v", "f32", "[1, 2, 1]", Floats{1, 3});
    return golden;
  };
  GoldenBuilder silent = attention("");
  silent.in("q", "f32", "[1, 1, 1]", Floats{0}).out("o", "f64", "[1, 1, 1]", Doubles{2}, kTight);
  CHECK(silent.verdict().failure.empty());
  // So are sizes that the tensors tell; the scale is that of the width of a head.
  GoldenBuilder bare("attention", "{}");
  bare.in("k", "f32", "[1, 2, 1]", Floats{1, 2}).in("v", "f32", "[1, 2, 1]", Floats{1, 3});
  bare.in("q", "f32", "[1, 1, 1]", Floats{1});
  bare.out("lse", "f64", "[1, 1]", Doubles{2.3132616875182228}, kTight);
  CHECK(bare.verdict().failure.empty());
  // bf16 in u16: 1, told apart by the log-sum-exp.
  GoldenBuilder half = attention(R"(, "flops_exact": 8)");
  half.in("q", "u16", "[1, 1, 1]", Halves{0x3F80})
      .out("lse", "f64", "[1, 1]", Doubles{2.3132616875182228}, kTight);
  CHECK(half.verdict().failure.empty());
  GoldenBuilder counted = attention(R"(, "flops_exact": 9)");
  counted.in("q", "f32", "[1, 1, 1]", Floats{0}).out("o", "f64", "[1, 1, 1]", Doubles{2}, kTight);
  CHECK(holds(counted.verdict().failure, "flops_exact: counted 8, the file says 9"));
  GoldenBuilder typed = attention("");
  typed.in("q", "i32", "[1, 1, 1]", std::vector<std::int32_t>{0})
      .out("o", "f64", "[1, 1, 1]", Doubles{2}, kTight);
  CHECK(holds(typed.verdict().failure, "case c: the tensor \"q\" is i32, the kernel reads real numbers"));
}

TEST_CASE("angles in f32 are allowed what they lose, exact ones are not") {
  const double sound = std::cos(1'000'003.0);
  const double sine = std::sin(1'000'003.0);
  const auto rotation = [](double cosine, double sine_of, const std::string& params) {
    GoldenBuilder golden("rope", params);
    golden.in("pos", "i64", "[1]", std::vector<std::int64_t>{1'000'003});
    golden.in("x", "f32", "[1, 4]", Floats{1, 0, 0, 0});
    golden.out("y", "f64", "[1, 4]", Doubles{cosine, 0, sine_of, 0}, kTight);
    return golden.verdict();
  };
  const GoldenVerdict right = rotation(sound, sine, R"({"dim": 4, "base": 7e3, "attention_factor": 1})");
  CHECK(right.failure.empty());
  // Far more than the tolerance, and less than what f32 loses at this position.
  const GoldenVerdict wrong = rotation(sound + 1e-3, sine, R"({"dim": 4, "base": 7e3})");
  CHECK(holds(wrong.failure, "y: 1 of 4 values are wrong"));
  const GoldenVerdict factor = rotation(sound, sine, R"({"dim": 4, "base": 7e3, "attention_factor": 1.5})");
  CHECK(holds(factor.failure, "attention_factor: computed 1, the file says 1.5"));
}

TEST_CASE("whole numbers are read from other types if they fit") {
  const auto capacity = [](const std::string& params, std::int64_t expert) {
    GoldenBuilder golden("capacity", R"({"experts": 2, "topk": 1)" + params + "}");
    golden.in("indices", "i64", "[3, 1]", std::vector<std::int64_t>{0, expert, 0});
    golden.in("weights", "f32", "[3, 1]", Floats{1, 2, 3});
    golden.out("keep_bpr", "u8", "[3, 1]", std::vector<std::uint8_t>{0, 1, 1}, kExact);
    return golden.verdict();
  };
  CHECK(capacity(R"(, "capacity": 1)", 1).failure.empty());
  CHECK(holds(capacity(R"(, "capacity": 1)", std::int64_t{1} << 32).failure, "does not fit into 32 bits"));
  CHECK(holds(capacity(R"(, "capacity": 1, "capacity_factor": 2)", 1).failure,
              "capacity: counted 3, the file says 1"));
  // The kernel's own words, without where it stands in the source.
  const std::string missing = capacity(R"(, "capacity": 1)", 5).failure;
  CHECK(missing == "case c: a token's expert does not exist");
}

TEST_CASE("sums, codes and assignments that files may hold are compared") {
  GoldenBuilder sums("allreduce", "{}");
  sums.in("x_f32", "f32", "[2, 1]", Floats{1, 3}).out("exact", "f64", "[1]", Doubles{4}, kExact);
  sums.out("bound_f32", "f64", "[1]", Doubles{4 * 0x1p-24}, kTight);
  CHECK(sums.verdict().failure.empty());
  CHECK(sums.verdict().results.size() == 2);

  GoldenBuilder codes("codec", R"({"format": "e8m0"})");
  codes.in("x", "f32", "[3]", Floats{1, 0.25F, 6});
  codes.out("code", "u8", "[3]", std::vector<std::uint8_t>{127, 125, 129}, kExact);
  CHECK(codes.verdict().failure.empty());

  const auto assigned = [](const std::vector<std::int32_t>& experts, const Floats& x) {
    GoldenBuilder base("base", R"({"experts": 2})");
    base.in("x", "f32", "[2, 2]", x).in("w", "f32", "[2, 2]", Floats{1, 0, 0, 1});
    base.out("assignment", "i32", "[2]", experts, kExact);
    return base.verdict().failure;
  };
  CHECK(assigned({1, 0}, {1, 2, 2, 1}).empty());
  CHECK_FALSE(assigned({0, 1}, {1, 2, 2, 1}).empty());
  CHECK(assigned({0, 1}, {1, 1, 1, 1}).empty());
  CHECK(assigned({1, 0}, {1, 1, 1, 1}).empty());
  CHECK_FALSE(assigned({1, 1}, {1, 1, 1, 1}).empty());
}

TEST_CASE("a case that compares nothing has not passed") {
  GoldenBuilder golden("activations", "{}");
  golden.in("x", "f32", "[1]", Floats{0}).out("silu", "f64", "[1]", Doubles{0}, kInfo);
  CHECK(golden.verdict().failure == "nothing compared");
  CHECK_FALSE(golden.verdict().passed);
}

TEST_CASE("a broken file fails by itself and leaves the others") {
  const io::testing::TemporaryFolder folder;
  GoldenBuilder golden("activations", "{}");
  golden.in("x", "f32", "[1]", Floats{0}).out("silu", "f64", "[1]", Doubles{0}, kTight);
  folder.put("a.json", "{");
  folder.put("b.json", R"({"some": "thing"})");
  folder.put("f.bin", golden.data());
  folder.put("f.json", golden.json());
  const std::vector<GoldenVerdict> verdicts = check_golden_folder(folder.path());
  REQUIRE(verdicts.size() == 3);
  CHECK_FALSE(verdicts[0].passed);
  CHECK(holds(verdicts[0].failure, "a.json:1:"));
  CHECK(holds(verdicts[1].failure, "cannot be read: "));
  CHECK(holds(verdicts[1].failure, "\"format\" is missing"));
  CHECK(verdicts[1].name.empty());
  CHECK(verdicts[2].passed);
}

}  // namespace
}  // namespace moesim::reference
