// Wrong files: each contradiction is found, at the right place, with the right words.
#include <algorithm>

#include "tests/unit/hardware/support.hpp"

namespace moesim::hardware {

namespace {

using test::errors_of;
using test::replaced;
using test::shipped_text;

// The errors of a shipped GPU file after one replacement.
std::string gpu_errors(const char* name, std::string_view from, std::string_view to) {
  return errors_of<Gpu>(replaced(shipped_text("hw_configs/gpus", name), from, to));
}

std::string node_errors(const char* name, std::string_view from, std::string_view to) {
  return errors_of<Node>(replaced(shipped_text("hw_configs/nodes", name), from, to));
}

bool has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

std::size_t lines(const std::string& text) {
  return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n'));
}

}  // namespace

TEST_CASE("576 GB for one GB200 is refused") {
  const std::string nominal = gpu_errors("gb200", "192 GiB", "576 GB");
  CHECK(lines(nominal) == 1);
  CHECK(has(nominal, "/hbm/capacity/value: "));
  CHECK(has(nominal, "about 185 GiB usable"));
  CHECK(has(nominal, "576 GB is not per GPU"));
  CHECK(has(nominal, "\"192 GiB\""));

  const std::string usable = gpu_errors("gb200", "189033 MiB", "576 GB");
  CHECK(has(usable, "/hbm/usable_capacity/value: usable capacity (536.44 GiB) is more than the nominal"));
  CHECK(has(usable, "gb200 has about 185 GiB usable per GPU"));
  CHECK(has(usable, "576 GB is not per GPU"));
}

TEST_CASE("links that carry both directions, or an impossible clock, are refused") {
  std::string text = shipped_text("hw_configs/gpus", "h100-sxm");
  text = replaced(text, "\"25 GB/s\"", "\"50 GB/s\"");
  const std::string doubled = errors_of<Gpu>(replaced(text, "\"450 GB/s\"", "\"900 GB/s\""));
  CHECK(lines(doubled) == 1);
  CHECK(
      has(doubled,
          "/scale_up/bandwidth_per_link/value: the scale-up links of h100-sxm carry 450 GB/s per direction"));
  CHECK(has(doubled, "sum of both directions"));
  CHECK(has(gpu_errors("h100-sxm", "\"boost_clock\": {\"value\": \"1", "\"boost_clock\": {\"value\": \"0"),
            "multiprocessors at 0"));
}

TEST_CASE("a GPU with another name may be anything possible") {
  std::string text = shipped_text("hw_configs/gpus", "h100-sxm");
  text = replaced(text, "\"name\": \"h100-sxm\"", "\"name\": \"h100-what-if\"");
  text = replaced(text, "3.35 TB/s", "6 TB/s");
  CHECK(errors_of<Gpu>(text).empty());
  text = replaced(text, "\"80 GiB\"", "\"576 GiB\"");
  const auto loaded = test::read_text<Gpu>(text);
  CHECK(has(test::warnings_of(loaded.warnings), "no known GPU has more than 288 GiB"));
}

TEST_CASE("decimal gigabytes of memory are a warning with the binary size") {
  std::string text = replaced(shipped_text("hw_configs/gpus", "h100-sxm"), "\"80 GiB\"", "\"80 GB\"");
  const std::string warnings = test::warnings_of(test::read_text<Gpu>(text).warnings);
  CHECK(lines(warnings) == 1);
  CHECK(has(warnings, "/hbm/capacity/value: 80 GB are only 74.5 GiB"));
  CHECK(has(warnings, "[\"80 GiB\"]"));

  text = replaced(text, "\"name\": \"h100-sxm\"", "\"name\": \"my-gpu\"");
  CHECK(has(test::warnings_of(test::read_text<Gpu>(text).warnings), "80 GB are only 74.5 GiB"));
  text = replaced(shipped_text("hw_configs/gpus", "h200-sxm"), "\"141 GiB\"", "\"141 GB\"");
  CHECK(has(test::warnings_of(test::read_text<Gpu>(text).warnings), "141 GB are only 131.3 GiB"));
}

TEST_CASE("more usable than nominal memory is refused") {
  std::string text = replaced(shipped_text("hw_configs/gpus", "h100-sxm"), "h100-sxm", "my-gpu");
  text = replaced(text, "81121 MiB", "81 GiB");
  CHECK(
      has(errors_of<Gpu>(text), "usable capacity (81.00 GiB) is more than the nominal capacity (80.00 GiB)"));
}

TEST_CASE("peaks with sparsity are named as such") {
  const std::string bf16 = gpu_errors("h100-sxm", "989.4 TFLOP/s", "1979 TFLOP/s");
  CHECK(has(bf16, "/peak/bf16/value: 1979 TFLOP/s is twice the dense bf16 peak of h100-sxm"));
  CHECK(has(bf16, "the figure with sparsity [\"989.4 TFLOP/s\"]"));
  CHECK(has(gpu_errors("mi300x", "2615 TFLOP/s", "5.23 PFLOP/s"), "the figure with sparsity"));

  std::string unknown = replaced(shipped_text("hw_configs/gpus", "h200-sxm"), "h200-sxm", "my-gpu");
  unknown = replaced(unknown, "\"989.4 TFLOP/s\"", "\"1.979 PFLOP/s\"");
  CHECK(has(errors_of<Gpu>(unknown), "is this the figure with sparsity?"));
}

TEST_CASE("peaks that no clock could give are refused") {
  std::string text = replaced(shipped_text("hw_configs/gpus", "h100-sxm"), "h100-sxm", "my-gpu");
  const std::string errors = errors_of<Gpu>(replaced(text, "\"989.4 TFLOP/s\"", "\"9.894 PFLOP/s\""));
  CHECK(has(errors,
            "132 multiprocessors at 1.83 GHz do at most 989.43 TFLOP/s in dense bf16, not 9894 TFLOP/s ["));
  CHECK(has(errors_of<Gpu>(replaced(text, "\"fp8\": {\"value\": \"1978.9 TFLOP/s\"",
                                    "\"fp8\": {\"value\": \"500 TFLOP/s\"")),
            "the fp8 peak (500 TFLOP/s) is below the bf16 peak (989.4 TFLOP/s)"));
  CHECK(has(gpu_errors("b200-sxm", "\"9000 TFLOP/s\"", "\"900 TFLOP/s\""),
            "the fp4 peak (900 TFLOP/s) is below"));
}

TEST_CASE("disagreement with the device table is refused") {
  CHECK(has(gpu_errors("h100-sxm", "3.35 TB/s", "3.9 TB/s"), "is 3.35 TB/s (glennklockwood.com"));
  CHECK(has(gpu_errors("b200-sxm", "7.7 TB/s", "9 TB/s"), "is 7.7 to 8 TB/s"));
  CHECK(gpu_errors("b200-sxm", "7.7 TB/s", "8 TB/s").empty());
  CHECK(has(gpu_errors("h100-sxm", "\"value\": 132", "\"value\": 144"), "h100-sxm has 132 multiprocessors"));
  CHECK(has(gpu_errors("h100-sxm", "\"80 GiB\"", "\"94 GiB\""), "h100-sxm has 80 GiB of nominal memory"));
  CHECK(has(gpu_errors("h20", "148 TFLOP/s", "296 TFLOP/s"), "the figure with sparsity"));
  CHECK(has(gpu_errors("h20", "148 TFLOP/s", "200 TFLOP/s"), "the dense bf16 peak of h20 is 148 TFLOP/s"));
}

TEST_CASE("links that do not add up are refused") {
  const std::string errors = gpu_errors("h100-sxm", "\"450 GB/s\"", "\"900 GB/s\"");
  CHECK(has(
      errors,
      "18 links of 25 GB/s are 450 GB/s per direction, not 900 GB/s: this is the advertised sum of both"));
  CHECK(has(errors, "[\"450 GB/s\"]"));
  CHECK(has(gpu_errors("h800-sxm", "\"200 GB/s\"", "\"225 GB/s\""), "8 links of 25 GB/s are 200 GB/s"));
}

TEST_CASE("fractions, clocks, names and sources are checked") {
  CHECK(has(gpu_errors("h100-sxm", "0.798", "1.2"), "/achievable/hbm_fraction/value"));
  CHECK(has(gpu_errors("h100-sxm", "0.785", "0"), "/achievable/matmul_fraction/bf16/value"));
  CHECK(has(gpu_errors("h100-sxm", "1.98 GHz", "1.5 GHz"), "/max_clock/value: the highest clock is below"));
  const std::string source = gpu_errors("h100-sxm", "\"source\": \"study\"", "\"source\": \"studi\"");
  CHECK(has(source, "/source: source \"studi\" is not in \"sources\" of this file [\"study\"]"));
  CHECK(has(gpu_errors("h100-sxm", "\"name\": \"h100-sxm\"", "\"name\": \"H100_SXM\""), "[\"h100-sxm\"]"));
}

TEST_CASE("nodes that cannot be built are refused") {
  CHECK(has(node_errors("gb200-nvl72", "\"domain_gpus\": 72", "\"domain_gpus\": 70"),
            "/scale_up/domain_gpus: a domain of 70 GPUs is not made of whole nodes of 4 GPUs [68]"));
  CHECK(has(node_errors("hgx-h100-8", "\"gpu\": \"h100-sxm\"", "\"gpu\": \"l40s\""),
            "l40s has no scale-up links"));
  CHECK(has(node_errors("mi300x-8", "\"domain_gpus\": 8", "\"domain_gpus\": 16"),
            "a full mesh of 16 GPUs needs a multiple of 15 links per GPU, but mi300x has 7 [8]"));
  CHECK(has(node_errors("hgx-h100-8", "switched", "host-bridge"), "leave \"scale_up\" out"));
  CHECK(has(node_errors("hgx-h100-8", "\"count\": 8", "\"count\": 9"), "9 NICs for 8 GPUs"));
  CHECK(has(node_errors("l40s-pcie-8", "\"sockets\": 2", "\"sockets\": 3"), "evenly among 3 sockets"));
  CHECK(
      has(node_errors("hgx-h100-8", "\"domain_gpus\": 8,",
                      "\"domain_gpus\": 8, \"bandwidth\": {\"value\": \"900 GB/s\", \"source\": \"choice\", "
                      "\"label\": \"assumed\"},"),
          "900 GB/s per direction is more than the 450 GB/s of the links of h100-sxm"));
}

TEST_CASE("an error inside the GPU of a node is found too") {
  const std::string errors =
      node_errors("hgx-h100-8", "\"gpu\": \"h100-sxm\"",
                  "\"gpu\": {\"extends\": \"h100-sxm\", \"tdp\": {\"source\": \"nowhere\"}}");
  CHECK(has(errors, "/gpu/tdp/source: source \"nowhere\""));
}

TEST_CASE("clusters of several domains need a fabric and NICs") {
  CHECK(errors_of<Cluster>(R"({"node": "hgx-h200-8", "nodes": 1})").empty());
  CHECK(errors_of<Cluster>(R"({"node": "gb200-nvl72", "nodes": 18})").empty());
  CHECK(errors_of<Cluster>(R"({"node": "hgx-h200-8", "nodes": 2, "fabric": "ib-ndr400-rail"})").empty());
  CHECK(has(errors_of<Cluster>(R"({"node": "gb200-nvl72", "nodes": 19})"),
            "76 GPUs in domains of 72 need a \"fabric\""));
  CHECK(has(errors_of<Cluster>(R"({"node": "l40s-pcie-8", "nodes": 2, "fabric": "ib-ndr400-rail"})"),
            "/nodes: l40s-pcie-8 has no \"nics\""));
  const auto loaded =
      test::read_text<Cluster>(R"({"node": "gb200-nvl72", "nodes": 20, "fabric": "ib-ndr400-rail"})");
  CHECK(device_count(loaded.value) == 80);
  CHECK(domain_count(loaded.value) == 2);
}

}  // namespace moesim::hardware
