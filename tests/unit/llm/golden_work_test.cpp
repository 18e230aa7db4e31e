// The analytic work against the exact counts of the golden vectors (shared/golden/README.md), as integers.
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>
#include <vector>

#include "models/llm/key_rule.hpp"
#include "models/llm/memory.hpp"
#include "models/llm/operator.hpp"
#include "models/llm/tile_work.hpp"
#include "models/llm/weights.hpp"
#include "sim/config/document.hpp"
#include "sim/config/node.hpp"
#include "tests/support/catch.hpp"

namespace moesim::llm {
namespace {

namespace fs = std::filesystem;
using config::Node;

std::string text_of(const fs::path& file) {
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// One family of cases: its description, and the data that tensors point into.
struct Family {
  Node root;
  std::string data;

  const std::vector<Node>& cases() const { return root.find("cases")->items; }
  // The elements of a tensor of type T.
  template <class T>
  std::vector<T> tensor(const Node& one, std::string_view name) const {
    const Node& tensor = *one.find("tensors")->find(name);
    const auto bytes = static_cast<std::size_t>(tensor.find("nbytes")->integer);
    const auto offset = static_cast<std::size_t>(tensor.find("offset")->integer);
    REQUIRE(offset + bytes <= data.size());
    std::vector<T> elements(bytes / sizeof(T));
    std::memcpy(elements.data(), data.data() + offset, bytes);
    return elements;
  }
};

std::optional<Family> family(const std::string& name) {
  const fs::path folder = fs::path(MOESIM_TEST_DATA_DIR) / "golden";
  if (!fs::exists(folder / (name + ".json"))) {
    WARN("skipped: no data");
    return std::nullopt;
  }
  return Family{config::parse_text(text_of(folder / (name + ".json")), name + ".json").root,
                text_of(folder / (name + ".bin"))};
}

std::int64_t whole(const Node& params, std::string_view key) {
  const Node* value = params.find(key);
  return value == nullptr ? 0 : value->integer;
}

std::string text(const Node& node, std::string_view key) {
  const Node* value = node.find(key);
  return value == nullptr ? "" : value->text;
}

// FLOPs of both matrices of a layer's experts with these rows.
std::int64_t expert_flops(const MoeFfn& ffn, std::int64_t hidden, const std::vector<std::int64_t>& rows) {
  std::int64_t flops = 0, macs = 0;
  for (const WeightMatrix& matrix :
       ffn_matrices(GemmRole::expert_gate_up, GemmRole::expert_down, ffn.gated, hidden, ffn.expert_width)) {
    GroupedGemm op;
    op.experts = ffn.experts;
    op.columns = matrix.outputs;
    op.depth = matrix.inputs;
    op.rows_by_expert = rows;
    flops += work_of(op).matmul_flops;
    macs += macs_of(op).useful;
  }
  CHECK(flops == 2 * macs);
  return flops;
}

std::int64_t shared_flops(const MoeFfn& ffn, std::int64_t hidden, std::int64_t tokens) {
  std::int64_t flops = 0;
  for (const WeightMatrix& matrix : ffn_matrices(GemmRole::shared_gate_up, GemmRole::shared_down, ffn.gated,
                                                 hidden, ffn.total_shared_width())) {
    flops += work_of(Gemm{matrix.role, 1, tokens, matrix.outputs, matrix.inputs}).matmul_flops;
  }
  return flops;
}

TEST_CASE("the work of experts is that of the golden vectors") {
  const std::optional<Family> experts = family("experts");
  if (!experts) return;
  int checked = 0;
  for (const Node& one : experts->cases()) {
    INFO(text(one, "name"));
    const Node& params = *one.find("params");
    MoeFfn ffn;
    ffn.experts = whole(params, "experts");
    ffn.top_k = whole(params, "topk");
    ffn.expert_width = whole(params, "ffn");
    ffn.gated = text(params, "act") != "relu";
    ffn.shared_experts = text(params, "shared").empty() ? 0 : 1;
    ffn.shared_width = ffn.shared_experts * ffn.expert_width;
    const std::int64_t hidden = whole(params, "hidden");
    const auto counted = experts->tensor<std::int32_t>(one, "tokens_per_expert");
    const std::vector<std::int64_t> rows(counted.begin(), counted.end());
    REQUIRE(static_cast<std::int64_t>(rows.size()) == ffn.experts);
    CHECK(expert_flops(ffn, hidden, rows) == whole(params, "gemm_flops"));
    CHECK(shared_flops(ffn, hidden, whole(params, "tokens")) == whole(params, "shared_gemm_flops"));
    // The routed rows are those of the choices that were kept.
    std::int64_t kept = whole(params, "tokens") * ffn.top_k;
    if (one.find("tensors")->find("keep") != nullptr) {
      kept = 0;
      for (const std::uint8_t keep : experts->tensor<std::uint8_t>(one, "keep")) kept += keep;
    }
    CHECK(sum_rows(rows).rows == kept);
    ++checked;
  }
  CHECK(checked == 8);
}

// The rule of a case's mask; nullopt for one without a mask.
std::optional<KeyRule> rule_of(const Family& attention, const Node& one) {
  const Node& params = *one.find("params");
  const std::string kind = text(params, "kind");
  if (kind == "full") return std::nullopt;
  GroupedQueryAttention shape;
  shape.window_tokens = whole(params, "window");
  shape.chunk_tokens = whole(params, "chunk");
  KeyRule rule = main_rule(shape);
  if (kind == "custom") {  // the keys that the case "dsa_indexer" chose for each query
    const auto mask = attention.tensor<std::uint8_t>(one, "mask");
    const auto keys = static_cast<std::size_t>(whole(params, "nk"));
    for (std::size_t i = 0; i < keys; ++i) rule.limit += mask[i];
  }
  return rule;
}

TEST_CASE("the pairs and the work of attention are those of the golden vectors") {
  const std::optional<Family> attention = family("attention");
  if (!attention) return;
  int checked = 0;
  for (const Node& one : attention->cases()) {
    if (text(one, "kind") != "attention") continue;
    INFO(text(one, "name"));
    const Node& params = *one.find("params");
    const std::int64_t queries = whole(params, "nq"), keys = whole(params, "nk");
    const std::optional<KeyRule> rule = rule_of(*attention, one);
    Attention op;
    op.sequences = 1;
    op.query_tokens = queries;
    op.kv_tokens = keys;
    op.pairs = rule ? visible_pairs(*rule, keys - queries, queries) : queries * keys;
    op.query_heads = whole(params, "heads_q");
    op.kv_heads = whole(params, "heads_kv");
    op.qk_dim = whole(params, "d");
    op.v_dim = whole(params, "dv");
    CHECK(op.pairs == whole(params, "unmasked_pairs"));
    CHECK(work_of(op).matmul_flops == whole(params, "flops_exact"));
    CHECK(work_of(op).specials == op.query_heads * op.pairs);
    op.pairs = queries * keys;
    CHECK(work_of(op).matmul_flops == whole(params, "flops_full"));
    ++checked;
  }
  CHECK(checked == 10);
}

TEST_CASE("the cached rows of latent attention are those of the golden vectors") {
  const std::optional<Family> attention = family("attention");
  if (!attention) return;
  int checked = 0;
  for (const Node& one : attention->cases()) {
    if (text(one, "kind") != "mla") continue;
    INFO(text(one, "name"));
    const Node& params = *one.find("params");
    LatentAttention shape;
    shape.kv_lora_rank = whole(params, "kv_lora_rank");
    shape.rope_head_dim = whole(params, "qk_rope");
    CHECK(latent_row_bytes(shape, NumberFormat::bf16) == whole(params, "kv_cache_bytes_per_token_bf16"));
    ++checked;
  }
  CHECK(checked == 2);
}

}  // namespace
}  // namespace moesim::llm
