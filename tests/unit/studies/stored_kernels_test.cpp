// Kernel libraries that ship, as a run prices them: with the residual surface over the physics.
#include <algorithm>
#include <string>

#include "sim/studies/kernel_accuracy.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;

namespace {

// How much faster than the slowest smaller one the fastest larger kernel is, as a share; sizes double.
template <class Make>
double largest_drop(const cost::KernelLibrary& kernels, std::int64_t least, std::int64_t most, Make make) {
  double slowest = 0, drop = 0;
  for (std::int64_t size = least; size <= most; size *= 2) {
    const cost::KernelShape shape = make(size);
    const double time = kernels.time_of(cost::family_of(shape), shape, "", {}).time.total;
    slowest = std::max(slowest, time);
    drop = std::max(drop, 1 - time / slowest);
  }
  return drop;
}

}  // namespace

// docs/accuracy.md says how far surfaces bend what the physics alone never does.
TEST_CASE("a stored surface makes larger kernels faster by 12 % at most") {
  const config::Catalogue files = test::source_catalogue();
  const studies::KernelCatalogue catalogue(files);
  for (const char* library : {"trtllm", "vllm"}) {
    for (const char* gpu : {"h100-sxm", "h200-sxm", "b200-sxm", "a100-sxm-80g", "l40s", "rtx-pro-6000"}) {
      INFO(library << " on " << gpu);
      const auto kernels = catalogue.library(library, gpu, cost::Conditions::serving);
      REQUIRE(kernels.has_value());
      for (const auto& [n, k] : {std::pair{4096, 4096}, std::pair{28672, 4096}, std::pair{7168, 2048}}) {
        CHECK(largest_drop(*kernels, 1, 1 << 15, [&](std::int64_t m) {
                cost::GemmShape shape;
                shape.m = m;
                shape.n = n;
                shape.k = k;
                return shape;
              }) < 0.12);
      }
      for (const std::int64_t batch : {1, 16, 128}) {
        CHECK(largest_drop(*kernels, 16, 1 << 17, [&](std::int64_t context) {
                cost::AttentionDecodeShape shape;
                shape.batch = batch;
                shape.context = context;
                shape.query_heads = 32;
                shape.kv_heads = 8;
                shape.qk_dim = shape.v_dim = 128;
                return shape;
              }) < 0.12);
      }
    }
  }
}
