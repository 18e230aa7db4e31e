// The tensor types of GGUF by number (internal to the reader).
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "models/reference/weights/weight_tensor.hpp"

namespace moesim::reference {

// ggml-org/ggml include/ggml.h (enum ggml_type) and src/ggml-common.h (sizes of the block structs).
struct GgufTensorType {
  std::uint32_t number;
  std::string_view name;
  WeightType type;
  std::int64_t block_values;
  std::int64_t block_bytes;
};

inline constexpr std::array<GgufTensorType, 31> kGgufTensorTypes = {{
    {0, "F32", WeightType::f32, 1, 4},
    {1, "F16", WeightType::f16, 1, 2},
    {2, "Q4_0", WeightType::q4_0, 32, 18},
    {3, "Q4_1", WeightType::other, 32, 20},
    {6, "Q5_0", WeightType::other, 32, 22},
    {7, "Q5_1", WeightType::other, 32, 24},
    {8, "Q8_0", WeightType::q8_0, 32, 34},
    {9, "Q8_1", WeightType::other, 32, 36},
    {10, "Q2_K", WeightType::other, 256, 84},
    {11, "Q3_K", WeightType::other, 256, 110},
    {12, "Q4_K", WeightType::other, 256, 144},
    {13, "Q5_K", WeightType::other, 256, 176},
    {14, "Q6_K", WeightType::other, 256, 210},
    {15, "Q8_K", WeightType::other, 256, 292},
    {16, "IQ2_XXS", WeightType::other, 256, 66},
    {17, "IQ2_XS", WeightType::other, 256, 74},
    {18, "IQ3_XXS", WeightType::other, 256, 98},
    {19, "IQ1_S", WeightType::other, 256, 50},
    {20, "IQ4_NL", WeightType::other, 32, 18},
    {21, "IQ3_S", WeightType::other, 256, 110},
    {22, "IQ2_S", WeightType::other, 256, 82},
    {23, "IQ4_XS", WeightType::other, 256, 136},
    {24, "I8", WeightType::i8, 1, 1},
    {25, "I16", WeightType::i16, 1, 2},
    {26, "I32", WeightType::i32, 1, 4},
    {27, "I64", WeightType::i64, 1, 8},
    {28, "F64", WeightType::f64, 1, 8},
    {29, "IQ1_M", WeightType::other, 256, 56},
    {30, "BF16", WeightType::bf16, 1, 2},
    {34, "TQ1_0", WeightType::other, 256, 54},
    {39, "MXFP4", WeightType::mxfp4, 32, 17},
}};

}  // namespace moesim::reference
