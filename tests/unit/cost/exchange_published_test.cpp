// DeepEP's published low-latency times: one curve for dispatch and combine from 8 to 256 ranks.
#include <array>
#include <cmath>
#include <vector>

#include "models/cost/exchange_time.hpp"
#include "models/cost/kernel_library.hpp"
#include "tests/support/catch.hpp"
#include "tests/support/scenarios.hpp"

using namespace moesim;
using cost::ExchangeShape;

namespace {

// H800, 128 tokens per rank, hidden size 7,168, 8 of 256 experts (deepseek-ai/DeepEP, README of version 1).
struct PublishedRow {
  std::int64_t ranks;
  double micro;
  double gigabytes;  // per second: rows over time
};
constexpr std::array<PublishedRow, 6> kDispatch = {
    {{8, 77, 98}, {16, 118, 63}, {32, 155, 48}, {64, 173, 43}, {128, 192, 39}, {256, 194, 39}}};
constexpr std::array<PublishedRow, 6> kCombine = {
    {{8, 114, 127}, {16, 195, 74}, {32, 273, 53}, {64, 314, 46}, {128, 369, 39}, {256, 360, 40}}};

// Five numbers stand for all twelve rows: the rest are the family's initial values.
std::vector<double> curve() {
  const std::array<std::pair<std::string_view, double>, 5> fitted = {{{"start_up", 25.8},
                                                                      {"network_start_up", 1.09},
                                                                      {"network_doubling", 0.74},
                                                                      {"link_share", 0.827},
                                                                      {"network_share", 0.906}}};
  std::vector<double> values;
  for (const cost::Parameter& one : cost::exchange_family().parameters) {
    values.push_back(one.initial);
    for (const auto& [name, value] : fitted) {
      if (one.name == name) values.back() = value;
    }
  }
  return values;
}

ExchangeShape layer(std::int64_t ranks, bool combine) {
  ExchangeShape shape;
  shape.kind = ExchangeShape::Kind::low_latency;
  shape.phase = combine ? ExchangeShape::Phase::combine : ExchangeShape::Phase::dispatch;
  shape.ranks = ranks;
  shape.ranks_per_domain = 8;
  shape.tokens = 128;
  shape.hidden = 7168;
  shape.top_k = 8;
  shape.experts = 256;
  // fp8 with one fp32 scale for 128 numbers; bf16 back.
  shape.row_bytes = combine ? 2 * 7168 : 7168 + 4 * 7168 / 128;
  return shape;
}

void check(const std::array<PublishedRow, 6>& rows, bool combine) {
  const cost::DeviceFigures h800 =
      cost::figures_of(hardware::load_node("hgx-h800-8", test::source_catalogue()).value);
  for (const PublishedRow& row : rows) {
    const ExchangeShape shape = layer(row.ranks, combine);
    const double micro =
        cost::exchange_family().time(shape, h800, curve(), cost::Conditions::serving, nullptr).total * 1e6;
    CAPTURE(row.ranks, combine, micro, row.micro);
    CHECK(std::abs(micro / row.micro - 1) < 0.10);
    const double bytes = cost::exchange_traffic(shape).bytes;
    CHECK(std::abs(bytes / (row.micro * row.gigabytes * 1e3) - 1) < 0.025);
  }
}

}  // namespace

TEST_CASE("one curve gives DeepEP's published low-latency times from 8 to 256 ranks") {
  check(kDispatch, false);
  check(kCombine, true);
}
