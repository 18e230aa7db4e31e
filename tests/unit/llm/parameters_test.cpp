#include "models/llm/parameters.hpp"

#include <cmath>

#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

using test::zoo;

// Billions, rounded to two digits, as the published tables print them.
double billions(std::int64_t count) { return std::round(static_cast<double>(count) / 1e7) / 100.0; }

TEST_CASE("published parameter counts") {
  CHECK(billions(count_parameters(zoo("llama-3.1-8b")).total) == 8.03);
  CHECK(billions(count_parameters(zoo("mixtral-8x7b")).total) == 46.70);
  CHECK(billions(count_parameters(zoo("mixtral-8x7b")).active) == 12.88);
  CHECK(billions(count_parameters(zoo("qwen3-30b-a3b")).total) == 30.53);
  CHECK(billions(count_parameters(zoo("qwen3-30b-a3b")).active) == 3.35);
  const Parameters deepseek = count_parameters(zoo("deepseek-v3"));
  CHECK(billions(deepseek.total) == 671.03);
  CHECK(std::round(static_cast<double>(deepseek.active) / 1e8) / 10 == 37.6);
  CHECK(std::round(static_cast<double>(deepseek.active_without_input_embedding) / 1e8) / 10 == 36.6);
}

// The counts below are written from the tensor shapes of the published checkpoints, tensor by tensor, with
// none of the code under test.
TEST_CASE("Llama 3.1 8B, tensor by tensor") {
  const std::int64_t h = 4096;
  const std::int64_t q_proj = h * h, k_proj = h * 1024, v_proj = h * 1024, o_proj = h * h;
  const std::int64_t gate = h * 14336, up = h * 14336, down = 14336 * h;
  const std::int64_t layer = q_proj + k_proj + v_proj + o_proj + gate + up + down + h + h;
  const Parameters counted = count_parameters(zoo("llama-3.1-8b"));
  CHECK(counted.total == 128256 * h + 32 * layer + h + 128256 * h);
  CHECK(counted.total == 8'030'261'248);  // as the hub shows it
  CHECK(counted.active == counted.total);
  CHECK(counted.active_without_embeddings == 32 * layer + h);
}

TEST_CASE("Mixtral 8x7B, tensor by tensor") {
  const std::int64_t h = 4096;
  const std::int64_t attention = 2 * h * h + 2 * h * 1024;
  const std::int64_t expert = 3 * h * 14336;
  const Parameters counted = count_parameters(zoo("mixtral-8x7b"));
  CHECK(counted.total == 2 * 32000 * h + 32 * (attention + 8 * expert + 8 * h + 2 * h) + h);
  CHECK(counted.active == 2 * 32000 * h + 32 * (attention + 2 * expert + 8 * h + 2 * h) + h);
  CHECK(counted.total == 46'702'792'704);
}

TEST_CASE("Qwen3 30B A3B, tensor by tensor") {
  const std::int64_t h = 2048;
  const std::int64_t attention = h * 4096 + 2 * h * 512 + 4096 * h;
  const std::int64_t norms = 2 * h + 128 + 128;
  const std::int64_t expert = 3 * h * 768;
  const Parameters counted = count_parameters(zoo("qwen3-30b-a3b"));
  CHECK(counted.total == 2 * 151936 * h + 48 * (attention + norms + 128 * h + 128 * expert) + h);
  CHECK(counted.active == 2 * 151936 * h + 48 * (attention + norms + 128 * h + 8 * expert) + h);
  CHECK(counted.total == 30'532'122'624);
}

TEST_CASE("DeepSeek-V3, tensor by tensor") {
  const std::int64_t h = 7168;
  const std::int64_t q_a = h * 1536, q_a_norm = 1536, q_b = 1536 * 128 * (128 + 64);
  const std::int64_t kv_a = h * (512 + 64), kv_a_norm = 512, kv_b = 512 * 128 * (128 + 128);
  const std::int64_t o = 128 * 128 * h;
  const std::int64_t attention = q_a + q_b + kv_a + kv_b + o;
  const std::int64_t norms = q_a_norm + kv_a_norm + 2 * h;
  const std::int64_t dense = 3 * h * 18432, expert = 3 * h * 2048;
  const std::int64_t router = 256 * h + 256;
  const ByCategory want{129280 * h,  61 * attention, 3 * dense,      58 * 256 * expert,
                        58 * expert, 58 * router,    61 * norms + h, 129280 * h};
  const Parameters counted = count_parameters(zoo("deepseek-v3"));
  CHECK(counted.by_category == want);
  CHECK(counted.total == want.total());
  CHECK(counted.active == want.total() - 58 * 248 * expert);
  CHECK(counted.active - counted.active_without_embeddings == 2 * 129280 * h);
}

TEST_CASE("a tied head is counted once, biases belong to attention") {
  Architecture model = zoo("llama-3.1-8b");
  const Parameters plain = count_parameters(model);
  model.tied_embeddings = true;
  auto& attention = std::get<GroupedQueryAttention>(model.layers.at(0).attention);
  attention.qkv_bias = true;
  attention.output_bias = true;
  const Parameters changed = count_parameters(model);
  CHECK(changed.by_category.head == 0);
  CHECK(changed.by_category.attention == plain.by_category.attention + 32 * (4096 + 1024 + 1024 + 4096));
  CHECK(changed.active_without_embeddings == plain.active_without_embeddings + 32 * 10240);
  CHECK(changed.active_without_input_embedding == changed.active);
}

}  // namespace
}  // namespace moesim::llm
