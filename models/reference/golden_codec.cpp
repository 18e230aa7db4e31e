// Golden vectors of number formats.
#include <algorithm>
#include <cmath>

#include "models/reference/block_formats.hpp"
#include "models/reference/golden.hpp"

namespace moesim::reference {

namespace {

const SmallFloat& codec_format(const GoldenCase& golden, const std::string& name) {
  const SmallFloat* format = find_small_float(name);
  if (format == nullptr) throw GoldenError(golden.name() + ": no format \"" + name + "\"");
  return *format;
}

// Rows and columns of a matrix; more dimensions are folded into the rows, fewer make one row.
struct CodecShape {
  std::int64_t rows = 1;
  std::int64_t columns = 1;
};
CodecShape codec_shape(const GoldenTensor& tensor) {
  CodecShape shape;
  if (tensor.shape.empty()) return shape;
  shape.columns = tensor.shape.back();
  for (std::size_t i = 0; i + 1 < tensor.shape.size(); ++i) shape.rows *= tensor.shape[i];
  return shape;
}

template <class Code>
void give_codes(GoldenCase& golden, std::string_view output, const std::vector<Code>& codes) {
  golden.give_integers(output, std::span<const Code>(codes));
}

// Where a code and the expected one are both NaN, they are alike.
template <class Code, class IsNan>
void give_codes_but_nan(GoldenCase& golden, std::string_view output, std::vector<Code> codes,
                        std::span<const Code> wanted, IsNan&& is_nan) {
  for (std::size_t i = 0; i < std::min(codes.size(), wanted.size()); ++i) {
    if (is_nan(codes[i]) && is_nan(wanted[i])) codes[i] = wanted[i];
  }
  give_codes(golden, output, codes);
}

void give_element_codes(GoldenCase& golden, std::string_view output, const SmallFloat& format,
                        const std::vector<std::uint8_t>& codes) {
  if (!golden.has_tensor(output)) return;
  give_codes_but_nan(golden, output, codes, golden.u8(output),
                     [&](std::uint8_t code) { return format.is_nan(code); });
}

void give_encoded(GoldenCase& golden, const SmallFloat& format, std::string_view input,
                  std::string_view output, Overflow overflow) {
  if (!golden.has_tensor(output)) return;
  std::vector<std::uint8_t> codes;
  for (const float value : golden.f32(input)) codes.push_back(encode(format, value, overflow));
  give_element_codes(golden, output, format, codes);
}

// The largest power of two that is not above a scale, as the rule `floor` of MX takes it; 0 and denormals
// below 2^-127 are 2^-127. Scales below 0 have no code.
std::uint8_t e8m0_code(const GoldenCase& golden, float scale) {
  if (std::isnan(scale)) return kE8m0Nan;
  if (std::signbit(scale) && scale != 0.0F) throw GoldenError(golden.name() + ": E8M0 has no sign");
  if (scale == 0.0F) return encode_e8m0(-kE8m0Bias);
  return encode_e8m0(std::isinf(scale) ? kE8m0Bias : std::ilogb(scale));
}

void give_e8m0_codes(GoldenCase& golden) {
  for (const char* output : {"code", "code_sat"}) {
    if (!golden.has_tensor(output)) continue;
    std::vector<std::uint8_t> codes;
    for (const float scale : golden.f32("x")) codes.push_back(e8m0_code(golden, scale));
    give_codes(golden, output, codes);
  }
}

void run_codec(GoldenCase& golden) {
  const std::string name = golden.text("format");
  std::vector<float> table;
  if (name == "e8m0") {
    for (int code = 0; code < 256; ++code) table.push_back(decode_e8m0(static_cast<std::uint8_t>(code)));
    golden.give("decode_table", table);
    give_e8m0_codes(golden);
    return;
  }
  const SmallFloat& format = codec_format(golden, name);
  for (int code = 0; code < format.codes(); ++code) {
    table.push_back(format.decode(static_cast<std::uint8_t>(code)));
  }
  golden.give("decode_table", table);
  golden.give_count("exp_bits", format.exponent_bits);
  golden.give_count("man_bits", format.fraction_bits);
  golden.give_count("bias", format.bias);
  golden.give_fact("max", static_cast<double>(format.largest()));
  give_encoded(golden, format, "x", "code_sat", Overflow::saturate);
  give_encoded(golden, format, "x", "code_nosat", Overflow::special);
  give_encoded(golden, format, "special", "special_sat", Overflow::saturate);
  give_encoded(golden, format, "special", "special_nosat", Overflow::special);
}

void run_codec16(GoldenCase& golden) {
  std::vector<std::uint16_t> bf16;
  std::vector<std::uint16_t> fp16;
  for (const float value : golden.f32("x")) {
    bf16.push_back(to_bf16(value).bits);
    fp16.push_back(to_fp16(value).bits);
  }
  const auto is_nan = [](std::uint16_t code) { return std::isnan(to_float(Bf16{code})); };
  if (golden.has_tensor("bf16")) {
    give_codes_but_nan(golden, "bf16", std::move(bf16), golden.u16("bf16"), is_nan);
  }
  if (golden.has_tensor("fp16")) {
    give_codes_but_nan(golden, "fp16", std::move(fp16), golden.u16("fp16"),
                       [](std::uint16_t code) { return std::isnan(to_float(Fp16{code})); });
  }
}

void run_codec_stochastic(GoldenCase& golden) {
  const auto values = golden.f32("x");
  const auto random = golden.u32("rand");
  if (values.size() != random.size()) throw GoldenError(golden.name() + ": one random number a value");
  std::vector<std::uint16_t> bits;
  for (std::size_t i = 0; i < values.size(); ++i) {
    bits.push_back(to_bf16_stochastic(values[i], random[i]).bits);
  }
  if (!golden.has_tensor("bf16")) return;
  give_codes_but_nan(golden, "bf16", std::move(bits), golden.u16("bf16"),
                     [](std::uint16_t code) { return std::isnan(to_float(Bf16{code})); });
}

void run_mx(GoldenCase& golden, const SmallFloat& usual) {
  const CodecShape shape = codec_shape(golden.tensor("x"));
  const SmallFloat& element =
      codec_format(golden, golden.text_or("format", golden.text_or("element", usual.name)));
  const std::string rule_name = golden.text_or("rule", "floor");
  if (rule_name != "floor" && rule_name != "ceil") {
    throw GoldenError("case " + golden.name() + ": no rule \"" + rule_name + "\" of MX scales");
  }
  const ScaleRule rule = rule_name == "ceil" ? ScaleRule::ceil : ScaleRule::floor;
  const MxMatrix matrix =
      quantize_mx(golden.f32("x"), shape.rows, shape.columns, element, rule, golden.integer_or("block", 32));
  give_codes(golden, "scale_e8m0", matrix.scales);
  give_element_codes(golden, "code", element, matrix.codes);
  golden.give("dequant", dequantize_f64(matrix));
}
void run_mxfp4(GoldenCase& golden) { run_mx(golden, kE2m1); }
void run_mxfp6_e2m3(GoldenCase& golden) { run_mx(golden, kE2m3); }
void run_mxfp6_e3m2(GoldenCase& golden) { run_mx(golden, kE3m2); }
void run_mxfp8(GoldenCase& golden) { run_mx(golden, kE4m3fn); }
void run_mxfp8_e5m2(GoldenCase& golden) { run_mx(golden, kE5m2); }

void run_nvfp4(GoldenCase& golden) {
  const CodecShape shape = codec_shape(golden.tensor("x"));
  const Nvfp4Matrix matrix =
      quantize_nvfp4(golden.f32("x"), shape.rows, shape.columns, golden.integer_or("block", 16));
  golden.give("global_scale", std::span<const float>(&matrix.global_scale, 1));
  give_codes(golden, "scale_e4m3", matrix.scales);
  give_codes(golden, "code", matrix.codes);
  golden.give("dequant", dequantize(matrix));
}

void give_fp8(GoldenCase& golden, const Fp8Matrix& matrix, std::string_view scales) {
  golden.give(scales, matrix.scales);
  give_element_codes(golden, "code", kE4m3fn, matrix.codes);
  golden.give("dequant", dequantize(matrix));
}

void run_fp8_act(GoldenCase& golden) {
  const CodecShape shape = codec_shape(golden.tensor("x"));
  give_fp8(golden,
           quantize_fp8_activations(golden.f32("x"), shape.rows, shape.columns,
                                    golden.flag_or("ue8m0", false), golden.integer_or("block", 128)),
           "scale");
}

void run_fp8_wblock(GoldenCase& golden) {
  const CodecShape shape = codec_shape(golden.tensor("w"));
  give_fp8(golden,
           quantize_fp8_weights(golden.f32("w"), shape.rows, shape.columns, golden.integer_or("block", 128)),
           "scale_inv");
}

void give_integers(GoldenCase& golden, const IntMatrix& matrix) {
  golden.give("scale", matrix.scales);
  give_codes(golden, "q", matrix.codes);
  golden.give("dequant", dequantize(matrix));
}

void run_int4(GoldenCase& golden) {
  const CodecShape shape = codec_shape(golden.tensor("x"));
  give_integers(golden,
                quantize_int4(golden.f32("x"), shape.rows, shape.columns, golden.integer_or("group", 32),
                              static_cast<float>(golden.number_or("div", 7.5))));
}

void run_int8(GoldenCase& golden) {
  const CodecShape shape = codec_shape(golden.tensor("x"));
  give_integers(golden, quantize_int8_rows(golden.f32("x"), shape.rows, shape.columns));
}

void run_ggml(GoldenCase& golden, bool eight_bits) {
  const CodecShape shape = codec_shape(golden.tensor("x"));
  const std::int64_t block = golden.integer_or("block", 32);
  const GgmlMatrix matrix = eight_bits ? quantize_q8_0(golden.f32("x"), shape.rows, shape.columns, block)
                                       : quantize_q4_0(golden.f32("x"), shape.rows, shape.columns, block);
  std::vector<std::uint16_t> scales;
  for (const Fp16 scale : matrix.scales) scales.push_back(scale.bits);
  give_codes(golden, "scale_fp16", scales);
  give_codes(golden, "q", matrix.codes);
  golden.give("dequant", dequantize(matrix));
}
void run_q8_0(GoldenCase& golden) { run_ggml(golden, true); }
void run_q4_0(GoldenCase& golden) { run_ggml(golden, false); }

void run_kivi(GoldenCase& golden) {
  const std::vector<std::int64_t>& shape = golden.tensor("x").shape;
  if (shape.size() < 2) throw GoldenError(golden.name() + ": x must be [..., tokens, channels]");
  std::int64_t heads = 1;
  for (std::size_t i = 0; i + 2 < shape.size(); ++i) heads *= shape[i];
  // Negative axes count from the back, as in numpy.
  const auto dimensions = std::ssize(shape);
  const std::int64_t axis = golden.integer("axis");
  const std::int64_t from_back = axis < 0 ? -axis : dimensions - axis;
  if (from_back != 1 && from_back != 2) throw GoldenError(golden.name() + ": no such axis");
  const KiviCache cache =
      quantize_kivi(golden.f32("x"), heads, shape[shape.size() - 2], shape.back(),
                    static_cast<int>(std::clamp<std::int64_t>(golden.integer("bits"), 0, 64)),
                    from_back == 2 ? KiviAxis::tokens : KiviAxis::channels, golden.integer_or("group", 32));
  golden.give("scale", cache.scales);
  golden.give("zero", cache.zeros);
  give_codes(golden, "q", cache.codes);
  golden.give("dequant", dequantize(cache));
}

constexpr GoldenKind kCodecKinds[] = {
    {"codec", run_codec},
    {"codec16", run_codec16},
    {"codec_sr", run_codec_stochastic},
    {"mxfp4", run_mxfp4},
    {"mxfp6_e2m3", run_mxfp6_e2m3},
    {"mxfp6_e3m2", run_mxfp6_e3m2},
    {"mxfp8", run_mxfp8},
    {"mxfp8_e5m2", run_mxfp8_e5m2},
    {"nvfp4", run_nvfp4},
    {"fp8_act", run_fp8_act},
    {"fp8_wblock", run_fp8_wblock},
    {"int4_sym", run_int4},
    {"int8_token", run_int8},
    {"q8_0", run_q8_0},
    {"q4_0", run_q4_0},
    {"kivi", run_kivi},
};

}  // namespace

std::span<const GoldenKind> golden_codec_kinds() { return kCodecKinds; }

}  // namespace moesim::reference
