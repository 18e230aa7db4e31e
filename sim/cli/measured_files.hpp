// Files of measured kernel times on the command line.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "sim/cli/command.hpp"
#include "sim/studies/kernel_accuracy.hpp"

namespace moesim::cli {

// All rows of the files; a folder stands for every .csv, .csv.gz and .csv.zst in it, sorted by name. Throws
// config::InputError and io::IoError.
[[nodiscard]] std::vector<studies::MeasuredRow> read_measured(const std::vector<std::string>& paths,
                                                              const config::Catalogue& catalogue);

// Says on stderr what a long study is at: at once on a terminal, else a line every 10 s; JSON lines with
// --progress json.
class StudyProgress {
 public:
  explicit StudyProgress(const Context& context);
  void operator()(const std::string& what, std::size_t done, std::size_t all);
  // Removes the line from the terminal.
  void finish();

 private:
  const Context* context_;
  std::chrono::steady_clock::time_point next_;
  std::size_t drawn_ = 0;
};

}  // namespace moesim::cli
