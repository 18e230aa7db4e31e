#include "sim/studies/numerics_counts.hpp"

#include <fmt/format.h>

#include "models/reference/norms.hpp"
#include "sim/core/math.hpp"
#include "sim/execution/operator_names.hpp"

namespace moesim::studies {

using reference::Bf16;
using reference::CountingProbe;
using reference::Counts;
using reference::Operand;

namespace {

constexpr std::string_view kQuantityNames[] = {"FLOP of products",  "other FLOP",
                                               "special functions", "weight bytes read",
                                               "KV bytes read",     "activation bytes read",
                                               "KV bytes written",  "activation bytes written"};

}  // namespace

std::vector<float> NumericsDraws::floats(std::int64_t n, double scale) {
  std::vector<float> values(static_cast<std::size_t>(n));
  const auto factor = static_cast<float>(scale * 0x1p-16);
  std::uint64_t bits = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (i % 4 == 0) bits = draws_();
    const auto part = static_cast<std::int32_t>(bits & 0xFFFFU);
    bits >>= 16U;
    // An odd number of 2^-16 (exact), so that no value is 0.
    values[i] = static_cast<float>(2 * part + 1 - 65536) * factor;
  }
  return values;
}

std::vector<Bf16> NumericsDraws::values(std::int64_t n, double scale) { return as_bf16(floats(n, scale)); }

CountLedger::Entry& CountLedger::entry(std::string_view name) {
  const auto found = entries_.find(name);
  if (found != entries_.end()) return found->second;
  order_.emplace_back(name);
  return entries_[std::string(name)];
}

void CountLedger::model(std::span<const llm::Operator> operators) {
  for (const llm::Operator& op : operators) {
    const llm::Work work = llm::work_of(op);
    Entry& own = entry(execution::name_of(op));
    own.has_model = true;
    own.communicates = work.communicates();
    const Quantities more = {work.matmul_flops,      work.other_flops,           work.specials,
                             work.weight_read_bytes, work.kv_read_bytes,         work.activation_read_bytes,
                             work.kv_write_bytes,    work.activation_write_bytes};
    for (std::size_t i = 0; i < kCountQuantities; ++i) own.model[i] += more[i];
  }
}

void CountLedger::kernel(std::string_view name, const Counts& counts, bool actual_reads) {
  Entry& own = entry(name);
  own.has_kernel = true;
  const Quantities more = {
      2 * counts.useful_macs,
      counts.other_flops,
      counts.specials,
      counts.compulsory(Operand::weights),
      counts.compulsory(Operand::keys_values),
      actual_reads ? counts.actual(Operand::activations) : counts.compulsory(Operand::activations),
      counts.compulsory(Operand::cached_result),
      counts.compulsory(Operand::result)};
  for (std::size_t i = 0; i < kCountQuantities; ++i) own.kernel[i] += more[i];
}

void CountLedger::skip(std::string_view name, std::string_view why) { entry(name).skipped = why; }

void CountLedger::skip(std::string_view name, CountQuantity quantity, std::string_view why) {
  entry(name).skipped_quantities.at(static_cast<std::size_t>(quantity)) = why;
}

void CountLedger::write(serving::LayerCheck& check) const {
  std::string collectives;
  for (const std::string& name : order_) {
    const Entry& own = entries_.at(name);
    if (own.has_model && own.communicates) {
      collectives += fmt::format("{}{}", collectives.empty() ? "" : ", ", name);
      continue;
    }
    if (!own.skipped.empty() || !own.has_kernel) {
      check.not_checked.push_back(fmt::format(
          "{}: {}", name, own.skipped.empty() ? "there is no counted kernel of it" : own.skipped.c_str()));
      continue;
    }
    for (std::size_t i = 0; i < kCountQuantities; ++i) {
      if (own.kernel[i] == 0 && own.model[i] == 0) continue;
      if (!own.skipped_quantities[i].empty()) {
        check.not_checked.push_back(
            fmt::format("{}, {}: {}", name, kQuantityNames[i], own.skipped_quantities[i]));
        continue;
      }
      check.counts.push_back({fmt::format("{}: {}", name, kQuantityNames[i]), own.kernel[i], own.model[i]});
    }
  }
  if (!collectives.empty())
    check.not_checked.push_back(
        fmt::format("{}: what moves follows from the algorithm and the topology", collectives));
}

CountedProduct counted_product(const QuantisedMatrix& a, const QuantisedMatrix& weights,
                               std::span<const Bf16> bias) {
  CountedProduct product;
  product.result.resize(static_cast<std::size_t>(a.rows() * weights.rows()));
  CountingProbe probe;
  reference::gemm_rows(counted_rows(a, Operand::activations, reference::detail::kTensorScaleA, probe),
                       counted_rows(weights, Operand::weights, reference::detail::kTensorScaleB, probe), bias,
                       std::span(product.result), probe);
  product.counts = probe.result();
  return product;
}

std::vector<Bf16> count_linear(CountLedger& ledger, llm::GemmRole role, std::span<const Bf16> x,
                               std::int64_t rows, std::int64_t inputs, std::int64_t outputs,
                               const llm::LinearFormats& formats, bool bias, NumericsDraws& draws) {
  const double scale = core::math::sqrt(3.0 / static_cast<double>(inputs));
  const std::vector<Bf16> biases = draws.values(bias ? outputs : 0, 0.5);
  CountedProduct product = counted_product(
      QuantisedMatrix::activations(as_floats(x), rows, inputs, formats.activations),
      QuantisedMatrix::weights(draws.floats(outputs * inputs, scale), outputs, inputs, formats.weights),
      biases);
  ledger.kernel(execution::name_of(llm::Gemm{role}), product.counts);
  return std::move(product.result);
}

void count_norm(CountLedger& ledger, llm::ElementwiseRole role, std::int64_t rows, std::int64_t width,
                bool residual, CountedNorm kind, NumericsDraws& draws) {
  const std::vector<Bf16> x = draws.values(rows * width, 1.0), weight = draws.values(width, 1.0);
  const std::vector<Bf16> bias = draws.values(kind == CountedNorm::layer_with_bias ? width : 0, 1.0);
  std::vector<Bf16> other = draws.values(residual ? rows * width : 0, 1.0), out(x.size());
  CountingProbe probe;
  if (kind == CountedNorm::rms) {
    reference::rms_norm<Bf16>(x, rows, width, weight, {}, other, out, probe);
  } else {
    reference::layer_norm<Bf16>(x, rows, width, weight, bias, 1e-5F, other, out, probe);
  }
  ledger.kernel(execution::name_of(llm::Elementwise{role}), probe.result());
}

Counts operator+(const Counts& a, const Counts& b) {
  Counts sum = a;
  sum.useful_macs += b.useful_macs;
  sum.executed_macs += b.executed_macs;
  sum.other_flops += b.other_flops;
  sum.specials += b.specials;
  sum.extra_flops += b.extra_flops;
  sum.extra_specials += b.extra_specials;
  for (std::size_t i = 0; i < reference::kOperands; ++i) {
    sum.compulsory_bytes[i] += b.compulsory_bytes[i];
    sum.actual_bytes[i] += b.actual_bytes[i];
  }
  return sum;
}

std::vector<float> as_floats(std::span<const Bf16> values) {
  std::vector<float> floats;
  floats.reserve(values.size());
  for (const Bf16 value : values) floats.push_back(reference::to_float(value));
  return floats;
}

std::vector<Bf16> as_bf16(std::span<const float> values) {
  std::vector<Bf16> rounded;
  rounded.reserve(values.size());
  for (const float value : values) rounded.push_back(reference::to_bf16(value));
  return rounded;
}

}  // namespace moesim::studies
