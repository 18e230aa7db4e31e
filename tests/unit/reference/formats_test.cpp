// Facts of number formats: published limits, typical errors, bytes of storage, odd blocks.
#include <cmath>
#include <functional>
#include <limits>

#include "models/reference/block_formats.hpp"
#include "sim/core/check.hpp"
#include "sim/core/random.hpp"
#include "tests/support/catch.hpp"

namespace moesim::reference {
namespace {

constexpr std::int64_t kRows = 1024;
constexpr std::int64_t kColumns = 256;

const std::vector<float>& normal_values() {
  static const std::vector<float> values = [] {
    core::Draws draws(7, 1, 0);
    std::vector<float> made(static_cast<std::size_t>(kRows * kColumns));
    for (float& value : made) value = static_cast<float>(core::draw_normal(draws));
    return made;
  }();
  return values;
}

// Root of the mean square error, relative to that of the values.
double relative_error(const std::vector<float>& back) {
  const std::vector<float>& values = normal_values();
  double errors = 0.0;
  double squares = 0.0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const double error = static_cast<double>(values[i]) - static_cast<double>(back[i]);
    errors += error * error;
    squares += static_cast<double>(values[i]) * static_cast<double>(values[i]);
  }
  return std::sqrt(errors / squares);
}

TEST_CASE("small floats have the published limits") {
  struct Row {
    const SmallFloat* format;
    float largest;
    float smallest;
  };
  for (const Row& row : {Row{&kE4m3fn, 448.0F, 0x1p-9F}, Row{&kE5m2, 57344.0F, 0x1p-16F},
                         Row{&kE4m3fnuz, 240.0F, 0x1p-10F}, Row{&kE5m2fnuz, 57344.0F, 0x1p-17F},
                         Row{&kE2m1, 6.0F, 0.5F}, Row{&kE2m3, 7.5F, 0.125F}, Row{&kE3m2, 28.0F, 0.0625F}}) {
    CHECK(row.format->largest() == row.largest);
    CHECK(row.format->smallest() == row.smallest);
    CHECK(find_small_float(row.format->name) == row.format);
  }
  CHECK(find_small_float("e9m9") == nullptr);
  // OCP OFP8: 464 is the tie between 448 and what would be 480.
  CHECK(encode(kE4m3fn, 464.0F, Overflow::special) == 0x7E);
  CHECK(encode(kE4m3fn, 464.1F, Overflow::special) == 0x7F);
  CHECK(encode(kE5m2, 61439.0F, Overflow::special) == 0x7B);
  CHECK(encode(kE5m2, 61440.0F, Overflow::special) == 0x7C);
  // OCP MX: ties of E2M1.
  const float ties[][2] = {{0.25F, 0}, {0.75F, 1}, {1.25F, 1}, {1.75F, 2}, {2.5F, 2}, {3.5F, 4}, {5.0F, 4}};
  for (const auto& tie : ties) CHECK(rounded_to(kE2m1, tie[0]) == tie[1]);
  CHECK(decode_e8m0(0) == 0x1p-127F);
  CHECK(decode_e8m0(254) == 0x1p127F);
  CHECK(std::isnan(decode_e8m0(255)));
  CHECK(encode_e8m0(-500) == 0);
  CHECK(encode_e8m0(500) == 254);
}

TEST_CASE("every code of every small float comes back as itself") {
  for (const SmallFloat* format : kSmallFloats) {
    for (int code = 0; code < format->codes(); ++code) {
      const auto byte = static_cast<std::uint8_t>(code);
      const std::uint8_t again = encode(*format, format->decode(byte), Overflow::special);
      CHECK((again == byte || (format->is_nan(again) && format->is_nan(byte))));
      CHECK((encode_stochastic(*format, format->decode(byte), 0xFFFFFFFFU, Overflow::special) == byte ||
             format->is_nan(byte)));
    }
  }
}

TEST_CASE("stochastic rounding goes up as often as it should") {
  // 5/8 of the way from 1 to 1.125 (20 bits are rounded away).
  const float value = 1.0F + 0.125F * 0.625F;
  int ups = 0;
  for (std::uint32_t random = 0; random < (1U << 20U); ++random) {
    ups += encode_stochastic(kE4m3fn, value, random) == encode(kE4m3fn, 1.125F) ? 1 : 0;
  }
  CHECK(ups == (1 << 20) * 5 / 8);
  CHECK(encode_stochastic(kE4m3fn, 0x1p-40F, 0xFFFFFFFFU) == 1);
  CHECK(encode_stochastic(kE4m3fn, 0x1p-40F, 0xF0000000U) == 0);
  CHECK(encode_stochastic(kE4m3fn, 1000.0F, 0) == 0x7E);
}

TEST_CASE("errors on normal values are those of the formats") {
  const std::vector<float>& x = normal_values();
  const auto each = [&](const std::function<float(float)>& round) {
    std::vector<float> back;
    for (const float value : x) back.push_back(round(value));
    return relative_error(back);
  };
  struct Row {
    const char* name;
    double measured;
    double published;  // reference study, N(0, 1), 1024 x 256
  };
  const Row rows[] = {
      {"bf16", each(rounded_to_bf16), 1.7e-3},
      {"e5m2", each([](float value) { return rounded_to(kE5m2, value); }), 0.053},
      {"fp8 1x128", relative_error(dequantize(quantize_fp8_activations(x, kRows, kColumns, false))), 0.0257},
      {"ue8m0", relative_error(dequantize(quantize_fp8_activations(x, kRows, kColumns, true))), 0.0265},
      {"mxfp8", relative_error(dequantize(quantize_mx(x, kRows, kColumns, kE4m3fn))), 0.0295},
      {"mxfp4", relative_error(dequantize(quantize_mx(x, kRows, kColumns, kE2m1))), 0.115},
      {"nvfp4", relative_error(dequantize(quantize_nvfp4(x, kRows, kColumns))), 0.095},
      {"int4 g32", relative_error(dequantize(quantize_int4(x, kRows, kColumns))), 0.094},
      {"q4_0", relative_error(dequantize(quantize_q4_0(x, kRows, kColumns))), 0.086},
      {"q8_0", relative_error(dequantize(quantize_q8_0(x, kRows, kColumns))), 0.0053},
      {"int8", relative_error(dequantize(quantize_int8_rows(x, kRows, kColumns))), 0.0070},
      {"kivi 4", relative_error(dequantize(quantize_kivi(x, 1, kRows, kColumns, 4, KiviAxis::tokens))),
       0.078},
      {"kivi 2", relative_error(dequantize(quantize_kivi(x, 1, kRows, kColumns, 2, KiviAxis::channels))),
       0.39},
  };
  for (const Row& row : rows) {
    INFO(row.name << ": " << row.measured << ", published " << row.published);
    CHECK(std::fabs(row.measured / row.published - 1.0) <= 0.03);
  }
}

TEST_CASE("storage counts packed codes and scales") {
  const std::vector<float> x(3 * 40, 1.0F);
  CHECK(storage_bytes(quantize_mx(x, 3, 40, kE2m1)) == 60 + 6);
  CHECK(storage_bytes(quantize_mx(x, 3, 40, kE2m3)) == 90 + 6);
  CHECK(storage_bytes(quantize_mx(x, 3, 40, kE4m3fn)) == 120 + 6);
  CHECK(storage_bytes(quantize_nvfp4(x, 3, 40)) == 60 + 9 + 4);
  CHECK(storage_bytes(quantize_fp8_activations(x, 3, 40, false, 16)) == 120 + 9 * 4);
  CHECK(storage_bytes(quantize_fp8_activations(x, 3, 40, true, 16)) == 120 + 9);
  CHECK(storage_bytes(quantize_fp8_weights(x, 3, 40, 16)) == 120 + 3 * 4);
  CHECK(storage_bytes(quantize_int8_rows(x, 3, 40)) == 120 + 3 * 4);
  CHECK(storage_bytes(quantize_int4(x, 3, 40)) == 60 + 6 * 4);
  // ggml: 34 and 18 bytes a block of 32.
  CHECK(storage_bytes(quantize_q8_0(std::vector<float>(64), 1, 64)) == 2 * 34);
  CHECK(storage_bytes(quantize_q4_0(std::vector<float>(64), 1, 64)) == 2 * 18);
  CHECK(storage_bytes(quantize_kivi(x, 1, 3, 40, 2, KiviAxis::tokens)) == 30 + 2 * 40 * 2);
  CHECK(storage_bytes(quantize_kivi(x, 1, 3, 40, 4, KiviAxis::channels)) == 60 + 2 * 6 * 2);
}

TEST_CASE("the floor rule saturates where the ceil rule does not") {
  const std::vector<float> x{7.9F, 0.4F};
  CHECK(dequantize(quantize_mx(x, 1, 2, kE2m1, ScaleRule::floor)) == std::vector<float>{6.0F, 0.5F});
  CHECK(dequantize(quantize_mx(x, 1, 2, kE2m1, ScaleRule::ceil)) == std::vector<float>{8.0F, 0.0F});
}

TEST_CASE("blocks with infinities and NaN spoil themselves and no others") {
  const float infinity = std::numeric_limits<float>::infinity();
  std::vector<float> x(64, 1.0F);
  for (const float bad : {infinity, -infinity, std::numeric_limits<float>::quiet_NaN()}) {
    x[3] = bad;
    const MxMatrix mx = quantize_mx(x, 1, 64, kE2m1);
    CHECK(mx.scales[0] == kE8m0Nan);
    CHECK(std::isnan(dequantize(mx)[0]));
    CHECK(dequantize(mx)[40] == 1.0F);
    const Fp8Matrix fp8 = quantize_fp8_activations(x, 1, 64, false, 32);
    CHECK_FALSE(std::isfinite(fp8.scales[0]));
    CHECK(std::isnan(dequantize(fp8)[3]));
    CHECK(dequantize(fp8)[40] == 1.0F);
    CHECK(std::isfinite(quantize_int4(x, 1, 64).scales[1]));
    CHECK(quantize_int4(x, 1, 64).codes[3] == 0);
    CHECK(dequantize(quantize_q8_0(x, 1, 64))[40] == Approx(1.0F).epsilon(0.01));
    CHECK(dequantize(quantize_kivi(x, 1, 64, 1, 4, KiviAxis::tokens))[40] == 1.0F);
  }
}

TEST_CASE("a FlashMLA row keeps its layout") {
  std::vector<float> latent(512);
  std::vector<float> rotated(64);
  for (std::size_t i = 0; i < latent.size(); ++i) {
    latent[i] = static_cast<float>(i % 128 == 0 ? 448 : i % 16) * static_cast<float>(1U << (i / 128));
  }
  for (std::size_t i = 0; i < rotated.size(); ++i) rotated[i] = static_cast<float>(i) + 0.001F;
  std::vector<std::uint8_t> row(656);
  write_latent_row(latent, rotated, row);
  CHECK(row[0] == 0x7E);                       // 448
  CHECK(row[512] + 256 * row[513] == 0x0000);  // the float 1
  CHECK(row[514] + 256 * row[515] == 0x3F80);
  CHECK(row[518] + 256 * row[519] == 0x4000);  // the float 2
  CHECK(row[530] + 256 * row[531] == 0x3F80);  // bf16 of 1.001
  std::vector<float> latent_back(512);
  std::vector<float> rotated_back(64);
  read_latent_row(row, latent_back, rotated_back);
  CHECK(latent_back == latent);
  CHECK(rotated_back[5] == rounded_to_bf16(5.001F));
}

TEST_CASE("nibbles are packed low half first") {
  const std::vector<std::uint8_t> codes{1, 2, 15};
  CHECK(pack_nibbles(codes) == std::vector<std::uint8_t>{0x21, 0x0F});
  CHECK(unpack_nibbles(pack_nibbles(codes), 3) == codes);
  CHECK_THROWS_AS(unpack_nibbles(pack_nibbles(codes), 5), core::InvariantError);
}

TEST_CASE("sizes that do not fit together are refused") {
  const std::vector<float> x(6);
  CHECK_THROWS_AS(quantize_mx(x, 2, 2, kE2m1), core::InvariantError);
  CHECK_THROWS_AS(quantize_mx(x, 2, 3, kE2m1, ScaleRule::floor, 0), core::InvariantError);
  CHECK_THROWS_AS(quantize_mx(x, -2, -3, kE2m1), core::InvariantError);
  CHECK_THROWS_AS(quantize_kivi(x, 1, 2, 3, 9, KiviAxis::tokens), core::InvariantError);
  CHECK_THROWS_AS(quantize_int4(x, std::int64_t{1} << 62, 4), core::InvariantError);
  CHECK(quantize_nvfp4({}, 0, 5).scales.empty());
}

}  // namespace
}  // namespace moesim::reference
