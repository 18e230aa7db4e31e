#include "sim/config/diagnostics.hpp"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace moesim::config {

void Diagnostics::add(Diagnostic diagnostic) {
  if (diagnostic.warning) {
    if (warnings_.size() < kMaxErrors) warnings_.push_back(std::move(diagnostic));
    return;
  }
  ++error_count_;
  if (errors_.size() < kMaxErrors) errors_.push_back(std::move(diagnostic));
}

InputError::InputError(SourceSet sources, Diagnostics diagnostics)
    : sources_(std::move(sources)), diagnostics_(std::move(diagnostics)) {
  summary_ = diagnostics_.errors().empty() ? "bad input" : diagnostics_.errors().front().message;
}

namespace {

Diagnostics one(Diagnostic diagnostic) {
  Diagnostics all;
  all.add(std::move(diagnostic));
  return all;
}

}  // namespace

InputError::InputError(std::string code, std::string message, std::string suggestion, std::string note)
    : InputError(SourceSet{}, one({std::move(code),
                                   "",
                                   {},
                                   std::move(message),
                                   std::move(suggestion),
                                   std::move(note),
                                   false,
                                   false})) {}

InputError line_error(std::string file, std::size_t line_number, std::string_view line_text,
                      std::size_t begin, std::size_t end, std::string code, std::string message,
                      std::string suggestion, std::string pointer) {
  SourceSet sources;
  const int index = sources.add({std::move(file), OriginKind::file, std::string(line_text), line_number});
  return {std::move(sources), one({std::move(code),
                                   std::move(pointer),
                                   {index, begin, std::max(begin, end)},
                                   std::move(message),
                                   std::move(suggestion),
                                   "",
                                   false,
                                   false})};
}

namespace {

// Optimal string alignment: edits are insertion, deletion, substitution and exchange of neighbours.
std::size_t edit_distance(std::string_view a, std::string_view b) {
  const std::size_t width = b.size() + 1;
  std::vector<std::size_t> before(width), last(width), row(width);
  for (std::size_t j = 0; j < width; ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j < width; ++j) {
      const std::size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;
      row[j] = std::min({row[j - 1] + 1, last[j] + 1, last[j - 1] + cost});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        row[j] = std::min(row[j], before[j - 2] + 1);
      }
    }
    std::swap(before, last);
    std::swap(last, row);
  }
  return last[b.size()];
}

std::string folded(std::string_view text) {
  std::string out;
  for (const char c : text) {
    if (c == '-' || c == '_' || c == ' ') continue;
    out += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  }
  return out;
}

}  // namespace

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  constexpr std::size_t kMaxWord = 128;  // a hostile key of megabytes has no useful neighbour
  if (word.size() > kMaxWord) return "";
  std::string best;
  // The one word that it begins is surely meant: "hgx-h200" means "hgx-h200-8" and not "hgx-h20-8".
  for (const std::string& candidate : candidates) {
    if (word.size() < 3 || !candidate.starts_with(word)) continue;
    if (!best.empty()) {
      best.clear();
      break;
    }
    best = candidate;
  }
  if (!best.empty()) return best;
  std::size_t best_distance = SIZE_MAX;
  for (const std::string& candidate : candidates) {
    // Case, dashes and underscores count less than letters: "maxNumSeqs" means "max_num_seqs".
    const std::size_t distance =
        std::min(edit_distance(word, candidate), edit_distance(folded(word), folded(candidate)));
    // Two edits make any word of three letters out of any other.
    const std::size_t longest = std::max(word.size(), candidate.size());
    const std::size_t limit = longest <= 4 ? 1 : std::max<std::size_t>(2, longest / 3);
    const bool too_far = distance > limit || distance >= std::max(word.size(), candidate.size());
    if (!too_far && distance < best_distance) {
      best = candidate;
      best_distance = distance;
    }
  }
  if (!best.empty()) return best;
  // A unique completion is as good: "h200" means "h200-sxm".
  for (const std::string& candidate : candidates) {
    if (word.size() >= 3 && (candidate.starts_with(word) || candidate.find(word) != std::string::npos)) {
      if (!best.empty()) return "";
      best = candidate;
    }
  }
  return best;
}

}  // namespace moesim::config
