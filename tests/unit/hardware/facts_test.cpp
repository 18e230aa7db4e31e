// The numbers of the shipped files, typed once more from the datasheets.
#include "tests/unit/hardware/support.hpp"

namespace moesim::hardware {

namespace {

struct Pin {
  const char* name;
  std::int64_t sms;
  std::int64_t nominal_gib;
  std::int64_t usable_mib;  // where nvidia-smi's total is published, 438 MiB less
  double tb_per_s;
  double bf16, fp8, fp4, int8;  // TFLOP/s, 0 for none
  double l2_mib;
  double watts;
  double link_gb_per_s;  // scale-up, per direction; 0 for none
};

constexpr Pin kPins[] = {
    {"a100-sxm-80g", 108, 80, 81121, 2.039, 312, 0, 0, 624, 40, 400, 300},
    {"h100-sxm", 132, 80, 81121, 3.35, 989.4, 1978.9, 0, 1978.9, 50, 700, 450},
    {"h200-sxm", 132, 141, 142976, 4.8, 989.4, 1978.9, 0, 1978.9, 50, 700, 450},
    {"h800-sxm", 132, 80, 81121, 3.35, 989.4, 1978.9, 0, 1978.9, 50, 700, 200},
    {"h20", 78, 96, 97345, 4.0, 148, 296, 0, 296, 60, 400, 450},
    {"b200-sxm", 148, 192, 182522, 7.7, 2250, 4500, 9000, 4500, 126, 1000, 900},
    {"gb200", 152, 192, 189033, 8.0, 2500, 5000, 10000, 5000, 126, 1200, 900},
    {"b300-sxm", 148, 288, 273784, 7.7, 2250, 4500, 13125, 153.5, 126, 1100, 900},
    {"gb300", 152, 288, 283770, 8.0, 2500, 5000, 15000, 165, 126, 1400, 900},
    {"rtx-pro-6000", 188, 96, 97449, 1.792, 467.8, 935.6, 1871, 935.6, 128, 600, 0},
    {"l40s", 142, 48, 45630, 0.864, 362.05, 733, 0, 733, 96, 350, 0},
    {"rtx-a5000", 64, 24, 24126, 0.768, 111, 0, 0, 222, 6, 230, 0},
    {"rtx-4090", 128, 24, 24126, 1.008, 165.2, 330.3, 0, 660.6, 72, 450, 0},
    {"mi300x", 304, 192, 196592, 5.3, 1307, 2615, 0, 0, 32, 750, 448},
    {"mi325x", 304, 256, 262128, 6.0, 1307, 2615, 0, 0, 32, 1000, 448},
    {"mi355x", 256, 288, 294896, 8.0, 2500, 5033, 10060, 0, 32, 1400, 537.6},
};

double tflops(const Gpu& gpu, NumberFormat format) {
  const auto* peak = peak_of(gpu, format);
  return peak == nullptr ? 0.0 : peak->value.as_double() / 1e12;
}

}  // namespace

TEST_CASE("shipped GPUs have the published capacities, rates and sizes") {
  CHECK(std::size(kPins) == test::catalogue().names("hw_configs/gpus").size());
  for (const Pin& pin : kPins) {
    INFO(pin.name);
    const Gpu gpu = load_gpu(pin.name, test::catalogue()).value;
    CHECK(gpu.sm_count.value == pin.sms);
    CHECK(gpu.hbm.capacity.value.value == pin.nominal_gib << 30);
    CHECK(gpu.hbm.usable_capacity.value.value == pin.usable_mib << 20);
    CHECK(gpu.hbm.bandwidth.value.as_double() == Approx(pin.tb_per_s * 1e12));
    CHECK(tflops(gpu, NumberFormat::bf16) == Approx(pin.bf16));
    CHECK(tflops(gpu, NumberFormat::fp8) == Approx(pin.fp8));
    CHECK(tflops(gpu, NumberFormat::fp4) == Approx(pin.fp4));
    CHECK(tflops(gpu, NumberFormat::int8) == Approx(pin.int8));
    CHECK(gpu.l2_capacity.value.as_double() == pin.l2_mib * 1048576.0);
    CHECK(gpu.tdp.value.value == pin.watts);
    const double link = gpu.scale_up ? gpu.scale_up->bandwidth.value.as_double() / 1e9 : 0.0;
    CHECK(link == Approx(pin.link_gb_per_s));
  }
}

TEST_CASE("achievable shares are those of the cost study") {
  struct Row {
    const char* name;
    double hbm, bf16, fp8, fp8_block;
    std::int64_t overhead_ns;
  };
  constexpr Row kRows[] = {{"a100-sxm-80g", 0.766, 0.817, 0, 0, 3700},
                           {"h100-sxm", 0.798, 0.785, 0.728, 0.568, 2800},
                           {"h200-sxm", 0.768, 0.810, 0.749, 0.588, 2900},
                           {"l40s", 0.771, 0.585, 0.503, 0.294, 2300},
                           {"rtx-pro-6000", 0.818, 0.769, 0.746, 0.569, 2600}};
  for (const Row& row : kRows) {
    INFO(row.name);
    const Achievable reached = load_gpu(row.name, test::catalogue()).value.achievable;
    CHECK(reached.hbm_fraction.label == config::Label::calibrated);
    CHECK(reached.hbm_fraction.value == row.hbm);
    CHECK(reached.matmul_fraction.bf16.value == row.bf16);
    CHECK((reached.matmul_fraction.fp8 ? reached.matmul_fraction.fp8->value : 0) == row.fp8);
    CHECK((reached.matmul_fraction.fp8_block ? reached.matmul_fraction.fp8_block->value : 0) ==
          row.fp8_block);
    CHECK(reached.kernel_overhead.value.ps == row.overhead_ns * 1000);
  }
}

TEST_CASE("an H100 costs what its dated source says") {
  const Gpu h100 = load_gpu("h100-sxm", test::catalogue()).value;
  CHECK(h100.price->per_hour.value.value == 2.95);
  CHECK(h100.price->date == "2026-05-20");
  CHECK_FALSE(load_gpu("gb300", test::catalogue()).value.price.has_value());
}

TEST_CASE("nodes join their GPUs as the machines do") {
  const Node hopper = load_node("hgx-h200-8", test::catalogue()).value;
  CHECK(domain_kind(hopper) == DomainKind::switched);
  CHECK(domain_gpus(hopper) == 8);
  CHECK(domain_bandwidth(hopper).value == 450'000'000'000);
  CHECK(hopper.scale_up->in_switch_reduction);
  CHECK_FALSE(load_node("hgx-a100-8", test::catalogue()).value.scale_up->in_switch_reduction);
  CHECK(hopper.nics->bandwidth.value.value == 50'000'000'000);

  const Node rack = load_node("gb200-nvl72", test::catalogue()).value;
  CHECK(rack.gpus == 4);
  CHECK(domain_gpus(rack) == 72);
  CHECK(rack.host_link.bandwidth.value.value == 450'000'000'000);

  const Node pcie = load_node("l40s-pcie-8", test::catalogue()).value;
  CHECK(domain_kind(pcie) == DomainKind::host_bridge);
  CHECK(domain_gpus(pcie) == 8);
  CHECK(domain_bandwidth(pcie).value == 32'000'000'000);

  const Node mesh = load_node("mi300x-8", test::catalogue()).value;
  CHECK(domain_kind(mesh) == DomainKind::full_mesh);
  CHECK(domain_bandwidth(mesh).value == 448'000'000'000);
  CHECK(mesh_link_bandwidth(mesh).value == 64'000'000'000);
}

}  // namespace moesim::hardware
