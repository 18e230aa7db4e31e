// Cases of routers and experts whose sizes make no sense: a failure in words, never a crash.
#include <cstring>
#include <string>

#include "models/reference/golden.hpp"
#include "tests/support/catch.hpp"

namespace moesim::reference {
namespace {

// One case whose tensors are all the same 16 bytes of zeros.
std::string failure_of(const std::string& kind, const std::string& params, const std::string& tensors) {
  const std::string json =
      R"({"format": "gvec-1", "endian": "little", "bin": "f.bin", "nbytes": 16, "cases": [)"
      R"({"name": "c", "kind": ")" +
      kind + R"(", "params": )" + params + R"(, "tensors": {)" + tensors + R"(}, "tol": {}}]})";
  GoldenFamily family = parse_golden_family(json, "f", std::vector<std::byte>(16));
  return run_golden_case("f", family.cases[0]).failure;
}

std::string tensor(const std::string& name, const std::string& type, const std::string& shape, int bytes) {
  return '"' + name + R"(": {"role": "in", "dtype": ")" + type + R"(", "shape": )" + shape +
         R"(, "offset": 0, "nbytes": )" + std::to_string(bytes) + "}";
}

}  // namespace

TEST_CASE("sizes of zero and of more than memory are failures of their case") {
  const std::string pairs =
      tensor("indices", "i32", "[2, 2]", 16) + ", " + tensor("weights", "f64", "[2, 1]", 16);
  for (const char* topk : {"0", "-1", "9223372036854775807"}) {
    INFO(topk);
    const std::string k = std::string(R"(, "topk": )") + topk + "}";
    CHECK_FALSE(failure_of("capacity", R"({"experts": 2, "capacity_factor": 1.0)" + k, pairs).empty());
    CHECK_FALSE(failure_of("capacity", R"({"experts": 2, "capacity": 1)" + k, pairs).empty());
    const std::string matrices = tensor("x", "f32", "[2, 2]", 16) + ", " + tensor("w", "f32", "[2, 2]", 16);
    CHECK_FALSE(failure_of("router", R"({"score": "softmax")" + k, matrices).empty());
  }
  for (const char* experts : {"0", "-3", "9223372036854775807"}) {
    INFO(experts);
    CHECK_FALSE(failure_of("permutation", std::string(R"({"experts": )") + experts + "}", pairs).empty());
  }
  const std::string layer =
      tensor("x", "f32", "[2, 2]", 16) + ", " + tensor("w_gate", "f32", "[1, 2, 2]", 16);
  for (const char* sizes : {R"("hidden": 0, "ffn": 2)", R"("hidden": 4611686018427387904, "ffn": 4)"}) {
    INFO(sizes);
    CHECK(failure_of(
              "moe_layer",
              std::string(R"({"act": "relu", "shared": "plain", "tokens": 2, "topk": 1, "experts": 1, )") +
                  sizes + "}",
              layer)
              .find("hidden of a layer") != std::string::npos);
  }
}

}  // namespace moesim::reference
