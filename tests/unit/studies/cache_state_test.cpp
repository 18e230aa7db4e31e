// Rows of tools/gpu are cold unless they say otherwise, and one set of parameters serves both settings.
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "sim/core/math.hpp"
#include "sim/studies/kernel_accuracy.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;

namespace {

std::vector<studies::MeasuredRow> rows_of(const std::string& path) {
  return studies::MeasuredTable::read(path, test::source_catalogue());
}

studies::RowPointers pointers(const std::vector<studies::MeasuredRow>& rows) {
  studies::RowPointers all;
  for (const auto& row : rows) all.push_back(&row);
  return all;
}

}  // namespace

TEST_CASE("rows of the own harness are cold, warm or held apart by the name of their kernel") {
  const auto path =
      std::filesystem::temp_directory_path() / ("moesim-cache-state-" + std::to_string(::getpid()) + ".csv");
  std::ofstream(path) << "system,backend,version,kernel,dtype,m,n,k,latency_us\n"
                         "h100_sxm,torch,2,torch_linear,bfloat16,1,128,2048,5\n"
                         "h100_sxm,torch,2,torch_linear_warm,bfloat16,1,128,2048,4\n"
                         "h100_sxm,torch,2,torch_linear_eager,bfloat16,1,128,2048,9\n"
                         "h100_sxm,trtllm,1,cublas,bfloat16,1,128,2048,5\n";
  const auto rows = rows_of(path);
  std::filesystem::remove(path);
  REQUIRE(rows.size() == 4);
  CHECK(rows[0].conditions == cost::Conditions::serving);
  CHECK(rows[1].conditions == cost::Conditions::benchmark);
  CHECK(std::get<cost::GemmShape>(rows[1].shape).benchmark_copies == 1);
  CHECK(rows[2].conditions == cost::Conditions::serving);
  CHECK(rows[3].conditions == cost::Conditions::benchmark);
  CHECK_FALSE(rows[0].apart);
  CHECK(rows[2].apart);
}

// docs/measurements/2026-11-26-h100-sxm: 2,194 cold products and 112 warm ones of the same GPU, hour and
// library.
TEST_CASE("parameters fitted to cold rows alone predict warm rows") {
  const std::string folder =
      std::string(MOESIM_SOURCE_DIR) + "/docs/measurements/2026-11-26-h100-sxm/kernels/";
  const auto cold = rows_of(folder + "gemm.csv"), warm = rows_of(folder + "gemm_warm.csv");
  const config::Catalogue files = test::source_catalogue();
  const cost::DeviceFigures device = studies::KernelCatalogue(files).figures("h100-sxm");
  const auto parameters =
      studies::fit_family(cost::gemm_family(), pointers(cold), device, nullptr, studies::FitOptions{});
  const auto errors_as = [&](cost::Conditions conditions) {
    std::vector<double> errors;
    for (const auto& row : warm) {
      const double seconds =
          cost::gemm_family().time(row.shape, device, parameters.of(row.variant), conditions, nullptr).total;
      errors.push_back(core::math::log(seconds / row.seconds));
    }
    return studies::quality_of(errors);
  };
  const auto right = errors_as(cost::Conditions::benchmark), wrong = errors_as(cost::Conditions::serving);
  // 7.5 % with a bias of -0.6 %, against 14.3 %.
  CHECK(right.mape < 0.09);
  CHECK(std::abs(right.bias) < 0.02);
  CHECK(wrong.mape > 1.6 * right.mape);
  CHECK(wrong.bias > 0.04);
}
