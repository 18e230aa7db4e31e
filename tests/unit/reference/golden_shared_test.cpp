// The golden vectors of the reference data, and proof that the comparison would notice.
#include <algorithm>
#include <cstring>
#include <filesystem>

#include "models/reference/golden.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/golden_data.hpp"

namespace moesim::reference {
namespace {

std::filesystem::path family_file(const std::string& family) {
  return std::filesystem::path(MOESIM_TEST_DATA_DIR) / "golden" / (family + ".json");
}

struct Expected {
  const char* family;
  std::size_t cases;
};
constexpr Expected kFamilies[] = {{"codecs", 33},  {"elementwise", 14}, {"collectives", 2},
                                  {"routers", 24}, {"experts", 8},      {"attention", 15}};

TEST_CASE("kernels reproduce the golden vectors") {
  if (!test::has_golden_data()) return;
  for (const Expected& expected : kFamilies) {
    GoldenFamily family = read_golden_family(family_file(expected.family));
    CHECK(family.cases.size() == expected.cases);
    for (GoldenCase& golden : family.cases) {
      const GoldenVerdict verdict = run_golden_case(family.name, golden);
      INFO(verdict.name << ": " << verdict.failure);
      CHECK(verdict.passed);
      CHECK(verdict.worst <= 0.5);
    }
  }
}

// Turns one value of a tensor into something else.
void spoil(const GoldenTensor& tensor) {
  const auto width = tensor.bytes.size() / static_cast<std::size_t>(tensor.elements());
  auto* value = const_cast<std::byte*>(tensor.bytes.data() + tensor.bytes.size() - width);
  if (tensor.type == GoldenType::f32) {
    float x = 0.0F;
    std::memcpy(&x, value, sizeof x);
    x += 1.0F + (x < 0 ? -x : x);
    std::memcpy(value, &x, sizeof x);
  } else if (tensor.type == GoldenType::f64) {
    double x = 0.0;
    std::memcpy(&x, value, sizeof x);
    x += 1.0 + (x < 0 ? -x : x);
    std::memcpy(value, &x, sizeof x);
  } else {
    *value ^= std::byte{1};
  }
}

TEST_CASE("one spoiled value in any output is noticed") {
  if (!test::has_golden_data()) return;
  const std::vector<std::string> outputs = {"decode_table",
                                            "code_sat",
                                            "code_nosat",
                                            "special_sat",
                                            "bf16",
                                            "fp16",
                                            "scale_e8m0",
                                            "code",
                                            "dequant",
                                            "scale",
                                            "q",
                                            "scale_inv",
                                            "zero",
                                            "inv_freq",
                                            "y",
                                            "silu",
                                            "global_scale",
                                            "sigmoid",
                                            "scale_e4m3",
                                            "softplus",
                                            "ring_f32",
                                            "tree_bf16",
                                            "scale_fp16",
                                            "gelu_tanh",
                                            "weights",
                                            "indices",
                                            "token_indices",
                                            "plan",
                                            "col_sums",
                                            "total_affinity",
                                            "keep_bpr",
                                            "slot_bpr",
                                            "perm",
                                            "offsets",
                                            "tokens_per_expert",
                                            "o",
                                            "lse",
                                            "attn_out",
                                            "state",
                                            "scores",
                                            "topk_sorted",
                                            "latent_cache",
                                            "rope_cache",
                                            "partial_o",
                                            "partial_lse"};
  std::size_t noticed = 0;
  for (const Expected& expected : kFamilies) {
    const GoldenFamily family = read_golden_family(family_file(expected.family));
    for (const GoldenCase& sound : family.cases) {
      for (const std::string& output : outputs) {
        if (!sound.has_tensor(output) || !sound.tensor(output).output) continue;
        const GoldenTensor& tensor = sound.tensor(output);
        const std::vector<std::byte> kept(tensor.bytes.begin(), tensor.bytes.end());
        spoil(tensor);
        GoldenCase golden = sound;
        const GoldenVerdict verdict = run_golden_case(family.name, golden);
        std::copy(kept.begin(), kept.end(), const_cast<std::byte*>(tensor.bytes.data()));
        INFO(golden.name() << " " << output);
        // A NaN, or the code of one, may be spoiled into another.
        const bool may_pass = golden.kind() == "codec" || golden.kind() == "codec16";
        CHECK((!verdict.passed || may_pass));
        noticed += verdict.passed ? 0 : 1;
      }
    }
  }
  CHECK(noticed > 130);
}

}  // namespace
}  // namespace moesim::reference
