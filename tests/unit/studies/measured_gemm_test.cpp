// The readers of measured matrix products and quantisation passes.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "sim/config/document.hpp"
#include "sim/studies/measured_rows.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;
using cost::GemmShape;
using cost::StreamShape;
using studies::MeasuredRow;

namespace {

std::vector<MeasuredRow> read_products(const std::string& text) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("moesim-measured-gemm-" + std::to_string(::getpid()) + ".csv");
  std::ofstream(path) << text;
  const auto remove = [&path] { std::filesystem::remove(path); };
  try {
    auto rows = studies::MeasuredTable::read(path, test::source_catalogue());
    remove();
    return rows;
  } catch (...) {
    remove();
    throw;
  }
}

constexpr const char* kProducts = "system,backend,version,kernel,dtype,m,n,k,latency_us\n";
constexpr const char* kBatched = "system,backend,version,kernel,op,dtype,tokens,heads,latency_us\n";
constexpr const char* kPasses = "system,backend,version,kernel,op,dtype,m,k,latency_us\n";

}  // namespace

TEST_CASE("A row of a product has the formats of its name, and is quantised unless activations stay bf16") {
  const auto rows = read_products(std::string(kProducts) +
                                  "h100_sxm,trtllm,1,torch_flow,bfloat16,16,4096,1024,5\n"
                                  "h100_sxm,trtllm,1,torch_flow,fp8_block,16,4096,1024,5\n"
                                  "h100_sxm,vllm,1,CutlassFp8BlockScaledMMKernel,fp8_block,16,32,32,150\n"
                                  "a100_sxm,trtllm,1,plugin,int4_wo,1,2,3,5\n");
  REQUIRE(rows.size() == 4);
  const auto& plain = std::get<GemmShape>(rows[0].shape);
  CHECK(rows[0].variant == "bf16");
  CHECK(rows[0].group == "n4096-k1024");
  CHECK((plain.m == 16 && plain.n == 4096 && plain.k == 1024 && plain.batch == 1));
  CHECK_FALSE(plain.quantises);
  CHECK_FALSE(plain.eager);
  CHECK(rows[1].variant == "fp8_block");
  CHECK(std::get<GemmShape>(rows[1].shape).quantises);
  CHECK(rows[2].variant == "fp8_block/cutlass");
  CHECK(std::get<GemmShape>(rows[2].shape).eager);
  CHECK(std::get<GemmShape>(rows[2].shape).benchmark_copies == 1);
  CHECK(rows[3].variant == "int4_wo");
  CHECK_FALSE(std::get<GemmShape>(rows[3].shape).quantises);
  CHECK_THROWS_AS(read_products(std::string(kProducts) + "h100_sxm,trtllm,1,torch_flow,int3,1,2,3,5\n"),
                  config::InputError);
  CHECK_THROWS_AS(read_products(std::string(kProducts) + "h100_sxm,trtllm,1,torch_flow,fp8,0,2,3,5\n"),
                  config::InputError);
}

TEST_CASE("Products of absorbed latent attention are one for each head") {
  const auto rows =
      read_products(std::string(kBatched) +
                    "h100_sxm,trtllm,1,trtllm_bmm_out,mla_gen_pre,bfloat16,64,128,9\n"
                    "h100_sxm,trtllm,1,trtllm_fp8_block_scaling_bmm_out,mla_gen_post,fp8,64,1,9\n"
                    "b200_sxm,trtllm,1,trtllm_bmm_out_dequant_bf16,mla_gen_post,fp8,64,8,9\n");
  REQUIRE(rows.size() == 3);
  const auto& before = std::get<GemmShape>(rows[0].shape);
  CHECK((before.batch == 128 && before.m == 64 && before.n == 512 && before.k == 128));
  CHECK(rows[0].variant == "bmm/bf16");
  const auto& behind = std::get<GemmShape>(rows[1].shape);
  CHECK((behind.batch == 1 && behind.n == 128 && behind.k == 512 && behind.quantises));
  CHECK(rows[1].variant == "bmm/fp8_block");
  CHECK(rows[2].variant == "bmm/bf16");
}

TEST_CASE("A pass that finds the largest value writes nothing") {
  const auto rows = read_products(std::string(kPasses) +
                                  "h100_sxm,trtllm,1,torch_ops,computescale,fp8,2,128,7.3\n"
                                  "h100_sxm,trtllm,1,torch_ops,scale_matrix,fp8,2,128,1.4\n");
  REQUIRE(rows.size() == 2);
  CHECK(std::get<StreamShape>(rows[0].shape).read_bytes == 512);
  CHECK(std::get<StreamShape>(rows[0].shape).write_bytes == 0);
  CHECK(rows[0].variant == "reduce");
  CHECK(std::get<StreamShape>(rows[1].shape).write_bytes == 256);
  CHECK(rows[1].variant == "map");
}
