// Times of collectives and exchanges among the devices of one group, from kernel libraries.
#pragma once

#include <memory>
#include <optional>

#include "models/cost/kernel_library.hpp"
#include "models/hardware/topology.hpp"

namespace moesim::cost {

// Libraries whose kernels talk between devices. Either may be missing.
struct LinkLibraries {
  std::shared_ptr<const KernelLibrary> engine;       // all-reduces and exchanges of the serving engine
  std::shared_ptr<const KernelLibrary> collectives;  // the collective library
};

// A time, and the bytes that one device sends meanwhile.
struct LinkTime {
  LibraryTime time;
  double near_bytes = 0;  // inside its domain
  double far_bytes = 0;   // to other domains
};

class LinkTimes {
 public:
  LinkTimes() = default;
  // The links are those of the group, the rest of a device is the library's.
  LinkTimes(const LinkLibraries& libraries, const hardware::GroupProfile& profile);

  // Inside one domain of so many ranks; bytes as CollectiveShape counts them. An all-reduce is the engine's
  // own where it has one. nullopt where no library describes it.
  [[nodiscard]] std::optional<LinkTime> collective(Collective which, std::int64_t ranks,
                                                   std::int64_t bytes) const;
  // Rows of an expert layer. `shape` without a kind: the fastest of those that the engine has. Low-latency
  // kernels hold at most `round_tokens` tokens at a time and go in so many rounds.
  [[nodiscard]] std::optional<LinkTime> exchange(ExchangeShape shape, std::int64_t round_tokens) const;

 private:
  std::shared_ptr<const KernelLibrary> engine_, collectives_;
};

}  // namespace moesim::cost
