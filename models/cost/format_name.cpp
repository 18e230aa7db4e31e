// Names of operand formats, and the units that multiply them.
#include "models/cost/kernel_family.hpp"

namespace moesim::cost {
namespace {

std::string_view plain_format_name(llm::NumberFormat format) {
  switch (format) {
    case llm::NumberFormat::bf16:
    case llm::NumberFormat::fp16:
      return "bf16";
    case llm::NumberFormat::fp32:
      return "fp32";
    case llm::NumberFormat::fp8:
      return "fp8";
    case llm::NumberFormat::fp8_block:
      return "fp8_block";
    case llm::NumberFormat::int8:
      return "int8";
    case llm::NumberFormat::int4:
    case llm::NumberFormat::int4_g32:
      return "int4";
    case llm::NumberFormat::mxfp4:
      return "mxfp4";
    case llm::NumberFormat::nvfp4:
      return "nvfp4";
  }
  return "bf16";
}

hardware::NumberFormat matmul_units(llm::NumberFormat format) {
  switch (format) {
    case llm::NumberFormat::fp32:
      return hardware::NumberFormat::fp32;
    case llm::NumberFormat::fp8:
    case llm::NumberFormat::fp8_block:
      return hardware::NumberFormat::fp8;
    case llm::NumberFormat::int8:
      return hardware::NumberFormat::int8;
    case llm::NumberFormat::mxfp4:
    case llm::NumberFormat::nvfp4:
      return hardware::NumberFormat::fp4;
    case llm::NumberFormat::bf16:
    case llm::NumberFormat::fp16:
    case llm::NumberFormat::int4:
    case llm::NumberFormat::int4_g32:
      break;
  }
  return hardware::NumberFormat::bf16;
}

}  // namespace

double matmul_peak(const DeviceFigures& device, llm::NumberFormat format) {
  const double peak = device.peak_of(matmul_units(format));
  return peak > 0 ? peak : device.peak_of(hardware::NumberFormat::bf16);
}

std::string format_name(const llm::LinearFormats& formats) {
  const std::string weights(plain_format_name(formats.weights));
  const std::string activations(plain_format_name(formats.activations));
  if (formats.weights == llm::NumberFormat::int8 && formats.activations == llm::NumberFormat::int8) {
    return "sq";
  }
  if (weights == activations) {
    return weights;
  }
  if (activations == "bf16") {
    return weights == "mxfp4" ? "w4a16_mxfp4" : weights + "_wo";
  }
  if (weights == "mxfp4" && llm::element_bits(formats.activations) == 8) {
    return "w4a8_mxfp4_mxfp8";
  }
  return weights + "_" + activations;
}

}  // namespace moesim::cost
