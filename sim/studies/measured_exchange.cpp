// Measured dispatch and combine of mixture-of-experts layers.
#include <fmt/format.h>

#include <algorithm>

#include "sim/studies/measured_rows.hpp"

namespace moesim::studies {

namespace {

using cost::ExchangeShape;
using Kind = cost::ExchangeShape::Kind;
using Phase = cost::ExchangeShape::Phase;

// DeepEP's boxes.
constexpr std::int64_t kRanksPerNode = 8;
// One fp32 scale for so many fp8 numbers.
constexpr std::int64_t kScaleBlock = 128;
// One fp8 scale for so many 4-bit numbers.
constexpr std::int64_t kNvfp4Block = 16;

std::int64_t fp8_row(std::int64_t hidden) { return hidden + 4 * ((hidden + kScaleBlock - 1) / kScaleBlock); }
std::int64_t nvfp4_row(std::int64_t hidden) { return hidden / 2 + (hidden + kNvfp4Block - 1) / kNvfp4Block; }

void read_layer(const MeasuredRecord& record, ExchangeShape& shape) {
  shape.tokens = record.count("tokens", 1);
  shape.hidden = record.count("hidden", 1);
  shape.experts = record.count("experts", 1);
  shape.top_k = record.count("topk", 1);
  // Keeps the price of one row short, and every product below 2^53.
  constexpr std::int64_t kMostExperts = 65536, kMost = std::int64_t{1} << 24;
  if (shape.experts > kMostExperts) record.fail("experts", "a layer has at most 65536 experts");
  if (shape.tokens > kMost) record.fail("tokens", "at most 2^24 tokens");
  if (shape.hidden > kMost) record.fail("hidden", "at most 2^24");
  if (shape.top_k > shape.experts) {
    record.fail("topk", fmt::format("{} experts of {}", shape.top_k, shape.experts));
  }
}

void finish_row(const ExchangeShape& shape, MeasuredRow& row) {
  row.family = &cost::exchange_family();
  row.shape = shape;
  row.variant = row.family->variant(row.shape);
  row.group = fmt::format("{}/{}/{}", row.variant, shape.ranks, std::to_string(shape.tokens).size() - 1);
}

Phase phase_named(const MeasuredRecord& record, std::string_view column, std::string_view prefix) {
  std::string_view name = record.text(column);
  if (name.starts_with(prefix)) name.remove_prefix(prefix.size());
  if (name == "dispatch") return Phase::dispatch;
  if (name == "combine") return Phase::combine;
  if (name == "prepare") return Phase::prepare;
  if (name == "combine_low_precision") return Phase::combine_low_precision;
  record.fail(column, fmt::format("no phase of an exchange is named \"{}\"", record.text(column)),
              "prepare, dispatch, combine or combine_low_precision");
}

std::int64_t dispatched_row(const MeasuredRecord& record, std::int64_t hidden) {
  const std::string_view format = record.text("dtype");
  if (format == "bfloat16") return 2 * hidden;
  if (format == "fp8") return hidden;  // one scale for the whole tensor
  if (format == "nvfp4") return nvfp4_row(hidden);
  record.fail("dtype", fmt::format("no exchanged format is named \"{}\"", format), "bfloat16, fp8 or nvfp4");
}

}  // namespace

void read_exchange_row(const MeasuredRecord& record, MeasuredRow& row) {
  ExchangeShape shape;
  const std::string_view mode = record.text("mode");
  if (mode != "low_latency" && mode != "normal") {
    record.fail("mode", fmt::format("no mode is named \"{}\"", mode), "low_latency or normal");
  }
  shape.kind = mode == "normal" ? Kind::normal : Kind::low_latency;
  shape.phase = phase_named(record, "phase", "");
  const std::int64_t nodes = record.count("nodes", 1);
  if (nodes > 4096) record.fail("nodes", fmt::format("{} nodes", nodes), "at most 4096");
  shape.ranks = kRanksPerNode * nodes;
  shape.ranks_per_domain = kRanksPerNode;
  read_layer(record, shape);
  shape.row_bytes = shape.phase == Phase::dispatch ? fp8_row(shape.hidden) : 2 * shape.hidden;
  shape.multiprocessors = record.count_or("sms", 0);
  finish_row(shape, row);
}

void read_one_sided_exchange_row(const MeasuredRecord& record, MeasuredRow& row) {
  ExchangeShape shape;
  const std::string_view kernel = record.text("kernel");
  if (kernel != "NVLinkOneSided" && kernel != "NVLinkTwoSided") {
    record.fail("kernel", fmt::format("no exchange is named \"{}\"", kernel),
                "NVLinkOneSided or NVLinkTwoSided");
  }
  shape.kind = kernel == "NVLinkOneSided" ? Kind::one_sided : Kind::two_sided;
  shape.phase = phase_named(record, "op", "alltoall_");
  shape.ranks = record.count("ep", 2);
  if (shape.ranks > 4096) record.fail("ep", fmt::format("{} ranks", shape.ranks), "at most 4096");
  shape.ranks_per_domain = shape.ranks;
  read_layer(record, shape);
  switch (shape.phase) {
    case Phase::dispatch:
      shape.row_bytes = dispatched_row(record, shape.hidden);
      break;
    case Phase::combine:
      shape.row_bytes = 2 * shape.hidden;
      break;
    case Phase::combine_low_precision:
      shape.row_bytes = nvfp4_row(shape.hidden);
      break;
    case Phase::prepare:
      break;
  }
  // Routing of this benchmark is balanced: a token's experts lie on as many ranks as can be.
  shape.destinations = static_cast<double>(std::min(shape.top_k, shape.ranks));
  // The source warns of erratic points here.
  row.apart = shape.ranks >= 64 && shape.tokens < 4;
  finish_row(shape, row);
}

}  // namespace moesim::studies
