#include "models/reference/probe.hpp"

namespace moesim::reference {

void CountingProbe::touch(Operand operand, int tensor, std::int64_t first, std::int64_t n, int bits) {
  const auto index = static_cast<std::size_t>(tensor);
  if (index >= tensors_.size()) {
    tensors_.resize(index + 1);
  }
  Touched& touched = tensors_[index];
  touched.operand = operand;
  touched.touched_bits += n * bits;
  const auto end = static_cast<std::size_t>(first + n);
  if (end > touched.seen.size()) {
    touched.seen.resize(end, false);
  }
  for (auto i = static_cast<std::size_t>(first); i < end; ++i) {
    if (!touched.seen[i]) {
      touched.seen[i] = true;
      touched.distinct_bits += bits;
    }
  }
}

Counts CountingProbe::result() const {
  constexpr std::int64_t kBitsPerByte = 8;
  Counts counts = counts_;
  std::int64_t distinct[kOperands] = {};
  std::int64_t all[kOperands] = {};
  for (const Touched& touched : tensors_) {
    const auto operand = static_cast<std::size_t>(touched.operand);
    distinct[operand] += touched.distinct_bits;
    all[operand] += touched.touched_bits;
  }
  for (std::size_t i = 0; i < kOperands; ++i) {
    counts.compulsory_bytes[i] = (distinct[i] + kBitsPerByte - 1) / kBitsPerByte;
    counts.actual_bytes[i] = (all[i] + kBitsPerByte - 1) / kBitsPerByte;
  }
  return counts;
}

}  // namespace moesim::reference
