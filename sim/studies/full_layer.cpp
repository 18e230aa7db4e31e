#include "sim/studies/full_layer.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <mutex>
#include <numeric>

#include "models/llm/architecture.hpp"
#include "models/llm/operator.hpp"
#include "models/reference/block_formats.hpp"
#include "models/reference/bounds_experts.hpp"
#include "models/reference/moe_layer.hpp"
#include "models/reference/router.hpp"
#include "models/routing/gate/families.hpp"
#include "models/routing/replay.hpp"
#include "reports/numerics.hpp"
#include "sim/core/math.hpp"
#include "sim/execution/operator_names.hpp"
#include "sim/io/sha256.hpp"
#include "sim/studies/numerics_counts.hpp"
#include "sim/studies/numerics_experts.hpp"
#include "sim/studies/run.hpp"

namespace moesim::studies {

using reference::Bf16;
using reference::CountingProbe;
using reference::Counts;
using reference::Fp8Matrix;
using reference::Operand;

namespace {

constexpr std::int64_t kCheckedEvery = 16;
constexpr std::uint64_t kFirstExpert = 100;  // entities of drawn weights

// Codes as an operand; their scales are counted.
auto fp8_rows(const Fp8Matrix& matrix, CountingProbe& probe) {
  const auto decode = [&matrix, &probe](std::int64_t row, std::int64_t first, std::int64_t n, float* out) {
    const std::uint8_t* codes = matrix.codes.data() + row * matrix.columns + first;
    for (std::int64_t i = 0; i < n;) {
      // Up to the end of the block.
      const std::int64_t block = (first + i) / matrix.block_columns;
      const std::int64_t end = std::min(n, (block + 1) * matrix.block_columns - first);
      probe.touch(Operand::weights, reference::detail::kTensorScaleB,
                  row / matrix.block_rows * matrix.blocks_across() + block, 1, 32);
      const float scale = matrix.scale(row, first + i);
      for (; i < end; ++i) out[i] = reference::kE4m3fn.decode(codes[i]) * scale;
    }
  };
  return reference::DecodedRows<decltype(decode)>{matrix.rows, matrix.columns, 8, decode};
}

// One expert: drawn, quantised.
struct FullExpert {
  Fp8Matrix gate_up, down;

  FullExpert(std::uint64_t seed, std::uint64_t entity, std::int64_t hidden, std::int64_t width) {
    NumericsDraws draws(seed, entity);
    const auto scale = [](std::int64_t inputs) {
      return core::math::sqrt(3.0 / static_cast<double>(inputs));
    };
    gate_up =
        reference::quantize_fp8_weights(draws.floats(2 * width * hidden, scale(hidden)), 2 * width, hidden);
    down = reference::quantize_fp8_weights(draws.floats(hidden * width, scale(width)), hidden, width);
  }
};

struct FullExpertResult {
  std::vector<Bf16> rows;
  Counts gate_up, activation, down;
  double share = 0.0;  // of the bound, where a row was held against it
};

// `rows` [n, hidden] through one expert, as moe_layer() does it.
FullExpertResult run_expert(const FullExpert& expert, std::span<const Bf16> rows, std::int64_t hidden,
                            std::int64_t width) {
  const std::int64_t n = std::ssize(rows) / hidden;
  const reference::ExpertActivation activation;
  std::vector<Bf16> h(static_cast<std::size_t>(n * 2 * width)), a(static_cast<std::size_t>(n * width));
  FullExpertResult result;
  result.rows.resize(rows.size());
  CountingProbe up, activated, down;
  reference::gemm_rows(reference::MatrixRows<Bf16>{reference::matrix(rows, n, hidden)},
                       fp8_rows(expert.gate_up, up), std::span<const Bf16>{}, std::span(h), up);
  reference::activate_rows(std::span<const Bf16>(h), width, activation, reference::GateUpLayout::halves,
                           std::span(a), activated);
  reference::gemm_rows(reference::MatrixRows<Bf16>{reference::matrix(std::span<const Bf16>(a), n, width)},
                       fp8_rows(expert.down, down), std::span<const Bf16>{}, std::span(result.rows), down);
  result.gate_up = up.result();
  result.activation = activated.result();
  result.down = down.result();
  return result;
}

// The largest error of the first row as a share of its bound.
double first_row_share(const FullExpert& expert, std::span<const Bf16> rows, std::span<const Bf16> got,
                       std::int64_t hidden, std::int64_t width) {
  std::vector<reference::Bounded> x;
  for (std::int64_t i = 0; i < hidden; ++i)
    x.push_back({static_cast<double>(reference::to_float(rows[static_cast<std::size_t>(i)])), 0.0});
  const float* none = nullptr;
  const std::vector<float> gate_up = reference::dequantize(expert.gate_up);
  const auto h = reference::detail::bounded_row_product<Bf16, Bf16>(x, gate_up.data(), none, 2 * width, 0);
  std::vector<reference::Bounded> a;
  for (std::int64_t i = 0; i < width; ++i) {
    a.push_back(reference::stored<Bf16>(reference::bounded_activation(
        {}, h[static_cast<std::size_t>(i)], h[static_cast<std::size_t>(width + i)])));
  }
  const std::vector<float> down = reference::dequantize(expert.down);
  const auto y = reference::detail::bounded_row_product<Bf16, Bf16>(a, down.data(), none, hidden, 0);
  return worst_share(got.first(static_cast<std::size_t>(hidden)), y);
}

class FullLayerRun {
 public:
  explicit FullLayerRun(const FullLayerRequest& request) : moe_(request.moe), hidden_(request.hidden) {
    layer_.request = request;
    layer_.check.name = "moe";
    layer_.check.form = fmt::format("{} of {} experts of {} x {}, {} tokens, FP8 128 x 128", moe_.top_k,
                                    moe_.experts, hidden_, moe_.expert_width, request.tokens);
    layer_.check.layout = "tp 1, dp 1, ep 1";
    layer_.check.formats = "weights fp8_block, activations bf16";
  }

  FullLayer run() {
    route();
    experts();
    finish();
    return std::move(layer_);
  }

 private:
  [[nodiscard]] gate::GateSpec router() const {
    const gate::Family* family = gate::find_family(layer_.request.model);
    if (family != nullptr && family->experts == moe_.experts && family->spec.top_k == moe_.top_k)
      return family->spec;
    gate::GateSpec spec;
    spec.top_k = moe_.top_k;
    spec.renormalise = gate::Renormalise::sum;
    if (moe_.router_score_bias) {
      spec.score = gate::Score::sigmoid;
      spec.bias = gate::Bias::choice;
    }
    return spec;
  }

  void route() {
    const std::int64_t tokens = layer_.request.tokens;
    NumericsDraws draws(layer_.request.seed, 0);
    x_ = draws.values(tokens * hidden_, 2.0);
    const auto weights =
        draws.values(moe_.experts * hidden_, core::math::sqrt(3.0 / static_cast<double>(hidden_)));
    const gate::GateSpec spec = router();
    const std::vector<float> bias = draws.floats(spec.bias == gate::Bias::none ? 0 : moe_.experts, 0.02);
    std::vector<float> logits(static_cast<std::size_t>(tokens * moe_.experts));
    CountingProbe counted, ignored;
    reference::router_logits(input(),
                             reference::matrix(std::span<const Bf16>(weights), moe_.experts, hidden_),
                             std::span(logits), counted);
    count(llm::Router{tokens, moe_.experts, hidden_}, counted.result());
    choice_ = reference::choose_experts(spec, logits, tokens, moe_.experts, bias, ignored);
    permutation_ = gate::permute(choice_.experts, moe_.experts);
    // The choices as a routing trace, and the tokens of a step from it, as a run replays them.
    const std::vector<std::uint16_t> trace(choice_.experts.begin(), choice_.experts.end());
    routing::ReplayLayer replay(moe_.experts, moe_.top_k);
    replay.add_record(trace);
    layer_.simulator_rows.resize(static_cast<std::size_t>(moe_.experts));
    replay.count_from(0, tokens, layer_.simulator_rows);
  }

  void experts() {
    rows_.resize(static_cast<std::size_t>(permutation_.rows() * hidden_));
    CountingProbe gathered;
    reference::gather_rows(input(), permutation_, moe_.top_k, {}, std::span(rows_), gathered);
    results_.resize(static_cast<std::size_t>(moe_.experts));
    std::mutex guard;
    std::int64_t done = 0;
    for_each_index(results_.size(), layer_.request.jobs, [&](std::size_t e) {
      const std::size_t first = static_cast<std::size_t>(permutation_.offsets[e] * hidden_);
      const std::size_t end = static_cast<std::size_t>(permutation_.offsets[e + 1] * hidden_);
      if (first != end) {
        const auto rows = std::span<const Bf16>(rows_).subspan(first, end - first);
        const FullExpert expert(layer_.request.seed, kFirstExpert + e, hidden_, moe_.expert_width);
        results_[e] = run_expert(expert, rows, hidden_, moe_.expert_width);
        if (static_cast<std::int64_t>(e) % kCheckedEvery == 0)
          results_[e].share = first_row_share(expert, rows, results_[e].rows, hidden_, moe_.expert_width);
      }
      const std::lock_guard<std::mutex> lock(guard);
      if (layer_.request.progress) layer_.request.progress(++done, moe_.experts);
    });
  }

  void finish() {
    Counts gate_up, activation, down;
    std::vector<Bf16> y;
    double share = 0.0;
    for (std::size_t e = 0; e < results_.size(); ++e) {
      FullExpertResult& one = results_[e];
      const std::int64_t rows = std::ssize(one.rows) / hidden_;
      layer_.kernel_rows.push_back(rows);
      layer_.distinct_experts += rows > 0 ? 1 : 0;
      layer_.checked_rows += rows > 0 && static_cast<std::int64_t>(e) % kCheckedEvery == 0 ? 1 : 0;
      share = std::max(share, one.share);
      gate_up = gate_up + one.gate_up;
      activation = activation + one.activation;
      down = down + one.down;
      y.insert(y.end(), one.rows.begin(), one.rows.end());
      one.rows.clear();
    }
    layer_.weight_bytes = gate_up.compulsory(Operand::weights) + down.compulsory(Operand::weights);
    operators(gate_up, activation, down);
    std::vector<Bf16> out = combined(y);
    if (moe_.shared_experts > 0) out = with_shared(out, share);
    std::string bytes;
    for (const Bf16 value : out) {
      bytes.push_back(static_cast<char>(value.bits & 0xFFU));
      bytes.push_back(static_cast<char>(value.bits >> 8U));
    }
    layer_.output_sha256 = io::sha256_hex(bytes);
    layer_.check.claims.push_back(
        {fmt::format("{} rows of experts within their bound of the f64 oracle", layer_.checked_rows),
         share <= 1.0, share});
    layer_.check.claims.push_back({"tokens per expert = those of the simulator's replay of the choices",
                                   layer_.kernel_rows == layer_.simulator_rows, std::nullopt});
    ledger_.write(layer_.check);
  }

  // The operators of a device that has all experts, with the rows that the simulator has for them.
  void operators(const Counts& gate_up, const Counts& activation, const Counts& down) {
    const std::int64_t width = moe_.expert_width;
    llm::GroupedGemm product;
    product.role = llm::GemmRole::expert_gate_up;
    product.experts = moe_.experts;
    product.columns = 2 * width;
    product.depth = hidden_;
    product.weights = llm::NumberFormat::fp8_block;
    product.rows_by_expert = layer_.simulator_rows;
    count(product, gate_up);
    llm::RoutedElementwise between{llm::RoutedRole::expert_activation,
                                   4 * width,
                                   2 * width,
                                   4 * width,
                                   width,
                                   0,
                                   0,
                                   layer_.simulator_rows};
    count(between, activation);
    product.role = llm::GemmRole::expert_down;
    product.columns = hidden_;
    product.depth = width;
    count(product, down);
  }

  void count(const llm::Operator& op, const Counts& counts) {
    ledger_.model(std::span(&op, 1));
    ledger_.kernel(execution::name_of(op), counts);
  }

  [[nodiscard]] std::vector<Bf16> combined(std::span<const Bf16> y) {
    std::vector<Bf16> out(x_.size());
    CountingProbe probe;
    reference::combine_rows(y, hidden_, permutation_, moe_.top_k, choice_.weights,
                            reference::CombineOrder::expert_ascending, reference::Accumulator::bf16,
                            std::span(out), probe);
    const std::int64_t row = hidden_ * llm::kStreamBytes;
    count(llm::RoutedElementwise{llm::RoutedRole::unpermute, row, 0, 2 * hidden_, 0, 0,
                                 layer_.request.tokens * row, layer_.simulator_rows},
          probe.result());
    return out;
  }

  // Shared experts are one more expert, which every token chooses.
  [[nodiscard]] std::vector<Bf16> with_shared(std::span<const Bf16> routed, double& share) {
    const std::int64_t width = moe_.total_shared_width();
    const FullExpert expert(layer_.request.seed, 1, hidden_, width);
    const FullExpertResult shared = run_expert(expert, x_, hidden_, width);
    share = std::max(share, first_row_share(expert, x_, shared.rows, hidden_, width));
    ++layer_.checked_rows;
    std::vector<Bf16> out;
    for (std::size_t i = 0; i < routed.size(); ++i)
      out.push_back(reference::to_bf16(reference::to_float(routed[i]) + reference::to_float(shared.rows[i])));
    return out;
  }

  [[nodiscard]] reference::MatrixView<Bf16> input() const {
    return reference::matrix(std::span<const Bf16>(x_), layer_.request.tokens, hidden_);
  }

  FullLayer layer_;
  llm::MoeFfn moe_;
  std::int64_t hidden_;
  CountLedger ledger_;
  gate::Choice choice_;
  gate::Permutation permutation_;
  std::vector<Bf16> x_, rows_;
  std::vector<FullExpertResult> results_;
};

}  // namespace

FullLayerRequest full_layer_request(const config::Catalogue& catalogue, const std::string& name) {
  const auto model = config::load_entry<llm::Architecture>(name, catalogue).value;
  FullLayerRequest request;
  request.model = name;
  request.hidden = model.hidden_size;
  for (const llm::LayerGroup& group : model.layers) {
    const auto* moe = std::get_if<llm::MoeFfn>(&group.ffn);
    if (moe && moe->gated && moe->latent_width == 0 && moe->selection == llm::ExpertSelection::learned)
      request.moe = *moe;
  }
  if (request.moe.experts == 0) {
    throw config::InputError("no_experts",
                             fmt::format("{} has no layer of gated experts that a router chooses", name));
  }
  return request;
}

FullLayer run_full_layer(const FullLayerRequest& request) { return FullLayerRun(request).run(); }

std::string full_layer_text(const FullLayer& layer, const reports::Style& style) {
  const auto most = std::max_element(layer.kernel_rows.begin(), layer.kernel_rows.end());
  std::string text = fmt::format(
      "{}: {}\n  {} of {} experts have rows, at most {}; {} of FP8 weights were made, one expert at a time\n",
      layer.request.model, layer.check.form, layer.distinct_experts, layer.request.moe.experts, *most,
      reports::human_bytes(static_cast<double>(layer.weight_bytes)));
  for (const serving::NumericsClaim& claim : layer.check.claims) {
    text += fmt::format("  {}  {}{}\n", claim.held ? "held  " : "FAILED", claim.name,
                        claim.bound_share
                            ? fmt::format(" ({} of it)", reports::bound_share_text(*claim.bound_share))
                            : std::string());
  }
  text += fmt::format("  result {}\n", layer.output_sha256);
  return text + reports::numerics_sentence({{layer.check}}, style) +
         reports::numerics_failures({{layer.check}});
}

config::Node full_layer_json(const FullLayer& layer) {
  using config::Node;
  const auto list = [](const std::vector<std::int64_t>& numbers) {
    Node node = Node::array();
    for (const std::int64_t n : numbers) node.items.push_back(Node::of(n));
    return node;
  };
  Node node = Node::object();
  node.set("model", Node::of(std::string_view(layer.request.model)));
  node.set("tokens", Node::of(layer.request.tokens));
  node.set("experts", Node::of(layer.request.moe.experts));
  node.set("distinct_experts", Node::of(layer.distinct_experts));
  node.set("weight_bytes", Node::of(layer.weight_bytes));
  node.set("rows_by_expert", list(layer.kernel_rows));
  node.set("rows_by_expert_simulator", list(layer.simulator_rows));
  node.set("output_sha256", Node::of(std::string_view(layer.output_sha256)));
  node.set("numerics", reports::numerics_node({{layer.check}}));
  return node;
}

}  // namespace moesim::studies
