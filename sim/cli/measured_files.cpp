#include "sim/cli/measured_files.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "sim/io/error.hpp"

namespace moesim::cli {

namespace fs = std::filesystem;

std::vector<studies::MeasuredRow> read_measured(const std::vector<std::string>& paths,
                                                const config::Catalogue& catalogue) {
  std::vector<fs::path> files;
  for (const std::string& path : paths) {
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      files.emplace_back(path);
      continue;
    }
    std::vector<fs::path> found;
    for (fs::directory_iterator at(path, error); !error && at != fs::directory_iterator();
         at.increment(error)) {
      const fs::directory_entry& entry = *at;
      const std::string name = entry.path().filename().string();
      if (name.ends_with(".csv") || name.ends_with(".csv.gz") || name.ends_with(".csv.zst"))
        found.push_back(entry.path());
    }
    if (error) throw io::IoError(path, 0, "cannot read the folder: " + error.message());
    if (found.empty()) {
      throw config::InputError("no_files", fmt::format("{} holds no .csv file", path),
                               "a file, or a folder of files, of measured times");
    }
    std::sort(found.begin(), found.end());
    files.insert(files.end(), found.begin(), found.end());
  }
  std::vector<studies::MeasuredRow> rows;
  for (const fs::path& file : files) {
    auto some = studies::MeasuredTable::read(file, catalogue);
    rows.insert(rows.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
  }
  if (rows.empty()) throw config::InputError("no_rows", "the files hold no rows of measured times");
  return rows;
}

StudyProgress::StudyProgress(const Context& context)
    : context_(&context), next_(std::chrono::steady_clock::now() + std::chrono::milliseconds(500)) {}

void StudyProgress::operator()(const std::string& what, std::size_t done, std::size_t all) {
  if (context_->quiet || context_->progress == ProgressMode::never) return;
  const auto now = std::chrono::steady_clock::now();
  if (context_->progress == ProgressMode::json) {
    config::Node node = config::Node::object();
    node.set("progress", config::Node::of(static_cast<double>(done) / static_cast<double>(all)));
    node.set("at", config::Node::of(std::string_view(what)));
    context_->err->print(config::to_json(node, -1) + "\n");
    return;
  }
  const bool terminal = context_->err_style.bars;
  if (!terminal && now < next_) return;
  const std::string line = fmt::format("[{}/{}] {}", done + 1, all, what);
  if (terminal) {
    std::string padded = line;
    padded.resize(std::max(padded.size(), drawn_), ' ');
    context_->err->print("\r" + padded);
    drawn_ = line.size();
  } else {
    context_->err->print(line + "\n");
    next_ = now + std::chrono::seconds(10);
  }
}

void StudyProgress::finish() {
  if (drawn_ > 0) context_->err->print("\r" + std::string(drawn_, ' ') + "\r");
  drawn_ = 0;
}

}  // namespace moesim::cli
