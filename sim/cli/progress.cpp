#include "sim/cli/progress.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "reports/text.hpp"
#include "sim/config/node.hpp"

namespace moesim::cli {

namespace {

constexpr double kFirst_s = 0.5;
constexpr double kTerminalInterval_s = 0.1;
constexpr double kPlainInterval_s = 10.0;

// Share of the requests that ended; nullopt where their number is not known.
std::optional<double> share_done(const ProgressState& state) {
  if (!state.expected || *state.expected <= 0) return std::nullopt;
  const double share = static_cast<double>(state.finished) / static_cast<double>(*state.expected);
  return std::clamp(share, 0.0, 1.0);
}

std::optional<double> remaining_s(const ProgressState& state) {
  const auto share = share_done(state);
  if (!share || *share <= 0) return std::nullopt;
  return state.elapsed_s * (1.0 - *share) / *share;
}

double event_rate(const ProgressState& state) {
  return state.elapsed_s > 0 ? static_cast<double>(state.events) / state.elapsed_s : 0.0;
}

}  // namespace

std::string progress_line(const ProgressState& state) {
  std::string line;
  if (const auto share = share_done(state)) {
    constexpr std::size_t kCells = 10;
    const auto full = static_cast<std::size_t>(*share * static_cast<double>(kCells));
    line = fmt::format("[{:.<{}}] {:3.0f}%  ", std::string(full, '#'), kCells, *share * 100.0);
  }
  line += fmt::format("{} requests  sim {}  {:.2f} M events/s", reports::grouped(state.finished),
                      reports::human_seconds(state.simulated_s), event_rate(state) / 1e6);
  if (const auto left = remaining_s(state)) line += fmt::format("  ETA {:.0f} s", *left);
  return line;
}

std::string progress_json(const ProgressState& state) {
  using config::Node;
  Node node = Node::object();
  const auto share = share_done(state);
  node.set("progress", share ? Node::of(*share) : Node{});
  node.set("simulated_s", Node::of(state.simulated_s));
  node.set("requests_finished", Node::of(state.finished));
  node.set("events", Node::of(static_cast<std::int64_t>(state.events)));
  node.set("elapsed_s", Node::of(state.elapsed_s));
  return config::to_json(node, -1);
}

ProgressMeter::ProgressMeter(Writer& err, ProgressMode mode, bool quiet, const reports::Style& style,
                             const std::vector<std::optional<std::int64_t>>& expected)
    : err_(&err),
      mode_(mode),
      tty_(style.bars),
      width_(style.width),
      silent_(mode == ProgressMode::never || (quiet && mode != ProgressMode::json)),
      runs_(expected.size()),
      start_(std::chrono::steady_clock::now()),
      next_s_(mode == ProgressMode::json || style.bars ? kFirst_s : kPlainInterval_s) {
  std::int64_t sum = 0;
  bool all_known = !expected.empty();
  for (const auto& count : expected) {
    all_known = all_known && count.has_value();
    sum += count.value_or(0);
  }
  if (all_known) expected_ = sum;
}

ProgressState ProgressMeter::state(double elapsed_s) const {
  ProgressState state;
  state.expected = expected_;
  state.elapsed_s = elapsed_s;
  for (const Run& run : runs_) {
    state.simulated_s = std::max(state.simulated_s, run.simulated_s);
    state.finished += run.finished;
    state.events += run.events;
  }
  return state;
}

void ProgressMeter::update(std::size_t run, double simulated_s, std::int64_t finished, std::uint64_t events) {
  if (silent_) return;
  const std::lock_guard<std::mutex> lock(guard_);
  runs_[run] = {simulated_s, finished, events};
  const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
  if (elapsed.count() < next_s_) return;
  const bool fast = tty_ || mode_ == ProgressMode::json;
  next_s_ = elapsed.count() + (fast ? kTerminalInterval_s : kPlainInterval_s);
  if (mode_ == ProgressMode::json) {
    err_->print(progress_json(state(elapsed.count())) + "\n");
  } else if (tty_) {
    redraw(progress_line(state(elapsed.count())));
  } else {
    err_->print(progress_line(state(elapsed.count())) + "\n");
  }
}

// Writes over the line that stands there, with spaces and not with escape codes.
void ProgressMeter::redraw(std::string line) {
  if (line.size() >= width_) line.resize(width_ - 1);
  const std::size_t length = line.size();
  if (length < drawn_) line.append(drawn_ - length, ' ');
  err_->print("\r" + line);
  drawn_ = length;
}

void ProgressMeter::finish() {
  const std::lock_guard<std::mutex> lock(guard_);
  if (drawn_ == 0) return;
  redraw("");
  err_->print("\r");
}

}  // namespace moesim::cli
