// The residual surface: robust least squares under conditions that keep predicted times monotone.
#include <Eigen/Dense>
#include <algorithm>
#include <cmath>

#include "sim/studies/kernel_fit.hpp"

namespace moesim::studies {

namespace {

using Corner = cost::ResidualSurface::Corner;

// Value `above` less value `below` is at least `least`.
struct StepCondition {
  Eigen::Index below = 0;
  Eigen::Index above = 0;
  double least = 0;
};

// The unknowns: the nodes of the curve, then those of the grid.
struct SurfaceUnknowns {
  std::array<cost::SurfaceAxis, 3> grid{};
  std::size_t curve = 0;

  [[nodiscard]] std::size_t grid_nodes() const { return cost::ResidualSurface::count(grid); }
  [[nodiscard]] Eigen::Index all() const { return static_cast<Eigen::Index>(curve + grid_nodes()); }
};

// At most `budget` unknowns: a third of them, 9 at most, are kept for the curve, and the grid is thinned
// along its longest axis. What is left over goes to the curve, up to a node for each doubling of time.
SurfaceUnknowns unknowns_for(const std::array<cost::SurfaceAxis, 3>& axes, std::size_t budget) {
  constexpr std::size_t kLeastOfCurve = 9, kMostOfCurve = 17;
  SurfaceUnknowns out;
  out.grid = axes;
  out.curve = std::min(kLeastOfCurve, budget / 3);
  while (out.grid_nodes() + out.curve > budget) {
    auto widest = std::max_element(out.grid.begin(), out.grid.end(),
                                   [](const auto& a, const auto& b) { return a.nodes < b.nodes; });
    widest->nodes -= 1;
  }
  out.curve = std::min(kMostOfCurve, budget - out.grid_nodes());
  if (out.curve < 2) out.curve = 0;
  return out;
}

// Calls visit(node, next node, axis) for all neighbours on the grid, as indices of unknowns.
template <class Visit>
void for_neighbours(const SurfaceUnknowns& unknowns, Visit visit) {
  const auto first = static_cast<Eigen::Index>(unknowns.curve);
  const auto n = static_cast<Eigen::Index>(unknowns.grid_nodes());
  Eigen::Index stride = n;
  for (const cost::SurfaceAxis& axis : unknowns.grid) {
    const auto nodes = static_cast<Eigen::Index>(axis.nodes);
    stride /= nodes;
    for (Eigen::Index i = 0; i < n; ++i) {
      if (i / stride % nodes + 1 != nodes) visit(first + i, first + i + stride, axis);
    }
  }
}

std::vector<StepCondition> conditions_of(const SurfaceUnknowns& unknowns) {
  std::vector<StepCondition> all;
  for (std::size_t i = 1; i < unknowns.curve; ++i) {
    const auto above = static_cast<Eigen::Index>(i);
    all.push_back({above - 1, above, -cost::ResidualSurface::steepest_fall(unknowns.curve)});
  }
  for_neighbours(unknowns, [&](Eigen::Index below, Eigen::Index above, const cost::SurfaceAxis& axis) {
    if (axis.kind == cost::AxisKind::amount) all.push_back({below, above, 0});
  });
  return all;
}

// Each node as if half a row had been seen there that the physics predicts, and neighbours alike.
Eigen::MatrixXd prior_of(const SurfaceUnknowns& unknowns) {
  constexpr double kRidge = 0.5, kSmooth = 1.0;
  Eigen::MatrixXd prior = Eigen::MatrixXd::Identity(unknowns.all(), unknowns.all()) * kRidge;
  const auto alike = [&](Eigen::Index a, Eigen::Index b) {
    prior(a, a) += kSmooth;
    prior(b, b) += kSmooth;
    prior(a, b) -= kSmooth;
    prior(b, a) -= kSmooth;
  };
  for (std::size_t i = 1; i < unknowns.curve; ++i) {
    alike(static_cast<Eigen::Index>(i) - 1, static_cast<Eigen::Index>(i));
  }
  for_neighbours(unknowns, [&](Eigen::Index below, Eigen::Index above, const auto&) { alike(below, above); });
  return prior;
}

// The minimum of v'Hv / 2 - r'v under the conditions: coordinate ascent on the dual (Hildreth 1957). `dual`
// holds the multipliers, one per condition, and where the search starts.
Eigen::VectorXd constrained_minimum(const Eigen::MatrixXd& matrix, const Eigen::VectorXd& right,
                                    const std::vector<StepCondition>& conditions, Eigen::VectorXd& dual) {
  constexpr int kMostSweeps = 400;
  constexpr double kSmall = 1e-9;
  const Eigen::MatrixXd inverse =
      matrix.ldlt().solve(Eigen::MatrixXd::Identity(matrix.rows(), matrix.cols()));
  const auto force = [&](const Eigen::VectorXd& multipliers) {
    Eigen::VectorXd sum = right;
    for (std::size_t c = 0; c < conditions.size(); ++c) {
      const double multiplier = multipliers[static_cast<Eigen::Index>(c)];
      sum[conditions[c].above] += multiplier;
      sum[conditions[c].below] -= multiplier;
    }
    return sum;
  };
  Eigen::VectorXd values = inverse * force(dual);
  for (int sweep = 0; sweep < kMostSweeps; ++sweep) {
    double moved = 0;
    for (std::size_t c = 0; c < conditions.size(); ++c) {
      const auto [below, above, least] = conditions[c];
      const double curvature = inverse(above, above) + inverse(below, below) - 2 * inverse(above, below);
      double& multiplier = dual[static_cast<Eigen::Index>(c)];
      const double lacking = least - (values[above] - values[below]);
      const double change = std::max(lacking / curvature, -multiplier);
      if (change == 0) continue;
      multiplier += change;
      values += change * (inverse.col(above) - inverse.col(below));
      moved = std::max(moved, std::abs(change * curvature));
    }
    if (moved < kSmall) break;
  }
  return values;
}

// What rounding and an unfinished search leave of broken conditions: each value is raised to what its lower
// neighbours ask for. Conditions come axis by axis, in the order of the nodes.
void settle(const std::vector<StepCondition>& conditions, Eigen::VectorXd& values) {
  for (bool changed = true; changed;) {
    changed = false;
    for (const StepCondition& one : conditions) {
      const double least = values[one.below] + one.least;
      if (values[one.above] < least) {
        values[one.above] = least;
        changed = true;
      }
    }
  }
}

}  // namespace

cost::ResidualSurface fit_surface(const std::array<cost::SurfaceAxis, 3>& axes,
                                  std::span<const cost::Coordinates> places, std::span<const double> seconds,
                                  std::span<const double> log_ratios) {
  constexpr std::size_t kFewest = 10, kMostNumbers = 64, kRowsPerNumber = 5, kMostShares = 10;
  constexpr double kScale = 0.1;
  if (places.size() < kFewest) return {};
  const SurfaceUnknowns unknowns = unknowns_for(axes, std::min(kMostNumbers, places.size() / kRowsPerNumber));
  const std::vector<StepCondition> conditions = conditions_of(unknowns);
  const Eigen::MatrixXd prior = prior_of(unknowns);
  const Eigen::Index n = unknowns.all();
  const auto shares_of = [&](std::size_t i, std::array<Corner, kMostShares>& out) {
    std::size_t count = 0;
    if (unknowns.curve > 0) {
      for (const Corner& one : cost::ResidualSurface::curve_corners(unknowns.curve, seconds[i]))
        out[count++] = one;
    }
    std::array<Corner, cost::ResidualSurface::kCorners> around{};
    const std::size_t corners = cost::ResidualSurface::corners(unknowns.grid, places[i], around);
    for (std::size_t c = 0; c < corners; ++c)
      out[count++] = {around[c].node + unknowns.curve, around[c].share};
    return count;
  };
  Eigen::VectorXd values = Eigen::VectorXd::Zero(n);
  Eigen::VectorXd dual = Eigen::VectorXd::Zero(static_cast<Eigen::Index>(conditions.size()));
  for (int round = 0; round < 6; ++round) {
    Eigen::MatrixXd matrix = prior;
    Eigen::VectorXd right = Eigen::VectorXd::Zero(n);
    for (std::size_t i = 0; i < places.size(); ++i) {
      std::array<Corner, kMostShares> shares{};
      const std::size_t count = shares_of(i, shares);
      double there = 0;
      for (std::size_t c = 0; c < count; ++c)
        there += shares[c].share * values[static_cast<Eigen::Index>(shares[c].node)];
      const double z = (log_ratios[i] - there) / kScale;
      const double weight = 1 / std::sqrt(1 + z * z);
      for (std::size_t a = 0; a < count; ++a) {
        const auto row = static_cast<Eigen::Index>(shares[a].node);
        right[row] += weight * shares[a].share * log_ratios[i];
        for (std::size_t b = 0; b < count; ++b)
          matrix(row, static_cast<Eigen::Index>(shares[b].node)) +=
              weight * shares[a].share * shares[b].share;
      }
    }
    values = constrained_minimum(matrix, right, conditions, dual);
  }
  settle(conditions, values);
  const auto curve = static_cast<Eigen::Index>(unknowns.curve);
  return {unknowns.grid, std::vector<double>(values.data() + curve, values.data() + n),
          std::vector<double>(values.data(), values.data() + curve)};
}

}  // namespace moesim::studies
