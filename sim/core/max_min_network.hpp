// Weighted max-min fair rates that are kept while flows come and go: progressive filling (see max_min.hpp for
// the problem and its certificate) over the connected part that changed, with what it needs laid out in
// arrays.
//
// The network of resources and classes of flows is built once; only the number of flows of a class and the
// capacities change. A class may be empty.
#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "sim/core/max_min.hpp"

namespace moesim::core {

class MaxMinNetwork {
 public:
  // Adds a resource with a capacity in units per second, or changes it. Throws InvariantError if the capacity
  // is negative or not finite.
  std::uint32_t add_resource(double capacity);
  void set_capacity(std::uint32_t resource, double capacity);

  // Adds an empty class of identical flows; `bound` and `weight` are those of one flow. Several uses of one
  // resource add up. Throws InvariantError as max_min_rates does.
  std::uint32_t add_class(std::span<const ResourceUse> uses,
                          double bound = std::numeric_limits<double>::infinity(), double weight = 1.0);
  // Throws InvariantError if the number is negative.
  void set_flows(std::uint32_t flow_class, std::int64_t flows);

  // Brings the rates up to date and returns the classes whose rate has changed, each once. An empty class
  // keeps its last rate. The rates are a function of the capacities and the numbers of flows alone, whatever
  // the order of changes. The returned reference is valid until the next call.
  const std::vector<std::uint32_t>& solve();

  // The rate of one flow of the class, as of the last solve().
  [[nodiscard]] double rate(std::uint32_t flow_class) const { return classes_[flow_class].rate; }
  [[nodiscard]] std::int64_t flows(std::uint32_t flow_class) const { return classes_[flow_class].flows; }
  [[nodiscard]] double capacity(std::uint32_t resource) const { return resources_[resource].capacity; }
  [[nodiscard]] std::size_t resources() const { return resources_.size(); }
  [[nodiscard]] std::size_t classes() const { return classes_.size(); }

  // The certificate of is_max_min_fair for the rates of the last solve().
  [[nodiscard]] bool is_fair(double tolerance = 1e-9) const;

 private:
  struct User {
    std::uint32_t flow_class = 0;
    double coefficient = 1.0;
  };
  // What filling needs of a resource, apart from its users: a pass over all of them stays in the cache.
  struct Filling {
    double fixed = 0.0;         // used by flows that have stopped growing
    double slope = 0.0;         // more use for each unit of level by those that grow
    double trusted = 0.0;       // below this slope, differences have lost too many digits
    std::int64_t growing = 0;   // uses by classes that grow
    std::int64_t stopping = 0;  // uses by classes that stop in this round
    [[nodiscard]] bool by_difference() const { return stopping <= growing; }
  };
  struct Resource {
    double capacity = 0.0;
    std::uint64_t part = 0;   // the part that held it last
    std::vector<User> users;  // by class
  };
  struct Class {
    double rate = 0.0;
    double bound = 0.0;
    double weight = 1.0;
    std::int64_t flows = 0;
  };

  void mark(std::uint32_t resource);
  void collect_part();
  void meet(std::uint32_t resource);
  void sort_bounds();
  void start_filling();
  void fill();
  [[nodiscard]] double next_level() const;
  void stop_at(std::uint32_t flow_class, double rate);
  void stop_full_and_bounded();
  void count_stopping();
  void take_from_resources();
  void sum_afresh(std::uint32_t resource);
  void find_level(std::uint32_t resource);
  // Of a class of the part.
  [[nodiscard]] bool is_growing(std::uint32_t flow_class) const {
    return growth_[flow_class] != 0.0 && stopped_in_[flow_class] != solve_;
  }
  [[nodiscard]] std::span<const ResourceUse> uses_of(std::uint32_t flow_class) const {
    return {uses_.data() + first_use_[flow_class], first_use_[flow_class + 1] - first_use_[flow_class]};
  }

  std::vector<Resource> resources_;
  std::vector<Filling> filling_;  // by resource
  std::vector<double> full_at_;   // by resource: the level at which it is full
  std::vector<Class> classes_;
  // By class as well, apart from the rest because every pass reads them.
  std::vector<double> growth_;             // flows x weight; 0 in an empty class
  std::vector<std::uint64_t> stopped_in_;  // the solve in which it stopped growing last
  std::vector<std::size_t> first_use_{0};  // into uses_, one more than classes
  std::vector<ResourceUse> uses_;

  std::vector<std::uint32_t> dirty_;          // resources next to a change
  std::vector<std::uint32_t> dirty_classes_;  // without a resource: only a bound limits them
  std::uint64_t solve_ = 0;
  // The resources that a change can reach, by index. It serves further changes within it, also when it has
  // come apart since: parts that share nothing do not touch each other's rates.
  std::vector<std::uint32_t> part_;
  std::uint64_t part_number_ = 0;
  std::uint64_t part_collected_in_ = 0;  // the solve
  bool part_serves_ = false;             // for every change since the last solve
  std::vector<std::uint32_t> bounded_;   // classes of the part with a bound, the lowest level first
  std::size_t next_bounded_ = 0;
  std::vector<std::uint32_t> full_, touched_, stopped_;
  double level_ = 0.0;
  std::vector<std::uint32_t> changed_;
};

}  // namespace moesim::core
