// Kernel libraries that ship, as a run prices them: with the residual surface over the physics.
#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "sim/core/random.hpp"
#include "sim/studies/kernel_accuracy.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;

namespace {

// Whole numbers spread evenly over the logarithm.
class Sizes {
 public:
  explicit Sizes(std::uint64_t seed) : draws_(seed, 0, 0) {}
  std::int64_t between(std::int64_t low, std::int64_t high) {
    const double octaves = std::log2(static_cast<double>(high) / static_cast<double>(low));
    return static_cast<std::int64_t>(static_cast<double>(low) * std::exp2(octaves * draws_.uniform()));
  }

 private:
  core::Draws draws_;
};

struct Grown {
  std::string what;
  cost::KernelShape shape;
};

template <class Shape>
void grow(std::vector<Grown>& all, const char* what, Shape shape, std::int64_t Shape::*amount, Sizes& sizes) {
  shape.*amount += sizes.between(1, std::max<std::int64_t>(2, shape.*amount * 3));
  all.push_back({what, shape});
}

using Draw = std::function<cost::KernelShape(Sizes&, std::vector<Grown>&)>;

cost::KernelShape gemm(Sizes& sizes, std::vector<Grown>& grown) {
  cost::GemmShape shape;
  shape.m = sizes.between(1, 32768);
  shape.n = 128 * sizes.between(1, 256);
  shape.k = 128 * sizes.between(1, 256);
  grow(grown, "m", shape, &cost::GemmShape::m, sizes);
  grow(grown, "k", shape, &cost::GemmShape::k, sizes);
  return shape;
}

cost::KernelShape decode(Sizes& sizes, std::vector<Grown>& grown) {
  cost::AttentionDecodeShape shape;
  shape.batch = sizes.between(1, 512);
  shape.context = sizes.between(16, 131072);
  shape.kv_heads = sizes.between(1, 8);
  shape.query_heads = shape.kv_heads * sizes.between(1, 8);
  shape.qk_dim = shape.v_dim = 128;
  grow(grown, "batch", shape, &cost::AttentionDecodeShape::batch, sizes);
  grow(grown, "context", shape, &cost::AttentionDecodeShape::context, sizes);
  return shape;
}

cost::KernelShape latent_decode(Sizes& sizes, std::vector<Grown>& grown) {
  cost::AttentionDecodeShape shape;
  shape.batch = sizes.between(1, 512);
  shape.context = sizes.between(16, 131072);
  shape.kv_heads = 1;
  shape.query_heads = 16 * sizes.between(1, 8);
  shape.qk_dim = 576;
  shape.v_dim = 512;
  shape.latent = true;
  grow(grown, "batch", shape, &cost::AttentionDecodeShape::batch, sizes);
  grow(grown, "context", shape, &cost::AttentionDecodeShape::context, sizes);
  return shape;
}

cost::KernelShape prefill(Sizes& sizes, std::vector<Grown>& grown) {
  cost::AttentionPrefillShape shape;
  shape.batch = sizes.between(1, 32);
  shape.queries = sizes.between(16, 32768);
  shape.prefix = sizes.between(1, 32768) - 1;
  shape.kv_heads = sizes.between(1, 8);
  shape.query_heads = shape.kv_heads * sizes.between(1, 8);
  shape.qk_dim = shape.v_dim = 128;
  shape.window = sizes.between(1, 4) == 1 ? 1024 : 0;
  grow(grown, "batch", shape, &cost::AttentionPrefillShape::batch, sizes);
  grow(grown, "queries", shape, &cost::AttentionPrefillShape::queries, sizes);
  grow(grown, "prefix", shape, &cost::AttentionPrefillShape::prefix, sizes);
  return shape;
}

cost::KernelShape stream(Sizes& sizes, std::vector<Grown>& grown) {
  cost::StreamShape shape;
  shape.rows = sizes.between(1, 65536);
  shape.columns = 64 * sizes.between(1, 512);
  shape.read_bytes = 2 * shape.rows * shape.columns;
  shape.write_bytes = shape.rows * shape.columns;
  cost::StreamShape more = shape;
  more.rows *= sizes.between(2, 9);
  more.read_bytes = 2 * more.rows * more.columns;
  more.write_bytes = more.rows * more.columns;
  grown.push_back({"rows", more});
  return shape;
}

cost::KernelShape collective(Sizes& sizes, std::vector<Grown>& grown) {
  cost::CollectiveShape shape;
  shape.ranks = std::int64_t{1} << sizes.between(1, 4);
  shape.bytes = sizes.between(256, std::int64_t{1} << 30);
  grow(grown, "bytes", shape, &cost::CollectiveShape::bytes, sizes);
  return shape;
}

cost::KernelShape exchange(Sizes& sizes, std::vector<Grown>& grown) {
  cost::ExchangeShape shape;
  shape.ranks = std::int64_t{8} << sizes.between(1, 4);
  shape.ranks_per_domain = 8;
  shape.tokens = sizes.between(1, 4096);
  shape.hidden = 7168;
  shape.top_k = 8;
  shape.experts = 256;
  shape.row_bytes = 7168;
  grow(grown, "tokens", shape, &cost::ExchangeShape::tokens, sizes);
  grow(grown, "row bytes", shape, &cost::ExchangeShape::row_bytes, sizes);
  return shape;
}

// What the last bits of a product of two factors may do.
constexpr double kRounding = 1 + 1e-9;

}  // namespace

TEST_CASE("no stored library makes a larger kernel faster") {
  const config::Catalogue files = test::source_catalogue();
  const studies::KernelCatalogue catalogue(files);
  const Draw draws[] = {gemm, decode, latent_decode, prefill, stream, collective, exchange};
  int priced = 0;
  for (const char* library : {"trtllm", "vllm", "sglang", "nccl", "torch"}) {
    for (const char* gpu :
         {"h100-sxm", "h200-sxm", "b200-sxm", "gb200", "a100-sxm-80g", "l40s", "rtx-pro-6000"}) {
      const auto kernels = catalogue.library(library, gpu, cost::Conditions::serving);
      if (!kernels) continue;
      Sizes sizes(7);
      for (const Draw& draw : draws) {
        for (int i = 0; i < 300; ++i) {
          std::vector<Grown> grown;
          const cost::KernelShape shape = draw(sizes, grown);
          const cost::KernelFamily& family = cost::family_of(shape);
          const cost::FamilyFit* fit = kernels->find(family);
          if (fit == nullptr) break;
          // Every variant of the family, whatever the formats of the shape.
          for (const std::string& variant : fit->parameters.variants()) {
            const double before = kernels->time_of(family, shape, variant, {}).time.total;
            for (const Grown& more : grown) {
              const double after = kernels->time_of(family, more.shape, variant, {}).time.total;
              ++priced;
              INFO(library << " on " << gpu << ": " << family.name << " " << variant << ", more " << more.what
                           << ": " << before << " s, then " << after << " s");
              REQUIRE(after * kRounding >= before);
            }
          }
        }
      }
    }
  }
  CHECK(priced > 100'000);
}

TEST_CASE("stored surfaces keep the conditions that make them monotone") {
  const config::Catalogue files = test::source_catalogue();
  const studies::KernelCatalogue catalogue(files);
  int surfaces = 0;
  for (const std::string& name : files.names("hw_configs/kernels")) {
    const std::string library = name.substr(0, name.find('-'));
    const auto kernels =
        catalogue.library(library, name.substr(library.size() + 1), cost::Conditions::serving);
    REQUIRE(kernels.has_value());
    for (const auto& [family, fit] : kernels->families()) {
      for (const auto& [variant, one] : fit.variants) {
        INFO(name << " " << family << " " << variant);
        CHECK(one.surface.is_monotone());
        surfaces += one.surface.empty() ? 0 : 1;
      }
    }
  }
  CHECK(surfaces > 100);
}
