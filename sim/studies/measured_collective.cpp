// Measured collectives inside one node.
#include <fmt/format.h>

#include "sim/studies/measured_rows.hpp"

namespace moesim::studies {

namespace {

using cost::Collective;

// The power of ten of a size: sizes of one decade are neighbours of each other.
std::size_t decade_of(std::int64_t size) { return std::to_string(size).size() - 1; }

std::int64_t ranks_in_domain(const MeasuredRecord& record) {
  const std::int64_t ranks = record.count("num_gpus", 2);
  if (ranks > 1024) record.fail("num_gpus", fmt::format("{} GPUs in one domain", ranks), "at most 1024");
  return ranks;
}

Collective collective_named(const MeasuredRecord& record) {
  const std::string_view name = record.text("op");
  if (name == "all_reduce") return Collective::all_reduce;
  if (name == "all_gather") return Collective::all_gather;
  if (name == "reduce_scatter") return Collective::reduce_scatter;
  if (name == "alltoall") return Collective::all_to_all;
  record.fail("op", fmt::format("no collective is named \"{}\"", name),
              "all_reduce, all_gather, reduce_scatter or alltoall");
}

}  // namespace

void read_nccl_row(const MeasuredRecord& record, MeasuredRow& row) {
  cost::CollectiveShape shape;
  shape.collective = collective_named(record);
  shape.ranks = ranks_in_domain(record);
  shape.bytes = record.count("message_bytes", 1);
  shape.whole_numbers = record.text_or("dtype", "half").starts_with("int");
  row.family = &cost::collective_family();
  row.group = fmt::format("{}/{}/{}", record.text("op"), shape.ranks, decade_of(shape.bytes));
  row.shape = shape;
  row.variant = row.family->variant(row.shape);
}

void read_all_reduce_row(const MeasuredRecord& record, MeasuredRow& row) {
  cost::CollectiveShape shape;
  shape.collective = Collective::all_reduce;
  shape.ranks = ranks_in_domain(record);
  shape.bytes = record.count("message_bytes", 1);
  shape.eager = record.text("kernel").ends_with("_eager");
  row.family = &cost::custom_all_reduce_family();
  row.group = fmt::format("{}/{}", shape.ranks, decade_of(shape.bytes));
  row.shape = shape;
  row.variant = row.family->variant(row.shape);
}

}  // namespace moesim::studies
