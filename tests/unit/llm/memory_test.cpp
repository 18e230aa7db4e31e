#include "models/llm/memory.hpp"

#include <cmath>

#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

using test::zoo;
using enum NumberFormat;

double gib(std::int64_t bytes) { return std::round(static_cast<double>(bytes) / (1 << 30) * 100) / 100; }

Formats weights_in(NumberFormat format) { return {format, std::nullopt, bf16}; }

TEST_CASE("KV bytes per token of the whole model") {
  CHECK(kv_bytes_per_token(zoo("llama-3.1-8b"), bf16) == 131'072);
  CHECK(kv_bytes_per_token(zoo("mixtral-8x7b"), bf16) == 131'072);
  CHECK(kv_bytes_per_token(zoo("qwen3-30b-a3b"), bf16) == 98'304);
  CHECK(kv_bytes_per_token(zoo("deepseek-v3"), bf16) == 70'272);
  CHECK(kv_bytes_per_token(zoo("llama-3.1-8b"), fp8) == 65'536);
}

TEST_CASE("KV heads are split over tp and copied beyond their number, latent rows always copied") {
  const Architecture llama = zoo("llama-3.1-8b");
  CHECK(kv_bytes_per_token_per_rank(llama, {1, 8, 1}, bf16) == 131'072);
  CHECK(kv_bytes_per_token_per_rank(llama, {2, 1, 1}, bf16) == 65'536);
  CHECK(kv_bytes_per_token_per_rank(llama, {8, 1, 1}, bf16) == 16'384);
  CHECK(kv_bytes_per_token_per_rank(llama, {32, 1, 1}, bf16) == 16'384);
  CHECK(kv_bytes_per_token_per_rank(zoo("deepseek-v3"), {16, 1, 16}, bf16) == 70'272);
  // Qwen3-235B on 4 ranks: 47 KiB a token and rank (vLLM issue 21348).
  Architecture large = zoo("qwen3-30b-a3b");
  large.layers.at(0).count = 94;
  CHECK(kv_bytes_per_token_per_rank(large, {4, 1, 1}, bf16) == 47 * 1024);
}

TEST_CASE("weights as vLLM reports them for Llama 3 8B: 14.96 GiB, and 7.48 GiB on each of two ranks") {
  const Architecture model = zoo("llama-3.1-8b");
  CHECK(gib(weight_bytes(model, {}).total()) == 14.96);
  CHECK(gib(weight_bytes_per_rank(model, {1, 1, 1}, {}).total()) == 14.96);
  CHECK(gib(weight_bytes_per_rank(model, {2, 1, 1}, {}).total()) == 7.48);
}

TEST_CASE("bf16 bytes are two per parameter, score biases four") {
  for (const auto id : test::kZoo) {
    const Architecture model = zoo(id);
    const std::int64_t score_biases = id == "deepseek-v3" ? 58 * 256 : 0;
    CHECK(weight_bytes(model, {}).total() == 2 * count_parameters(model).total + 2 * score_biases);
  }
}

TEST_CASE("a quantised format holds for linear layers only") {
  const Architecture model = zoo("deepseek-v3");
  const ByCategory wide = weight_bytes(model, {});
  const ByCategory block = weight_bytes(model, weights_in(fp8_block));
  const ByCategory four = weight_bytes(model, weights_in(nvfp4));
  CHECK(block.embedding == wide.embedding);
  CHECK(block.head == wide.head);
  CHECK(block.router == wide.router);
  CHECK(block.norms == wide.norms);
  CHECK(block.routed_experts == bytes_for(wide.routed_experts / 2, fp8_block));
  CHECK(block.shared_experts == bytes_for(wide.shared_experts / 2, fp8_block));
  CHECK(block.dense_ffn == bytes_for(wide.dense_ffn / 2, fp8_block));
  CHECK(four.routed_experts == bytes_for(wide.routed_experts / 2, nvfp4));
  CHECK(four.attention == bytes_for(wide.attention / 2, nvfp4));
  // The latent down projection has 2,112 outputs, 16.5 blocks: half a block row of scales more than
  // bytes_for.
  CHECK(block.attention - bytes_for(wide.attention / 2, fp8_block) == 61 * 56 * 4 / 2);
}

TEST_CASE("DeepSeek-V3 on eight ranks, by hand") {
  const Architecture model = zoo("deepseek-v3");
  const std::int64_t h = 7168;
  const std::int64_t expert = 3 * h * 2048 * 2, router = 256 * (h * 2 + 4);
  const std::int64_t copied = h * (1536 + 576) * 2;
  const std::int64_t split = (1536 * 128 * 192 + 512 * 128 * 256 + 128 * 128 * h) * 2;
  const std::int64_t norms = (61 * (2 * h + 1536 + 512) + h) * 2, vocab = 129280 * h * 2;
  // Tensor parallel attention, whole experts on each rank.
  const ByCategory tensor{vocab / 8,
                          61 * (copied + split / 8),
                          3 * 3 * h * 18432 * 2 / 8,
                          58 * 32 * expert,
                          58 * expert / 8,
                          58 * router,
                          norms,
                          vocab / 8};
  CHECK(weight_bytes_per_rank(model, {8, 1, 8}, {}) == tensor);
  // Data parallel attention: everything but the routed experts is copied, the shared expert too.
  const ByCategory data{
      vocab, 61 * (copied + split), 3 * 3 * h * 18432 * 2, 58 * 32 * expert, 58 * expert, 58 * router, norms,
      vocab};
  CHECK(weight_bytes_per_rank(model, {1, 8, 8}, {}) == data);
  // Cut experts under data parallel attention.
  const ByCategory cut{vocab / 2,
                       61 * (copied + split / 2),
                       3 * 3 * h * 18432 * 2 / 2,
                       58 * 32 * expert,
                       58 * expert / 8,
                       58 * router,
                       norms,
                       vocab / 2};
  CHECK(weight_bytes_per_rank(model, {2, 4, 4}, {}) == cut);
}

TEST_CASE("peak activations of a dense model, by hand") {
  const Architecture model = zoo("llama-3.1-8b");
  const std::int64_t tokens = 8192;
  const std::int64_t stream = tokens * 4096 * 2;
  CHECK(activation_peak_bytes(model, {1, 1, 1}, {}, {tokens, 1}) == stream + tokens * (4096 + 3 * 14336) * 2);
  CHECK(activation_peak_bytes(model, {8, 1, 1}, {}, {tokens, 1}) ==
        stream + tokens * (4096 + 2 * 512 + 2 * 128) * 2 +
            tokens * (3 * 1792 - 2 * 512 - 2 * 128) * 2);  // the FFN is still the largest
  // With one token per sequence the logits are: bf16 row and fp32 copy, gathered on every rank.
  for (const std::int64_t tp : {1, 2}) {
    CHECK(activation_peak_bytes(model, {tp, 1, 1}, {}, {256, 256}) == 256 * 4096 * 2 + 256 * 128256 * 6);
    // What vLLM prints for 8,192 tokens and 256 sequences, on one and on two ranks (PR 10511).
    // with 38 bytes for each logit and 32 MiB of workspace.
    CHECK(gib(activation_peak_bytes(model, {tp, 1, 1}, {}, {8192, 256, 38}) + (32 << 20)) == 1.26);
  }
}

TEST_CASE("peak activations of an MoE layer count the gathered rows") {
  const Architecture model = zoo("qwen3-30b-a3b");
  const std::int64_t tokens = 4096, h = 2048;
  const std::int64_t row = h * 2 + 3 * 768 * 2 + h * 2;
  const std::int64_t one =
      tokens * h * 2 + tokens * 2 * h * 2;  // residual, normed input, sum over the experts
  CHECK(activation_peak_bytes(model, {1, 1, 1}, {}, {tokens, 1}) == one + 8 * tokens * row);
  // Eight data-parallel ranks with whole experts: as many rows at balance.
  CHECK(activation_peak_bytes(model, {1, 8, 8}, {}, {tokens, 1}) == one + 8 * tokens * row);
  // All tensor ranks hold all tokens, each an eighth of the experts.
  CHECK(activation_peak_bytes(model, {8, 1, 8}, {}, {tokens, 1}) == one + tokens * row);
  // Where the engine keeps the rows they are beside the largest phase, which is now attention: normed input,
  // 32 heads and their output, 4 KV heads of 128.
  const std::int64_t attention = tokens * (h + 2 * 32 * 128 + 2 * 4 * 128) * 2;
  CHECK(activation_peak_bytes(model, {1, 1, 1}, {}, {tokens, 1, 6, 0, true}) ==
        tokens * h * 2 + 8 * tokens * row + attention);
}

TEST_CASE("latent attention expands cached rows for chunks of prompts") {
  const Architecture model = zoo("deepseek-v3");
  // A step of one token: the rows as gathered (576) and 16 of 128 heads of keys and values, all bf16.
  const std::int64_t rows = 65536;
  const std::int64_t with = activation_peak_bytes(model, {8, 1, 1}, {}, {1, 1, 6, rows});
  const std::int64_t more = activation_peak_bytes(model, {8, 1, 1}, {}, {1, 1, 6, rows + 1});
  CHECK(more - with == 576 * 2 + 16 * (128 + 128) * 2);
  CHECK(with > rows * (576 * 2 + 16 * (128 + 128) * 2));
  // Sparse kernels read the rows themselves.
  const Architecture sparse = zoo("deepseek-v3.2");
  CHECK(activation_peak_bytes(sparse, {8, 1, 1}, {}, {1, 1, 6, rows}) ==
        activation_peak_bytes(sparse, {8, 1, 1}, {}, {1, 1, 6, 0}));
  // Quantised up projections are copied for the absorbed form: 61 layers of 128 heads.
  CHECK(absorbed_copy_bytes(model, {1, 1, 1}, weights_in(fp8_block), 2) == 61LL * 512 * 128 * 256 * 2);
  CHECK(absorbed_copy_bytes(model, {8, 1, 1}, weights_in(fp8_block), 2) == 61LL * 512 * 16 * 256 * 2);
  for (const NumberFormat plain : {NumberFormat::bf16, NumberFormat::fp16, NumberFormat::fp32})
    CHECK(absorbed_copy_bytes(model, {8, 1, 1}, weights_in(plain), 2) == 0);
  CHECK(absorbed_copy_bytes(zoo("llama-3.1-8b"), {1, 1, 1}, weights_in(fp8_block), 2) == 0);
}

TEST_CASE("activations and buffers of sizes beyond any device are large, not negative") {
  const auto latent = [](std::int64_t v_head_dim) {
    Architecture model = zoo("deepseek-v2-lite");
    for (LayerGroup& group : model.layers) {
      auto& attention = std::get<LatentAttention>(group.attention);
      attention.heads = 1'000'000'000;
      attention.v_head_dim = v_head_dim;
    }
    return model;
  };
  // Rows of 128 + v_head_dim for each head: 63 bits are passed, and the bound is told.
  const StepShape step{1, 1, 6, 65536};
  CHECK(activation_peak_bytes(latent(128), {}, {}, step) > 65536LL * 1'000'000'000 * 256 * 2);
  CHECK(activation_peak_bytes(latent(100'000), {}, {}, step) == kMostActivationBytes);
  Architecture experts = zoo("mixtral-8x7b");
  for (LayerGroup& group : experts.layers) {
    auto& moe = std::get<MoeFfn>(group.ffn);
    moe.experts = moe.top_k = 1'000'000'000;
  }
  CHECK(activation_peak_bytes(experts, {1, 8, 8}, {}, {10'000'000, 1}) == kMostActivationBytes);
  const auto buffers = exchange_buffers(experts, {1, 8, 8}, {}, 10'000'000);
  CHECK(buffers.dispatch_bytes == kMostActivationBytes);
  CHECK(buffers.combine_bytes == kMostActivationBytes);
}

TEST_CASE("exchange buffers are those of DeepEP's low-latency mode") {
  const Architecture model = zoo("deepseek-v3");
  const ExchangeBuffers buffers = exchange_buffers(model, {1, 64, 64}, weights_in(fp8_block), 128);
  CHECK(buffers.dispatch_bytes == 4 * 128 * 64 * 7392);
  CHECK(buffers.combine_bytes == 4 * 128 * 64 * 7168 * 2);
  CHECK(exchange_buffers(model, {8, 1, 8}, weights_in(fp8_block), 128).dispatch_bytes == 0);
  CHECK(exchange_buffers(zoo("llama-3.1-8b"), {1, 8, 1}, {}, 128).combine_bytes == 0);
}

}  // namespace
}  // namespace moesim::llm
