// Shared resources: the cost of a flow from its start to its end, in a closed loop where each flow that ends
// starts again with a fresh amount of work.
#include "sim/core/flow_network.hpp"
#include "sim/core/processor_sharing.hpp"
#include "tests/bench/interleaved.hpp"

namespace moesim::bench {
namespace {

constexpr std::int64_t kPort = 50'000'000'000;  // bytes per second: 400 Gbit/s

class Sizes {
 public:
  std::int64_t next() {
    state_ = state_ * 6364136223846793005U + 1442695040888963407U;
    return 1 + static_cast<std::int64_t>((state_ >> 33) % 10'000'000);
  }

 private:
  std::uint64_t state_ = 1;
};

// One bottleneck with 1,000 flows at any time.
void one_bottleneck(benchmark::State& state) {
  core::ProcessorSharing link(kPort);
  Sizes sizes;
  for (std::uint32_t id = 0; id < 1000; ++id) link.add(core::Time{}, id, 1, sizes.next());
  std::vector<std::uint32_t> ended;
  const auto run = [&](std::int64_t flows) {
    for (std::int64_t done = 0; done < flows;) {
      const core::Time now = link.next_completion();
      ended = link.complete(now);
      for (const std::uint32_t id : ended) link.add(now, id, 1, sizes.next());
      done += static_cast<std::int64_t>(ended.size());
    }
  };
  run(20'000);
  against_clock(state, 100'000, 60, [&] { run(100'000); });
}

// 992 flows between 32 hosts on one switch; a flow starts again 2 us after its end, so that rates change
// twice.
void all_to_all(benchmark::State& state) {
  constexpr std::uint32_t kHosts = 32;
  constexpr core::Duration kRestart{2'000'000};
  core::FlowNetwork network;
  for (std::uint32_t port = 0; port < 2 * kHosts; ++port) network.add_resource(static_cast<double>(kPort));
  Sizes sizes;
  std::uint32_t flows = 0;
  for (std::uint32_t from = 0; from < kHosts; ++from) {
    for (std::uint32_t to = 0; to < kHosts; ++to) {
      if (from == to) continue;
      const core::ResourceUse route[] = {{from, 1.0}, {kHosts + to, 1.0}};
      network.add(core::Time{}, network.add_class(route), flows++, sizes.next());
    }
  }
  struct Restart {
    core::Time at;
    std::uint32_t id;
  };
  std::vector<Restart> waiting;
  std::size_t next = 0;
  std::vector<std::uint32_t> ended;
  const auto run = [&](std::int64_t count) {
    for (std::int64_t done = 0; done < count;) {
      const core::Time end = network.next_completion();
      if (next < waiting.size() && waiting[next].at <= end) {
        const core::Time now = waiting[next].at;
        for (; next < waiting.size() && waiting[next].at == now; ++next) {
          network.add(now, waiting[next].id, waiting[next].id,
                      sizes.next());  // class and flow have one number
        }
        continue;
      }
      ended = network.complete(end);
      for (const std::uint32_t id : ended) waiting.push_back({end + kRestart, id});
      done += static_cast<std::int64_t>(ended.size());
    }
  };
  run(2'000);
  against_clock(state, 3'000, 10'000, [&] { run(3'000); });
}

// The same 992 flows as one class: all have the same rate.
void symmetric_class(benchmark::State& state) {
  core::FlowNetwork network;
  // Each flow takes 1/992 of each of 64 resources that are 31 ports wide.
  std::vector<core::ResourceUse> uses;
  for (int port = 0; port < 64; ++port) {
    uses.push_back({network.add_resource(31.0 * static_cast<double>(kPort)), 1.0 / 32});
  }
  const std::uint32_t flow_class = network.add_class(uses);
  Sizes sizes;
  for (std::uint32_t id = 0; id < 992; ++id) network.add(core::Time{}, flow_class, id, sizes.next());
  std::vector<std::uint32_t> ended;
  const auto run = [&](std::int64_t count) {
    for (std::int64_t done = 0; done < count;) {
      const core::Time now = network.next_completion();
      ended = network.complete(now);
      for (const std::uint32_t id : ended) network.add(now, flow_class, id, sizes.next());
      done += static_cast<std::int64_t>(ended.size());
    }
  };
  run(20'000);
  against_clock(state, 50'000, 200, [&] { run(50'000); });
}

BENCHMARK(one_bottleneck)->Name("flow/one_bottleneck/1000");
BENCHMARK(all_to_all)->Name("flow/all_to_all/992");
BENCHMARK(symmetric_class)->Name("flow/symmetric_class/992");

}  // namespace
}  // namespace moesim::bench
