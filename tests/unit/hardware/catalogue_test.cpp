// Every shipped file loads without a word, and says where its numbers come from.
#include <set>

#include "models/hardware/device_table.hpp"
#include "tests/unit/hardware/support.hpp"

namespace moesim::hardware {

namespace {

using test::catalogue;

template <class T>
void check_shipped(const std::string& name) {
  INFO(name);
  const auto loaded = config::load_entry<T>(name, catalogue());
  CHECK(loaded.value.name == name);
  CHECK(test::warnings_of(loaded.warnings).empty());

  // Written and read again it is the same.
  const std::string written = config::to_json(record_of(config::Type<T>{}).write(&loaded.value));
  const auto again = test::read_text<T>(written);
  CHECK(config::to_json(record_of(config::Type<T>{}).write(&again.value)) == written);

  // Nothing in it points into a developer's machine.
  const std::string text = test::shipped_text(config::CatalogueEntry<T>::folder, name);
  CHECK(text.find("/work") == std::string::npos);
  CHECK(text.find("shared/") == std::string::npos);
  for (const auto& [id, source] : loaded.value.sources) {
    INFO(id);
    CHECK(source.size() > 10);
    CHECK(text.find("\"source\": \"" + id + "\"") != std::string::npos);
  }
}

}  // namespace

TEST_CASE("every shipped GPU loads without errors or warnings") {
  const auto names = catalogue().names("hw_configs/gpus");
  CHECK(names.size() == 16);
  for (const auto& name : names) check_shipped<Gpu>(name);
}

TEST_CASE("every shipped node loads without errors or warnings") {
  const auto names = catalogue().names("hw_configs/nodes");
  CHECK(names.size() == 17);
  for (const auto& name : names) check_shipped<Node>(name);
}

TEST_CASE("every shipped fabric loads without errors or warnings") {
  const auto names = catalogue().names("hw_configs/fabrics");
  CHECK(names.size() == 6);
  for (const auto& name : names) check_shipped<Fabric>(name);
}

TEST_CASE("the device table knows every shipped GPU and no other") {
  std::set<std::string> known;
  for (const DeviceFacts& device : device_table()) known.insert(std::string(device.name));
  const auto names = catalogue().names("hw_configs/gpus");
  CHECK(known == std::set<std::string>(names.begin(), names.end()));
  CHECK(find_device("h100-sxm")->nominal_gib == 80);
  CHECK(find_device("h100") == nullptr);
}

TEST_CASE("every shipped GPU is in a shipped node") {
  std::set<std::string> used;
  for (const auto& name : catalogue().names("hw_configs/nodes")) {
    used.insert(load_node(name, catalogue()).value.gpu.name);
  }
  const auto names = catalogue().names("hw_configs/gpus");
  CHECK(used == std::set<std::string>(names.begin(), names.end()));
}

TEST_CASE("a name that does not exist is an input error with a suggestion") {
  try {
    (void)load_gpu("h200-sxn", catalogue());
    FAIL("no error");
  } catch (const config::InputError& error) {
    const auto& problem = error.diagnostics().errors().front();
    CHECK((problem.message + problem.suggestion + problem.note).find("h200-sxm") != std::string::npos);
  }
}

TEST_CASE("rates and fractions are found by number format") {
  const Gpu b200 = load_gpu("b200-sxm", catalogue()).value;
  CHECK(peak_of(b200, NumberFormat::fp4)->value.value == 9'000'000'000'000'000);
  CHECK(peak_of(b200, NumberFormat::fp6) == nullptr);
  CHECK(matmul_fraction_of(b200, NumberFormat::fp4).value == 0.43);
  const Gpu a100 = load_gpu("a100-sxm-80g", catalogue()).value;
  CHECK(peak_of(a100, NumberFormat::fp8) == nullptr);
  CHECK(peak_of(a100, NumberFormat::fp32)->label == config::Label::assumed);
  CHECK(&matmul_fraction_of(a100, NumberFormat::fp8) == &a100.achievable.matmul_fraction.bf16);
  CHECK(matmul_fraction_of(a100, NumberFormat::int8).value == 0.798);
}

}  // namespace moesim::hardware
