// Weighted max-min fair rates that are kept while flows come and go: progressive filling (see max_min.hpp for
// the problem and its certificate) over the connected part that changed, with what it needs laid out in
// arrays.
//
// Resources stay. The number of flows of a class and the capacities change at any time; a class may be empty,
// and an empty class may be redefined, so that a pool of classes serves flows of ever new kinds.
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
  // Makes an empty class one of other flows, as if it had been added so: its resources forget it, and its
  // rate is 0 until it has flows. Any number of uses; it allocates nothing where the class had as many before
  // and its resources as many users. Throws InvariantError as add_class does, or if the class has flows.
  void redefine_class(std::uint32_t flow_class, std::span<const ResourceUse> uses,
                      double bound = std::numeric_limits<double>::infinity(), double weight = 1.0);
  // Throws InvariantError if the number is negative.
  void set_flows(std::uint32_t flow_class, std::int64_t flows);

  // Brings the rates up to date and returns the classes whose rate has changed, each once. An empty class
  // keeps its last rate. The rates are a function of the capacities, the classes and the numbers of flows
  // alone, whatever the order of changes. The returned reference is valid until the next call.
  const std::vector<std::uint32_t>& solve();
  // What the last solve() returned.
  [[nodiscard]] std::span<const std::uint32_t> changed() const { return changed_; }

  // The rate of one flow of the class, as of the last solve().
  [[nodiscard]] double rate(std::uint32_t flow_class) const { return classes_[flow_class].rate; }
  [[nodiscard]] std::int64_t flows(std::uint32_t flow_class) const { return classes_[flow_class].flows; }
  // Units per second that the flows use now: flows x rate x coefficient, summed over the classes by index.
  [[nodiscard]] double use(std::uint32_t resource) const;
  [[nodiscard]] double capacity(std::uint32_t resource) const { return resources_[resource].capacity; }
  [[nodiscard]] std::size_t resources() const { return resources_.size(); }
  [[nodiscard]] std::size_t classes() const { return classes_.size(); }

  // The certificate of is_max_min_fair for the rates of the last solve().
  [[nodiscard]] bool is_fair(double tolerance = 1e-9) const;
  // The same for the part that the last solve() filled and those of the classes `also` that use no resource,
  // at a cost that does not depend on the rest of the network. It reads the uses as they were given, not what
  // filling reads. Throws InvariantError that names the class, the resource and the rates if the certificate
  // fails.
  void verify(std::span<const std::uint32_t> also = {}, double tolerance = 1e-9);

 private:
  friend struct MaxMinNetworkTestAccess;  // breaks a network, to see that verify() tells

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
  // How a resource starts to fill: the sums over its users before any has stopped. They hold until the flows
  // of a user change.
  struct Start {
    double slope = 0.0;
    std::int64_t growing = 0;
    bool stale = false;
  };
  struct Resource {
    double capacity = 0.0;
    std::uint64_t part = 0;   // the part that held it last
    std::vector<User> users;  // by class
  };
  static constexpr std::uint64_t kEmpty = UINT64_MAX;

  // Where the uses of a class stand in uses_.
  struct Place {
    std::size_t first = 0;
    std::uint32_t count = 0;
    std::uint32_t room = 0;
  };
  // What verify() sums for a resource.
  struct Sums {
    double used = 0.0;
    double highest_level = 0.0;  // of a flow: its rate / weight
  };
  struct Class {
    double rate = 0.0;
    double bound = 0.0;
    double weight = 1.0;
    std::int64_t flows = 0;
  };

  void check_class(std::span<const ResourceUse> uses, double bound, double weight) const;
  void define(std::uint32_t flow_class, std::span<const ResourceUse> uses, double bound, double weight);
  void forget_uses(std::uint32_t flow_class);
  [[nodiscard]] bool in_part(std::uint32_t flow_class) const;
  [[nodiscard]] bool bound_before(std::uint32_t a, std::uint32_t b) const;
  void collect_members(std::span<const std::uint32_t> also);
  void verify_class(std::uint32_t flow_class, double tolerance) const;
  void mark(std::uint32_t resource);
  void collect_part();
  void meet(std::uint32_t resource);
  void sort_bounds();
  void sum_starts();
  void start_filling();
  void fill();
  [[nodiscard]] double next_level() const;
  void stop_bounded();
  void stop_users_of_full();
  void stop_full_and_bounded();
  void count_stopping();
  void take_from_resources();
  void sum_afresh(std::uint32_t resource);
  void find_level(std::uint32_t resource);
  // Of a class of the part.
  [[nodiscard]] bool is_growing(std::uint32_t flow_class) const { return stopped_in_[flow_class] < solve_; }
  [[nodiscard]] std::span<const ResourceUse> uses_of(std::uint32_t flow_class) const {
    const Place& place = places_[flow_class];
    return {uses_.data() + place.first, place.count};
  }

  std::vector<Resource> resources_;
  std::vector<Filling> filling_;  // by resource
  std::vector<Start> starts_;     // by resource
  std::vector<double> full_at_;   // by resource: the level at which it is full
  std::vector<Class> classes_;
  // By class as well, apart from the rest because every pass reads them.
  std::vector<double> growth_;             // flows x weight; 0 in an empty class
  std::vector<std::uint64_t> stopped_in_;  // the solve in which it stopped growing last, kEmpty without flows
  std::vector<Place> places_;
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
  std::vector<std::uint32_t> full_, touched_;
  // The classes that stop in this round, and those whose rate changes: filled without a branch on whether one
  // does, so that there is room for one more than all classes.
  std::vector<std::uint32_t> stopping_, changing_;
  std::size_t stopped_ = 0;
  std::size_t rates_changed_ = 0;
  double level_ = 0.0;
  std::vector<std::uint32_t> changed_;
  std::vector<std::uint32_t> members_;  // classes that verify() looks at
  std::vector<Sums> sums_;              // by resource
};

}  // namespace moesim::core
