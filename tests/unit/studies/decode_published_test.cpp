// Published slopes of the time between tokens over the context (vLLM blog, 2026-04-22, fp8 KV cache), against
// the stored vLLM kernels: none of these figures was fitted.
#include <cmath>

#include "sim/studies/kernel_accuracy.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;

namespace {

struct Model {
  std::int64_t layers;  // with full attention
  std::int64_t query_heads;
  std::int64_t kv_heads;
  std::int64_t head_dim;
};
constexpr Model kLlama8b{32, 32, 8, 128};
constexpr Model kGptOss20b{12, 64, 8, 64};  // the other twelve layers see a window

// Milliseconds of attention in all layers for one token of one sequence.
double attention_ms(const cost::KernelLibrary& library, const Model& model, llm::NumberFormat kv,
                    std::int64_t context) {
  cost::AttentionDecodeShape shape;
  shape.batch = 1;
  shape.context = context;
  shape.query_heads = model.query_heads;
  shape.kv_heads = model.kv_heads;
  shape.qk_dim = shape.v_dim = model.head_dim;
  shape.kv = kv;
  const auto time = library.time_of(cost::attention_decode_family(), shape, "", {false, false});
  return static_cast<double>(model.layers) * time.time.total * 1e3;
}

cost::KernelLibrary vllm(const std::string& gpu) {
  const auto catalogue = test::source_catalogue();
  return studies::KernelCatalogue(catalogue).library("vllm", gpu, cost::Conditions::serving).value();
}

// Milliseconds for each further token of context, between 8 Ki and 32 Ki.
double slope(const cost::KernelLibrary& library, const Model& model, llm::NumberFormat kv) {
  constexpr std::int64_t kFrom = 8192, kTo = 32768;
  return (attention_ms(library, model, kv, kTo) - attention_ms(library, model, kv, kFrom)) / (kTo - kFrom);
}

void check_slope(const std::string& gpu, const Model& model, llm::NumberFormat kv, double published,
                 double low, double high) {
  const double error = slope(vllm(gpu), model, kv) / published - 1;
  INFO(gpu << ", published " << published << " ms/token: " << 100 * error << " %");
  CHECK(error >= low);
  CHECK(error <= high);
}

}  // namespace

TEST_CASE("slopes of the time between tokens: within 15 % of the published ones") {
  constexpr auto kBf16 = llm::NumberFormat::bf16, kFp8 = llm::NumberFormat::fp8;
  check_slope("h100-sxm", kLlama8b, kBf16, 4.37e-5, -0.15, 0.15);
  check_slope("h100-sxm", kGptOss20b, kBf16, 8.94e-6, -0.15, 0.15);
  check_slope("b200-sxm", kLlama8b, kBf16, 1.80e-5, -0.15, 0.15);
  check_slope("b200-sxm", kLlama8b, kFp8, 9.72e-6, -0.15, 0.15);
  check_slope("b200-sxm", kGptOss20b, kBf16, 3.56e-6, -0.15, 0.15);
  check_slope("b200-sxm", kGptOss20b, kFp8, 2.06e-6, -0.15, 0.15);
}

// fp8 caches on H100 miss the 15 %: too slow for Llama, too fast for gpt-oss. docs/accuracy.md says so.
TEST_CASE("slopes of fp8 caches on H100 are off by less than 30 %") {
  check_slope("h100-sxm", kLlama8b, llm::NumberFormat::fp8, 2.37e-5, 0, 0.3);
  check_slope("h100-sxm", kGptOss20b, llm::NumberFormat::fp8, 7.14e-6, -0.3, 0);
}

TEST_CASE("an fp8 cache pays from some thousand tokens on") {
  const cost::KernelLibrary library = vllm("h100-sxm");
  const auto gain = [&](std::int64_t context) {
    return attention_ms(library, kLlama8b, llm::NumberFormat::bf16, context) -
           attention_ms(library, kLlama8b, llm::NumberFormat::fp8, context);
  };
  std::int64_t low = 16, high = 1 << 17;
  REQUIRE(gain(high) > 0);
  while (high - low > 16) {
    const std::int64_t middle = (low + high) / 2;
    (gain(middle) > 0 ? high : low) = middle;
  }
  // Published: 7,010 tokens. The kernel alone crosses earlier; what the engine adds for an fp8 cache (it
  // quantises queries and rows) is not in the measured kernels.
  INFO(high);
  CHECK(high > 500);
  CHECK(high < 8060);
}
