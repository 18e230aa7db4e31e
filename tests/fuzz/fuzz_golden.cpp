// Any bytes as golden vectors: a JSON text, a zero byte, the data. They are refused in words, or every case
// ends in a verdict.
#include <algorithm>
#include <charconv>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "models/reference/golden.hpp"
#include "sim/config/diagnostics.hpp"

namespace {

// What the text says the data has, so that mutations of the text do not all end there.
std::size_t stated_bytes(std::string_view text) {
  constexpr std::string_view kKey = "\"nbytes\":";
  constexpr std::size_t kMost = std::size_t{1} << 16;
  const std::size_t at = text.find(kKey);
  std::size_t bytes = 0;
  if (at == std::string_view::npos) return 0;
  const std::string_view rest = text.substr(at + kKey.size());
  const auto begin = std::min(rest.find_first_not_of(' '), rest.size());
  std::from_chars(rest.data() + begin, rest.data() + rest.size(), bytes);
  return std::min(bytes, kMost);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace moesim;
  const std::string_view all(reinterpret_cast<const char*>(data), size);
  const std::size_t end = std::min(all.find('\0'), all.size());
  const std::string text(all.substr(0, end));
  const std::string_view rest = all.substr(std::min(end + 1, all.size()));
  std::vector<std::byte> bytes(stated_bytes(text));
  std::transform(rest.begin(),
                 rest.begin() + static_cast<std::ptrdiff_t>(std::min(rest.size(), bytes.size())),
                 bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
  try {
    reference::GoldenFamily family = reference::parse_golden_family(text, "fuzz", std::move(bytes));
    for (reference::GoldenCase& golden : family.cases) {
      const reference::GoldenVerdict verdict = reference::run_golden_case(family.name, golden);
      if (verdict.passed == !verdict.failure.empty()) std::abort();
    }
  } catch (const reference::GoldenError& error) {
    if (std::string_view(error.what()).empty()) std::abort();
  } catch (const config::InputError& error) {
    if (error.diagnostics().errors().empty()) std::abort();
  }
  return 0;
}
