#include <filesystem>

#include "reports/files.hpp"
#include "reports/results_json.hpp"
#include "reports/summary.hpp"
#include "sim/config/document.hpp"
#include "sim/io/error.hpp"
#include "sim/io/line_reader.hpp"
#include "sim/io/sha256.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"
#include "tests/unit/reports/example_report.hpp"

namespace moesim::reports {

namespace {

std::string written(void (*writer)(const serving::Results&, const Sink&), const serving::Results& results) {
  std::string text;
  writer(results, [&](std::string_view bytes) { text += bytes; });
  return text;
}

const config::Node& at(const config::Node& node, std::string_view pointer) {
  const config::Node* found = config::resolve_pointer(node, pointer);
  REQUIRE(found != nullptr);
  return *found;
}

}  // namespace

TEST_CASE("requests.csv has exact times, and nothing for what did not happen") {
  CHECK(written(write_requests_csv, example_report().results) ==
        "id,status,reason,warmup,session,replica,dp_rank,input_tokens,output_tokens,generated_tokens,"
        "preemptions,"
        "arrival_s,scheduled_s,first_token_s,finished_s,queueing_s,ttft_s,tpot_s,e2e_s\n"
        "0,served,,0,7,0,1,100,4,4,0,0.000000000001,2.000000000001,2.500000000001,4.000000000002,2,2.5,0.5,"
        "4.000000000001\n"
        "1,refused,\"prompt, with \"\"quotes\"\", is too long\",0,,,,9,1,0,0,3,,,,,,,\n");
}

TEST_CASE("timeseries.csv and experts.csv") {
  CHECK(written(write_timeseries_csv, example_report().results) ==
        "begin_s,end_s,arrivals,finished,prefill_tokens,decode_tokens,steps,preemptions,mean_running,mean_"
        "waiting,"
        "mean_kv_bytes,busy_fraction,mean_kv_waste_bytes,admission_stops\n0,1,2,1,100,3,5,0,0.5,0.25,"
        "1000000000,0.125,"
        "50000000,6\n");
  CHECK(written(write_experts_csv, example_report().results) == "layer,expert,tokens\n3,0,10\n3,1,30\n");
  CHECK(written(write_experts_csv, serving::Results{}) == "layer,expert,tokens\n");
}

TEST_CASE("memory.csv has the stack of a device") {
  CHECK(written(write_memory_csv, example_report().results) ==
        "begin_s,end_s,pool,category,mean_bytes,mean_waste_bytes,worst_bytes,worst_waste_bytes\n"
        "0,1,main,weights,75161927680,0,75161927680,0\n"
        "0,1,main,kv_window_128,1500000,250000,24000,6000\n"
        "0,1,main,kv_pooled_4,4000000,800000,51200,1024\n"
        "0,1,main,kv_pooled_4_index_keys,1000000,200000,12800,256\n"
        "0,1,main,kv_free,37574463840,0,37580875840,0\n");
  CHECK(written(write_memory_csv, serving::Results{}) ==
        "begin_s,end_s,pool,category,mean_bytes,mean_waste_bytes,worst_bytes,worst_waste_bytes\n");
}

TEST_CASE("results.json says what it rests on") {
  RunReport report = example_report();
  const config::Node node = results_node(report);
  CHECK(at(node, "/schema").text == "result/1");
  CHECK(at(node, "/manifest/seed").integer == 42);
  CHECK_FALSE(at(node, "/manifest/partial").boolean);
  CHECK(at(node, "/manifest/end").text == "complete");
  CHECK(at(node, "/manifest/inputs/0/name").text == "hw_configs/gpus/h200-sxm.json");
  CHECK(at(node, "/metrics/ttft.p99/value").real == 2.5);
  CHECK(at(node, "/metrics/ttft.p99/unit").text == "s");
  CHECK(at(node, "/metrics/ttft.p99/better").text == "lower");
  CHECK(at(node, "/metrics/ttft.p99/n").integer == 1);
  CHECK(config::resolve_pointer(node, "/metrics/gpus/n") == nullptr);
  CHECK_FALSE(at(node, "/slo/0/held").boolean);
  CHECK(at(node, "/source_shares/calibrated").real == 0.75);
  CHECK(at(node, "/order_hash").text == "0000000000001234");
  CHECK(at(node, "/memory/0/kv_peak_bytes").integer == std::int64_t{7} << 30);
  CHECK(at(node, "/memory/0/kv_peak_waste_bytes").integer == 4096);
  CHECK(at(node, "/memory/0/kv_groups/0/layers").integer == 12);
  CHECK(at(node, "/memory/0/kv_groups/0/row_bytes").integer == 2048);
  CHECK(at(node, "/memory/0/kv_groups/0/tokens_per_row").integer == 1);
  CHECK(at(node, "/memory/0/kv_groups/0/keeps_tokens").integer == 128);
  CHECK(at(node, "/memory/0/kv_groups/1/tokens_per_row").integer == 4);
  CHECK(at(node, "/memory/0/kv_groups/1/keeps_tokens").kind == config::Node::Kind::null);
  CHECK(at(node, "/memory/0/kv_groups/0/name").text == "window_128");
  CHECK(at(node, "/memory/0/kv_groups/1/name").text == "pooled_4");
  CHECK(at(node, "/memory/0/kv_groups/1/index_key_bytes").integer == 256);
  CHECK(at(node, "/memory_over_time/0/pool").text == "main");
  CHECK(at(node, "/memory_over_time/0/fullest_at_s").real == 0.5);
  CHECK(at(node, "/memory_over_time/0/fullest_replica").integer == 0);
  CHECK(at(node, "/memory_over_time/0/fullest_dp_rank").integer == 1);
  CHECK(at(node, "/memory_over_time/0/categories/1/category").text == "kv_window_128");
  CHECK(at(node, "/memory_over_time/0/categories/1/mean_bytes").real == 1.5e6);
  CHECK(at(node, "/memory_over_time/0/categories/1/mean_waste_bytes").real == 2.5e5);
  CHECK(at(node, "/memory_over_time/0/categories/1/fullest_bytes").integer == 24'000);
  CHECK(at(node, "/memory_over_time/0/categories/1/fullest_waste_bytes").integer == 6'000);
  CHECK(at(node, "/memory_over_time/0/categories/1/peak_bytes").integer == 25'000);
  CHECK(at(node, "/memory_over_time/0/categories/1/peak_at_s").real == 0.25);
  CHECK(at(node, "/memory_over_time/0/categories/3/peak_bytes").integer == 12'800);
  CHECK(at(node, "/memory_over_time/0/categories/3/peak_at_s").real == 0.5);
  // A pool that never used a block has no fullest device.
  report.results.memory_use.front().fullest = {};
  const config::Node unused = results_node(report);
  for (const char* key : {"fullest_at_s", "fullest_replica", "fullest_dp_rank"}) {
    CHECK(at(unused, std::string("/memory_over_time/0/") + key).kind == config::Node::Kind::null);
  }
  CHECK(at(node, "/kv_use/mean_bytes").real == 1e9);
  CHECK(at(node, "/kv_use/mean_waste_bytes").real == 5e7);
  CHECK(at(node, "/memory_events/0/event").text == "preemption");
  CHECK(at(node, "/memory_events/0/at_s").real == 1.5);
  CHECK(at(node, "/memory_events/0/pool").text == "main");
  CHECK(at(node, "/memory_events/0/request").integer == 9);
  CHECK(at(node, "/memory_events/0/blocks_needed").integer == 1200);
  CHECK(at(node, "/memory_events/0/remedy").text == "memory.utilization 0.95 instead of 0.92");
  // The writer's own parser reads it again, so it is one sound JSON document.
  CHECK_NOTHROW(config::parse_text(config::to_json(node), "results.json"));

  report.results.end = serving::RunEnd::until;
  CHECK(at(results_node(report), "/manifest/partial").boolean);
  CHECK(at(results_node(report), "/manifest/end").text == "until");
}

TEST_CASE("the summary gives the verdict first and stays within 100 columns") {
  for (const std::size_t width : {60U, 80U, 100U, 200U}) {
    Style style;
    style.width = width;
    style.bars = width == 200;
    const std::string text = text_summary(example_report(), style);
    INFO(text);
    CHECK(widest_line(text) <= std::max<std::size_t>(72, std::min<std::size_t>(width, 100)));
    CHECK(text.find('\x1b') == std::string::npos);
    CHECK(text.find("SLO MISSED: 1 of 2 rules missed") < text.find("Latency"));
    CHECK(text.find("checks: 2 of 2 held") != std::string::npos);
    CHECK(text.find("0.123 USD per million tokens") != std::string::npos);
    CHECK(text.find("kv_pooled_4_index_keys") != std::string::npos);
    CHECK(text.find("fullest at 500 ms (replica 0, data-parallel rank 1)") != std::string::npos);
    CHECK(text.find("5.0 % of the KV blocks in use hold no token") != std::string::npos);
    CHECK(text.find("first preemption in pool main at 1.5") != std::string::npos);
    if (width >= 100) CHECK(text.find("memory.utilization 0.95") != std::string::npos);
    // The shard with the most priced time is not always the one with the most rows.
    CHECK(text.find("slowest") != std::string::npos);
    CHECK(text.find("busiest expert shard") == std::string::npos);
    if (width >= 100) CHECK(text.find("calibrated 75.0 %, assumed 25.0 %") != std::string::npos);
    CHECK((text.find('#') != std::string::npos) == style.bars);
  }
}

TEST_CASE("a partial summary and a broken check cannot be overlooked") {
  RunReport report = example_report();
  report.results.end = serving::RunEnd::interrupted;
  report.results.checks.push_back({"KV blocks", false, "3 != 4"});
  Style style;
  style.color = true;
  const std::string text = text_summary(report, style);
  CHECK(text.find("PARTIAL RESULTS") < text.find("SLO"));
  CHECK(text.find("checks: 2 of 3 held") != std::string::npos);
  CHECK(text.find("BROKEN KV blocks: 3 != 4") != std::string::npos);
  CHECK(text.find('\x1b') != std::string::npos);
}

TEST_CASE("the files appear together and their digests are right") {
  const io::testing::TemporaryFolder folder;
  const std::filesystem::path target = folder.path() / "a" / "b";
  const auto files = write_result_files(target, example_report(), {});
  REQUIRE(files.size() == 5);
  CHECK(files.front().name == "results.json");
  for (const WrittenFile& file : files) CHECK(io::sha256_hex_of_file(target / file.name) == file.sha256);
  CHECK(std::filesystem::exists(target / "run_info.json"));
  CHECK(std::distance(std::filesystem::directory_iterator(target), {}) == 6);
}

TEST_CASE("nothing appears if one file cannot be written") {
  const io::testing::TemporaryFolder folder;
  std::filesystem::create_directories(folder.path() / "experts.csv");
  CHECK_THROWS_AS(static_cast<void>(write_result_files(folder.path(), example_report(), {})), io::IoError);
  CHECK(std::distance(std::filesystem::directory_iterator(folder.path()), {}) == 1);
}

}  // namespace moesim::reports
