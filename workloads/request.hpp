// What arrives at a serving system.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "sim/core/time.hpp"

namespace moesim::workloads {

struct Request {
  std::int64_t id = 0;             // 0, 1, 2, ... in the order of birth
  core::Time arrival;              // when the client sends it
  std::int64_t input_tokens = 0;   // prompt length, >= 1
  std::int64_t output_tokens = 0;  // tokens the client gets, >= 1
  std::int64_t session = -1;       // conversation or agent session, -1 for none
  bool warmup = false;             // served like any other but left out of every metric
  // Prefix-chained block ids of the prompt (Mooncake hash_ids), empty if unknown, and tokens per such block.
  std::vector<std::int64_t> prefix_blocks;
  std::int64_t prefix_block_tokens = 0;
};

// How a request ended, as its client sees it.
enum class Ending : std::uint8_t { served, refused };

// Where requests are born. Arrival times of next() never decrease.
class RequestSource {
 public:
  virtual ~RequestSource() = default;
  // The next request that no completion has to release, or nullopt when there is none (any more, or until one
  // ends).
  virtual std::optional<Request> next() = 0;
  // Tells the source that a request ended at `now`; returns the requests that this releases, with arrivals
  // >= now.
  virtual std::vector<Request> on_finished(const Request& request, core::Time now, Ending ending) = 0;
};

}  // namespace moesim::workloads
