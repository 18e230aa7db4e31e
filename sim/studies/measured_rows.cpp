#include "sim/studies/measured_rows.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "sim/io/line_reader.hpp"

namespace moesim::studies {

namespace {

constexpr std::int64_t kMaxCount = std::int64_t{1} << 40;
constexpr double kShortest = 1e-9, kLongest = 1e3;  // seconds

// The library's name becomes that of a file.
std::string library_of_record(const MeasuredRecord& record) {
  const std::string_view name = record.text("backend");
  const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_'; };
  if (name.empty() || name.size() > 64 || !std::all_of(name.begin(), name.end(), plain)) {
    record.fail("backend",
                fmt::format("\"{}\" is no name of a library: lower-case letters, digits and \"_\"", name));
  }
  return std::string(name);
}

std::string joined(const std::vector<std::string_view>& words) {
  std::string all;
  for (const std::string_view word : words) all += fmt::format("{}{}", all.empty() ? "" : ", ", word);
  return all;
}

}  // namespace

const std::vector<TableKind>& table_kinds() {
  static const std::vector<TableKind> kinds = {
      {"gemm", {"dtype", "m", "n", "k"}, {}, read_gemm_row},
      {"mla_bmm", {"op", "dtype", "tokens", "heads"}, {"num_gpus"}, read_batched_gemm_row},
      {"quantize", {"op", "dtype", "m", "k"}, {"n"}, read_quantise_row},
      {"moe",
       {"dtype", "tokens", "hidden", "inter", "topk", "experts", "tp", "ep", "alpha"},
       {},
       read_moe_row},
      {"attention_prefill",
       {"attn_dtype", "kv_dtype", "batch", "seq_len", "q_heads", "kv_heads", "head_dim"},
       {"kv_len"},
       read_attention_prefill_row},
      {"attention_decode",
       {"attn_dtype", "kv_dtype", "batch", "kv_len", "q_heads", "kv_heads", "head_dim"},
       {},
       read_attention_decode_row},
      {"mla_prefill",
       {"attn_dtype", "kv_dtype", "batch", "seq_len", "heads"},
       {"gemm_dtype", "q_heads"},
       read_latent_prefill_row},
      {"mla_decode",
       {"attn_dtype", "kv_dtype", "batch", "kv_len", "heads"},
       {"gemm_dtype", "q_heads"},
       read_latent_decode_row},
      {"dsa_module",
       {"model", "attn_dtype", "kv_dtype", "gemm_dtype", "batch", "seq_len", "prefix_len", "heads"},
       {},
       read_sparse_module_row},
      {"mla_module",
       {"model", "attn_dtype", "kv_dtype", "gemm_dtype", "batch", "heads"},
       {"prefix_len"},
       read_latent_module_row},
      {"gdn", {"kernel", "phase", "batch", "seq_len", "k_heads", "v_heads"}, {}, read_delta_row},
      {"nccl", {"op", "num_gpus", "message_bytes"}, {}, read_nccl_row},
      {"allreduce", {"kernel", "num_gpus", "message_bytes"}, {"op"}, read_all_reduce_row},
      {"all_to_all",
       {"mode", "phase", "nodes", "hidden", "tokens", "topk", "experts"},
       {},
       read_exchange_row},
      {"all_to_all_nvl72",
       {"kernel", "op", "dtype", "ep", "hidden", "tokens", "topk", "experts"},
       {},
       read_one_sided_exchange_row},
  };
  return kinds;
}

std::string gpu_of_system(std::string_view system, const std::vector<std::string>& gpus) {
  std::string name(system);
  std::replace(name.begin(), name.end(), '_', '-');
  if (std::find(gpus.begin(), gpus.end(), name) != gpus.end()) return name;
  std::string found;
  for (const std::string& gpu : gpus) {
    if (!gpu.starts_with(name + "-") && !name.starts_with(gpu + "-")) continue;
    if (!found.empty()) return "";
    found = gpu;
  }
  return found;
}

const io::CsvField& MeasuredRecord::field(std::string_view column) const {
  const auto& columns = table_->columns_;
  const auto at = std::find(columns.begin(), columns.end(), column);
  if (at == columns.end()) {
    throw config::line_error(table_->name_, table_->header_line_, table_->header_, 0, table_->header_.size(),
                             "missing_column", fmt::format("the table has no column \"{}\"", column),
                             config::nearest(column, columns));
  }
  return (*fields_)[static_cast<std::size_t>(at - columns.begin())];
}

bool MeasuredRecord::has(std::string_view column) const {
  const auto& columns = table_->columns_;
  return std::find(columns.begin(), columns.end(), column) != columns.end();
}

std::string_view MeasuredRecord::text(std::string_view column) const { return field(column).text; }

std::string_view MeasuredRecord::text_or(std::string_view column, std::string_view missing) const {
  return has(column) ? text(column) : missing;
}

std::int64_t MeasuredRecord::count(std::string_view column, std::int64_t low) const {
  const std::string& text = field(column).text;
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) {
    fail(column, fmt::format("\"{}\" is not a whole number", text));
  }
  if (value < low || value > kMaxCount) {
    fail(column, fmt::format("{} is not between {} and 2^40", value, low));
  }
  return value;
}

std::int64_t MeasuredRecord::count_or(std::string_view column, std::int64_t missing) const {
  return has(column) ? count(column) : missing;
}

double MeasuredRecord::number(std::string_view column) const {
  const std::string& text = field(column).text;
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value)) {
    fail(column, fmt::format("\"{}\" is not a number", text));
  }
  return value;
}

void MeasuredRecord::fail(std::string_view column, const std::string& message,
                          const std::string& suggestion) const {
  const io::CsvField& at = field(column);
  throw config::line_error(table_->name_, line_, *line_text_, at.begin, at.end, "bad_value",
                           fmt::format("column \"{}\": {}", column, message), suggestion);
}

void MeasuredTable::read_header(const std::vector<io::CsvField>& fields, const io::CsvReader& reader) {
  header_ = reader.line_text();
  header_line_ = reader.line_number();
  for (const io::CsvField& field : fields) {
    if (std::find(columns_.begin(), columns_.end(), field.text) != columns_.end()) {
      throw config::line_error(name_, header_line_, header_, field.begin, field.end, "duplicate_column",
                               fmt::format("two columns are named \"{}\"", field.text));
    }
    columns_.push_back(field.text);
  }
}

const TableKind& MeasuredTable::kind(const io::CsvReader& reader) const {
  const auto has = [this](std::string_view column) {
    return std::find(columns_.begin(), columns_.end(), column) != columns_.end();
  };
  for (const std::string_view needed : {"system", "backend", "latency_us"}) {
    if (has(needed)) continue;
    throw config::line_error(name_, reader.line_number(), reader.line_text(), 0, reader.line_text().size(),
                             "missing_column", fmt::format("no column \"{}\"", needed),
                             config::nearest(needed, columns_));
  }
  // The one with most columns, so that a table that has more than another needs is not taken for that.
  const TableKind* best = nullptr;
  for (const TableKind& one : table_kinds()) {
    if (!std::all_of(one.columns.begin(), one.columns.end(), has)) continue;
    if (std::any_of(one.forbidden.begin(), one.forbidden.end(), has)) continue;
    if (best == nullptr || one.columns.size() > best->columns.size()) best = &one;
  }
  if (best != nullptr) return *best;
  std::string known;
  for (const TableKind& one : table_kinds())
    known += fmt::format("\n  {}: {}", one.name, joined(one.columns));
  throw config::line_error(name_, reader.line_number(), reader.line_text(), 0, reader.line_text().size(),
                           "unknown_table", "the columns are those of no known kind of table",
                           "system, backend, latency_us and the columns of one of these:" + known);
}

std::vector<MeasuredRow> MeasuredTable::read(const std::filesystem::path& path,
                                             const config::Catalogue& catalogue) {
  MeasuredTable table(path.string());
  io::LineReader lines(path);
  io::CsvReader reader(lines);
  std::vector<io::CsvField> fields;
  if (!reader.next(fields)) {
    throw config::InputError("empty_file", fmt::format("{} is empty", path.string()),
                             "a header line and rows");
  }
  table.read_header(fields, reader);
  const TableKind& kind = table.kind(reader);
  const std::vector<std::string> gpus = catalogue.names("hw_configs/gpus");
  std::vector<MeasuredRow> rows;
  while (reader.next(fields)) {
    if (fields.size() == 1 && fields[0].text.empty()) continue;
    if (fields.size() != table.columns_.size()) {
      throw config::line_error(
          table.name_, reader.line_number(), reader.line_text(), 0, reader.line_text().size(), "bad_record",
          fmt::format("{} fields, but the header has {}", fields.size(), table.columns_.size()));
    }
    if (rows.size() == kMaxRows) {
      throw config::InputError("too_large", fmt::format("{} has more than 2^22 rows", path.string()));
    }
    const MeasuredRecord record(table, fields, reader.line_number(), reader.line_text());
    MeasuredRow row;
    row.gpu = gpu_of_system(record.text("system"), gpus);
    if (row.gpu.empty()) {
      record.fail("system", fmt::format("no GPU \"{}\" in the catalogue", record.text("system")),
                  config::nearest(record.text("system"), gpus));
    }
    row.library = library_of_record(record);
    row.version = record.text_or("version", "");
    row.seconds = record.number("latency_us") * 1e-6;
    if (!(row.seconds > 0)) record.fail("latency_us", "a time must be above 0");
    if (row.seconds < kShortest || row.seconds > kLongest)
      record.fail("latency_us", "a kernel takes between 1e-3 and 1e9 microseconds");
    if (record.text_or("backend", "") == kOwnHarness) {
      const std::string_view kernel = record.text_or("kernel", "");
      row.conditions = kernel.ends_with("_warm") ? cost::Conditions::benchmark : cost::Conditions::serving;
      row.apart = kernel.ends_with("_eager");
    }
    kind.read(record, row);
    rows.push_back(std::move(row));
  }
  return rows;
}

}  // namespace moesim::studies
