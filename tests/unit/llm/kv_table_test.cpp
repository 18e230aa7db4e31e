// The KV cache and the constant states of about thirty models against the table of the study of routing and
// context (routing_and_context, 4.1): bytes of one sequence of 128 Ki and 1 Mi tokens, bf16.
#include <cmath>
#include <string>

#include "models/llm/memory.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

using test::from_text;
using test::zoo;
using enum NumberFormat;

constexpr double kGib = 1024.0 * 1024 * 1024;
constexpr std::int64_t kMebi = std::int64_t{1} << 20;

double gib(const Architecture& model, std::int64_t tokens, NumberFormat kv = bf16) {
  return static_cast<double>(kv_bytes(model, {}, kv, tokens)) / kGib;
}

// Half a percent, or half of the last printed digit where that is more.
void check_close(double value, double printed, double half_digit) {
  INFO(value << " against " << printed);
  CHECK(std::abs(value - printed) <= std::max(0.005 * printed, half_digit));
}

struct TableRow {
  const char* model;
  std::int64_t bytes_per_token;  // at long contexts; 0: the table has none
  double at_128k, at_1m;         // GiB
  double digit_128k = 0, digit_1m = 0;
};

// MHA/GQA, MLA, MLA with an indexer, windows, chunks, hybrids, CSA with HCA, block-sparse.
constexpr TableRow kTable[] = {
    {"llama-3.1-8b", 131'072, 16, 128},
    {"llama-3.1-70b", 327'680, 40, 320},
    {"llama-3.1-405b", 516'096, 63, 504},
    {"mixtral-8x7b", 131'072, 16, 128},
    {"mixtral-8x22b", 229'376, 28, 224},
    {"qwen3-32b", 262'144, 32, 256},
    {"qwen3-30b-a3b", 98'304, 12, 96},
    {"qwen3-235b-a22b", 192'512, 23.5, 188},
    {"qwen3-coder-480b-a35b", 253'952, 31, 248},
    {"minimax-m2.5", 253'952, 31, 248},
    {"dbrx", 163'840, 20, 160},
    {"grok-1", 262'144, 32, 256},
    {"deepseek-v3", 70'272, 8.58, 68.6},
    {"deepseek-r1", 70'272, 8.58, 68.6},
    {"kimi-k2", 70'272, 8.58, 68.6},
    {"kimi-k2.5", 70'272, 8.58, 68.6},
    {"deepseek-v3.2", 85'888, 10.5, 83.9},
    {"glm-5", 109'824, 13.4, 107},
    {"glm-5.2", 109'824, 13.4, 107},
    {"gpt-oss-120b", 36'864, 4.50, 36.0},
    {"gpt-oss-20b", 24'576, 3.00, 24.0},
    {"mimo-v2-flash", 0, 2.84, 22.5},
    {"llama-4-scout", 49'152, 7.1, 49.1},
    {"llama-4-maverick", 49'152, 7.1, 49.1},
    {"qwen3.5-397b-a17b", 30'720, 3.93, 30.2},
    {"qwen3-next-80b-a3b", 24'576, 3.07, 24.1},
    {"kimi-k3", 27'648, 3.8, 27.4},
    {"nemotron-3-super", 8'192, 1.2, 8.2, 0.05, 0.05},  // 1.159 and 8.159: the table has two digits
    {"deepseek-v4-pro", 0, 1.21, 9.62},
    {"deepseek-v4-flash", 0, 0.85, 6.72, 0.005},
    {"minimax-m3", 122'880, 15, 120},
};

TEST_CASE("KV cache and states of the zoo at 128 Ki and 1 Mi tokens are those of the table") {
  for (const TableRow& row : kTable) {
    INFO(row.model);
    const Architecture model = zoo(row.model);
    if (row.bytes_per_token > 0) CHECK(kv_bytes_per_token(model, bf16) == row.bytes_per_token);
    check_close(gib(model, kMebi / 8), row.at_128k, row.digit_128k);
    check_close(gib(model, kMebi), row.at_1m, row.digit_1m);
  }
}

TEST_CASE("models of the table that the zoo does not have") {
  // Step-3.7-Flash: 12 layers see all, 33 a window of 512 (B5 of the study). Its heads are not in the study:
  // 8 x 128 reproduces its figures.
  Architecture step = zoo("llama-3.1-8b");
  auto full = step.layers.at(0), window = step.layers.at(0);
  full.count = 12;
  window.count = 33;
  std::get<GroupedQueryAttention>(window.attention).window_tokens = 512;
  step.layers = {full, window};
  check_close(gib(step, kMebi / 8), 6.06, 0);
  check_close(gib(step, kMebi), 48.1, 0);
  // Qwen3.5-35B-A3B: 10 layers with 2 heads of 256, 30 with 32 matrices of 128 x 128.
  Architecture small = zoo("qwen3.5-397b-a17b");
  for (LayerGroup& group : small.layers) {
    group.count = group.count == 15 ? 10 : 30;
    if (auto* recurrent = std::get_if<RecurrentAttention>(&group.attention)) recurrent->value_heads = 32;
  }
  REQUIRE(small.layers.size() == 2);
  CHECK(kv_bytes_per_token(small, bf16) == 20'480);
  check_close(static_cast<double>(state_bytes(small, {})) / kMebi, 61, 0.5);
  check_close(gib(small, kMebi / 8), 2.56, 0);
  check_close(gib(small, kMebi), 20.1, 0);
}

TEST_CASE("recurrent states: matrices in fp32, and the inputs of the convolution") {
  const auto mebi = [](const char* model) {
    return static_cast<double>(state_bytes(zoo(model), {})) / kMebi;
  };
  check_close(mebi("qwen3.5-397b-a17b"), 183, 0.5);
  check_close(mebi("qwen3-next-80b-a3b"), 74, 0.5);
  // For these two the table has the matrices alone: 69 x 96 and 40 x 64 of 64 KiB.
  const double channels = 3 * 96 * 128, columns = 3 * 2;
  CHECK(mebi("kimi-k3") == 414 + 69 * channels * columns / kMebi);
  CHECK(mebi("nemotron-3-super") == 160 + 40 * (2 * 8 * 128 + 128 * 64) * columns / kMebi);
  // Heads are split over tp.
  CHECK(state_bytes(zoo("kimi-k3"), {8, 1, 1}) * 8 == state_bytes(zoo("kimi-k3"), {}));
}

TEST_CASE("Llama 4 at ten million tokens: 1,920 GiB uniform, 481 GiB aware of chunks") {
  Architecture model = zoo("llama-4-scout");
  check_close(gib(model, 10 * kMebi), 481, 0);
  for (LayerGroup& group : model.layers) std::get<GroupedQueryAttention>(group.attention).chunk_tokens = 0;
  CHECK(kv_bytes_per_token(model, bf16) == 196'608);
  CHECK(gib(model, 10 * kMebi) == 1920);
}

// vLLM's blog of DeepSeek-V3.2: 656 bytes of a row and 132 of its index key; of DeepSeek-V4: page sizes of 64
// entries of 584 bytes, 64 index keys, 2 entries, each rounded up to 576 bytes.
TEST_CASE("eight-bit rows of sparse attention are those of their kernels") {
  const Architecture v32 = zoo("deepseek-v3.2");
  CHECK(kv_bytes_per_token(v32, fp8) == 61 * (656 + 132));
  check_close(gib(v32, kMebi / 8, fp8), 5.87, 0);
  check_close(gib(v32, kMebi, fp8), 46.9, 0);
  for (const LayerGroup& group : zoo("deepseek-v4-pro").layers) {
    const auto& attention = std::get<CompressedAttention>(group.attention);
    const auto aligned = [](std::int64_t bytes) { return (bytes + 575) / 576 * 576; };
    CHECK(pooled_row_bytes(attention, fp8) == 448 + 64 * 2 + 8);
    CHECK(aligned(64 * pooled_row_bytes(attention, fp8)) == 37'440);
    CHECK(aligned(2 * pooled_row_bytes(attention, fp8)) == 1'728);
    if (attention.indexer) CHECK(aligned(64 * index_key_bytes(*attention.indexer, fp8)) == 8'640);
  }
}

TEST_CASE("what a sequence keeps on a rank: GQA heads are copied when tp passes their number") {
  const Architecture qwen = zoo("qwen3-235b-a22b");
  CHECK(kv_bytes_per_token_per_rank(qwen, {4, 1, 1}, bf16) == 192'512 / 4);
  CHECK(kv_bytes_per_token_per_rank(qwen, {8, 1, 1}, bf16) == 192'512 / 4);  // twice on eight ranks
  CHECK(kv_bytes_per_token_per_rank(zoo("deepseek-v3.2"), {8, 1, 1}, bf16) == 85'888);
}

}  // namespace
}  // namespace moesim::llm
