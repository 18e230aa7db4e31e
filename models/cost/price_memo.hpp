// Prices of operators that were asked for before.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "models/cost/price.hpp"
#include "models/llm/operator.hpp"

namespace moesim::cost {

// All that the price of an operator depends on, as words; nullopt for operators whose price depends on more
// (rows of experts) or that are no work of one device (collectives).
inline constexpr std::size_t kKeyWords = 12;
using OperatorKey = std::array<std::int64_t, kKeyWords>;
[[nodiscard]] std::optional<OperatorKey> key_of(const llm::Operator& op);

// A hash table from keys to prices that only grows, up to a limit at which it starts anew. Not for several
// threads at a time.
class PriceMemo {
 public:
  // The price of `op` from `pricer`, computed once. The reference is valid until the next call.
  [[nodiscard]] const Price& price(const DevicePricer& pricer, const llm::Operator& op);
  [[nodiscard]] std::size_t size() const { return entries_.size(); }
  // Prices that are kept; 2^16 of them take about 20 MB.
  static constexpr std::size_t kMost = std::size_t{1} << 16;

 private:
  struct Entry {
    OperatorKey key;
    Price price;
  };
  void grow();

  std::vector<Entry> entries_;
  std::vector<std::uint32_t> slots_;  // entry + 1, 0: free; a power of two, at most half full
  Price last_;                        // of an operator that has no key
};

}  // namespace moesim::cost
