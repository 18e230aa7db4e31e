#include "models/llm/formats.hpp"

#include <string>

#include "tests/support/catch.hpp"

namespace moesim::llm {
namespace {

TEST_CASE("storage per element includes the block scales") {
  using enum NumberFormat;
  CHECK(bits_per_element(bf16) == Ratio{16, 1});
  CHECK(bits_per_element(fp16) == Ratio{16, 1});
  CHECK(bits_per_element(fp32) == Ratio{32, 1});
  CHECK(bits_per_element(fp8) == Ratio{8, 1});
  CHECK(bits_per_element(int8) == Ratio{8, 1});
  CHECK(bits_per_element(fp8_block) == Ratio{4097, 512});  // 8 + 32/16384
  CHECK(bits_per_element(int4) == Ratio{33, 8});           // 4.125
  CHECK(bits_per_element(mxfp4) == Ratio{17, 4});          // 4.25
  CHECK(bits_per_element(nvfp4) == Ratio{9, 2});           // 4.5
}

TEST_CASE("bytes are exact for whole blocks and rounded up otherwise") {
  using enum NumberFormat;
  CHECK(bytes_for(0, mxfp4) == 0);
  CHECK(bytes_for(1, mxfp4) == 1);
  CHECK(bytes_for(32, mxfp4) == 17);
  CHECK(bytes_for(16, nvfp4) == 9);
  CHECK(bytes_for(16384, fp8_block) == 16388);
  CHECK(bytes_for(3, int4) == 2);
  // No overflow for a large model: 2.8e12 parameters.
  CHECK(bytes_for(2'800'000'000'000, fp32) == 11'200'000'000'000);
  CHECK(bytes_for(std::int64_t{1} << 60, fp8_block) == (std::int64_t{1} << 60) + (std::int64_t{1} << 48));
}

TEST_CASE("matrices count every cut block, rows have scales of their own") {
  using enum NumberFormat;
  CHECK(matrix_bytes(128, 128, fp8_block) == 128 * 128 + 4);
  CHECK(matrix_bytes(2112, 7168, fp8_block) == 2112 * 7168 + 17 * 56 * 4);  // 16.5 blocks of outputs
  CHECK(matrix_bytes(3, 33, mxfp4) == 50 + 3 * 2);                          // 99 nibbles, two blocks a row
  CHECK(row_bytes(7168, fp8_block) == 7392);  // as DeepEP sends a row of DeepSeek-V3
  CHECK(row_bytes(7168, bf16) == 14336);
  CHECK(row_bytes(129, fp8_block) == 129 + 8);
  CHECK(row_bytes(32, nvfp4) == 18);
}

TEST_CASE("products run in the wider format of the two") {
  using enum NumberFormat;
  CHECK(compute_format(bf16, bf16) == bf16);
  CHECK(compute_format(int4, bf16) == bf16);
  CHECK(compute_format(mxfp4, fp8) == fp8);
  CHECK(compute_format(fp8_block, fp8_block) == fp8_block);
  CHECK(compute_format(fp8, bf16) == bf16);
  CHECK(compute_format(fp32, bf16) == fp32);
}

TEST_CASE("activations follow the weights") {
  using enum NumberFormat;
  CHECK(Formats{}.linear_activations() == bf16);
  CHECK(Formats{fp8_block, {}, bf16}.linear_activations() == fp8_block);
  CHECK(Formats{int4, {}, bf16}.linear_activations() == bf16);
  CHECK(Formats{mxfp4, fp8, bf16}.linear_activations() == fp8);
}

TEST_CASE("combinations that no kernel has are problems of their field") {
  using enum NumberFormat;
  const auto field = [](const Formats& formats) {
    const auto problems = format_problems(formats);
    return problems.empty() ? std::string() : std::string(problems.front().field);
  };
  CHECK(field({mxfp4, fp8, fp8}).empty());
  CHECK(field({bf16, fp8, bf16}) == "activations");
  CHECK(field({int4, int4, bf16}) == "activations");
  CHECK(field({int8, fp8, bf16}) == "activations");
  CHECK(field({fp32, bf16, bf16}) == "activations");
  CHECK(field({bf16, {}, mxfp4}) == "kv");
}

}  // namespace
}  // namespace moesim::llm
