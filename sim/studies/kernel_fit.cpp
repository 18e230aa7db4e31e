#include "sim/studies/kernel_fit.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Core>
#include <algorithm>
#include <atomic>
#include <cmath>
#include <exception>
#include <map>
#include <mutex>
#include <thread>

#include "sim/core/check.hpp"
#include "sim/core/math.hpp"

namespace moesim::studies {

namespace math = core::math;

void parallel_for(std::size_t count, unsigned threads, const std::function<void(std::size_t)>& body) {
  constexpr std::size_t kChunk = 16;
  if (threads <= 1 || count <= kChunk) {
    for (std::size_t i = 0; i < count; ++i) body(i);
    return;
  }
  std::atomic<std::size_t> next{0};
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    try {
      for (std::size_t begin = next.fetch_add(kChunk); begin < count; begin = next.fetch_add(kChunk)) {
        for (std::size_t i = begin; i < std::min(begin + kChunk, count); ++i) body(i);
      }
    } catch (...) {  // out of a thread it would end the program
      const std::lock_guard<std::mutex> lock(mutex);
      failure = std::current_exception();
      next = count;
    }
  };
  std::vector<std::thread> helpers;
  for (unsigned t = 1; t < threads; ++t) helpers.emplace_back(work);
  work();
  for (std::thread& helper : helpers) helper.join();
  if (failure) std::rethrow_exception(failure);
}

namespace {

// FNV-1a, 64 bit (Fowler, Noll, Vo).
std::uint64_t hash_of(std::string_view text) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001b3ULL;
  }
  // The low bits of FNV of short texts are weak: fold the high ones in.
  return hash ^ (hash >> 32U);
}

// The unknowns of one fit: logs of the shared parameters, then those of each variant in turn.
class Unknowns {
 public:
  Unknowns(const cost::KernelFamily& family, std::vector<std::string> variants)
      : family_(&family), variants_(std::move(variants)) {
    for (std::size_t p = 0; p < family.parameters.size(); ++p) {
      (family.parameters[p].by_variant ? own_ : shared_).push_back(p);
    }
  }
  [[nodiscard]] std::size_t size() const { return shared_.size() + own_.size() * variants_.size(); }
  [[nodiscard]] const std::vector<std::string>& variants() const { return variants_; }
  // The parameter that an unknown stands for.
  [[nodiscard]] const cost::Parameter& parameter(std::size_t unknown) const {
    return family_->parameters[index(unknown)];
  }
  // True if rows of this variant depend on the unknown.
  [[nodiscard]] bool concerns(std::size_t unknown, std::size_t variant) const {
    return unknown < shared_.size() || (unknown - shared_.size()) / own_.size() == variant;
  }
  // Parameter values of one variant.
  void values(const Eigen::VectorXd& logs, std::size_t variant, std::vector<double>& out) const {
    out.resize(family_->parameters.size());
    for (std::size_t s = 0; s < shared_.size(); ++s) out[shared_[s]] = math::exp(at(logs, s));
    for (std::size_t o = 0; o < own_.size(); ++o) {
      out[own_[o]] = math::exp(at(logs, shared_.size() + variant * own_.size() + o));
    }
  }
  [[nodiscard]] Eigen::VectorXd start(const cost::FamilyParameters* from) const {
    Eigen::VectorXd logs(static_cast<Eigen::Index>(size()));
    for (std::size_t u = 0; u < size(); ++u) {
      const cost::Parameter& one = parameter(u);
      double value = one.initial;
      if (from != nullptr && !from->variants().empty()) {
        const std::size_t variant = u < shared_.size() ? 0 : (u - shared_.size()) / own_.size();
        value = from->of(variants_[variant])[index(u)];
      }
      logs[static_cast<Eigen::Index>(u)] = math::log(std::clamp(value, one.low, one.high));
    }
    return logs;
  }

 private:
  [[nodiscard]] std::size_t index(std::size_t unknown) const {
    return unknown < shared_.size() ? shared_[unknown] : own_[(unknown - shared_.size()) % own_.size()];
  }
  static double at(const Eigen::VectorXd& logs, std::size_t i) { return logs[static_cast<Eigen::Index>(i)]; }

  const cost::KernelFamily* family_;
  std::vector<std::string> variants_;
  std::vector<std::size_t> shared_, own_;
};

RowPointers thinned(const RowPointers& rows, std::size_t most) {
  if (rows.size() <= most) return rows;
  RowPointers kept;
  const double share = static_cast<double>(most) / static_cast<double>(rows.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    // Weyl sequence: spread evenly over the order of the file, with no period that a table could share.
    const double turn = static_cast<double>(i) * 0.6180339887498949;
    if (turn - std::floor(turn) < share) kept.push_back(rows[i]);
  }
  return kept;
}

class Fit {
 public:
  Fit(const cost::KernelFamily& family, RowPointers rows, const cost::DeviceFigures& device,
      const cost::PartTimes* parts, const FitOptions& options)
      : family_(&family),
        rows_(std::move(rows)),
        device_(&device),
        parts_(parts),
        options_(options),
        unknowns_(family, variants_of(rows_)) {
    for (const MeasuredRow* row : rows_) {
      const auto& names = unknowns_.variants();
      variant_.push_back(static_cast<std::size_t>(std::lower_bound(names.begin(), names.end(), row->variant) -
                                                  names.begin()));
      log_measured_.push_back(math::log(row->seconds));
    }
  }

  cost::FamilyParameters run(const cost::FamilyParameters* start) {
    logs_ = unknowns_.start(start);
    const Eigen::VectorXd prior = unknowns_.start(nullptr);
    residuals(logs_, residual_);
    double cost = loss(residual_, logs_, prior);
    double damping = 1e-3;
    for (int iteration = 0; iteration < options_.max_iterations; ++iteration) {
      build_normal_equations(prior);
      bool better = false;
      double gain = 0;
      for (int attempt = 0; attempt < 8 && !better; ++attempt, damping *= 4) {
        const Eigen::VectorXd next = step(damping);
        std::vector<double> there;
        residuals(next, there);
        const double cost_there = loss(there, next, prior);
        if (!(cost_there < cost)) continue;
        gain = (cost - cost_there) / cost;
        cost = cost_there;
        logs_ = next;
        residual_ = std::move(there);
        better = true;
        damping /= 32;
      }
      damping = std::clamp(damping, 1e-7, 1e6);
      if (!better || gain < 2e-5) break;
    }
    cost::FamilyParameters all(*family_);
    for (std::size_t v = 0; v < unknowns_.variants().size(); ++v) {
      std::vector<double> values;
      unknowns_.values(logs_, v, values);
      all.set(unknowns_.variants()[v], std::move(values));
    }
    return all;
  }

 private:
  static std::vector<std::string> variants_of(const RowPointers& rows) {
    std::vector<std::string> names;
    for (const MeasuredRow* row : rows) names.push_back(row->variant);
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    return names;
  }

  // log(predicted / measured) of all rows; with `unknown`, only of those that depend on it.
  void residuals(const Eigen::VectorXd& logs, std::vector<double>& out, std::size_t unknown = kAll) const {
    std::vector<std::vector<double>> values(unknowns_.variants().size());
    for (std::size_t v = 0; v < values.size(); ++v) unknowns_.values(logs, v, values[v]);
    out.resize(rows_.size());
    parallel_for(rows_.size(), options_.threads, [&](std::size_t i) {
      if (unknown != kAll && !unknowns_.concerns(unknown, variant_[i])) {
        out[i] = residual_[i];
        return;
      }
      const cost::KernelTime time =
          family_->time(rows_[i]->shape, *device_, values[variant_[i]], rows_[i]->conditions, parts_);
      core::check(time.total > 0 && std::isfinite(time.total), "a kernel's time must be positive");
      out[i] = math::log(time.total) - log_measured_[i];
    });
  }

  [[nodiscard]] double loss(const std::vector<double>& residual, const Eigen::VectorXd& logs,
                            const Eigen::VectorXd& prior) const {
    const double scale = options_.robust_scale;
    double sum = 0;
    for (const double r : residual) sum += 2 * (std::sqrt(1 + r * r / (scale * scale)) - 1);
    return sum + (logs - prior).squaredNorm() / (options_.prior_deviation * options_.prior_deviation);
  }

  void build_normal_equations(const Eigen::VectorXd& prior) {
    const auto n = static_cast<Eigen::Index>(unknowns_.size());
    const double scale = options_.robust_scale;
    std::vector<std::vector<double>> slope(unknowns_.size());
    for (std::size_t u = 0; u < unknowns_.size(); ++u) {
      const cost::Parameter& parameter = unknowns_.parameter(u);
      const auto at = static_cast<Eigen::Index>(u);
      // Inwards from a bound.
      const double h = logs_[at] + kStep > math::log(parameter.high) ? -kStep : kStep;
      Eigen::VectorXd there = logs_;
      there[at] += h;
      residuals(there, slope[u], u);
      for (std::size_t i = 0; i < rows_.size(); ++i) slope[u][i] = (slope[u][i] - residual_[i]) / h;
    }
    const double trust = 1 / (options_.prior_deviation * options_.prior_deviation);
    matrix_ = Eigen::MatrixXd::Identity(n, n) * trust;
    gradient_ = (logs_ - prior) * trust;
    std::vector<double> weight(rows_.size());
    for (std::size_t i = 0; i < rows_.size(); ++i) {
      const double z = residual_[i] / scale;
      weight[i] = 1 / (scale * scale * std::sqrt(1 + z * z));
    }
    for (std::size_t a = 0; a < unknowns_.size(); ++a) {
      double sum = 0;
      for (std::size_t i = 0; i < rows_.size(); ++i) sum += weight[i] * slope[a][i] * residual_[i];
      gradient_[static_cast<Eigen::Index>(a)] += sum;
      for (std::size_t b = 0; b <= a; ++b) {
        double product = 0;
        for (std::size_t i = 0; i < rows_.size(); ++i) product += weight[i] * slope[a][i] * slope[b][i];
        matrix_(static_cast<Eigen::Index>(a), static_cast<Eigen::Index>(b)) += product;
        if (a != b) matrix_(static_cast<Eigen::Index>(b), static_cast<Eigen::Index>(a)) += product;
      }
    }
  }

  // The next point: a damped step that stays between the bounds. What stands at a bound and wants out stays.
  [[nodiscard]] Eigen::VectorXd step(double damping) const {
    Eigen::MatrixXd damped = matrix_;
    Eigen::VectorXd gradient = gradient_;
    const auto low = [&](Eigen::Index u) {
      return math::log(unknowns_.parameter(static_cast<std::size_t>(u)).low);
    };
    const auto high = [&](Eigen::Index u) {
      return math::log(unknowns_.parameter(static_cast<std::size_t>(u)).high);
    };
    for (Eigen::Index u = 0; u < gradient.size(); ++u) {
      damped(u, u) *= 1 + damping;
      const bool stuck = (logs_[u] <= low(u) && gradient[u] > 0) || (logs_[u] >= high(u) && gradient[u] < 0);
      if (!stuck) continue;
      gradient[u] = 0;
      damped.row(u).setZero();
      damped.col(u).setZero();
      damped(u, u) = 1;
    }
    Eigen::VectorXd next = logs_ - damped.ldlt().solve(gradient);
    // Half a factor of e at a time: far from the minimum the linear model is worthless.
    for (Eigen::Index u = 0; u < next.size(); ++u) {
      next[u] = std::clamp(next[u], logs_[u] - kLongest, logs_[u] + kLongest);
      next[u] = std::clamp(next[u], low(u), high(u));
    }
    return next;
  }

  static constexpr std::size_t kAll = static_cast<std::size_t>(-1);
  static constexpr double kStep = 1e-4;
  static constexpr double kLongest = 0.7;

  const cost::KernelFamily* family_;
  RowPointers rows_;
  const cost::DeviceFigures* device_;
  const cost::PartTimes* parts_;
  FitOptions options_;
  Unknowns unknowns_;
  std::vector<std::size_t> variant_;
  std::vector<double> log_measured_;
  Eigen::VectorXd logs_, gradient_;
  Eigen::MatrixXd matrix_;
  std::vector<double> residual_;
};

}  // namespace

std::vector<std::size_t> folds_of(const RowPointers& rows, std::size_t folds) {
  std::map<std::string_view, std::size_t> fold;
  for (const MeasuredRow* row : rows) fold[row->group] = 0;
  std::vector<std::pair<std::uint64_t, std::string_view>> order;
  for (const auto& [group, none] : fold) order.emplace_back(hash_of(group), group);
  std::sort(order.begin(), order.end());
  for (std::size_t i = 0; i < order.size(); ++i) fold[order[i].second] = i % folds;
  std::vector<std::size_t> all;
  for (const MeasuredRow* row : rows) all.push_back(fold[row->group]);
  return all;
}

cost::FamilyParameters fit_family(const cost::KernelFamily& family, const RowPointers& rows,
                                  const cost::DeviceFigures& device, const cost::PartTimes* parts,
                                  const FitOptions& options, const cost::FamilyParameters* start) {
  core::check(!rows.empty(), "a fit needs rows");
  return Fit(family, thinned(rows, options.max_rows), device, parts, options).run(start);
}

}  // namespace moesim::studies
