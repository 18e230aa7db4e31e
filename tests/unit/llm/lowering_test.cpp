#include "models/llm/lowering.hpp"

#include <string>
#include <vector>

#include "models/llm/memory.hpp"
#include "models/llm/parameters.hpp"
#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm {
namespace {

using test::zoo;
using enum NumberFormat;

// A short name per operator, to compare whole sequences.
struct Name {
  std::string operator()(const Gemm& op) const { return "gemm" + std::to_string(static_cast<int>(op.role)); }
  std::string operator()(const GroupedGemm&) const { return "grouped"; }
  std::string operator()(const Attention& op) const {
    return op.phase == Phase::prefill ? "prefill" : "decode";
  }
  std::string operator()(const IndexScores&) const { return "scores"; }
  std::string operator()(const KeyChoice&) const { return "choice"; }
  std::string operator()(const Recurrence& op) const {
    return op.phase == Phase::prefill ? "chunks" : "recurrence";
  }
  std::string operator()(const RingPass& op) const { return "ring" + group(op.group, op.ranks); }
  std::string operator()(const StageSend&) const { return "send"; }
  std::string operator()(const Elementwise& op) const {
    return "e" + std::to_string(static_cast<int>(op.role));
  }
  std::string operator()(const RoutedElementwise&) const { return "rows"; }
  std::string operator()(const Router&) const { return "router"; }
  std::string operator()(const TopK&) const { return "topk"; }
  std::string operator()(const Embedding&) const { return "embedding"; }
  std::string operator()(const Sampling&) const { return "sampling"; }
  std::string operator()(const AllReduce& op) const { return "allreduce" + group(op.group, op.ranks); }
  std::string operator()(const AllGather& op) const { return "allgather" + group(op.group, op.ranks); }
  std::string operator()(const ReduceScatter& op) const {
    return "reducescatter" + group(op.group, op.ranks);
  }
  std::string operator()(const Dispatch& op) const { return "dispatch" + group(op.group, op.ranks); }
  std::string operator()(const Combine& op) const { return "combine" + group(op.group, op.ranks); }
  static std::string group(Group group, std::int64_t ranks) {
    return std::string("(") +
           (group == Group::tensor           ? "tp"
            : group == Group::data           ? "dp"
            : group == Group::expert         ? "ep"
            : group == Group::decode_context ? "dcp"
                                             : "cp") +
           std::to_string(ranks) + ")";
  }
};

std::string names(const std::vector<Operator>& operators) {
  std::string text;
  for (const Operator& op : operators) text += (text.empty() ? "" : " ") + std::visit(Name{}, op);
  return text;
}

StepOperators lowered(const Architecture& model, const Layout& layout, const RankBatch& batch,
                      std::int64_t group_tokens, const Formats& formats = {}) {
  REQUIRE(layout_problems(model, layout).empty());
  StepOperators step;
  lower(model, layout, formats, batch, group_tokens, step);
  return step;
}

RankBatch batch_of(const Architecture& model, std::vector<SequenceChunk> chunks) {
  RankBatch batch;
  for (const SequenceChunk& chunk : chunks) add_chunk(batch, chunk, batch_rule(model, 1));
  return batch;
}

Work total(const StepOperators& step) {
  Work sum;
  const auto add = [&](const std::vector<Operator>& operators, std::int64_t count) {
    for (const Operator& op : operators) {
      const Work work = work_of(op);
      sum.matmul_flops += count * work.matmul_flops;
      sum.weight_read_bytes += count * work.weight_read_bytes;
      sum.kv_read_bytes += count * work.kv_read_bytes;
      sum.kv_write_bytes += count * work.kv_write_bytes;
      sum.payload_bytes += count * work.payload_bytes;
    }
  };
  add(step.embedding, 1);
  for (const LayerOperators& layer : step.layers) add(layer.operators, layer.count);
  add(step.head, 1);
  return sum;
}

TEST_CASE("a dense model on one rank: order, and nothing that communicates") {
  const Architecture model = zoo("llama-3.1-8b");
  const StepOperators step = lowered(model, {}, batch_of(model, {{100, 0}, {1, 50}}), 101);
  CHECK(names(step.embedding) == "embedding");
  REQUIRE(step.layers.size() == 1);
  CHECK(step.layers[0].count == 32);
  CHECK(names(step.layers[0].operators) == "e0 gemm0 e5 prefill decode gemm6 e1 gemm7 e6 gemm8");
  CHECK(names(step.head) == "e2 gemm13 sampling");
  CHECK(total(step).payload_bytes == 0);
}

TEST_CASE("a dense model's work, from its parameters") {
  const Architecture model = zoo("llama-3.1-8b");
  const std::int64_t pairs = 100 * 101 / 2 + 51;
  const Work work = total(lowered(model, {}, batch_of(model, {{100, 0}, {1, 50}}), 101));
  const Parameters parameters = count_parameters(model);
  const std::int64_t linear = parameters.active_without_embeddings - parameters.by_category.norms;
  CHECK(work.matmul_flops == 2 * 101 * linear + 32 * 4 * 32 * 128 * pairs + 2 * 2 * 128256 * 4096);
  CHECK(work.weight_read_bytes == 2 * linear + 2 * 128256 * 4096 + 101 * 4096 * 2);
  CHECK(work.kv_write_bytes == 101 * kv_bytes_per_token(model, bf16));
  CHECK(work.kv_read_bytes == 151 * kv_bytes_per_token(model, bf16));
}

TEST_CASE("tensor parallel: two all-reduces a layer, one for the look-up, one all-gather of logits") {
  const Architecture model = zoo("llama-3.1-8b");
  const StepOperators step = lowered(model, {8, 1, 1}, batch_of(model, {{1, 50}, {1, 60}}), 2);
  CHECK(names(step.embedding) == "embedding allreduce(tp8)");
  CHECK(names(step.layers[0].operators) ==
        "e0 gemm0 e5 decode gemm6 allreduce(tp8) e1 gemm7 e6 gemm8 allreduce(tp8)");
  CHECK(names(step.head) == "e2 gemm13 allgather(tp8) sampling");
  CHECK(total(step).payload_bytes == 65 * 2 * 4096 * 2 + 2 * 128256 * 2);
}

TEST_CASE("experts without data parallelism end in one all-reduce") {
  const Architecture model = zoo("qwen3-30b-a3b");
  const StepOperators step = lowered(model, {4, 1, 4}, batch_of(model, {{1, 50}}), 1);
  CHECK(names(step.layers[0].operators) ==
        "e0 gemm0 e3 e5 decode gemm6 allreduce(tp4) e1 router topk rows grouped rows grouped rows "
        "allreduce(tp4)");
}

TEST_CASE("whole experts under data parallel attention: dispatch and combine on each rank's part") {
  const Architecture model = zoo("deepseek-v3");
  const RankBatch batch = batch_of(model, {{101, 0}});
  const Formats formats{fp8_block, std::nullopt, bf16};
  const StepOperators step = lowered(model, {2, 4, 8}, batch, 404, formats);
  REQUIRE(step.layers.size() == 2);
  CHECK(step.layers[0].count == 3);
  CHECK(names(step.layers[0].operators) ==
        "e0 gemm1 e4 e4 gemm2 e5 gemm3 prefill gemm6 allreduce(tp2) e1 gemm7 e6 gemm8 allreduce(tp2)");
  CHECK(step.layers[1].count == 58);
  CHECK(names(step.layers[1].operators) ==
        "e0 gemm1 e4 e4 gemm2 e5 gemm3 prefill gemm6 allreduce(tp2) e1 router topk gemm9 e7 gemm10 "
        "dispatch(ep8) "
        "grouped rows grouped combine(ep8) e8 e9 allgather(tp2)");
  for (const Operator& op : step.layers[1].operators) {
    if (const auto* dispatch = std::get_if<Dispatch>(&op)) {
      CHECK(dispatch->tokens == 51);  // ceil(101 / 2)
      CHECK(dispatch->bytes_per_row == 7392);
    }
    if (const auto* combine = std::get_if<Combine>(&op)) CHECK(combine->bytes_per_row == 14336);
    if (const auto* gather = std::get_if<AllGather>(&op)) CHECK(gather->bytes == 102 * 7168 * 2);
    if (const auto* grouped = std::get_if<GroupedGemm>(&op)) CHECK(grouped->experts == 32);
    if (const auto* router = std::get_if<Router>(&op)) CHECK(router->tokens == 51);
  }
}

TEST_CASE("cut experts under data parallel attention: gather, scatter, then the tensor group") {
  const Architecture model = zoo("deepseek-v3");
  const StepOperators step = lowered(model, {2, 4, 4}, batch_of(model, {{1, 50}, {1, 9}}), 11);
  CHECK(names(step.layers[1].operators) ==
        "e0 gemm1 e4 e4 gemm2 e5 gemm4 decode gemm5 gemm6 allreduce(tp2) e1 allgather(dp4) router topk gemm9 "
        "e7 "
        "gemm10 rows grouped rows grouped rows e9 reducescatter(dp4) allreduce(tp2)");
  for (const Operator& op : step.layers[1].operators) {
    if (const auto* gather = std::get_if<AllGather>(&op)) CHECK(gather->bytes == 11 * 7168 * 2);
    if (const auto* router = std::get_if<Router>(&op)) CHECK(router->tokens == 11);
    if (const auto* grouped = std::get_if<GroupedGemm>(&op)) {
      CHECK(grouped->experts == 64);
      if (grouped->role == GemmRole::expert_down) CHECK(grouped->depth == 1024);
    }
  }
}

TEST_CASE("latent attention per rank, both forms") {
  const Architecture model = zoo("deepseek-v3");
  const StepOperators step = lowered(model, {8, 1, 8}, batch_of(model, {{1000, 0}, {1, 4999}}), 1001);
  std::vector<Attention> kernels;
  for (const Operator& op : step.layers[0].operators) {
    if (const auto* attention = std::get_if<Attention>(&op)) kernels.push_back(*attention);
    if (const auto* gemm = std::get_if<Gemm>(&op); gemm != nullptr && gemm->role == GemmRole::query_absorb) {
      CHECK(gemm->batch == 16);
      CHECK(gemm->rows == 1);
    }
  }
  REQUIRE(kernels.size() == 2);
  CHECK(kernels[0].form == AttentionForm::latent_naive);
  CHECK(work_of(kernels[0]).matmul_flops == 2 * 16 * (192 + 128) * std::int64_t{500'500});
  CHECK(kernels[1].form == AttentionForm::latent_absorbed);
  CHECK(work_of(kernels[1]).matmul_flops == 2 * 16 * (576 + 512) * 5000);
  CHECK(work_of(kernels[1]).kv_read_bytes == 5000 * 1152);
}

// Elementwise operators of a role, added up over the whole step.
Elementwise sum_of(const StepOperators& step, ElementwiseRole role) {
  Elementwise sum;
  const auto add = [&](const std::vector<Operator>& operators, std::int64_t count) {
    for (const Operator& op : operators) {
      const auto* part = std::get_if<Elementwise>(&op);
      if (part == nullptr || part->role != role) continue;
      sum.elements += count * part->elements;
      sum.read_bytes += count * part->read_bytes;
      sum.write_bytes += count * part->write_bytes;
      sum.other_flops += count * part->other_flops;
      sum.specials += count * part->specials;
    }
  };
  for (const LayerOperators& layer : step.layers) add(layer.operators, layer.count);
  add(step.head, 1);
  return sum;
}

TEST_CASE("norms, rotation and activation of a dense model, by hand") {
  const Architecture model = zoo("llama-3.1-8b");
  const std::int64_t t = 7, h = 4096;
  const StepOperators step = lowered(model, {}, batch_of(model, {{t, 0}}), t);
  const Elementwise before = sum_of(step, ElementwiseRole::input_norm);
  const Elementwise between = sum_of(step, ElementwiseRole::post_attention_norm);
  const Elementwise last = sum_of(step, ElementwiseRole::final_norm);
  // 65 norms of two products and a sum per element, and 64 residual additions; one reciprocal root per row.
  CHECK(before.other_flops + between.other_flops + last.other_flops == (65 * 3 + 64) * t * h);
  CHECK(before.specials + between.specials + last.specials == 65 * t);
  CHECK(before.read_bytes + between.read_bytes + last.read_bytes == (64 * 2 + 1) * t * h * 2);
  const Elementwise rope = sum_of(step, ElementwiseRole::rope_and_cache);
  CHECK(rope.other_flops == 32 * t * (32 + 8) * 64 * 6);  // 64 pairs a head, 4 products and 2 sums each
  CHECK(rope.read_bytes == 32 * t * (32 + 8 + 8) * 128 * 2);
  CHECK(rope.write_bytes == 32 * t * 32 * 128 * 2);
  const Elementwise silu = sum_of(step, ElementwiseRole::activation);
  CHECK(silu.other_flops == 32 * t * 14336 * 4);
  CHECK(silu.specials == 32 * t * 14336);
  CHECK(silu.read_bytes == 32 * t * 2 * 14336 * 2);
  CHECK(silu.write_bytes == 32 * t * 14336 * 2);
}

TEST_CASE("elementwise work of latent attention and of an MoE layer, by hand") {
  const Architecture model = zoo("deepseek-v3");
  const std::int64_t t = 6, h = 7168;
  const StepOperators step = lowered(model, {1, 8, 8}, batch_of(model, {{t, 0}}), 8 * t);
  CHECK(sum_of(step, ElementwiseRole::latent_norm).other_flops == 61 * t * (1536 + 512) * 3);
  CHECK(sum_of(step, ElementwiseRole::latent_norm).specials == 61 * t * 2);
  CHECK(sum_of(step, ElementwiseRole::rope_and_cache).other_flops == 61 * t * (128 + 1) * 32 * 6);
  CHECK(sum_of(step, ElementwiseRole::shared_activation).elements == 58 * t * 2048);
  CHECK(sum_of(step, ElementwiseRole::combine_sum).other_flops == 58 * t * 8 * h * 2);
  CHECK(sum_of(step, ElementwiseRole::combine_sum).read_bytes == 58 * t * 8 * h * 2);
  CHECK(sum_of(step, ElementwiseRole::shared_add).other_flops == 58 * t * h);
  const StepOperators local = lowered(zoo("qwen3-30b-a3b"), {}, batch_of(zoo("qwen3-30b-a3b"), {{t, 0}}), t);
  CHECK(sum_of(local, ElementwiseRole::query_key_norm).other_flops == 48 * t * (32 + 4) * 128 * 3);
  std::vector<RoutedElementwise> routed;
  for (const Operator& op : local.layers[0].operators) {
    if (const auto* part = std::get_if<RoutedElementwise>(&op)) routed.push_back(*part);
  }
  REQUIRE(routed.size() == 3);
  CHECK(routed[0].read_bytes_per_row == 2048 * 2);
  CHECK(routed[0].write_bytes_per_row == 2048 * 2);
  CHECK(routed[1].other_flops_per_row == 768 * 4);
  CHECK(routed[1].specials_per_row == 768);
  CHECK(routed[1].read_bytes_per_row == 2 * 768 * 2);
  CHECK(routed[2].other_flops_per_row == 2 * 2048);  // k H multiply-accumulates a token
  CHECK(routed[2].fixed_write_bytes == t * 2048 * 2);
}

TEST_CASE("a chunk that needs no logits skips the head") {
  const Architecture model = zoo("llama-3.1-8b");
  CHECK(names(lowered(model, {}, batch_of(model, {{100, 0, false}}), 100).head) == "e2");
}

TEST_CASE("formats reach the operators: linear layers quantised, router and head not") {
  const Architecture model = zoo("qwen3-30b-a3b");
  const StepOperators step =
      lowered(model, {}, batch_of(model, {{1, 50}}), 1, Formats{fp8, std::nullopt, NumberFormat::fp8});
  for (const Operator& op : step.layers[0].operators) {
    if (const auto* gemm = std::get_if<Gemm>(&op)) CHECK(work_of(*gemm).compute == fp8);
    if (const auto* grouped = std::get_if<GroupedGemm>(&op)) CHECK(grouped->weights == fp8);
    if (const auto* attention = std::get_if<Attention>(&op)) CHECK(attention->compute == fp8);
    if (const auto* router = std::get_if<Router>(&op)) CHECK(work_of(*router).compute == bf16);
  }
  CHECK(std::get<Gemm>(step.head.at(1)).weights == bf16);
}

TEST_CASE("lowering again reuses memory and forgets the last batch") {
  const Architecture model = zoo("deepseek-v3");
  StepOperators step;
  lower(model, {}, {}, batch_of(model, {{300, 0}, {1, 50}}), 301, step);
  const std::string first = names(step.layers[1].operators);
  const Operator* memory = step.layers[1].operators.data();
  const std::vector<std::int64_t> rows(256, 1);
  set_expert_rows(step.layers[1].operators, rows);
  CHECK(total(lowered(zoo("llama-3.1-8b"), {}, batch_of(zoo("llama-3.1-8b"), {{1, 1}}), 1)).matmul_flops > 0);
  lower(model, {}, {}, batch_of(model, {{300, 0}, {1, 50}}), 301, step);
  CHECK(names(step.layers[1].operators) == first);
  CHECK(step.layers[1].operators.data() == memory);
  CHECK_THROWS_AS(total(step), core::InvariantError);  // the rows of the last step are gone
}

TEST_CASE("mistakes of the caller are told") {
  const Architecture model = zoo("mixtral-8x7b");
  StepOperators step;
  CHECK_THROWS_AS(lower(model, {}, {}, RankBatch{}, 0, step), core::InvariantError);
  CHECK_THROWS_AS(lower(model, {}, {}, batch_of(model, {{5, 0}}), 4, step), core::InvariantError);
  lower(model, {}, {}, batch_of(model, {{5, 0}}), 5, step);
  CHECK_THROWS_AS(set_expert_rows(step.layers.at(0).operators, std::vector<std::int64_t>(7, 1)),
                  core::InvariantError);
}

}  // namespace
}  // namespace moesim::llm
