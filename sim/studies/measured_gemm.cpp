// Rows of the tables of matrix products and of quantisation passes.
#include <array>
#include <string>
#include <utility>

#include "models/cost/kernel_family.hpp"
#include "sim/studies/measured_rows.hpp"

namespace moesim::studies {
namespace {

using NamedFormats = std::pair<std::string_view, llm::LinearFormats>;

// Formats of the column "dtype"; format_name() gives back the name (bfloat16 is called bf16).
constexpr std::array<NamedFormats, 7> kGemmFormats = {{
    {"bfloat16", {llm::NumberFormat::bf16, llm::NumberFormat::bf16}},
    {"fp8", {llm::NumberFormat::fp8, llm::NumberFormat::fp8}},
    {"fp8_block", {llm::NumberFormat::fp8_block, llm::NumberFormat::fp8_block}},
    {"nvfp4", {llm::NumberFormat::nvfp4, llm::NumberFormat::nvfp4}},
    {"int8_wo", {llm::NumberFormat::int8, llm::NumberFormat::bf16}},
    {"int4_wo", {llm::NumberFormat::int4, llm::NumberFormat::bf16}},
    {"sq", {llm::NumberFormat::int8, llm::NumberFormat::int8}},
}};

llm::LinearFormats gemm_formats(const MeasuredRecord& record) {
  const std::string_view name = record.text("dtype");
  for (const NamedFormats& known : kGemmFormats) {
    if (known.first == name) {
      return known.second;
    }
  }
  record.fail("dtype", "no operand format is called \"" + std::string(name) + "\"",
              "bfloat16, fp8, fp8_block, nvfp4, int8_wo, int4_wo or sq");
}

// The benchmark of each library goes round so many copies of the weights.
std::int64_t gemm_copies(std::string_view library, std::string_view format) {
  if (library == kOwnHarness) return 1;  // --warm
  if (library == "vllm") {
    return format == "fp8_block" || format == "nvfp4" ? 1 : 6;
  }
  return library == "trtllm" ? 5 : 6;
}

// Code paths that the host takes at another pace than the usual one.
std::string_view eager_path(std::string_view kernel) {
  return kernel.starts_with("Cutlass") ? "/cutlass" : kernel.starts_with("FlashInfer") ? "/flashinfer" : "";
}

}  // namespace

void read_gemm_row(const MeasuredRecord& record, MeasuredRow& row) {
  cost::GemmShape shape;
  shape.m = record.count("m", 1);
  shape.n = record.count("n", 1);
  shape.k = record.count("k", 1);
  shape.formats = gemm_formats(record);
  shape.quantises = shape.formats.activations != llm::NumberFormat::bf16;
  shape.benchmark_copies = gemm_copies(record.text("backend"), record.text("dtype"));
  // vLLM's kernels for block scales do not go into CUDA graphs.
  shape.eager = record.text("backend") == "vllm" && shape.formats.weights == llm::NumberFormat::fp8_block;
  row.family = &cost::gemm_family();
  row.variant = cost::format_name(shape.formats);
  if (shape.eager) {
    row.variant += eager_path(record.text_or("kernel", ""));
  }
  row.group = "n" + std::to_string(shape.n) + "-k" + std::to_string(shape.k);
  row.shape = shape;
}

// Per-head products of absorbed latent attention: queries [tokens, 128] x [128, 512] in front of it, results
// [tokens, 512] x [512, 128] behind.
void read_batched_gemm_row(const MeasuredRecord& record, MeasuredRow& row) {
  const std::string_view operation = record.text("op");
  if (operation != "mla_gen_pre" && operation != "mla_gen_post") {
    record.fail("op", "no product is called \"" + std::string(operation) + "\"",
                "mla_gen_pre or mla_gen_post");
  }
  const bool before = operation == "mla_gen_pre";
  cost::GemmShape shape;
  shape.batch = record.count("heads", 1);
  shape.m = record.count("tokens", 1);
  shape.n = before ? 512 : 128;
  shape.k = before ? 128 : 512;
  shape.formats = gemm_formats(record);
  const std::string_view kernel = record.text_or("kernel", "");
  if (kernel.find("dequant") != std::string_view::npos) {
    shape.formats = {};  // fp8 weights are widened beforehand: the product is one of bf16
  } else if (kernel.find("block_scaling") != std::string_view::npos) {
    shape.formats = {llm::NumberFormat::fp8_block, llm::NumberFormat::fp8_block};
  }
  shape.quantises = shape.formats.activations != llm::NumberFormat::bf16;
  shape.benchmark_copies = 1;
  row.family = &cost::gemm_family();
  row.variant = "bmm/" + cost::format_name(shape.formats);
  row.group = std::string(operation) + "-" + std::to_string(shape.batch);
  row.shape = shape;
}

void read_quantise_row(const MeasuredRecord& record, MeasuredRow& row) {
  const std::string_view operation = record.text("op");
  if (operation != "computescale" && operation != "scale_matrix") {
    record.fail("op", "no pass is called \"" + std::string(operation) + "\"", "computescale or scale_matrix");
  }
  cost::StreamShape shape;
  shape.rows = record.count("m", 1);
  shape.columns = record.count("k", 1);
  if (shape.columns > (std::int64_t{1} << 40) / shape.rows) record.fail("m", "m x k is above 2^40");
  shape.read_bytes = 2 * shape.rows * shape.columns;
  shape.write_bytes = operation == "scale_matrix" ? shape.rows * shape.columns : 0;
  row.family = &cost::stream_family();
  row.variant = row.family->variant(shape);
  row.group = "k" + std::to_string(shape.columns);
  row.shape = shape;
}

}  // namespace moesim::studies
