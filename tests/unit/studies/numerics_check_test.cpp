// A scaled layer of each kind of every model through the reference kernels, and that its verdict notices what
// is wrong.
#include "sim/studies/numerics_check.hpp"

#include <set>

#include "models/llm/lowering.hpp"
#include "sim/config/document.hpp"
#include "sim/studies/numerics_experts.hpp"
#include "sim/studies/numerics_problems.hpp"
#include "sim/studies/numerics_scale.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

namespace moesim::studies {
namespace {

using llm::NumberFormat;
using reference::Fault;
using reference::FaultProbe;
using reference::NoProbe;
using serving::LayerCheck;
using serving::NumericsCheck;

llm::Architecture model_of(const std::string& name) {
  return config::load_entry<llm::Architecture>(name, test::source_catalogue()).value;
}

// Small enough that all models take seconds.
NumericsRequest request_of(const std::string& name, const llm::Layout& layout = {}) {
  NumericsRequest request;
  request.model = model_of(name);
  request.layout = layout;
  request.formats = request.model.published_formats();
  request.tokens = 8;
  request.context = 40;
  return request;
}

std::string failures(const NumericsCheck& check) {
  std::string text;
  for (const LayerCheck& layer : check.layers) {
    for (const auto& claim : layer.claims) {
      if (!claim.held) text += layer.form + ": " + claim.name + "\n";
    }
    for (const auto& count : layer.counts) {
      if (!count.equal())
        text += layer.form + ": " + count.name + " " + std::to_string(count.kernel) + " " +
                std::to_string(count.model) + "\n";
    }
    for (const auto& error : layer.format_errors) {
      if (error.bound_share > 1.0) text += layer.form + ": " + error.matrix + " as " + error.format + "\n";
    }
  }
  return text;
}

NumericsCheck require_pass(const NumericsRequest& request) {
  const NumericsCheck check = check_numerics(request);
  CHECK(failures(check) == "");
  CHECK(check.passed());
  for (const LayerCheck& layer : check.layers) {
    INFO(layer.form);
    // Never silent: what has no check has a reason.
    if (!layer.checked()) CHECK_FALSE(layer.not_checked.empty());
    CHECK(layer.claims.empty() == layer.counts.empty());
  }
  return check;
}

TEST_CASE("every model passes, or says what has no kernel") {
  std::set<std::string> without;
  for (const std::string& name : test::source_catalogue().names("models/zoo")) {
    INFO(name);
    for (const LayerCheck& layer : require_pass(request_of(name)).layers) {
      if (!layer.checked()) without.insert(name);
    }
  }
  CHECK(without ==
        std::set<std::string>{"deepseek-v4-flash", "deepseek-v4-pro", "minimax-text-01", "nemotron-3-super"});
}

TEST_CASE("layouts of every exchange pass") {
  for (const char* name :
       {"deepseek-v3", "qwen3-next-80b-a3b", "gpt-oss-20b", "nemotron-3-super", "kimi-k3"}) {
    for (const llm::Layout& layout :
         {llm::Layout{2, 1, 2, 1, 1, 1, false},   // all-reduce, whole experts
          llm::Layout{2, 1, 1, 1, 1, 1, true},    // cut experts, divided norms
          llm::Layout{1, 4, 4, 1, 1, 1, false},   // dispatch
          llm::Layout{2, 4, 8, 1, 1, 1, false},   // dispatch of a part of the tokens
          llm::Layout{2, 2, 2, 1, 1, 1, false}})  // gathered tokens, cut experts
    {
      INFO(name << " tp " << layout.tp << " dp " << layout.dp << " ep " << layout.ep);
      (void)require_pass(request_of(name, layout));
    }
  }
}

TEST_CASE("number formats pass") {
  for (const NumberFormat weights :
       {NumberFormat::bf16, NumberFormat::fp16, NumberFormat::fp32, NumberFormat::fp8,
        NumberFormat::fp8_block, NumberFormat::int8, NumberFormat::int4, NumberFormat::int4_g32,
        NumberFormat::mxfp4, NumberFormat::nvfp4}) {
    INFO(config::enum_name(weights));
    NumericsRequest request = request_of("qwen3-30b-a3b");
    request.formats = {weights};
    (void)require_pass(request);
  }
  for (const NumberFormat kv : {NumberFormat::fp16, NumberFormat::fp8, NumberFormat::int8}) {
    for (const char* name : {"gpt-oss-20b", "deepseek-v3.2", "minimax-m3"}) {
      INFO(name << " " << config::enum_name(kv));
      NumericsRequest request = request_of(name);
      request.formats.kv = kv;
      (void)require_pass(request);
    }
  }
}

TEST_CASE("the same request gives the same numbers, another seed others") {
  NumericsRequest request = request_of("mixtral-8x7b");
  const NumericsCheck one = check_numerics(request), two = check_numerics(request);
  CHECK(one.bound_share() == two.bound_share());
  request.seed = 2;
  const NumericsCheck other = check_numerics(request);
  CHECK(other.passed());
  CHECK(other.layers[0].bound_share() != one.layers[0].bound_share());
}

// Changes the operator of a kind; every change must be noticed.
template <class Op, class Change>
void expect_noticed(const char* model, const char* part, Change change) {
  NumericsRequest request = request_of(model, {2, 1, 2, 1, 1, 1, false});
  request.tokens = 16;  // a whole chunk
  bool found = false;
  request.operators = [&](std::vector<llm::Operator>& operators) {
    for (llm::Operator& op : operators) {
      if (auto* own = std::get_if<Op>(&op); own && !found) {
        change(*own);
        found = true;
      }
    }
  };
  const NumericsCheck check = check_numerics(request);
  INFO(model << ": " << part);
  CHECK(found);
  CHECK_FALSE(check.passed());
}

TEST_CASE("a wrong operator is noticed") {
  const char* name = "qwen1.5-moe-a2.7b";
  expect_noticed<llm::GroupedGemm>(name, "columns", [](auto& op) { op.columns += 1; });
  expect_noticed<llm::GroupedGemm>(name, "depth", [](auto& op) { op.depth /= 2; });
  expect_noticed<llm::GroupedGemm>(name, "bias", [](auto& op) { op.bias = !op.bias; });
  expect_noticed<llm::GroupedGemm>(name, "weights", [](auto& op) { op.weights = NumberFormat::fp8; });
  expect_noticed<llm::GroupedGemm>(name, "activations", [](auto& op) { op.activations = NumberFormat::fp8; });
  expect_noticed<llm::Gemm>(name, "rows", [](auto& op) { op.rows += 1; });
  expect_noticed<llm::Gemm>(name, "batch", [](auto& op) { op.batch = 2; });
  expect_noticed<llm::Attention>(name, "pairs", [](auto& op) { op.pairs -= 1; });
  expect_noticed<llm::Attention>(name, "kv_tokens", [](auto& op) { op.kv_tokens -= 1; });
  expect_noticed<llm::Attention>(name, "sinks", [](auto& op) { op.sinks = true; });
  expect_noticed<llm::Attention>(name, "heads", [](auto& op) { op.query_heads /= 2; });
  expect_noticed<llm::Router>(name, "experts", [](auto& op) { op.experts += 1; });
  expect_noticed<llm::TopK>(name, "top_k", [](auto& op) { op.top_k += 1; });
  expect_noticed<llm::Elementwise>(name, "read_bytes", [](auto& op) { op.read_bytes += 2; });
  expect_noticed<llm::RoutedElementwise>(name, "flops", [](auto& op) { op.write_bytes_per_row += 2; });
  expect_noticed<llm::Recurrence>("qwen3-next-80b-a3b", "heads", [](auto& op) { op.value_heads *= 2; });
  expect_noticed<llm::IndexScores>("deepseek-v3.2", "pairs", [](auto& op) { op.pairs += 1; });
  expect_noticed<llm::KeyChoice>("deepseek-v3.2", "candidates", [](auto& op) { op.candidates += 1; });
}

TEST_CASE("a kernel without an operator is noticed") {
  NumericsRequest request = request_of("mixtral-8x7b");
  request.operators = [](std::vector<llm::Operator>& operators) {
    std::erase_if(operators, [](const llm::Operator& op) { return std::holds_alternative<llm::TopK>(op); });
  };
  CHECK_FALSE(check_numerics(request).passed());
}

// The layer of a model with a fault in its kernels.
template <Fault kFault>
bool experts_notice(const char* name) {
  const llm::Architecture model = model_of(name);
  const llm::Formats formats = model.published_formats();
  const ScaledModel scaled = scale_model(model, {}, formats);
  LayerCheck check;
  const ExpertTensors tensors = expert_tensors(scaled.model.layers.back().ffn, scaled.model.hidden_size,
                                               formats, 8, 1, 0, check.format_errors);
  check_expert_claims<FaultProbe<kFault>>(tensors, property_ranks(tensors, {}), check);
  return !check.passed();
}

TEST_CASE("a wrong expert kernel is noticed") {
  CHECK_FALSE(experts_notice<Fault::none>("gpt-oss-20b"));
  CHECK(experts_notice<Fault::drop_depth_tail>("gpt-oss-20b"));
  CHECK(experts_notice<Fault::bf16_accumulator>("gpt-oss-20b"));
  CHECK(experts_notice<Fault::neighbour_expert>("gpt-oss-20b"));
  CHECK(experts_notice<Fault::drop_gate_bias>("gpt-oss-20b"));
  CHECK(experts_notice<Fault::down_bias_twice>("gpt-oss-20b"));
  CHECK(experts_notice<Fault::gate_and_up_swapped>("gpt-oss-20b"));
  CHECK(experts_notice<Fault::drop_last_choice>("gpt-oss-20b"));
  CHECK(experts_notice<Fault::shared_expert_twice>("deepseek-v3"));
}

template <Fault kFault>
bool grouped_notices(const llm::GroupedQueryAttention& shape) {
  NumericsDraws draws(1, 1);
  LayerCheck check;
  const auto problem = grouped_problem<reference::Bf16>(shape, shape.query_heads, shape.kv_heads, {16, 120},
                                                        reference::PlainDecode{}, draws);
  GroupedClaims(problem, check).template run<FaultProbe<kFault>>(2, 2);
  return !check.passed();
}

TEST_CASE("a wrong attention kernel is noticed") {
  llm::GroupedQueryAttention shape{4, 2, 32};
  shape.sinks = shape.score_cap = true;
  CHECK_FALSE(grouped_notices<Fault::none>(shape));
  CHECK(grouped_notices<Fault::causal_off_by_one>(shape));
  CHECK(grouped_notices<Fault::missing_rescale>(shape));
  CHECK(grouped_notices<Fault::missing_denominator_rescale>(shape));
  CHECK(grouped_notices<Fault::drop_sink>(shape));
  CHECK(grouped_notices<Fault::sink_in_values>(shape));
  CHECK(grouped_notices<Fault::wrong_group_head>(shape));
  CHECK(grouped_notices<Fault::drop_soft_cap>(shape));
  CHECK(grouped_notices<Fault::last_tile_dropped>(shape));
  shape.window_tokens = 32;
  CHECK(grouped_notices<Fault::window_off_by_one>(shape));
  shape.window_tokens = 0;
  shape.chunk_tokens = 32;
  CHECK(grouped_notices<Fault::chunk_off_by_one>(shape));
}

template <Fault kFault>
bool latent_notices(const char* name) {
  const llm::Architecture model = model_of(name);
  const ScaledModel scaled = scale_model(model, {}, {});
  const auto& shape = std::get<llm::LatentAttention>(scaled.model.layers.front().attention);
  NumericsDraws draws(1, 1);
  LayerCheck check;
  check_latent_claims<FaultProbe<kFault>>(latent_problem(shape, shape.heads, {16, 60}, draws), 2, check);
  return !check.passed();
}

TEST_CASE("a wrong latent kernel or indexer is noticed") {
  CHECK_FALSE(latent_notices<Fault::none>("deepseek-v3"));
  CHECK(latent_notices<Fault::latent_rope_dropped>("deepseek-v3"));
  CHECK(latent_notices<Fault::absorbed_value_transposed>("deepseek-v3"));
  CHECK_FALSE(latent_notices<Fault::none>("deepseek-v3.2"));
  CHECK(latent_notices<Fault::latent_rope_dropped>("deepseek-v3.2"));
  CHECK(latent_notices<Fault::index_relu_dropped>("deepseek-v3.2"));
}

template <Fault kFault>
bool delta_notices() {
  NumericsDraws draws(1, 1);
  LayerCheck check;
  llm::RecurrentAttention shape;
  shape.key_heads = 2;
  shape.value_heads = 4;
  shape.key_dim = shape.value_dim = shape.chunk_tokens = 16;
  check_delta_claims<FaultProbe<kFault>>(delta_problem(shape, 1, 40, draws), 2, check);
  return !check.passed();
}

TEST_CASE("a wrong delta rule is noticed") {
  CHECK_FALSE(delta_notices<Fault::none>());
  CHECK(delta_notices<Fault::delta_decay_dropped>());
  CHECK(delta_notices<Fault::delta_beta_dropped>());
  CHECK(delta_notices<Fault::delta_state_not_carried>());
  CHECK(delta_notices<Fault::delta_norm_dropped>());
}

TEST_CASE("scaled sizes keep blocks, ranks, groups of heads and top_k") {
  for (const std::string& name : test::source_catalogue().names("models/zoo")) {
    const llm::Architecture model = model_of(name);
    const ScaledModel scaled = scale_model(model, {}, model.published_formats());
    INFO(name);
    CHECK(scaled.model.layers.size() == model.layers.size());
    CHECK(scaled.model.hidden_size <= 256);
    for (std::size_t i = 0; i < model.layers.size(); ++i) {
      if (const auto* moe = std::get_if<llm::MoeFfn>(&scaled.model.layers[i].ffn)) {
        const auto& whole = std::get<llm::MoeFfn>(model.layers[i].ffn);
        CHECK(moe->top_k == whole.top_k);
        CHECK(moe->experts >= moe->top_k);
        CHECK(moe->experts <= std::max<std::int64_t>(63, whole.top_k));
      }
      const auto* grouped = std::get_if<llm::GroupedQueryAttention>(&scaled.model.layers[i].attention);
      if (!grouped) continue;
      const auto& whole = std::get<llm::GroupedQueryAttention>(model.layers[i].attention);
      CHECK(grouped->query_heads * whole.kv_heads == whole.query_heads * grouped->kv_heads);
    }
  }
  const ScaledModel ranks =
      scale_model(model_of("deepseek-v3"), {8, 1, 4, 1, 1, 1, false}, {NumberFormat::fp8_block});
  const auto& moe = std::get<llm::MoeFfn>(ranks.model.layers.back().ffn);
  CHECK(moe.experts == 32);
  CHECK(moe.expert_width == 256);
  CHECK(ranks.model.hidden_size == 256);
  CHECK(std::get<llm::LatentAttention>(ranks.model.layers.back().attention).heads == 8);
}

}  // namespace
}  // namespace moesim::studies
