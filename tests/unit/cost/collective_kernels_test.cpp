// Collectives and exchanges priced from kernel libraries.
#include <memory>

#include "models/cost/exchange_time.hpp"
#include "models/cost/price.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;
using Catch::Matchers::WithinRel;
using cost::Collective;
using cost::Resource;

namespace {

const cost::EngineProfile& engine() {
  static const auto loaded = config::load_entry<cost::EngineProfile>("vllm", test::source_catalogue());
  return loaded.value;
}

cost::EngineProfile sends_rows() {
  cost::EngineProfile profile = engine();
  profile.comm.all_to_all = cost::AllToAll::per_expert_messages;
  return profile;
}

const cost::DeviceFigures& h100() {
  static const cost::DeviceFigures figures =
      cost::figures_of(hardware::load_node("hgx-h100-8", test::source_catalogue()).value);
  return figures;
}

std::shared_ptr<const cost::KernelLibrary> library(const cost::KernelFamily& family,
                                                   const std::vector<std::string>& variants) {
  auto made = std::make_shared<cost::KernelLibrary>("made", "h100-sxm", h100(), cost::Conditions::serving);
  cost::FamilyFit fit(family);
  fit.parameters = cost::FamilyParameters::initial(family, variants);
  made->set(std::move(fit));
  return made;
}

cost::LinkLibraries nccl() { return {nullptr, library(cost::collective_family(), {"direct", "ring"})}; }

cost::LinkLibraries deepep(const std::vector<std::string>& variants) {
  return {library(cost::exchange_family(), variants), nullptr};
}

hardware::GroupProfile group(std::int64_t ranks_per_domain, std::int64_t domains) {
  hardware::GroupProfile profile;
  profile.size = ranks_per_domain * domains;
  profile.domain_sizes.assign(static_cast<std::size_t>(domains), ranks_per_domain);
  profile.in_switch_reduction = domains == 1;
  profile.domain_bandwidth = {450'000'000'000};
  profile.domain_latency = {1'000'000};
  if (domains > 1) {
    profile.network_bandwidth = {50'000'000'000};
    profile.network_latency = {3'000'000};
  }
  return profile;
}

double family_seconds(const cost::KernelLibrary& kernels, const cost::KernelFamily& family,
                      const cost::KernelShape& shape) {
  return kernels.time_of(family, shape).time.total;
}

}  // namespace

TEST_CASE("inside a domain a collective takes the time of its kernel") {
  const auto libraries = nccl();
  const cost::CollectivePricer pricer(group(8, 1), engine(), {}, libraries);
  for (const std::int64_t bytes : {1024L, 1L << 20, 1L << 28}) {
    const auto seconds = [&](Collective which) {
      return family_seconds(*libraries.collectives, cost::collective_family(),
                            cost::CollectiveShape{which, 8, bytes});
    };
    CHECK_THAT(pricer.all_reduce(bytes).time.seconds(), WithinRel(seconds(Collective::all_reduce), 1e-5));
    CHECK_THAT(pricer.all_gather(bytes).time.seconds(), WithinRel(seconds(Collective::all_gather), 1e-5));
    CHECK_THAT(pricer.reduce_scatter(bytes).time.seconds(),
               WithinRel(seconds(Collective::reduce_scatter), 1e-5));
  }
  const cost::Price large = pricer.all_gather(1 << 28);
  CHECK(large.binding == Resource::scale_up);
  CHECK(large.demand[cost::index(Resource::scale_up)].work == (1 << 28) / 8 * 7);
  CHECK(pricer.all_gather(1024).binding == Resource::latency);
  // As good as the fit, whatever binds, and beside the time of the bytes on the bare link.
  CHECK(large.label == config::Label::calibrated);
  CHECK(pricer.all_gather(1024).label == config::Label::calibrated);
  CHECK_THAT(large.speed_of_light.seconds(), WithinRel((1 << 28) / 8 * 7 / 450e9, 1e-6));
  CHECK(large.speed_of_light < large.time);
}

TEST_CASE("an engine's own all-reduce goes before the library's") {
  cost::LinkLibraries libraries = nccl();
  libraries.engine = library(cost::custom_all_reduce_family(), {"graph"});
  const cost::CollectivePricer pricer(group(8, 1), engine(), {}, libraries);
  CHECK_THAT(pricer.all_reduce(1024).time.seconds(),
             WithinRel(family_seconds(*libraries.engine, cost::custom_all_reduce_family(),
                                      cost::CollectiveShape{Collective::all_reduce, 8, 1024}),
                       1e-5));
}

TEST_CASE("across domains a sum is scattered, passed on and gathered") {
  const auto libraries = nccl();
  const cost::CollectivePricer pricer(group(8, 4), engine(), {}, libraries);
  const std::int64_t bytes = 1 << 28;
  const cost::Price price = pricer.all_reduce(bytes);
  CHECK(price.demand[cost::index(Resource::scale_up)].work == bytes / 8 * 7 * 2);
  CHECK(price.demand[cost::index(Resource::network)].work == bytes / 8 * 3 / 4 * 2);
  const double inside = family_seconds(*libraries.collectives, cost::collective_family(),
                                       cost::CollectiveShape{Collective::reduce_scatter, 8, bytes}) +
                        family_seconds(*libraries.collectives, cost::collective_family(),
                                       cost::CollectiveShape{Collective::all_gather, 8, bytes});
  CHECK(price.time.seconds() > inside);
  // 470 MB inside against 50 MB at 44 GB/s; a slower network takes longer.
  CHECK(price.binding == Resource::scale_up);
  hardware::GroupProfile slow = group(8, 4);
  slow.network_bandwidth = {10'000'000'000};
  CHECK(cost::CollectivePricer(slow, engine(), {}, libraries).all_reduce(bytes).binding == Resource::network);
  // Without two members in any domain there is nothing inside.
  const cost::CollectivePricer apart(group(1, 4), engine(), {}, libraries);
  const cost::CollectivePricer plain(group(1, 4), engine());
  CHECK(apart.all_reduce(bytes).time == plain.all_reduce(bytes).time);
}

TEST_CASE("an exchange takes the fastest kernel that the engine has") {
  const cost::ExchangeLoad few{8 * 64, 64, 512, 512};
  const cost::ExchangeLoad many{8 * 8192, 8192, 65536, 65536};
  const cost::CollectivePricer low(group(8, 1), sends_rows(), {}, deepep({"low_latency_dispatch"}));
  const cost::CollectivePricer normal(group(8, 1), sends_rows(), {}, deepep({"normal_dispatch"}));
  const cost::CollectivePricer both(group(8, 1), sends_rows(), {},
                                    deepep({"low_latency_dispatch", "normal_dispatch"}));
  for (const cost::ExchangeLoad& load : {few, many}) {
    const auto time = both.exchange(load, 7392, false).time;
    CHECK(time == std::min(low.exchange(load, 7392, false).time, normal.exchange(load, 7392, false).time));
  }
  // The buffers of the profile hold 256 tokens.
  const cost::ExchangeLoad round{8 * 256, 256, 2048, 2048};
  CHECK_THAT(low.exchange(many, 7392, false).time.seconds(),
             WithinRel(32 * low.exchange(round, 7392, false).time.seconds(), 1e-5));
}

TEST_CASE("an exchange waits for the busiest rank, and for the network where there is one") {
  const cost::CollectivePricer pricer(group(8, 4), sends_rows(), {}, deepep({"low_latency_dispatch"}));
  const cost::ExchangeLoad even{32 * 128, 128, 1024, 1024}, skewed{32 * 128, 128, 1024, 2048};
  const cost::Price price = pricer.exchange(even, 7392, false);
  CHECK(price.binding == Resource::network);
  CHECK(price.demand[cost::index(Resource::network)].work == 1024 * 7392 / 32 * 24);
  CHECK(pricer.exchange(skewed, 7392, false).time > price.time);
}

TEST_CASE("without libraries the costs of the profile stand") {
  const cost::CollectivePricer plain(group(8, 1), engine());
  const cost::CollectivePricer empty(group(8, 1), engine(), {}, cost::LinkLibraries{});
  CHECK(plain.all_reduce(1 << 20).time == empty.all_reduce(1 << 20).time);
  CHECK(plain.all_gather(1 << 20).time == empty.all_gather(1 << 20).time);
}
