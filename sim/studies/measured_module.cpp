// Rows of the tables of whole latent-attention layers: mla_module_*.csv and dsa_module_*.csv.
#include <fmt/format.h>

#include <array>

#include "sim/studies/measured_rows.hpp"

namespace moesim::studies {

namespace {

using ModuleFormats = std::pair<std::string_view, llm::LinearFormats>;

constexpr std::array<ModuleFormats, 4> kModuleFormats = {{
    {"bfloat16", {llm::NumberFormat::bf16, llm::NumberFormat::bf16}},
    {"fp8", {llm::NumberFormat::fp8, llm::NumberFormat::fp8}},
    {"fp8_block", {llm::NumberFormat::fp8_block, llm::NumberFormat::fp8_block}},
    {"nvfp4", {llm::NumberFormat::nvfp4, llm::NumberFormat::nvfp4}},
}};

llm::LinearFormats module_projections(const MeasuredRecord& record) {
  const std::string_view name = record.text("gemm_dtype");
  for (const ModuleFormats& known : kModuleFormats) {
    if (known.first == name) return known.second;
  }
  record.fail("gemm_dtype", fmt::format("\"{}\" is no format of projections", name),
              "bfloat16, fp8, fp8_block or nvfp4");
}

llm::NumberFormat module_format_in(const MeasuredRecord& record, std::string_view column) {
  const std::string_view text = record.text(column);
  if (text == "bfloat16" || text == "float16") return llm::NumberFormat::bf16;
  if (text == "fp8") return llm::NumberFormat::fp8;
  record.fail(column, fmt::format("\"{}\" is no format of attention", text), "bfloat16 or fp8");
}

// Dimensions from the published configurations of these models.
void set_dimensions(const MeasuredRecord& record, cost::LatentModuleShape& shape) {
  const std::string_view model = record.text("model");
  if (model.find("DeepSeek") != std::string_view::npos) return;  // those of DeepSeek-V3 are the default
  if (model.find("GLM-5") != std::string_view::npos) {
    shape.hidden = 6144;
    shape.query_rank = 2048;
    shape.nope_dim = 192;
    shape.v_dim = 256;
    return;
  }
  record.fail("model", fmt::format("the dimensions of \"{}\" are not known", model),
              "DeepSeek-V3, -V3.2 or GLM-5");
}

cost::LatentModuleShape common_module_shape(const MeasuredRecord& record) {
  cost::LatentModuleShape shape;
  set_dimensions(record, shape);
  shape.batch = record.count("batch", 1);
  shape.heads = record.count("heads", 1);
  shape.projections = module_projections(record);
  shape.compute = module_format_in(record, "attn_dtype");
  shape.kv = module_format_in(record, "kv_dtype");
  return shape;
}

void finish_module_row(const MeasuredRecord& record, const cost::LatentModuleShape& shape, MeasuredRow& row) {
  // Products of sizes stay whole numbers below 2^63.
  if (shape.heads > 65536) record.fail("heads", "a layer has at most 65536 heads");
  if (shape.batch > (std::int64_t{1} << 40) / (shape.prefix + shape.queries))
    record.fail("batch", "the tokens of all sequences are above 2^40");
  row.family = &cost::latent_module_family();
  row.shape = shape;
  row.variant = row.family->variant(row.shape);
  row.group = fmt::format("{} heads, hidden {}", shape.heads, shape.hidden);
}

}  // namespace

void read_latent_module_row(const MeasuredRecord& record, MeasuredRow& row) {
  cost::LatentModuleShape shape = common_module_shape(record);
  shape.decode = record.has("kv_len");
  if (shape.decode) {
    shape.queries = 1;
    shape.prefix = record.count("kv_len", 1) - 1;
  } else {
    shape.queries = record.count("seq_len", 1);
    shape.prefix = record.count_or("prefix_len", 0);
  }
  finish_module_row(record, shape, row);
}

void read_sparse_module_row(const MeasuredRecord& record, MeasuredRow& row) {
  cost::LatentModuleShape shape = common_module_shape(record);
  const std::string_view kernel = record.text_or("kernel", "");
  shape.queries = record.count("seq_len", 1);
  shape.prefix = record.count("prefix_len");
  const bool dense = kernel.find("dense_mha") != std::string_view::npos;
  shape.decode = shape.queries == 1 && !dense;
  // Both models choose 2,048 tokens by heads of 128 dimensions: 64 of them in DeepSeek-V3.2, 32 in GLM-5.
  shape.index_heads = shape.hidden == 6144 ? 32 : 64;
  shape.index_dim = 128;
  shape.index_top_k = dense ? 0 : 2048;
  shape.indexes = !dense && kernel.find("skip_indexer") == std::string_view::npos;
  finish_module_row(record, shape, row);
  if (kernel == "FLASHINFER_MLA_SPARSE") row.variant += "/flashinfer";
}

}  // namespace moesim::studies
