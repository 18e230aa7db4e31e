// Rows of the table of gated delta layers: gdn.csv.
#include <fmt/format.h>

#include "sim/studies/measured_rows.hpp"

namespace moesim::studies {

namespace {
constexpr std::int64_t kMostChannels = std::int64_t{1} << 24;  // products stay whole numbers
}  // namespace

void read_delta_row(const MeasuredRecord& record, MeasuredRow& row) {
  cost::DeltaShape shape;
  const std::string_view phase = record.text("phase");
  if (phase != "context" && phase != "generation") {
    record.fail("phase", fmt::format("\"{}\" is no phase of a gated delta layer", phase),
                "context or generation");
  }
  shape.decode = phase == "generation";
  shape.part = record.text("kernel").find("conv1d") != std::string_view::npos
                   ? cost::DeltaShape::Part::convolution
                   : cost::DeltaShape::Part::recurrence;
  shape.batch = record.count("batch", 1);
  shape.queries = record.count("seq_len", 1);
  shape.key_heads = record.count("k_heads", 1);
  shape.key_dim = record.count("head_k_dim", 1);
  shape.value_heads = record.count("v_heads", 1);
  shape.value_dim = record.count("head_v_dim", 1);
  shape.convolution_width = record.count("d_conv", 1);
  if (shape.key_dim > kMostChannels / shape.key_heads)
    record.fail("k_heads", "k_heads x head_k_dim is above 2^24");
  if (shape.value_dim > kMostChannels / shape.value_heads)
    record.fail("v_heads", "v_heads x head_v_dim is above 2^24");
  row.family = &cost::delta_family();
  row.shape = shape;
  row.variant = row.family->variant(row.shape);
  row.group = fmt::format("{} key heads, {} value heads", shape.key_heads, shape.value_heads);
}

}  // namespace moesim::studies
