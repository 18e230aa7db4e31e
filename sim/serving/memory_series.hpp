// Memory of the devices over time: KV by kind of row, recurrent states, and what does not change.
//
// The tensor ranks of a data-parallel rank hold the same, so one device stands for all of them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "sim/serving/fleet.hpp"
#include "sim/serving/recorder.hpp"
#include "sim/serving/results.hpp"

namespace moesim::serving {

// Keeps the parts of SystemState by pool and kind of row.
class KvLedger {
 public:
  // Sizes the lists of `state`.
  KvLedger(const Fleet& fleet, std::size_t pools, SystemState& state);

  // Takes in what a group of ranks holds since `now`.
  void update(const Fleet& fleet, std::size_t group, core::Time now, SystemState& state);

  // Where the parts of each pool are in the lists of a SystemState.
  [[nodiscard]] const std::vector<PoolParts>& pools() const { return pools_; }
  // The most that a device ever held of each part, in the order of these lists.
  [[nodiscard]] const std::vector<KvPeak>& peaks() const { return peaks_; }

 private:
  void find_fullest(const Fleet& fleet, std::size_t pool, KvMoment& fullest) const;

  std::vector<PoolParts> pools_;
  std::vector<std::vector<llm::KvBytes>> by_group_;  // summed over its ranks
  std::vector<std::int64_t> most_;                   // blocks in use on a rank of a group
  std::vector<llm::KvBytes> sum_;
  std::vector<KvPeak> peaks_;
};

// Fills `memory_series` and `memory_use` of the results.
void summarise_memory_series(const KvLedger& ledger, const Recorder& recorder, Results& results);

// One part of a device's memory.
struct MemoryPart {
  std::string category;
  KvPart bytes;
  KvPeak peak;
};

// All parts of a device of a pool, from what its KV blocks hold: they add up to `total`. Categories: weights,
// "kv_" and the name of each kind of row, with "_index_keys" the keys of an indexer beside these rows,
// recurrent_state, kv_free (budget without use), activations, exchange_buffers, communicators, graphs,
// runtime, reserved. Those that the budget has no bytes for are left out. Parts that never change have their
// peak at 0. `peaks` may be empty.
[[nodiscard]] std::vector<MemoryPart> memory_stack(const MemoryBudget& budget, const std::vector<KvPart>& kv,
                                                   const std::vector<KvPeak>& peaks);

}  // namespace moesim::serving
