// Undoes a coarse clock: records with equal arrivals are spread over the time to the next arrival.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "workloads/trace_reader.hpp"

namespace moesim::workloads {

// Two or more records with one arrival t get sorted uniform arrivals in [t, t + gap), where gap is the time
// to the next different arrival (for the last group: the gap before it). Within a tick that is a Poisson
// process given its number of records. Records alone at their instant stay. Holds one group in memory.
class SpreadTies final : public TraceReader {
 public:
  SpreadTies(std::unique_ptr<TraceReader> reader, std::uint64_t seed)
      : reader_(std::move(reader)), seed_(seed) {}
  [[nodiscard]] bool next(TraceRecord& record) override;
  // Without a line: the reader is ahead of the record last given.
  [[nodiscard]] config::InputError error_at_arrival(std::string code, std::string message,
                                                    std::string suggestion) const override;

 private:
  void read_group();
  void spread(core::Duration gap);

  std::unique_ptr<TraceReader> reader_;
  std::uint64_t seed_;
  std::vector<TraceRecord> group_;
  std::size_t given_ = 0;  // records of the group that next() has returned
  TraceRecord ahead_;      // first record of the group after
  bool has_ahead_ = false;
  bool started_ = false;
  core::Duration last_gap_;
  std::uint64_t number_ = 0;  // of the first record of the group in the trace
};

}  // namespace moesim::workloads
