#include "sim/studies/kernel_bench.hpp"

#include <algorithm>

#include "sim/config/diagnostics.hpp"
#include "tests/support/catch.hpp"

using namespace moesim;

TEST_CASE("a kernel is measured with its limit, and told in every format") {
  studies::KernelBenchOptions options;
  options.threads = 2;
  options.rounds = 1;
  options.kernels = {"gemv/int4"};
  const studies::KernelBench bench = studies::bench_kernels(options);
  REQUIRE(bench.rows.size() == 1);
  const studies::KernelBenchRow& row = bench.rows.front();
  CHECK(row.kernel == "gemv/int4");
  CHECK(row.is_bandwidth);
  CHECK(row.work == 14336.0 * 4096 / 2 + 14336.0 * 4096 / 32 * 2);
  CHECK(row.seconds > 0.0);
  CHECK(row.limit > 0.0);
  CHECK(row.speedup > 0.0);
  CHECK(row.fraction() == row.work / row.seconds / row.limit);

  const config::Node json = studies::kernel_bench_json(bench);
  const std::string text = config::to_json(json);
  for (const char* key : {"threads", "kernel", "time_s", "rate", "limit", "limited_by", "fraction", "gate",
                          "goal", "speedup", "isa"})
    CHECK(text.find('"' + std::string(key) + '"') != std::string::npos);
  CHECK(studies::kernel_bench_csv(bench).find("gemv/int4,2,") != std::string::npos);
  CHECK(studies::kernel_bench_text(bench, {}).find("speed-up") != std::string::npos);
}

TEST_CASE("the gates of all kernels stand in the bench, and an unknown kernel is an error") {
  const std::vector<std::string> names = studies::kernel_bench_names();
  for (const char* name : {"moe/f32", "moe/bf16", "prefill/f32", "prefill/bf16", "decode/8-8", "decode/32-8",
                           "gemv/mxfp4", "gemv/int4"})
    CHECK(std::count(names.begin(), names.end(), name) == 1);
  studies::KernelBenchOptions options;
  options.kernels = {"gemm"};
  CHECK_THROWS_AS(studies::bench_kernels(options), config::InputError);
}
