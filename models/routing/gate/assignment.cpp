// Balanced assignment of tokens to experts: the Hungarian method with experts that take several tokens.
#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <utility>

#include "models/routing/gate/balanced.hpp"
#include "sim/core/check.hpp"

namespace moesim::gate {

namespace {

constexpr double kFar = std::numeric_limits<double>::infinity();
constexpr std::size_t kNobody = std::numeric_limits<std::size_t>::max();

// Tokens are placed one at a time along a shortest path in reduced costs: token -> expert -> a token that
// sits there -> another expert, until an expert has room. Potentials keep all reduced costs non-negative, and
// those of placed tokens zero (Jonker and Volgenant, Computing 38, 1987).
class Placer {
 public:
  Placer(std::vector<double> costs, std::size_t experts, std::size_t room)
      : costs_(std::move(costs)),
        experts_(experts),
        room_(room),
        expert_of_(costs_.size() / experts, kNobody),
        seated_(experts),
        token_price_(expert_of_.size(), 0.0),
        expert_price_(experts, 0.0) {}

  const std::vector<std::size_t>& place_all() {
    for (std::size_t t = 0; t < expert_of_.size(); ++t) place(t);
    return expert_of_;
  }

 private:
  [[nodiscard]] double cost(std::size_t t, std::size_t e) const { return costs_[t * experts_ + e]; }

  // Shortens distances to experts by paths over `token`, which is reached at `distance`.
  void reach(std::size_t token, double distance) {
    reached_.emplace_back(token, distance);
    for (std::size_t e = 0; e < experts_; ++e) {
      if (done_[e]) continue;
      const double through = distance + cost(token, e) - token_price_[token] - expert_price_[e];
      if (through < distance_[e]) {
        distance_[e] = through;
        before_[e] = token;
      }
    }
  }

  void place(std::size_t token) {
    distance_.assign(experts_, kFar);
    before_.assign(experts_, kNobody);
    done_.assign(experts_, false);
    reached_.clear();
    reach(token, 0.0);
    std::size_t end = kNobody;
    for (;;) {
      end = kNobody;
      for (std::size_t e = 0; e < experts_; ++e) {
        if (!done_[e] && (end == kNobody || distance_[e] < distance_[end])) end = e;
      }
      if (seated_[end].size() < room_) break;
      done_[end] = true;
      for (const std::size_t other : seated_[end]) reach(other, distance_[end]);
    }
    const double length = distance_[end];
    for (std::size_t e = 0; e < experts_; ++e) {
      if (done_[e]) expert_price_[e] -= length - distance_[e];
    }
    for (const auto& [other, distance] : reached_) token_price_[other] += length - distance;
    move_along(end, token);
  }

  void move_along(std::size_t expert, std::size_t first) {
    for (;;) {
      const std::size_t token = before_[expert];
      const std::size_t old = expert_of_[token];
      seated_[expert].push_back(token);
      expert_of_[token] = expert;
      if (token == first) return;
      auto& left = seated_[old];
      left.erase(std::find(left.begin(), left.end(), token));
      expert = old;
    }
  }

  std::vector<double> costs_;
  std::size_t experts_;
  std::size_t room_;
  std::vector<std::size_t> expert_of_;
  std::vector<std::vector<std::size_t>> seated_;
  std::vector<double> token_price_;
  std::vector<double> expert_price_;
  std::vector<double> distance_;
  std::vector<std::size_t> before_;
  std::vector<bool> done_;
  std::vector<std::pair<std::size_t, double>> reached_;
};

}  // namespace

Assignment balanced_assignment(std::span<const float> affinities, std::int64_t tokens, std::int64_t experts) {
  core::check(tokens >= 0 && experts >= 1 && tokens % experts == 0 &&
                  std::cmp_equal(affinities.size(), tokens * experts),
              "a balanced assignment needs tokens x experts affinities and whole shares of tokens");
  double smallest = kFar;
  for (const float affinity : affinities) {
    if (std::isfinite(affinity)) smallest = std::min(smallest, static_cast<double>(affinity));
  }
  if (!affinities.empty() && smallest == kFar) throw LogitError("no affinity is finite", 0, 0);
  std::vector<double> costs;
  costs.reserve(affinities.size());
  for (const float affinity : affinities) {
    costs.push_back(std::isfinite(affinity) ? -static_cast<double>(affinity) : -smallest);
  }
  Placer placer(costs, static_cast<std::size_t>(experts), static_cast<std::size_t>(tokens / experts));
  Assignment result;
  const std::vector<std::size_t>& places = placer.place_all();
  for (std::size_t t = 0; t < places.size(); ++t) {
    result.expert_of_token.push_back(static_cast<std::int32_t>(places[t]));
    result.total_affinity -= costs[t * static_cast<std::size_t>(experts) + places[t]];
  }
  return result;
}

}  // namespace moesim::gate
