#include "sim/studies/kernel_bench.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>

#include "models/reference/peak.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/studies/kernel_bench_cases.hpp"

namespace moesim::studies {

using config::Node;

namespace {

constexpr std::int64_t kPeakSteps = 400'000;

double bench_seconds(bool by_clock) {
  timespec time{};
  clock_gettime(by_clock ? CLOCK_MONOTONIC : CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

double bench_median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Runs the limit on all threads and returns its work for each second.
double limit_rate(const KernelCase& kernel, const PreparedKernel& prepared, std::int64_t round,
                  reference::Workers& workers, reference::Isa isa, reference::ReadAhead ahead) {
  const int threads = workers.threads();
  std::vector<double> work(static_cast<std::size_t>(threads));
  const double began = bench_seconds(threads > 1);
  workers.run(threads, [&](int /*worker*/, std::int64_t part) {
    const auto index = static_cast<std::size_t>(part);
    if (!prepared.pass) {
      work[index] = reference::run_peak(kPeakSteps, kernel.bf16, isa);
      return;
    }
    const std::span<const std::byte> all = prepared.pass(round);
    const std::size_t size = all.size() / work.size();
    volatile std::uint64_t sink = reference::run_read_pass(all.subspan(index * size, size), isa, ahead);
    (void)sink;
    work[index] = static_cast<double>(size);
  });
  const double seconds = bench_seconds(threads > 1) - began;
  double sum = 0.0;
  for (const double part : work) sum += part;
  return sum / seconds;
}

double run_seconds(const PreparedKernel& prepared, std::int64_t round, const reference::FastOptions& options,
                   bool by_clock) {
  const double began = bench_seconds(by_clock);
  prepared.run(round, options);
  return bench_seconds(by_clock) - began;
}

KernelBenchRow bench_kernel(const KernelCase& kernel, const KernelBenchOptions& options,
                            reference::Workers& workers) {
  const PreparedKernel prepared = kernel.prepare();
  const bool several = options.threads > 1;
  const reference::Isa isa = options.portable ? reference::Isa::portable : reference::Isa::automatic;
  std::vector<double> limits, times, shares, gains;
  // A first round warms up and is left out.
  for (int round = 0; round <= options.rounds; ++round) {
    // Inputs that the last run has not touched, so that neither finds them in a cache.
    const double limit =
        limit_rate(kernel, prepared, 4 * round, workers, isa, reference::ReadAhead::non_temporal);
    const double other = prepared.pass ? limit_rate(kernel, prepared, 4 * round + 1, workers, isa,
                                                    reference::ReadAhead::second_level)
                                       : limit;
    const double time = run_seconds(prepared, 4 * round + 2, {isa, &workers}, several);
    const double alone = several ? run_seconds(prepared, 4 * round + 3, {isa, nullptr}, true) : time;
    if (round == 0) continue;
    limits.push_back(std::max(limit, other));
    times.push_back(time);
    shares.push_back(prepared.work / time / limits.back());
    gains.push_back(alone / time);
  }
  KernelBenchRow row;
  row.kernel = kernel.name;
  row.shape = prepared.shape;
  row.is_bandwidth = static_cast<bool>(prepared.pass);
  row.seconds = bench_median(times);
  row.work = prepared.work;
  row.limit = bench_median(limits);
  row.share = bench_median(shares);
  row.least_share = *std::min_element(shares.begin(), shares.end());
  row.most_share = *std::max_element(shares.begin(), shares.end());
  row.gate = kernel.gate;
  row.goal = kernel.goal;
  row.speedup = several ? bench_median(gains) : 0.0;
  row.isa = std::string(reference::name_of(reference::resolved(isa, kernel.bf16)));
  return row;
}

bool bench_wanted(const KernelBenchOptions& options, const std::string& name) {
  return options.kernels.empty() ||
         std::any_of(options.kernels.begin(), options.kernels.end(),
                     [&](const std::string& prefix) { return name.compare(0, prefix.size(), prefix) == 0; });
}

std::string bench_unit(const KernelBenchRow& row) { return row.is_bandwidth ? "byte/s" : "FLOP/s"; }

std::string bench_rate(const KernelBenchRow& row, double rate) {
  return fmt::format("{:.1f} {}", rate * 1e-9, row.is_bandwidth ? "GB/s" : "GFLOP/s");
}

}  // namespace

std::string_view KernelBenchRow::verdict() const {
  if (isa == "portable") return "";
  return share >= goal ? "goal" : share >= gate ? "gate" : "missed";
}

std::vector<std::string> kernel_bench_names() {
  std::vector<std::string> names;
  for (const KernelCase& kernel : kernel_cases()) names.push_back(kernel.name);
  return names;
}

KernelBench bench_kernels(const KernelBenchOptions& options) {
  const std::vector<std::string> names = kernel_bench_names();
  for (const std::string& prefix : options.kernels) {
    if (std::none_of(names.begin(), names.end(),
                     [&](const std::string& name) { return name.compare(0, prefix.size(), prefix) == 0; }))
      throw config::InputError("unknown_name", fmt::format("there is no kernel \"{}\"", prefix),
                               config::nearest(prefix, names));
  }
  KernelBench bench;
  bench.threads = options.threads;
  reference::Workers workers(options.threads);
  for (const KernelCase& kernel : kernel_cases()) {
    if (bench_wanted(options, kernel.name)) bench.rows.push_back(bench_kernel(kernel, options, workers));
  }
  return bench;
}

std::string kernel_bench_text(const KernelBench& bench, const reports::Style& style) {
  std::vector<reports::Table::Column> columns = {
      {"kernel", false, 0}, {"time", true, 0}, {"rate", true, 0}, {"limit", true, 0},
      {"share", true, 0},   {"gate", true, 1}, {"goal", true, 1}, {"reached", false, 0}};
  if (bench.threads > 1) columns.push_back({"speed-up", true, 0});
  columns.insert(columns.end(), {{"path", false, 2}, {"shape", false, 3}});
  reports::Table table(std::move(columns));
  for (const KernelBenchRow& row : bench.rows) {
    std::vector<std::string> cells = {row.kernel,
                                      reports::human_seconds(row.seconds),
                                      bench_rate(row, row.rate()),
                                      bench_rate(row, row.limit),
                                      reports::percent(row.share),
                                      reports::percent(row.gate),
                                      reports::percent(row.goal),
                                      std::string(row.verdict())};
    if (bench.threads > 1) cells.push_back(fmt::format("{:.2f}", row.speedup));
    cells.insert(cells.end(), {row.isa, row.shape});
    table.add(std::move(cells));
  }
  return table.text(style) +
         fmt::format(
             "\n{} thread{}, timed by {}.\nThe limit is measured in the same run: multiply-accumulates on "
             "registers, "
             "or a pass that only reads.\nThe share is the median of the rounds; gates are those of a Zen 4 "
             "core.\n",
             bench.threads, bench.threads == 1 ? "" : "s",
             bench.threads == 1 ? "the processor time of the thread" : "the clock on the wall");
}

Node kernel_bench_json(const KernelBench& bench) {
  Node rows = Node::array();
  for (const KernelBenchRow& row : bench.rows) {
    Node one = Node::object();
    one.set("kernel", Node::of(std::string_view(row.kernel)));
    one.set("shape", Node::of(std::string_view(row.shape)));
    one.set("time_s", Node::of(row.seconds));
    one.set("rate", Node::of(row.rate()));
    one.set("unit", Node::of(std::string_view(bench_unit(row))));
    one.set("limit", Node::of(row.limit));
    one.set("limited_by", Node::of(std::string_view(row.is_bandwidth ? "read_pass" : "peak")));
    one.set("fraction", Node::of(row.share));
    one.set("least_fraction", Node::of(row.least_share));
    one.set("most_fraction", Node::of(row.most_share));
    one.set("gate", Node::of(row.gate));
    one.set("goal", Node::of(row.goal));
    one.set("verdict", Node::of(row.verdict()));
    one.set("speedup", row.speedup > 0.0 ? Node::of(row.speedup) : Node{});
    one.set("isa", Node::of(std::string_view(row.isa)));
    rows.items.push_back(std::move(one));
  }
  Node document = Node::object();
  document.set("threads", Node::of(static_cast<std::int64_t>(bench.threads)));
  document.set("kernels", std::move(rows));
  return document;
}

std::string kernel_bench_csv(const KernelBench& bench) {
  reports::Table table({{"kernel", false, 0},
                        {"threads", true, 0},
                        {"time_s", true, 0},
                        {"rate", true, 0},
                        {"unit", false, 0},
                        {"limit", true, 0},
                        {"fraction", true, 0},
                        {"speedup", true, 0},
                        {"isa", false, 0},
                        {"shape", false, 0}});
  for (const KernelBenchRow& row : bench.rows) {
    table.add({row.kernel, fmt::format("{}", bench.threads), fmt::format("{}", row.seconds),
               fmt::format("{}", row.rate()), bench_unit(row), fmt::format("{}", row.limit),
               fmt::format("{}", row.share), row.speedup > 0.0 ? fmt::format("{}", row.speedup) : "", row.isa,
               row.shape});
  }
  return table.csv();
}

}  // namespace moesim::studies
