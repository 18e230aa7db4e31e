#include "models/llm/operator.hpp"

#include <vector>

#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"

namespace moesim::llm {
namespace {

using enum NumberFormat;

TEST_CASE("work of a product") {
  const Work work = work_of(Gemm{GemmRole::gate_up, 1, 100, 256, 512, fp8_block, fp8_block});
  CHECK(work.matmul_flops == 2 * 100 * 256 * 512);
  CHECK(work.compute == fp8_block);
  CHECK(work.weight_read_bytes == 256 * 512 + 2 * 4 * 4);
  CHECK(work.activation_read_bytes == 100 * (512 + 4 * 4));
  CHECK(work.activation_write_bytes == 100 * 256 * 2);
  CHECK(work.kv_read_bytes == 0);
  CHECK_FALSE(work.communicates());
  const Work batched = work_of(Gemm{GemmRole::query_absorb, 16, 3, 512, 128, int4, bf16});
  CHECK(batched.matmul_flops == 2 * 16 * 3 * 512 * 128);
  CHECK(batched.compute == bf16);
  CHECK(batched.weight_read_bytes == 16 * (512 * 64 + 512 * 2));
}

TEST_CASE("a grouped product reads each expert that has a row once") {
  // Golden case moe_swiglu_top2: 20 tokens, hidden 32, width 48, 8 experts, top 2.
  const std::vector<std::int64_t> rows = {9, 0, 3, 7, 11, 0, 8, 2};
  const GroupedGemm up{GemmRole::expert_gate_up, 8, 96, 32, bf16, bf16, rows};
  const GroupedGemm down{GemmRole::expert_down, 8, 32, 48, bf16, bf16, rows};
  CHECK(work_of(up).matmul_flops + work_of(down).matmul_flops == 368'640);
  CHECK(work_of(up).weight_read_bytes == 6 * 96 * 32 * 2);
  CHECK(work_of(up).activation_read_bytes == 40 * 32 * 2);
  CHECK(work_of(up).activation_write_bytes == 40 * 96 * 2);
  GroupedGemm empty = up;
  empty.rows_by_expert = {};
  CHECK_THROWS_AS(work_of(empty), core::InvariantError);
}

TEST_CASE("attention counts unmasked pairs, one exponential each") {
  // Golden case attn_causal_gqa: 8 query heads, 2 KV heads, 24 queries, 40 keys, width 32.
  const Attention op{AttentionForm::grouped, Phase::prefill, 1, 24, 684, 40, 8, 2, 32, 32, bf16, bf16};
  const Work work = work_of(op);
  CHECK(work.matmul_flops == 700'416);
  CHECK(work.specials == 8 * 684);
  CHECK(work.other_flops == 4 * 8 * 684 + 8 * 24 * 32);
  CHECK(work.kv_read_bytes == 40 * 2 * 64 * 2);
  CHECK(work.activation_read_bytes == 24 * 8 * 32 * 2);
  CHECK(work.activation_write_bytes == 24 * 8 * 32 * 2);
}

TEST_CASE("latent attention of DeepSeek-V3, per key and head") {
  const Attention absorbed{
      AttentionForm::latent_absorbed, Phase::decode, 1, 1, 1000, 1000, 128, 1, 576, 512, bf16, bf16};
  CHECK(work_of(absorbed).matmul_flops == 278'528 * 1000);  // 2 x 128 x (576 + 512) a key
  CHECK(work_of(absorbed).kv_read_bytes == 1152 * 1000);
  const Attention naive{
      AttentionForm::latent_naive, Phase::prefill, 1, 10, 55, 10, 128, 128, 192, 128, bf16, bf16};
  CHECK(work_of(naive).matmul_flops == 640 * 128 * 55);
  CHECK(work_of(naive).kv_read_bytes == 0);
  CHECK(work_of(naive).activation_read_bytes == 10 * 128 * (192 + 192 + 128) * 2);
}

TEST_CASE("an 8-bit cache halves what attention reads") {
  Attention op{AttentionForm::grouped, Phase::decode, 4, 4, 4096, 4096, 32, 8, 128, 128, bf16, bf16};
  const std::int64_t wide = work_of(op).kv_read_bytes;
  CHECK(wide == 4096 * 4096);
  op.kv = fp8;
  op.compute = fp8;
  CHECK(work_of(op).kv_read_bytes == wide / 2);
  CHECK(work_of(op).compute == fp8);
}

TEST_CASE("router, choice, look-up and sampling") {
  const Work router = work_of(Router{10, 256, 7168});
  CHECK(router.matmul_flops == 2 * 10 * 256 * 7168);
  CHECK(router.weight_read_bytes == 256 * 7168 * 2);
  CHECK(router.activation_write_bytes == 10 * 256 * 4);
  const Work choice = work_of(TopK{10, 256, 8});
  CHECK(choice.specials == 2560);
  CHECK(choice.other_flops == 10 * (1024 + 16));
  CHECK(choice.activation_write_bytes == 10 * 8 * 8);
  const Work embedding = work_of(Embedding{10, 4096});
  CHECK(embedding.weight_read_bytes == 10 * 8192);
  CHECK(embedding.activation_write_bytes == 10 * 8192);
  CHECK(embedding.matmul_flops == 0);
  const Work sampling = work_of(Sampling{3, 1000});
  CHECK(sampling.activation_read_bytes == 6000);
  CHECK(sampling.specials == 3000);
}

TEST_CASE("routed elementwise work follows the rows") {
  const std::vector<std::int64_t> rows = {5, 0, 2};
  const Work work = work_of(RoutedElementwise{RoutedRole::unpermute, 100, 10, 4, 3, 7, 1000, rows});
  CHECK(work.activation_read_bytes == 707);
  CHECK(work.activation_write_bytes == 1070);
  CHECK(work.other_flops == 28);
  CHECK(work.specials == 21);
  CHECK_THROWS_AS(work_of(RoutedElementwise{}), core::InvariantError);
}

TEST_CASE("collectives state what they are asked to move") {
  CHECK(work_of(AllReduce{4096, Group::tensor, 8}).payload_bytes == 4096);
  CHECK(work_of(AllGather{4096, Group::data, 8}).payload_bytes == 4096);
  CHECK(work_of(ReduceScatter{4096, Group::data, 8}).payload_bytes == 4096);
  CHECK(work_of(Dispatch{128, 8, 7392, Group::expert, 64}).payload_bytes == 128 * 8 * 7392);
  CHECK(work_of(Operator{Combine{128, 8, 14336, Group::expert, 64}}).payload_bytes == 128 * 8 * 14336);
  CHECK(work_of(AllReduce{4096, Group::tensor, 8}).read_bytes() == 0);
}

}  // namespace
}  // namespace moesim::llm
