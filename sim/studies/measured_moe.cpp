#include "sim/studies/measured_moe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <map>
#include <mutex>
#include <numeric>
#include <string>
#include <string_view>
#include <tuple>

#include "models/cost/moe_time.hpp"
#include "sim/core/check.hpp"
#include "sim/core/math.hpp"
#include "sim/core/random.hpp"
#include "sim/studies/measured_rows.hpp"

namespace moesim::studies {

namespace math = core::math;

namespace {

// Of the draws of routing; nothing else uses this seed.
constexpr std::uint64_t kRoutingSeed = 0x6d6f65;
constexpr std::uint32_t kRoutingStream = 1;

std::vector<std::int64_t> round_robin_rows(const ExpertBenchmark& b) {
  std::vector<std::int64_t> rows(static_cast<std::size_t>(b.experts), 0);
  const std::int64_t stride = (b.experts + b.top_k - 1) / b.top_k;
  const auto count = [&](std::int64_t expert) { ++rows[static_cast<std::size_t>(expert % b.experts)]; };
  for (std::int64_t choice = 0; choice < b.top_k; ++choice) {
    if (b.tokens < stride) {
      for (std::int64_t t = 0; t < b.tokens; ++t) count(t * stride / b.tokens + choice * stride);
      continue;
    }
    for (std::int64_t& one : rows) one += b.tokens / b.experts;
    for (std::int64_t t = 0; t < b.tokens % b.experts; ++t) count(t + choice * stride);
  }
  rows.resize(static_cast<std::size_t>(b.experts / b.ranks));  // rank 0 is the most loaded one
  return rows;
}

// Weights of the experts, normalised to `total`.
std::vector<double> power_law(const ExpertBenchmark& b, std::int64_t total, core::Draws& draws) {
  const bool many = total > b.experts;
  const double low = many ? 1.0 : 0.01;
  const double high = std::max(many ? 0.8 * static_cast<double>(b.tokens) : 2.0, low);
  const double power = 1 - b.alpha;
  std::vector<double> weights(static_cast<std::size_t>(b.experts));
  double sum = 0;
  for (double& weight : weights) {
    const double u = draws.uniform();
    if (std::abs(power) < 1e-9) {
      weight = low * math::exp(u * math::log(high / low));
    } else {
      const double from = math::pow(low, power), to = math::pow(high, power);
      weight = math::pow(from + (to - from) * u, 1 / power);
    }
    sum += weight;
  }
  for (double& weight : weights) weight *= static_cast<double>(total) / sum;
  return weights;
}

// Every routing has draws of its own: with common ones, all would share the accidents of a few. How the
// experts are split over ranks changes nothing about it.
std::uint64_t entity_of(const ExpertBenchmark& b, std::uint32_t draw) {
  std::uint64_t hash = 0xcbf29ce484222325U;  // FNV-1a over whole words
  for (const std::int64_t word :
       {b.tokens, b.top_k, b.experts, static_cast<std::int64_t>(std::floor(b.alpha * 1e6 + 0.5)),
        static_cast<std::int64_t>(draw)}) {
    hash = (hash ^ static_cast<std::uint64_t>(word)) * 0x100000001b3U;
  }
  return hash;
}

// Adds `left` rows (takes them away if negative), one to an expert in turn; none ends with more than `most`
// or fewer than 0. There is always an expert that can take or give one: top_k is at most the number of
// experts.
void deal_out(std::int64_t left, std::int64_t most, std::vector<std::int64_t>& rows) {
  const std::int64_t sign = left < 0 ? -1 : 1;
  left = std::abs(left);
  const auto room = [&](std::int64_t row) { return sign > 0 ? most - row : row; };
  const auto dealt = [&](std::int64_t turns) {
    std::int64_t sum = 0;
    for (const std::int64_t row : rows) sum += std::min(room(row), turns);
    return sum;
  };
  // Whole turns round all experts at once, then what is left of the last one.
  std::int64_t turns = 0, beyond = most + 1;
  while (beyond - turns > 1) {
    const std::int64_t middle = turns + (beyond - turns) / 2;
    (dealt(middle) <= left ? turns : beyond) = middle;
  }
  left -= dealt(turns);
  for (std::int64_t& row : rows) {
    const std::int64_t more = left > 0 && room(row) > turns ? 1 : 0;
    row += sign * (std::min(room(row), turns) + more);
    left -= more;
  }
  core::check(left == 0, "rows of experts that no expert can take");
}

std::vector<std::int64_t> power_law_rows(const ExpertBenchmark& b, std::uint32_t draw) {
  const std::int64_t total = b.tokens * b.top_k;
  core::Draws draws(kRoutingSeed, kRoutingStream, entity_of(b, draw));
  const std::vector<double> weights = power_law(b, total, draws);
  std::vector<std::int64_t> rows(weights.size());
  for (std::size_t e = 0; e < rows.size(); ++e) {
    rows[e] = std::min(static_cast<std::int64_t>(std::floor(weights[e] + 0.5)), b.tokens);
  }
  deal_out(total - std::accumulate(rows.begin(), rows.end(), std::int64_t{0}), b.tokens, rows);
  // Their order is random: else the first ones would get what rounding left over.
  for (std::size_t e = rows.size() - 1; e > 0; --e) {
    std::swap(rows[e],
              rows[static_cast<std::size_t>(core::draw_integer(draws, 0, static_cast<std::int64_t>(e)))]);
  }
  const auto local = static_cast<std::size_t>(b.experts / b.ranks);
  std::size_t busiest = 0;
  std::int64_t most = -1;
  for (std::size_t first = 0; first + local <= rows.size(); first += local) {
    const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(first);
    const std::int64_t sum =
        std::accumulate(begin, begin + static_cast<std::ptrdiff_t>(local), std::int64_t{0});
    if (sum > most) {
      most = sum;
      busiest = first;
    }
  }
  const auto begin = rows.begin() + static_cast<std::ptrdiff_t>(busiest);
  return {begin, begin + static_cast<std::ptrdiff_t>(local)};
}

}  // namespace

std::vector<std::int64_t> benchmark_rows(const ExpertBenchmark& benchmark, std::uint32_t draw) {
  return benchmark.alpha > 0 ? power_law_rows(benchmark, draw) : round_robin_rows(benchmark);
}

cost::ExpertLoad benchmark_load(const ExpertBenchmark& b) {
  using Key = std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, double>;
  static std::mutex mutex;
  static std::map<Key, cost::ExpertLoad> known;
  const Key key{b.tokens, b.top_k, b.experts, b.ranks, b.alpha};
  const std::lock_guard<std::mutex> lock(mutex);
  const auto found = known.find(key);
  if (found != known.end()) return found->second;
  std::vector<cost::ExpertLoad> loads;
  for (std::uint32_t draw = 0; draw < (b.alpha > 0 ? kRoutingDraws : 1); ++draw) {
    loads.push_back(cost::load_of(benchmark_rows(b, draw)));
  }
  return known.emplace(key, cost::mean_load(loads)).first->second;
}

namespace {

struct ExpertFormat {
  std::string_view dtype;
  std::string_view variant;
  llm::LinearFormats formats;
};

using NF = llm::NumberFormat;
constexpr std::array<ExpertFormat, 7> kExpertFormats = {{
    {"bfloat16", "bf16", {NF::bf16, NF::bf16}},
    {"fp8", "fp8", {NF::fp8, NF::fp8}},
    {"fp8_block", "fp8_block", {NF::fp8_block, NF::fp8_block}},
    {"nvfp4", "nvfp4", {NF::nvfp4, NF::nvfp4}},
    {"int4_wo", "int4_wo", {NF::int4, NF::bf16}},
    {"w4a16_mxfp4", "w4a16_mxfp4", {NF::mxfp4, NF::bf16}},
    // mxfp8 rows have one 8-bit scale for 32 elements: as many bytes as fp8_block's.
    {"w4a8_mxfp4_mxfp8", "w4a8_mxfp4_mxfp8", {NF::mxfp4, NF::fp8_block}},
}};

const ExpertFormat& expert_format(const MeasuredRecord& record) {
  const std::string_view dtype = record.text("dtype");
  for (const ExpertFormat& format : kExpertFormats) {
    if (format.dtype == dtype) return format;
  }
  std::string known;
  for (const ExpertFormat& format : kExpertFormats) known += fmt::format(" {}", format.dtype);
  record.fail("dtype", fmt::format("no kernel of experts has the format \"{}\"", dtype), "one of" + known);
}

// Code paths that are not the library's usual one: part of the kernel's name, and how the variant is called.
// Kernels for experts without a gate share all but their start-up with the gated ones.
struct CodePath {
  std::string_view part;
  std::string_view name;
};
constexpr std::array<CodePath, 7> kCodePaths = {{
    {"tllm_min_latency", "min_latency"},
    {"tllm_triton", "triton"},
    {"flashinfer_cutlass", "cutlass"},
    {"trtllm", "trtllm"},
    {"vllm_flashinfer", "flashinfer"},
    {"marlin", "marlin"},
    {"situ_as_silu", "situ"},
}};

std::string_view code_path(std::string_view kernel, const llm::LinearFormats& formats) {
  for (const CodePath& path : kCodePaths) {
    if (kernel.find(path.part) != std::string_view::npos) return path.name;
  }
  // TensorRT-LLM has no other kernels for MXFP4 weights under this label than those of the short path.
  if (kernel == "tllm" && formats.weights == NF::mxfp4) return "min_latency";
  return "";
}

// Kernels whose flag of a slow tactic says nothing but that they reach under 22 % of the DRAM bandwidth,
// since it is all or most of their rows that do. On B200 the flagged rows are a usual, slower code path.
bool always_slow(std::string_view kernel) {
  return kernel == "sglang_flashinfer_cutlass_moe" || kernel == "sgl_triton_situ_as_silu";
}
bool has_slow_path(std::string_view system) { return system == "b200_sxm"; }

std::string moe_row_variant(const ExpertFormat& format, std::string_view kernel, bool slow) {
  std::string variant(format.variant);
  const std::string_view path = code_path(kernel, format.formats);
  if (!path.empty()) variant += fmt::format("/{}", path);
  if (slow) variant += path.empty() ? "/slow" : "_slow";
  return variant;
}

}  // namespace

void read_moe_row(const MeasuredRecord& record, MeasuredRow& row) {
  const ExpertFormat& format = expert_format(record);
  ExpertBenchmark benchmark;
  benchmark.tokens = record.count("tokens", 1);
  benchmark.top_k = record.count("topk", 1);
  benchmark.experts = record.count("experts", 1);
  benchmark.ranks = record.count("ep", 1);
  benchmark.alpha = record.number("alpha");
  const std::int64_t hidden = record.count("hidden", 1);
  const std::int64_t inter = record.count("inter", 1);
  const std::int64_t tensor_ranks = record.count("tp", 1);
  // Keeps every product below 2^53, and the draws within memory.
  constexpr std::int64_t kMost = std::int64_t{1} << 24;
  if (benchmark.experts > 65536) record.fail("experts", "a layer has at most 65536 experts");
  if (benchmark.tokens > kMost) record.fail("tokens", "at most 2^24 tokens");
  if (hidden > kMost || inter > kMost) record.fail("hidden", "hidden and inter are at most 2^24");
  if (benchmark.top_k > benchmark.experts)
    record.fail("topk", "a token has at most as many experts as exist");
  if (benchmark.experts % benchmark.ranks != 0) record.fail("ep", "experts are split evenly over the ranks");
  if (benchmark.alpha < 0 || benchmark.alpha > 100) record.fail("alpha", "alpha lies between 0 and 100");
  cost::MoeShape shape;
  shape.tokens = benchmark.tokens;
  shape.hidden = hidden;
  shape.width = (inter + tensor_ranks - 1) / tensor_ranks;
  shape.top_k = benchmark.top_k;
  shape.experts = benchmark.experts;
  shape.local_experts = benchmark.experts / benchmark.ranks;
  const std::string_view kernel = record.text_or("kernel", "");
  shape.gated = kernel.find("nongated") == std::string_view::npos;
  shape.formats = format.formats;
  shape.draws = {benchmark_load(benchmark)};
  row.family = &cost::moe_family();
  row.shape = std::move(shape);
  row.group = fmt::format("{}x{} top {} of {}", hidden, inter, benchmark.top_k, benchmark.experts);
  const bool slow = record.count_or("slow_tactic", 0) != 0 && !always_slow(kernel);
  const bool slow_path = slow && has_slow_path(record.text_or("system", ""));
  row.variant = moe_row_variant(format, kernel, slow_path);
  row.apart = slow && !slow_path;
}

}  // namespace moesim::studies
