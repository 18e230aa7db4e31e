// Rows of the tables of attention over prompts: attention_prefill.csv and mla_prefill.csv.
#include <fmt/format.h>

#include "sim/studies/measured_rows.hpp"

namespace moesim::studies {

namespace {

// Dimensions of DeepSeek-V3's heads as the latent prefill kernel sees them: 128 + 64 rotated, 128 of values.
constexpr std::int64_t kLatentKeyDim = 192;
constexpr std::int64_t kLatentValueDim = 128;

llm::NumberFormat prefill_format_in(const MeasuredRecord& record, std::string_view column) {
  const std::string_view text = record.text(column);
  if (text == "bfloat16" || text == "float16") {
    return llm::NumberFormat::bf16;
  }
  if (text == "fp8") {
    return llm::NumberFormat::fp8;
  }
  record.fail(column, fmt::format("\"{}\" is no format of attention", text), "bfloat16 or fp8");
}

// Kernels that a library takes instead of its usual one have parameters of their own.
std::string_view unusual_prefill_path(std::string_view kernel, std::string_view system) {
  if (kernel.find("triton") != std::string_view::npos) {
    return "/triton";
  }
  if (kernel == "torch_flow_flashinfer" || (kernel == "flashinfer" && system == "b200_sxm")) {
    return "/flashinfer";
  }
  if (kernel == "vllm_flash_attn_fa4") {
    return "/fa4";
  }
  if (kernel == "vllm_flashinfer_fidecode" || kernel == "vllm_flashinfer_trtllmdecode") {
    return "/decode_kernel";  // prompts of one token
  }
  return "";
}

cost::AttentionPrefillShape common_prefill_shape(const MeasuredRecord& record) {
  cost::AttentionPrefillShape shape;
  shape.batch = record.count("batch", 1);
  shape.queries = record.count("seq_len", 1);
  shape.compute = prefill_format_in(record, "attn_dtype");
  shape.kv = prefill_format_in(record, "kv_dtype");
  return shape;
}

}  // namespace

void read_attention_prefill_row(const MeasuredRecord& record, MeasuredRow& row) {
  cost::AttentionPrefillShape shape = common_prefill_shape(record);
  shape.query_heads = record.count("q_heads", 1);
  shape.kv_heads = record.count("kv_heads", 1);
  shape.qk_dim = record.count("head_dim", 1);
  shape.v_dim = shape.qk_dim;
  shape.window = record.count_or("window", 0);
  row.family = &cost::attention_prefill_family();
  row.shape = shape;
  row.variant = row.family->variant(row.shape);
  row.variant += unusual_prefill_path(record.text_or("kernel", ""), record.text("system"));
  row.group = fmt::format("{} heads, {} kv heads, {} dimensions, window {}", shape.query_heads,
                          shape.kv_heads, shape.qk_dim, shape.window);
}

void read_latent_prefill_row(const MeasuredRecord& record, MeasuredRow& row) {
  cost::AttentionPrefillShape shape = common_prefill_shape(record);
  shape.latent = true;
  shape.query_heads = record.count("heads", 1);
  shape.kv_heads = shape.query_heads;
  shape.qk_dim = kLatentKeyDim;
  shape.v_dim = kLatentValueDim;
  row.family = &cost::latent_prefill_family();
  row.shape = shape;
  row.variant = row.family->variant(row.shape);
  if (record.text_or("kernel", "").find("triton") != std::string_view::npos) {
    row.variant += "/triton";
  }
  row.group = fmt::format("{} heads", shape.query_heads);
}

}  // namespace moesim::studies
