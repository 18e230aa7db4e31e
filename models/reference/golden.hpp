// Golden vectors: inputs and expected outputs in files ("gvec-1": FAMILY.json beside FAMILY.bin), and the
// kernels that must reproduce them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/node.hpp"

namespace moesim::reference {

// A folder's or a case's own mistake: what and where, in words for the user.
class GoldenError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// What a tensor of a file holds.
enum class GoldenType : std::uint8_t { f32, f64, i32, i64, u8, i8, u16, u32 };

// How an output is compared.
struct GoldenTolerance {
  enum class Kind : std::uint8_t { exact, mixed, info };
  Kind kind = Kind::exact;
  double absolute = 0.0;  // mixed: |got - want| <= absolute + relative x |want|
  double relative = 0.0;
};

struct GoldenTensor {
  std::string name;
  bool output = false;
  GoldenType type = GoldenType::f32;
  std::vector<std::int64_t> shape;
  std::span<const std::byte> bytes;  // 64-byte aligned inside the family's data
  GoldenTolerance tolerance;         // of an output

  [[nodiscard]] std::int64_t elements() const;
};

// One case: parameters, input tensors, and where a runner leaves its results.
class GoldenCase {
 public:
  GoldenCase(std::string name, std::string kind, config::Node params, std::vector<GoldenTensor> tensors);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] const std::string& kind() const { return kind_; }

  // Parameters; `path` may go into objects ("rope.base"). Throw GoldenError if absent or of another kind.
  [[nodiscard]] double number(std::string_view path) const;
  [[nodiscard]] std::int64_t integer(std::string_view path) const;
  [[nodiscard]] bool flag(std::string_view path) const;
  [[nodiscard]] std::string text(std::string_view path) const;
  [[nodiscard]] std::vector<double> numbers(std::string_view path) const;
  [[nodiscard]] bool has(std::string_view path) const;
  // The same with a value for where the parameter is absent.
  [[nodiscard]] double number_or(std::string_view path, double otherwise) const;
  [[nodiscard]] std::int64_t integer_or(std::string_view path, std::int64_t otherwise) const;
  [[nodiscard]] bool flag_or(std::string_view path, bool otherwise) const;
  [[nodiscard]] std::string text_or(std::string_view path, std::string_view otherwise) const;

  // Tensors. Throw GoldenError if absent or of another type. f32 and f64 also read each other's values and
  // those of u16, which are bf16; i32 and i64 read all whole numbers that fit. What is converted lives as
  // long as the case.
  [[nodiscard]] bool has_tensor(std::string_view tensor) const;
  [[nodiscard]] const GoldenTensor& tensor(std::string_view tensor) const;
  // Size `index` of a tensor's shape; -1 where there is no such tensor or size.
  [[nodiscard]] std::int64_t dimension(std::string_view tensor, std::size_t index) const;
  [[nodiscard]] std::span<const float> f32(std::string_view tensor) const;
  [[nodiscard]] std::span<const double> f64(std::string_view tensor) const;
  [[nodiscard]] std::span<const std::int32_t> i32(std::string_view tensor) const;
  [[nodiscard]] std::span<const std::int64_t> i64(std::string_view tensor) const;
  [[nodiscard]] std::span<const std::uint8_t> u8(std::string_view tensor) const;
  [[nodiscard]] std::span<const std::int8_t> i8(std::string_view tensor) const;
  [[nodiscard]] std::span<const std::uint16_t> u16(std::string_view tensor) const;
  [[nodiscard]] std::span<const std::uint32_t> u32(std::string_view tensor) const;

  // Results of a runner; each is compared with the output of that name, or dropped where the case has no such
  // tensor. An output whose tolerance is not `info` and that is never given is a failure; so is a result for
  // an input, or of another kind or number of values. Integers are compared as integers, floats as doubles;
  // exact floats by bits (+0 = -0, NaN = NaN).
  void give(std::string_view output, std::span<const float> values);
  // The same with more allowed for each value: what the way of computing costs. No less is allowed where the
  // tolerance is exact. `extra` has one entry a value.
  void give_within(std::string_view output, std::span<const float> values, std::span<const double> extra);
  void give(std::string_view output, std::span<const double> values);
  void give(std::string_view output, std::span<const std::int64_t> values);
  // Any integer type, widened.
  template <class Integer>
  void give_integers(std::string_view output, std::span<const Integer> values) {
    give(output, std::span<const std::int64_t>(std::vector<std::int64_t>(values.begin(), values.end())));
  }
  // A fact that must equal a parameter of the case (counts: "flops_exact"), if it has that parameter; of a
  // real number, within 1e-9 of it.
  void give_count(std::string_view parameter, std::int64_t value);
  void give_fact(std::string_view parameter, double value);

  struct Result {
    std::string output;
    std::string failure;  // "" if it passed
    double worst = 0.0;   // largest |difference| as a share of what is allowed; 0 for exact
    std::int64_t compared = 0;
    bool informative = false;  // the file asks for no comparison
  };
  [[nodiscard]] const std::vector<Result>& results() const { return results_; }
  // Adds a failure for each output that was not given.
  void finish();

 private:
  // Values that were converted, by the name of the tensor.
  template <class Value>
  using Converted = std::map<std::string, std::shared_ptr<const std::vector<Value>>>;

  [[nodiscard]] const GoldenTensor* find_tensor(std::string_view tensor) const;

  std::string name_;
  std::string kind_;
  config::Node params_;
  std::vector<GoldenTensor> tensors_;
  std::vector<Result> results_;
  mutable Converted<float> floats_;
  mutable Converted<double> doubles_;
  mutable Converted<std::int32_t> integers_;
  mutable Converted<std::int64_t> long_integers_;
};

// All cases of a family file and the data they point into. Move it, do not copy it: the cases of a copy point
// into the original.
struct GoldenFamily {
  std::string name;
  std::vector<std::byte> storage;
  std::span<const std::byte> data;  // inside storage, 64-byte aligned
  std::vector<GoldenCase> cases;
};

// Limits on what is read.
inline constexpr std::size_t kMaxGoldenBytes = std::size_t{1} << 30;  // of data
inline constexpr std::size_t kGoldenAlignment = 64;

// Reads FAMILY.json and the file of data beside it that it names. Throws config::InputError for bad JSON
// (with line and column), io::IoError, and GoldenError for all else: tensors outside the data, sizes that
// disagree with shapes, unknown types and tolerances, names given twice.
[[nodiscard]] GoldenFamily read_golden_family(const std::filesystem::path& json_file);
// The same from memory (for fuzzers).
[[nodiscard]] GoldenFamily parse_golden_family(std::string json, std::string name,
                                               std::vector<std::byte> data);

using GoldenRunner = void (*)(GoldenCase&);
struct GoldenKind {
  std::string_view kind;
  GoldenRunner run = nullptr;
};

// What each part of the kernel set can run (golden_*.cpp).
[[nodiscard]] std::span<const GoldenKind> golden_codec_kinds();
[[nodiscard]] std::span<const GoldenKind> golden_router_kinds();
[[nodiscard]] std::span<const GoldenKind> golden_expert_kinds();
[[nodiscard]] std::span<const GoldenKind> golden_attention_kinds();
[[nodiscard]] std::span<const GoldenKind> golden_elementwise_kinds();
[[nodiscard]] std::span<const GoldenKind> golden_collective_kinds();

// All kinds of cases that some kernel runs.
[[nodiscard]] std::vector<GoldenKind> golden_kinds();

// Verdict on one case.
struct GoldenVerdict {
  std::string family;
  std::string name;  // "" for a file that cannot be read
  std::string kind;
  bool passed = false;
  std::string failure;  // the first one, in words
  double worst = 0.0;   // largest share of a tolerance that was used
  std::vector<GoldenCase::Result> results;
};

// Runs one case. Whatever a kernel throws becomes a failure of the case; so is a case in which nothing is
// compared.
[[nodiscard]] GoldenVerdict run_golden_case(std::string_view family, GoldenCase& golden);
// The FAMILY.json files of a folder, in the order of names. Throws io::IoError if it cannot be read.
[[nodiscard]] std::vector<std::filesystem::path> golden_files(const std::filesystem::path& folder);
// Runs the cases of a file that are `wanted`. A file that cannot be read gives one failed verdict without a
// case; `known` collects the names of all cases.
[[nodiscard]] std::vector<GoldenVerdict> check_golden_file(const std::filesystem::path& json_file,
                                                           const std::vector<std::string>& wanted,
                                                           std::vector<std::string>& known);
// Runs every FAMILY.json of a folder, in the order of names. Throws GoldenError if the folder has none.
[[nodiscard]] std::vector<GoldenVerdict> check_golden_folder(const std::filesystem::path& folder);

}  // namespace moesim::reference
