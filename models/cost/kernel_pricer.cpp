#include "models/cost/kernel_pricer.hpp"

#include <algorithm>
#include <type_traits>

#include "models/cost/moe_time.hpp"
#include "sim/core/integers.hpp"
#include "sim/core/math.hpp"

namespace moesim::cost {

namespace {

std::optional<LibraryTime> of_family(const KernelLibrary& library, const KernelShape& shape) {
  const KernelFamily& family = family_of(shape);
  if (library.find(family) == nullptr) return std::nullopt;
  return library.time_of(family, shape, "", {true, true});
}

bool quantised(llm::NumberFormat activations) {
  return activations != llm::NumberFormat::bf16 && activations != llm::NumberFormat::fp16 &&
         activations != llm::NumberFormat::fp32;
}

std::optional<LibraryTime> time_of_op(const llm::Gemm& op, const KernelLibrary& library) {
  GemmShape shape;
  shape.batch = op.batch;
  shape.m = op.rows;
  shape.n = op.columns;
  shape.k = op.depth;
  shape.formats = {op.weights, op.activations};
  shape.quantises = quantised(op.activations);
  return of_family(library, shape);
}

std::optional<LibraryTime> time_of_op(const llm::Router& op, const KernelLibrary& library) {
  GemmShape shape;
  shape.m = op.tokens;
  shape.n = op.experts;
  shape.k = op.hidden;
  return of_family(library, shape);
}

// Keys that the queries of one sequence see, as a window: `pairs` of `queries` queries behind `prefix` keys.
// 0 where every query sees all before it.
std::int64_t window_of(double pairs, double queries, double prefix) {
  const double full = queries * prefix + queries * (queries + 1) / 2;
  if (pairs >= full * (1 - 1e-9)) return 0;
  // Every query sees a whole window.
  const double whole = pairs / queries;
  if (whole <= prefix + 1) return std::max<std::int64_t>(1, static_cast<std::int64_t>(whole + 0.5));
  // The first ones see less: the pairs are `full` less the triangle behind the window.
  const double cut = (core::math::sqrt(1 + 8 * (full - pairs)) - 1) / 2;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(prefix + queries - cut + 0.5));
}

std::optional<LibraryTime> time_of_op(const llm::Attention& op, const KernelLibrary& library) {
  if (op.sequences <= 0 || op.query_tokens <= 0) return std::nullopt;
  const bool absorbed =
      op.form == llm::AttentionForm::latent_absorbed || op.form == llm::AttentionForm::compressed;
  if (op.phase == llm::Phase::decode) {
    AttentionDecodeShape shape;
    shape.batch = op.sequences;
    shape.context = std::max<std::int64_t>(1, core::divide_up(op.kv_tokens, op.sequences));
    shape.query_heads = op.query_heads;
    shape.kv_heads = absorbed ? 1 : op.kv_heads;
    shape.qk_dim = op.qk_dim;
    shape.v_dim = op.v_dim;
    shape.compute = op.compute;
    shape.kv = op.kv;
    shape.latent = absorbed;
    return of_family(library, shape);
  }
  // Prompts in the latent space gather chosen keys: no measured kernel does only that.
  if (absorbed) return std::nullopt;
  AttentionPrefillShape shape;
  shape.batch = op.sequences;
  shape.queries = std::max<std::int64_t>(1, core::divide_up(op.query_tokens, op.sequences));
  const std::int64_t keys = core::divide_up(op.kv_tokens, op.sequences);
  shape.prefix = std::max<std::int64_t>(0, keys - shape.queries);
  shape.query_heads = op.query_heads;
  shape.kv_heads = op.kv_heads;
  shape.qk_dim = op.qk_dim;
  shape.v_dim = op.v_dim;
  shape.compute = op.compute;
  shape.kv = op.kv;
  shape.latent = op.form == llm::AttentionForm::latent_naive;
  shape.window = window_of(static_cast<double>(op.pairs) / static_cast<double>(op.sequences),
                           static_cast<double>(shape.queries), static_cast<double>(shape.prefix));
  return of_family(library, shape);
}

std::optional<LibraryTime> time_of_op(const llm::Recurrence& op, const KernelLibrary& library) {
  DeltaShape shape;
  shape.part = DeltaShape::Part::recurrence;
  shape.decode = op.phase == llm::Phase::decode;
  shape.batch = op.sequences;
  shape.queries =
      std::max<std::int64_t>(1, core::divide_up(op.tokens, std::max<std::int64_t>(1, op.sequences)));
  shape.key_heads = op.key_heads;
  shape.key_dim = op.key_dim;
  shape.value_heads = op.value_heads;
  shape.value_dim = op.value_dim;
  std::optional<LibraryTime> time = of_family(library, shape);
  // Measured on gated delta nets; other recurrences are relatives.
  if (time && op.recurrence != llm::RecurrentKind::gated_delta)
    time->label = std::max(time->label, config::Label::derived);
  return time;
}

std::optional<LibraryTime> time_of_op(const llm::Elementwise& op, const KernelLibrary& library) {
  StreamShape shape;
  // Norms take one reciprocal square root for each row.
  const bool by_row = op.role != llm::ElementwiseRole::activation &&
                      op.role != llm::ElementwiseRole::shared_activation && op.specials > 0 &&
                      op.specials * 16 <= op.elements;
  shape.rows = by_row ? op.specials : 1;
  shape.columns = std::max<std::int64_t>(1, op.elements / shape.rows);
  shape.read_bytes = op.read_bytes;
  shape.write_bytes = op.write_bytes + op.kv_write_bytes;
  return of_family(library, shape);
}

// The parameters of the MoE family for these formats, and how good a time from them is.
struct MoeSource {
  MoeParameters parameters;
  config::Label label = config::Label::assumed;
};
std::optional<MoeSource> moe_source(const KernelLibrary& library, const MoeShape& shape) {
  const FamilyFit* fit = library.find(moe_family());
  if (fit == nullptr || fit->parameters.variants().empty()) return std::nullopt;
  const std::string variant = moe_family().variant(shape);
  return MoeSource{moe_parameters(fit->parameters.of(variant)), library.label_of(moe_family(), variant)};
}

LibraryTime plain(double seconds, config::Label label) {
  LibraryTime out;
  out.time.total = out.time.memory = seconds;
  out.label = label;
  return out;
}

std::optional<LibraryTime> time_of_op(const llm::GroupedGemm& op, const KernelLibrary& library) {
  MoeShape layer;
  layer.formats = {op.weights, op.activations};
  layer.local_experts = op.experts;
  const auto source = moe_source(library, layer);
  if (!source) return std::nullopt;
  GroupedShape shape;
  shape.columns = op.columns;
  shape.depth = op.depth;
  shape.formats = layer.formats;
  LibraryTime out;
  out.label = source->label;
  out.time = grouped_product_time(shape, load_of(op.rows_by_expert), library.device(), source->parameters);
  const double start_up = source->parameters.start_up * 1e-6 / 2;
  out.time.latency += start_up;
  out.time.total += start_up;
  return out;
}

std::optional<LibraryTime> time_of_op(const llm::RoutedElementwise& op, const KernelLibrary& library) {
  const auto source = moe_source(library, MoeShape{});
  if (!source) return std::nullopt;
  const auto rows = static_cast<double>(llm::sum_rows(op.rows_by_expert).rows);
  const double bytes = static_cast<double>(op.read_bytes_per_row + op.write_bytes_per_row) * rows +
                       static_cast<double>(op.fixed_read_bytes + op.fixed_write_bytes);
  return plain(moe_pass_time(bytes, library.device(), source->parameters), source->label);
}

std::optional<LibraryTime> time_of_op(const llm::TopK& op, const KernelLibrary& library) {
  if (op.table) return std::nullopt;
  MoeShape shape;
  shape.tokens = op.tokens;
  shape.experts = op.experts;
  shape.local_experts = op.experts;
  shape.top_k = op.top_k;
  shape.hidden = shape.width = 1;
  const auto source = moe_source(library, shape);
  if (!source) return std::nullopt;
  const MoeParts parts =
      moe_parts(shape, ExpertLoad{}, library.device(), source->parameters, library.conditions());
  LibraryTime out;
  out.label = source->label;
  out.time.total = out.time.latency = parts.routing + parts.choice;
  return out;
}

template <class Op>
std::optional<LibraryTime> time_of_op(const Op&, const KernelLibrary&) {
  return std::nullopt;
}

}  // namespace

std::optional<LibraryTime> kernel_time(const llm::Operator& op, const KernelLibrary& library) {
  return std::visit([&](const auto& one) { return time_of_op(one, library); }, op);
}

}  // namespace moesim::cost
