#include "sim/cli/places.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <system_error>

#include "sim/config/diagnostics.hpp"

#ifndef MOESIM_DEFAULT_HOME
#define MOESIM_DEFAULT_HOME ""
#endif
#ifndef MOESIM_DEFAULT_DATA_DIR
#define MOESIM_DEFAULT_DATA_DIR ""
#endif

namespace moesim::cli {

namespace fs = std::filesystem;

namespace {

bool is_home(const fs::path& folder) {
  std::error_code ignored;
  return fs::is_directory(folder / "hw_configs", ignored) && fs::is_directory(folder / "models", ignored);
}

// Shorter, where it can be: messages and `explain` print these paths.
fs::path shown(const fs::path& folder) {
  std::error_code ignored;
  const fs::path real = fs::weakly_canonical(folder, ignored);
  const fs::path here = fs::current_path(ignored);
  const fs::path relative = real.lexically_relative(here);
  if (relative == ".") return {};
  return relative.empty() || *relative.begin() == ".." ? real : relative;
}

}  // namespace

std::vector<fs::path> catalogue_roots(const std::vector<std::string>& overlays,
                                      const Environment& environment, const fs::path& program) {
  std::vector<fs::path> roots;
  std::vector<fs::path> reals;
  const auto add = [&](const fs::path& folder) {
    std::error_code ignored;
    fs::path real = fs::weakly_canonical(folder, ignored);
    if (std::find(reals.begin(), reals.end(), real) != reals.end()) return;
    reals.push_back(std::move(real));
    roots.push_back(shown(folder));
  };
  for (const std::string& overlay : overlays) {
    std::error_code ignored;
    if (!fs::is_directory(overlay, ignored)) {
      throw config::InputError("no_folder", fmt::format("--config-path {} is not a folder", overlay));
    }
    add(overlay);
  }
  // A home that is set but wrong is not passed over in silence: every name would come from somewhere else.
  if (const auto home = environment.get("MOESIM_HOME")) {
    if (!is_home(*home)) {
      throw config::InputError("no_folder",
                               fmt::format("MOESIM_HOME is {}, where there is no hw_configs/", *home));
    }
    add(*home);
  }
  if (!program.empty()) {
    const fs::path folder = program.parent_path();
    if (is_home(folder / ".." / "share" / "moesim")) add(folder / ".." / "share" / "moesim");
    if (is_home(folder / ".." / "..")) add(folder / ".." / "..");
  }
  if (is_home(MOESIM_DEFAULT_HOME)) add(MOESIM_DEFAULT_HOME);
  return roots;
}

fs::path data_folder(const Environment& environment) {
  return environment.get("MOESIM_DATA_DIR").value_or(MOESIM_DEFAULT_DATA_DIR);
}

fs::path program_file() {
  std::error_code failed;
  fs::path program = fs::read_symlink("/proc/self/exe", failed);
  return failed ? fs::path() : program;
}

}  // namespace moesim::cli
