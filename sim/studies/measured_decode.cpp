// Rows of the tables of attention with one query token per sequence: attention_decode.csv, mla_decode.csv.
#include <fmt/format.h>

#include "sim/studies/measured_rows.hpp"

namespace moesim::studies {

namespace {

// A row of DeepSeek-V3's latent cache: 512 latent numbers, which also serve as values, and 64 rotated ones.
constexpr std::int64_t kLatentRowDim = 576;
constexpr std::int64_t kLatentRowValueDim = 512;
// The shared tables time TensorRT-LLM's heads of this width with attention sinks.
constexpr std::int64_t kSinkDim = 64;

llm::NumberFormat decode_format_in(const MeasuredRecord& record, std::string_view column) {
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
std::string_view unusual_decode_path(std::string_view kernel, std::string_view system) {
  if (kernel == "triton" || kernel == "vllm_triton_attn") {
    return "/triton";
  }
  if (kernel == "torch_flow_flashinfer" || (kernel == "flashinfer" && system == "b200_sxm")) {
    return "/flashinfer";
  }
  if (kernel == "vllm_flash_attn_fa4") {
    return "/fa4";
  }
  return "";
}

cost::AttentionDecodeShape common_decode_shape(const MeasuredRecord& record) {
  cost::AttentionDecodeShape shape;
  shape.batch = record.count("batch", 1);
  shape.context = record.count("kv_len", 1);
  shape.compute = decode_format_in(record, "attn_dtype");
  shape.kv = decode_format_in(record, "kv_dtype");
  return shape;
}

}  // namespace

void read_attention_decode_row(const MeasuredRecord& record, MeasuredRow& row) {
  cost::AttentionDecodeShape shape = common_decode_shape(record);
  shape.query_heads = record.count("q_heads", 1);
  shape.kv_heads = record.count("kv_heads", 1);
  if (shape.query_heads % shape.kv_heads != 0) {
    record.fail("q_heads", fmt::format("{} query heads cannot share {} KV heads evenly", shape.query_heads,
                                       shape.kv_heads));
  }
  shape.qk_dim = record.count("head_dim", 1);
  shape.v_dim = shape.qk_dim;
  shape.window = record.count_or("window", 0);
  shape.sinks = record.text("backend") == "trtllm" && shape.qk_dim == kSinkDim;
  row.family = &cost::attention_decode_family();
  row.shape = shape;
  row.variant = row.family->variant(row.shape);
  row.variant += unusual_decode_path(record.text_or("kernel", ""), record.text("system"));
  row.group = fmt::format("{} heads, {} kv heads, {} dimensions, window {}", shape.query_heads,
                          shape.kv_heads, shape.qk_dim, shape.window);
}

void read_latent_decode_row(const MeasuredRecord& record, MeasuredRow& row) {
  cost::AttentionDecodeShape shape = common_decode_shape(record);
  shape.latent = true;
  shape.query_heads = record.count("heads", 1);
  shape.kv_heads = 1;
  shape.qk_dim = kLatentRowDim;
  shape.v_dim = kLatentRowValueDim;
  row.family = &cost::latent_decode_family();
  row.shape = shape;
  row.variant = row.family->variant(row.shape);
  // Few groups: names that spread over folds, whose hash must not put most of them into one.
  row.group = fmt::format("heads-{}", shape.query_heads);
}

}  // namespace moesim::studies
