#include "models/cost/price.hpp"

#include "models/hardware/cluster.hpp"
#include "sim/core/check.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;
using Catch::Matchers::WithinRel;

namespace {

const cost::EngineProfile& engine() {
  static const auto loaded = config::load_entry<cost::EngineProfile>("vllm", test::source_catalogue());
  return loaded.value;
}

const hardware::Gpu& h200() {
  static const auto loaded = hardware::load_gpu("h200-sxm", test::source_catalogue());
  return loaded.value;
}

hardware::GroupProfile group(std::int64_t size, std::vector<std::int64_t> domains, bool reduces = false) {
  hardware::GroupProfile profile;
  profile.size = size;
  profile.domain_sizes = std::move(domains);
  profile.in_switch_reduction = reduces;
  profile.domain_bandwidth = {450'000'000'000};
  profile.domain_latency = {1'000'000};
  profile.network_bandwidth = {50'000'000'000};
  profile.network_latency = {3'000'000};
  return profile;
}

llm::Gemm gemm(std::int64_t rows, llm::NumberFormat format) {
  return {llm::GemmRole::query_key_value, 1, rows, 8192, 8192, format, format};
}

}  // namespace

TEST_CASE("the time of a kernel is its latency plus its longest demand") {
  const cost::DevicePricer pricer(h200());
  const cost::Price price = pricer.price(llm::Operator(gemm(16, llm::NumberFormat::bf16)));
  const llm::Work work = llm::work_of(gemm(16, llm::NumberFormat::bf16));
  const auto& hbm = price.demand[static_cast<std::size_t>(cost::Resource::hbm)];
  CHECK(hbm.work == work.read_bytes() + work.write_bytes());
  CHECK(price.binding == cost::Resource::hbm);
  CHECK(price.time == price.latency + core::duration_for(hbm.work, hbm.rate));
  CHECK(hbm.rate == static_cast<std::int64_t>(4.8e12 * 0.768));
  CHECK(pricer.price(llm::Operator(gemm(8192, llm::NumberFormat::bf16))).binding == cost::Resource::tensor);
  CHECK(pricer.price(llm::Operator(gemm(1, llm::NumberFormat::bf16))).label == config::Label::derived);
}

TEST_CASE("fp8 is faster than bf16 for a large product, and never slower for a small one") {
  const cost::DevicePricer pricer(h200());
  for (const std::int64_t rows : {1, 64, 512, 8192}) {
    const auto bf16 = pricer.price(llm::Operator(gemm(rows, llm::NumberFormat::bf16))).time;
    const auto fp8 = pricer.price(llm::Operator(gemm(rows, llm::NumberFormat::fp8))).time;
    CHECK(fp8 < bf16);
  }
}

TEST_CASE("a collective has no price on one device") {
  const cost::DevicePricer pricer(h200());
  CHECK_THROWS_AS(pricer.price(llm::Operator(llm::AllReduce{1024, llm::Group::tensor, 2})),
                  core::InvariantError);
}

TEST_CASE("collectives move the bytes of their closed forms") {
  constexpr std::int64_t kBytes = std::int64_t{64} << 20;
  constexpr auto kScaleUp = static_cast<std::size_t>(cost::Resource::scale_up);
  constexpr auto kNetwork = static_cast<std::size_t>(cost::Resource::network);
  const cost::CollectivePricer ring(group(8, {8}), engine());
  CHECK(ring.all_reduce(kBytes).demand[kScaleUp].work == 2 * 7 * kBytes / 8);
  CHECK(ring.all_gather(kBytes).demand[kScaleUp].work == 7 * kBytes / 8);
  CHECK(ring.reduce_scatter(kBytes).demand[kScaleUp].work == 7 * kBytes / 8);
  CHECK(ring.all_reduce(1024).demand[kScaleUp].work == 7 * 1024);  // one-shot
  const cost::CollectivePricer switched(group(8, {8}, true), engine());
  CHECK(switched.all_reduce(kBytes).demand[kScaleUp].work == 9 * kBytes / 8);
  const cost::CollectivePricer two(group(16, {8, 8}), engine());
  CHECK(two.all_reduce(kBytes).demand[kScaleUp].work == 2 * 7 * kBytes / 8);
  CHECK(two.all_reduce(kBytes).demand[kNetwork].work == kBytes / 8);
  CHECK(two.all_reduce(kBytes).time > ring.all_reduce(kBytes).time);
}

TEST_CASE("a pair is not slowed down by a switch that adds: the ring moves less there") {
  constexpr std::int64_t kBytes = std::int64_t{64} << 20;
  const cost::CollectivePricer plain(group(2, {2}), engine());
  const cost::CollectivePricer adding(group(2, {2}, true), engine());
  CHECK(adding.all_reduce(kBytes).time == plain.all_reduce(kBytes).time);
  for (const std::int64_t size : {2, 4, 8}) {
    for (std::int64_t bytes = 1024; bytes < kBytes; bytes *= 4) {
      CHECK(cost::CollectivePricer(group(size, {size}, true), engine()).all_reduce(bytes).time <=
            cost::CollectivePricer(group(size, {size}), engine()).all_reduce(bytes).time);
    }
  }
}

TEST_CASE("a wide domain gathers by direct messages, not around a ring of all its ranks") {
  const auto floor_us = [](std::int64_t size) {
    return cost::CollectivePricer(group(size, {size}), engine()).all_gather(1).time.seconds() * 1e6;
  };
  CHECK_THAT(floor_us(8), WithinRel(5.5 + 7.0, 0.01));  // a ring: start-up and 7 hops
  CHECK_THAT(floor_us(64), WithinRel(10.6 + 6 * 0.9, 0.01));
}

TEST_CASE("a PCIe box collects at its own share, which falls with the GPUs") {
  const auto node = hardware::load_node("l40s-pcie-8", test::source_catalogue()).value;
  const hardware::Topology topology(hardware::Cluster{node, 1, std::nullopt});
  const auto reduce = [&](std::int32_t size) {
    std::vector<hardware::DeviceIndex> devices;
    for (std::int32_t i = 0; i < size; ++i) devices.push_back({i});
    return cost::CollectivePricer(topology.group_profile(devices), engine())
        .all_reduce(std::int64_t{64} << 20);
  };
  // Measured by NCCL on L40S: 3.36, 18.3 and 55.4 ms; the shares are fitted over all sizes and kinds.
  CHECK_THAT(reduce(2).time.seconds(), WithinRel(3.36e-3, 0.1));
  CHECK_THAT(reduce(4).time.seconds(), WithinRel(18.3e-3, 0.1));
  CHECK(reduce(8).time.seconds() > 55e-3);
  CHECK(reduce(8).label == config::Label::derived);
  CHECK(reduce(2).binding == cost::Resource::scale_up);
}

TEST_CASE("tokens beyond the buffers of an exchange travel in further rounds, nodes add to the start-up") {
  cost::EngineProfile messages = engine();
  messages.comm.all_to_all = cost::AllToAll::per_expert_messages;
  const auto latency = [&](std::vector<std::int64_t> domains, std::int64_t tokens) {
    const auto size = static_cast<std::int64_t>(domains.size()) * domains.front();
    const cost::CollectivePricer pricer(group(size, std::move(domains)), messages);
    return pricer.exchange({size * tokens, tokens, 1, 1}, 1, false).latency;
  };
  const std::int64_t buffer = messages.comm.exchange_tokens.value;
  CHECK(latency({8}, buffer) == latency({8}, 1));
  CHECK(latency({8}, buffer + 1) == 2 * latency({8}, 1));
  const core::Duration per_doubling = messages.comm.all_to_all_latency_per_node_doubling.value;
  CHECK(latency({8, 8, 8, 8}, 1) - latency({8}, 1) == 2 * per_doubling);
}

TEST_CASE("exponentials take the units that an architecture has for them") {
  const auto softmax_s = [](const char* name) {
    const auto gpu = hardware::load_gpu(name, test::source_catalogue()).value;
    llm::Work work;
    work.specials = 1'000'000'000'000;
    return cost::DevicePricer(gpu).price(work, {}).time.seconds();
  };
  CHECK_THAT(1 / softmax_s("b200-sxm"), WithinRel(5.0, 0.1));
  CHECK_THAT(1 / softmax_s("b300-sxm"), WithinRel(10.7, 0.15));
}

// Published DeepEP low-latency rows (deepseek-ai/DeepEP): 128 tokens a rank, top-8, rows of 7,168 in FP8 with
// scales.
TEST_CASE("per-expert messages carry one row per token and expert") {
  cost::EngineProfile messages = engine();
  messages.comm.all_to_all = cost::AllToAll::per_expert_messages;
  const cost::CollectivePricer pricer(group(16, {8, 8}), messages);
  const cost::Price price = pricer.exchange({16 * 128, 128, 128 * 8, 128 * 8}, 7392, false);
  const auto scale_up = price.demand[static_cast<std::size_t>(cost::Resource::scale_up)].work;
  const auto network = price.demand[static_cast<std::size_t>(cost::Resource::network)].work;
  constexpr std::int64_t kAll = 128 * 8 * 7392;
  CHECK(scale_up == kAll * 7 / 16);
  CHECK(network == kAll * 8 / 16);
}

TEST_CASE("more bytes and more work never take less time") {
  const cost::DevicePricer pricer(h200());
  const cost::CollectivePricer collective(group(8, {8}), engine());
  core::Duration kernel, reduce;
  for (std::int64_t n = 1; n < 40'000; n = n * 3 / 2 + 1) {
    const auto now = pricer.price(llm::Operator(gemm(n, llm::NumberFormat::fp8_block))).time;
    CHECK(now >= kernel);
    kernel = now;
    const auto bytes = collective.all_gather(n * 1000).time;
    CHECK(bytes >= reduce);
    reduce = bytes;
  }
}
