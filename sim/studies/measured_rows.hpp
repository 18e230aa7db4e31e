// Tables of measured kernel times, as rows that families of kernels can be held against.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/cost/kernel_family.hpp"

namespace moesim::studies {

// One measured kernel.
struct MeasuredRow {
  const cost::KernelFamily* family = nullptr;
  cost::KernelShape shape;
  std::string gpu;      // name in hw_configs/gpus: "h100-sxm"
  std::string library;  // "trtllm", "vllm", "sglang", "nccl"
  std::string variant;  // family->variant(shape), or that with "/" and the code path
  std::string group;    // rows of one group are never split between fitting and testing
  double seconds = 0;
  bool apart = false;  // a slow tactic: reported apart, not fitted
};

// One record of a table, by the names of its columns. Throws config::InputError with file, line and column
// name for a missing column, a text that is no number, or a number out of bounds.
class MeasuredRecord {
 public:
  [[nodiscard]] std::string_view text(std::string_view column) const;
  [[nodiscard]] std::string_view text_or(std::string_view column, std::string_view missing) const;
  // A whole number from `low` to 2^40.
  [[nodiscard]] std::int64_t count(std::string_view column, std::int64_t low = 0) const;
  [[nodiscard]] std::int64_t count_or(std::string_view column, std::int64_t missing) const;
  [[nodiscard]] double number(std::string_view column) const;
  [[nodiscard]] bool has(std::string_view column) const;
  // Throws config::InputError that points at the column.
  [[noreturn]] void fail(std::string_view column, const std::string& message,
                         const std::string& suggestion = "") const;

 private:
  friend class MeasuredTable;
  const class MeasuredTable* table_ = nullptr;
  std::size_t index_ = 0;
};

// Turns a record into a row: fills family, shape, variant, group and apart. One function for each kind of
// table; each lives beside the others of its family (sim/studies/measured_*.cpp).
using RowReader = void (*)(const MeasuredRecord& record, MeasuredRow& row);

void read_gemm_row(const MeasuredRecord& record, MeasuredRow& row);
void read_batched_gemm_row(const MeasuredRecord& record, MeasuredRow& row);
void read_quantise_row(const MeasuredRecord& record, MeasuredRow& row);
void read_moe_row(const MeasuredRecord& record, MeasuredRow& row);
void read_attention_prefill_row(const MeasuredRecord& record, MeasuredRow& row);
void read_attention_decode_row(const MeasuredRecord& record, MeasuredRow& row);
void read_latent_prefill_row(const MeasuredRecord& record, MeasuredRow& row);
void read_latent_decode_row(const MeasuredRecord& record, MeasuredRow& row);
void read_latent_module_row(const MeasuredRecord& record, MeasuredRow& row);
void read_sparse_module_row(const MeasuredRecord& record, MeasuredRow& row);
void read_delta_row(const MeasuredRecord& record, MeasuredRow& row);
void read_nccl_row(const MeasuredRecord& record, MeasuredRow& row);
void read_all_reduce_row(const MeasuredRecord& record, MeasuredRow& row);
void read_exchange_row(const MeasuredRecord& record, MeasuredRow& row);
void read_one_sided_exchange_row(const MeasuredRecord& record, MeasuredRow& row);

}  // namespace moesim::studies
