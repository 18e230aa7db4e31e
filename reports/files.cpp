#include "reports/files.hpp"

#include <fmt/format.h>

#include <array>
#include <system_error>
#include <utility>

#include "reports/results_json.hpp"
#include "reports/text.hpp"
#include "sim/config/node.hpp"
#include "sim/io/atomic_file.hpp"
#include "sim/io/csv.hpp"
#include "sim/io/error.hpp"
#include "sim/io/numbers.hpp"
#include "sim/io/sha256.hpp"
#include "sim/serving/memory_series.hpp"

namespace moesim::reports {

namespace {

using serving::RequestRow;
using serving::Results;

// Builds one record of a CSV file.
class Record {
 public:
  Record& text(std::string_view value) {
    io::append_csv_field(line_, value);
    return *this;
  }
  Record& whole(std::int64_t value) { return text(fmt::format("{}", value)); }
  // -1 means "none".
  Record& identifier(std::int64_t value) { return value < 0 ? text("") : whole(value); }
  Record& real(double value) { return text(io::format_double(value)); }
  Record& seconds(core::Duration value) { return text(exact_seconds(value)); }
  Record& instant(core::Time value) { return value.ps < 0 ? text("") : seconds({value.ps}); }
  // The difference of two instants; empty unless both happened.
  Record& between(core::Time from, core::Time to) {
    return from.ps < 0 || to.ps < 0 ? text("") : seconds(to - from);
  }
  void end(const Sink& sink) {
    line_ += '\n';
    sink(line_);
    line_.clear();
  }

 private:
  std::string line_;
};

// Time per output token after the first, rounded to the nearest picosecond.
void append_tpot(Record& record, const RequestRow& row) {
  const std::int64_t gaps = row.generated_tokens - 1;
  if (row.finished.ps < 0 || row.first_token.ps < 0 || gaps < 1) {
    record.text("");
    return;
  }
  const core::Duration span = row.finished - row.first_token;
  record.seconds({(span.ps + gaps / 2) / gaps});
}

}  // namespace

void write_requests_csv(const Results& results, const Sink& sink) {
  sink(
      "id,status,reason,warmup,session,replica,dp_rank,input_tokens,output_tokens,generated_tokens,"
      "preemptions,"
      "arrival_s,scheduled_s,first_token_s,finished_s,queueing_s,ttft_s,tpot_s,e2e_s\n");
  Record record;
  for (const RequestRow& row : results.requests) {
    record.whole(row.id).text(serving::to_string(row.status)).text(row.reason).whole(row.warmup ? 1 : 0);
    record.identifier(row.session).identifier(row.replica).identifier(row.dp_rank);
    record.whole(row.input_tokens)
        .whole(row.output_tokens)
        .whole(row.generated_tokens)
        .whole(row.preemptions);
    record.instant(row.arrival).instant(row.scheduled).instant(row.first_token).instant(row.finished);
    record.between(row.arrival, row.scheduled).between(row.arrival, row.first_token);
    append_tpot(record, row);
    record.between(row.arrival, row.finished).end(sink);
  }
}

void write_timeseries_csv(const Results& results, const Sink& sink) {
  sink(
      "begin_s,end_s,arrivals,finished,prefill_tokens,decode_tokens,steps,preemptions,mean_running,mean_"
      "waiting,"
      "mean_kv_bytes,busy_fraction,mean_kv_waste_bytes,admission_stops\n");
  Record record;
  for (const serving::TimeseriesRow& row : results.timeseries) {
    record.instant(row.begin).instant(row.end).whole(row.arrivals).whole(row.finished);
    record.whole(row.prefill_tokens).whole(row.decode_tokens).whole(row.steps).whole(row.preemptions);
    record.real(row.mean_running)
        .real(row.mean_waiting)
        .real(row.mean_kv_bytes)
        .real(row.busy_fraction)
        .real(row.mean_kv_waste_bytes)
        .whole(row.admission_stops)
        .end(sink);
  }
}

void write_memory_csv(const Results& results, const Sink& sink) {
  sink("begin_s,end_s,pool,category,mean_bytes,mean_waste_bytes,worst_bytes,worst_waste_bytes\n");
  Record record;
  for (const serving::MemoryBin& bin : results.memory_series) {
    const serving::MemoryBudget& budget = results.memory[bin.pool];
    for (const serving::MemoryPart& part : serving::memory_stack(budget, bin.kv, {})) {
      record.instant(bin.begin).instant(bin.end).text(budget.pool).text(part.category);
      record.real(part.bytes.mean_bytes)
          .real(part.bytes.mean_waste_bytes)
          .whole(part.bytes.worst_bytes)
          .whole(part.bytes.worst_waste_bytes)
          .end(sink);
    }
  }
}

void write_experts_csv(const Results& results, const Sink& sink) {
  sink("layer,expert,tokens\n");
  Record record;
  for (const serving::ExpertRow& row : results.experts) {
    record.whole(row.layer).whole(row.expert).whole(row.tokens).end(sink);
  }
}

std::string run_info_json(const RunInfo& info) {
  using config::Node;
  Node node = Node::object();
  const auto put = [&](std::string_view key, std::string_view value) { node.set(key, Node::of(value)); };
  put("schema", "run-info/1");
  put("tool_version", info.tool_version);
  put("git_commit", info.git_commit);
  put("compiler", info.compiler);
  put("host", info.host);
  put("started", info.started);
  node.set("wall_s", Node::of(info.wall_s));
  node.set("cpu_s", Node::of(info.cpu_s));
  const auto list = [](const std::vector<std::string>& values) {
    Node all = Node::array();
    for (const std::string& value : values) all.items.push_back(Node::of(std::string_view(value)));
    return all;
  };
  node.set("arguments", list(info.arguments));
  put("working_folder", info.working_folder);
  put("scenario_path", info.scenario_path);
  put("output_folder", info.output_folder);
  node.set("files", list(info.files));
  return config::to_json(node) + "\n";
}

namespace {

constexpr std::array<std::string_view, 6> kFiles = {"requests.csv", "timeseries.csv", "memory.csv",
                                                    "experts.csv",  "run_info.json",  "results.json"};

void make_folder(const std::filesystem::path& folder) {
  std::error_code error;
  std::filesystem::create_directories(folder, error);
  if (error) throw io::IoError(folder.string(), 0, "cannot make the folder: " + error.message());
}

}  // namespace

std::span<const std::string_view> result_file_names() { return kFiles; }

std::vector<std::filesystem::path> prepare_result_folder(const std::filesystem::path& folder) {
  std::vector<std::filesystem::path> made;
  std::error_code ignored;
  for (std::filesystem::path path = folder.lexically_normal();
       !path.empty() && path != path.root_path() && !std::filesystem::exists(path, ignored);
       path = path.parent_path()) {
    made.push_back(path);
  }
  try {
    make_folder(folder);
    for (const std::string_view name : kFiles) static_cast<void>(io::AtomicFile(folder / name));
  } catch (...) {
    for (const std::filesystem::path& path : made) std::filesystem::remove(path, ignored);
    throw;
  }
  return made;
}

std::vector<WrittenFile> write_result_files(const std::filesystem::path& folder, const RunReport& report,
                                            const RunInfo& info) {
  make_folder(folder);
  std::vector<std::pair<std::string, io::AtomicFile>> files;
  for (const std::string_view name : kFiles) files.emplace_back(name, io::AtomicFile(folder / name));
  const auto sink = [&](std::size_t index) {
    return [&file = files[index].second](std::string_view bytes) { file.write(bytes); };
  };
  write_requests_csv(report.results, sink(0));
  write_timeseries_csv(report.results, sink(1));
  write_memory_csv(report.results, sink(2));
  write_experts_csv(report.results, sink(3));
  files[4].second.write(run_info_json(info));
  files[5].second.write(config::to_json(results_node(report)) + "\n");
  for (auto& [name, file] : files) file.commit();

  std::vector<WrittenFile> written;
  for (const char* name : {"results.json", "requests.csv", "timeseries.csv", "memory.csv", "experts.csv"}) {
    written.push_back({name, io::sha256_hex_of_file(folder / name)});
  }
  return written;
}

}  // namespace moesim::reports
