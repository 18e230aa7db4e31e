// The golden vectors of the shared reference data, which a clone of the repository alone does not have.
#pragma once

#include <filesystem>

#include "tests/support/catch.hpp"

namespace moesim::test {

// True if the vectors are there. Else warns that the test is skipped.
inline bool has_golden_data() {
  if (std::filesystem::is_directory(std::filesystem::path(MOESIM_TEST_DATA_DIR) / "golden")) return true;
  WARN("skipped: no data");
  return false;
}

}  // namespace moesim::test
