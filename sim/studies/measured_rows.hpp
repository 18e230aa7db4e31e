// Tables of measured kernel times, as rows that families of kernels can be held against.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/cost/kernel_family.hpp"
#include "sim/config/document.hpp"
#include "sim/io/csv.hpp"

namespace moesim::studies {

// One measured kernel.
// The backend column of tables that tools/gpu writes. Its rows are cold unless the kernel's name ends in
// "_warm"; where it ends in "_eager" the time holds launches of the host.
inline constexpr std::string_view kOwnHarness = "torch";

struct MeasuredRow {
  const cost::KernelFamily* family = nullptr;
  cost::KernelShape shape;
  std::string gpu;      // name in hw_configs/gpus: "h100-sxm"
  std::string library;  // "trtllm", "vllm", "sglang", "nccl"
  std::string version;  // of the library; empty if the table has none
  std::string variant;  // family->variant(shape), or that with "/" and the code path
  std::string group;    // rows of one group are never split between fitting and testing
  double seconds = 0;
  // How it was measured: weights and KV warm between graph replays, as by the benchmarks of the shared
  // tables, or cold, as by tools/gpu.
  cost::Conditions conditions = cost::Conditions::benchmark;
  bool apart = false;  // a slow tactic, or launches of the host: reported apart, not fitted
};

class MeasuredTable;

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
  MeasuredRecord(const MeasuredTable& table, const std::vector<io::CsvField>& fields, std::size_t line,
                 const std::string& line_text)
      : table_(&table), fields_(&fields), line_(line), line_text_(&line_text) {}
  [[nodiscard]] const io::CsvField& field(std::string_view column) const;

  const MeasuredTable* table_;
  const std::vector<io::CsvField>* fields_;
  std::size_t line_;
  const std::string* line_text_;
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

// Which readers there are, and the columns that tell their tables apart.
struct TableKind {
  std::string_view name;                    // "gemm"
  std::vector<std::string_view> columns;    // all must be there
  std::vector<std::string_view> forbidden;  // none may be there
  RowReader read = nullptr;
};
[[nodiscard]] const std::vector<TableKind>& table_kinds();

// A file of measured times: its header, and its rows one after the other.
class MeasuredTable {
 public:
  // Every row of a .csv file (plain, .gz or .zst), in its order. The kind of table is told by its columns.
  // Throws config::InputError (unknown kind of table, missing column, bad value, a GPU that the catalogue
  // does not know: with file, line and column) and io::IoError.
  [[nodiscard]] static std::vector<MeasuredRow> read(const std::filesystem::path& path,
                                                     const config::Catalogue& catalogue);
  // More rows are an error: 2^22.
  static constexpr std::size_t kMaxRows = std::size_t{1} << 22;

 private:
  friend class MeasuredRecord;
  explicit MeasuredTable(std::string name) : name_(std::move(name)) {}
  void read_header(const std::vector<io::CsvField>& fields, const io::CsvReader& reader);
  [[nodiscard]] const TableKind& kind(const io::CsvReader& reader) const;

  std::string name_;
  std::vector<std::string> columns_;
  std::string header_;
  std::size_t header_line_ = 1;
};

// The name of a GPU in the catalogue for a system's name in a table: "a100_sxm" -> "a100-sxm-80g",
// "rtx_pro_6000_server" -> "rtx-pro-6000". Empty if there is none, or more than one.
[[nodiscard]] std::string gpu_of_system(std::string_view system, const std::vector<std::string>& gpus);

}  // namespace moesim::studies
