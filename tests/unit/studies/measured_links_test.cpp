// The readers of measured collectives and exchanges.
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "sim/config/document.hpp"
#include "sim/studies/measured_rows.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;
using cost::CollectiveShape;
using cost::ExchangeShape;
using studies::MeasuredRow;
using studies::MeasuredTable;

namespace {

std::vector<MeasuredRow> read(const std::string& text) {
  const auto path = std::filesystem::temp_directory_path() /
                    ("moesim-measured-links-" + std::to_string(::getpid()) + ".csv");
  {
    std::ofstream file(path);
    file << text;
  }
  const auto remove = [&path] { std::filesystem::remove(path); };
  try {
    auto rows = MeasuredTable::read(path, test::source_catalogue());
    remove();
    return rows;
  } catch (...) {
    remove();
    throw;
  }
}

constexpr const char* kNccl =
    "system,backend,version,op,dtype,num_gpus,message_elems,message_bytes,latency_us\n";
constexpr const char* kOwn =
    "system,backend,version,kernel,dtype,num_gpus,message_elems,message_bytes,latency_us\n";
constexpr const char* kDeepEp =
    "system,backend,version,mode,phase,nodes,hidden,tokens,topk,experts,sms,latency_us\n";
constexpr const char* kRack =
    "system,backend,version,kernel,op,dtype,ep,hidden,tokens,topk,experts,latency_us\n";

}  // namespace

TEST_CASE("A row of NCCL is a collective; its group is one decade of one series") {
  const auto rows = read(std::string(kNccl) +
                         "a100_sxm,nccl,2.27.3,all_gather,half,2,256,512,8.98\n"
                         "l40s,nccl,2.27.3,all_reduce,int8,8,65536,65536,90.5\n"
                         "l40s,nccl,2.27.3,alltoall,half,4,65536,131072,90.5\n");
  REQUIRE(rows.size() == 3);
  const auto& first = std::get<CollectiveShape>(rows[0].shape);
  CHECK(rows[0].family == &cost::collective_family());
  CHECK(rows[0].gpu == "a100-sxm-80g");
  CHECK(first.collective == cost::Collective::all_gather);
  CHECK(first.ranks == 2);
  CHECK(first.bytes == 512);
  CHECK_FALSE(first.whole_numbers);
  CHECK(rows[0].group == "all_gather/2/2");
  CHECK(rows[0].variant == "ring");
  CHECK(std::get<CollectiveShape>(rows[1].shape).whole_numbers);
  CHECK(rows[1].group == "all_reduce/8/4");
  CHECK(rows[2].variant == "direct");
  CHECK(rows[2].group == "alltoall/4/5");
}

TEST_CASE("Custom all-reduces run from a graph unless their kernel says eager") {
  const auto rows = read(std::string(kOwn) +
                         "h100_sxm,vllm,0.24.0,vLLM_custom_graph,bfloat16,8,128,256,4.7\n"
                         "h100_sxm,vllm,0.24.0,vLLM_custom_eager,bfloat16,8,128,256,23.1\n");
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].family == &cost::custom_all_reduce_family());
  CHECK(rows[0].variant == "graph");
  CHECK(rows[1].variant == "eager");
  CHECK(std::get<CollectiveShape>(rows[1].shape).eager);
  CHECK(rows[1].group == "8/2");
}

TEST_CASE("DeepEP dispatches fp8 with scales and combines bf16") {
  const auto rows = read(std::string(kDeepEp) +
                         "h100_sxm,sglang,0.5.12,low_latency,dispatch,8,7168,128,8,256,0,166.8\n"
                         "h100_sxm,sglang,0.5.12,normal,combine,1,7168,2048,8,256,20,530\n");
  REQUIRE(rows.size() == 2);
  const auto& first = std::get<ExchangeShape>(rows[0].shape);
  CHECK(first.kind == ExchangeShape::Kind::low_latency);
  CHECK(first.ranks == 64);
  CHECK(first.ranks_per_domain == 8);
  CHECK(first.row_bytes == 7392);
  CHECK(first.multiprocessors == 0);
  CHECK(rows[0].variant == "low_latency_dispatch");
  CHECK(rows[0].group == "low_latency_dispatch/64/2");
  const auto& second = std::get<ExchangeShape>(rows[1].shape);
  CHECK(second.row_bytes == 14336);
  CHECK(second.multiprocessors == 20);
  CHECK(rows[1].variant == "normal_combine");
}

TEST_CASE("Exchanges of a rack are balanced, and erratic points are set apart") {
  const auto rows =
      read(std::string(kRack) +
           "gb200,trtllm,1.3,NVLinkOneSided,alltoall_dispatch,nvfp4,4,7168,64,8,256,20\n"
           "gb200,trtllm,1.3,NVLinkTwoSided,alltoall_combine,fp8,64,7168,2,8,256,30\n"
           "gb200,trtllm,1.3,NVLinkTwoSided,alltoall_combine_low_precision,nvfp4,64,7168,4,8,256,30\n"
           "gb200,trtllm,1.3,NVLinkTwoSided,alltoall_prepare,fp8,32,7168,2,8,256,12\n");
  REQUIRE(rows.size() == 4);
  const auto& first = std::get<ExchangeShape>(rows[0].shape);
  CHECK(first.row_bytes == 7168 / 2 + 7168 / 16);
  CHECK(first.destinations == 4);
  CHECK(first.ranks_per_domain == 4);
  CHECK(rows[0].variant == "one_sided_dispatch");
  CHECK_FALSE(rows[0].apart);
  CHECK(std::get<ExchangeShape>(rows[1].shape).row_bytes == 14336);
  CHECK(std::get<ExchangeShape>(rows[1].shape).destinations == 8);
  CHECK(rows[1].apart);
  CHECK_FALSE(rows[2].apart);
  CHECK(rows[2].variant == "two_sided_combine_low_precision");
  CHECK(rows[3].variant == "two_sided_prepare");
}

TEST_CASE("Unknown collectives, modes, phases and formats are errors with a place") {
  const auto refused = [](const std::string& text, const std::string& part) {
    try {
      (void)read(text);
    } catch (const config::InputError& error) {
      CAPTURE(error.what());
      CHECK(std::string(error.what()).find(part) != std::string::npos);
      return;
    }
    FAIL("not refused: " << part);
  };
  refused(std::string(kNccl) + "a100_sxm,nccl,2,broadcast,half,2,256,512,8.98\n", "broadcast");
  refused(std::string(kNccl) + "a100_sxm,nccl,2,all_gather,half,1,256,512,8.98\n", "num_gpus");
  refused(std::string(kDeepEp) + "h100_sxm,s,0,fast,dispatch,8,7168,128,8,256,0,166.8\n", "fast");
  refused(std::string(kDeepEp) + "h100_sxm,s,0,normal,gather,8,7168,128,8,256,0,166.8\n", "gather");
  refused(std::string(kDeepEp) + "h100_sxm,s,0,normal,combine,8,7168,128,8,4,0,166.8\n", "topk");
  refused(std::string(kRack) + "gb200,t,1,NVLink,alltoall_dispatch,nvfp4,4,7168,64,8,256,20\n", "NVLink");
  refused(std::string(kRack) + "gb200,t,1,NVLinkOneSided,alltoall_dispatch,int4,4,7168,64,8,256,20\n",
          "int4");
}
