// What an operator costs on a device: latency, work per resource and the rate each resource achieves.
//
// With a kernel library, T is the time of the operator's kernel (models/cost/kernel_pricer.hpp): what binds
// it gets the rate at which its work takes T less the latency, other resources the rates that they would
// reach alone. Without one, and for operators that no family of kernels describes, a first roofline: T =
// latency + max over resources of work / rate, where a rate is the datasheet peak times the share of it that
// large kernels of the device family reach. It knows nothing of tiles, waves or occupancy.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "models/cost/engine_profile.hpp"
#include "models/cost/kernel_library.hpp"
#include "models/cost/link_times.hpp"
#include "models/hardware/topology.hpp"
#include "models/llm/operator.hpp"
#include "sim/core/time.hpp"

namespace moesim::cost {

// What an operator can wait for. `latency` is no shared resource: it is the fixed part of the time.
enum class Resource : std::uint8_t { tensor, vector, hbm, scale_up, network, latency };
inline constexpr std::size_t kResources = 6;
[[nodiscard]] constexpr std::size_t index(Resource resource) { return static_cast<std::size_t>(resource); }

[[nodiscard]] std::string_view to_string(Resource resource);

// Work on one resource in its unit (operations or bytes) and the rate it achieves per second.
struct Demand {
  std::int64_t work = 0;
  std::int64_t rate = 1;
};

struct Price {
  core::Duration latency;
  std::array<Demand, kResources> demand{};  // not used for Resource::latency
  std::array<config::Label, kResources> labels{};
  core::Duration time;                   // latency + the longest of work / rate
  core::Duration speed_of_light;         // the same on the datasheet's peaks and bandwidths, without latency
  Resource binding = Resource::latency;  // what takes most of `time`
  config::Label label =
      config::Label::derived;  // of the time: that of the binding parameter, derived at best
};

// `peak` times `fraction` in whole units per second, at least 1.
[[nodiscard]] std::int64_t share_of(std::int64_t peak, double fraction);

// Fills in time, binding and label of a price from its latency, demands and their labels.
void finish(Price& price);

// The fixed part of a kernel's time and how good it is.
struct Latency {
  core::Duration time;
  config::Label label = config::Label::derived;
};

// True if the GPU has units that multiply numbers of this format; otherwise they are widened to bf16.
[[nodiscard]] bool has_units_for(const hardware::Gpu& gpu, llm::NumberFormat format);

// Prices for one GPU. Rates are computed once.
class DevicePricer {
 public:
  explicit DevicePricer(const hardware::Gpu& gpu, std::shared_ptr<const KernelLibrary> kernels = nullptr);

  // The price of an operator that stays on its device. Throws core::InvariantError for a collective.
  [[nodiscard]] Price price(const llm::Operator& op) const;
  // The price of `work`; `latency` is the time of such a kernel with nothing to do.
  [[nodiscard]] Price price(const llm::Work& work, const Latency& latency) const;
  // Bytes per second that large kernels move to and from HBM.
  [[nodiscard]] std::int64_t hbm_rate() const { return hbm_.per_second; }

 private:
  struct Rate {
    std::int64_t per_second = 1;
    config::Label label = config::Label::derived;
  };
  std::array<Rate, llm::kNumberFormats> tensor_{};
  std::array<std::int64_t, llm::kNumberFormats> tensor_peak_{};  // datasheet, per second
  std::int64_t vector_peak_ = 1;
  std::int64_t hbm_peak_ = 1;
  std::int64_t flops_per_special_ = 16;
  Rate vector_;
  Rate hbm_;
  [[nodiscard]] Price from_kernels(const llm::Work& work, const LibraryTime& time) const;

  Latency kernel_overhead_;
  Latency small_kernel_;
  std::shared_ptr<const KernelLibrary> kernels_;
};

// Rows that travel in one dispatch (or back in one combine), of the slowest rank.
struct ExchangeLoad {
  std::int64_t group_tokens = 0;   // of all ranks of the group
  std::int64_t sent_tokens = 0;    // of the rank that sends
  std::int64_t sent_rows = 0;      // (token, expert) rows that one rank sends
  std::int64_t received_rows = 0;  // rows that the busiest rank receives
  std::int64_t experts = 256;      // of the layer
};

// How good the bandwidths of the links are that a group uses.
struct LinkLabels {
  config::Label scale_up = config::Label::derived;
  config::Label network = config::Label::derived;
};

// Prices of collectives over one group of devices.
class CollectivePricer {
 public:
  // With kernel libraries, what happens inside a domain and exchanges of rows take the times of their
  // kernels; without, the costs of the engine's profile. The way between domains is the profile's in both
  // cases.
  CollectivePricer(hardware::GroupProfile profile, const EngineProfile& engine, LinkLabels labels = {},
                   const LinkLibraries& libraries = {});

  // bytes: the whole tensor, as in llm::AllReduce. Inside a domain the fastest of one-shot (everyone sends
  // everything to everyone), two steps or a ring, and, where there is one, the switch that adds; over several
  // domains: reduce-scatter inside, ring across, all-gather inside.
  [[nodiscard]] Price all_reduce(std::int64_t bytes) const;
  // The faster of a ring and, where every pair of GPUs is one hop apart, messages from each to all.
  [[nodiscard]] Price all_gather(std::int64_t bytes) const;
  [[nodiscard]] Price reduce_scatter(std::int64_t bytes) const;
  // Dispatch or combine of rows of bytes_per_row. With per-expert messages each (token, expert) row travels
  // once; rows are spread evenly over the ranks of the group, so the share that leaves the device and the
  // domain follows from the group's shape; more tokens than the buffers hold go in several rounds. With
  // all-gather + reduce-scatter each token travels to every rank.
  [[nodiscard]] Price exchange(const ExchangeLoad& load, std::int64_t bytes_per_row, bool combine) const;
  // True if exchange() sends every row to the rank of its expert, and not every token to all.
  [[nodiscard]] bool exchanges_rows() const { return all_to_all_ == AllToAll::per_expert_messages; }
  // The shares of a link inside a domain and of a NIC that an exchange reaches.
  [[nodiscard]] double exchange_link_share() const { return exchange_link_share_; }
  [[nodiscard]] double exchange_network_share() const { return exchange_network_share_; }

 private:
  // The share of the links inside a domain that a kind of collective reaches, and how good that figure is.
  struct Link {
    std::int64_t rate = 1;  // bytes per second
    config::Label label = config::Label::derived;
  };
  [[nodiscard]] Link link(const config::Sourced<double>& share, config::Label bandwidth) const;
  [[nodiscard]] Price make(core::Duration latency, const Link& link, double scale_up_bytes,
                           double network_bytes) const;
  [[nodiscard]] Price all_reduce_in_domain(std::int64_t bytes) const;
  [[nodiscard]] Price gathered(Collective which, std::int64_t bytes) const;
  // Of the kernel, and `hops` to other domains with `network_bytes` from each device.
  [[nodiscard]] Price from_kernel(const LinkTime& kernel, std::int64_t hops, double network_bytes) const;
  // Inside all domains at once, with `hops` and bytes between them; nullopt without a library.
  [[nodiscard]] std::optional<Price> from_library(Collective which, std::int64_t bytes, std::int64_t hops,
                                                  double network_bytes) const;
  [[nodiscard]] std::optional<Price> exchange_of_kernels(const ExchangeLoad& load, std::int64_t bytes_per_row,
                                                         bool combine) const;

  hardware::GroupProfile profile_;
  std::int64_t smallest_domain_ = 1;
  bool one_hop_ = true;  // every pair of GPUs of a domain is joined by a switch or a link of its own
  Link one_shot_, ring_, in_switch_, gather_, network_;
  core::Duration all_reduce_latency_, one_shot_latency_, gather_latency_, exchange_latency_;
  std::int64_t exchange_tokens_ = 1;
  double exchange_link_share_ = 1.0, exchange_network_share_ = 1.0;
  AllToAll all_to_all_ = AllToAll::all_gather_reduce_scatter;
  LinkTimes kernels_;
  std::int64_t exchange_units_ = 0;  // multiprocessors of exchanges that limit themselves
};

}  // namespace moesim::cost
