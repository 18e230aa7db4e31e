// The checks of faults and background traffic that need the cluster.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <functional>
#include <map>
#include <set>
#include <string_view>
#include <utility>

#include "sim/config/diagnostics.hpp"
#include "sim/config/quantity.hpp"
#include "sim/execution/disturbances.hpp"
#include "sim/io/numbers.hpp"

namespace moesim::execution {

namespace {

using config::Problems;
using hardware::DeviceIndex;
using hardware::LinkIndex;
using hardware::LinkKind;
using hardware::Topology;

bool is_digit(char letter) { return letter >= '0' && letter <= '9'; }

// The numbers in a name, in order; what is too long to be one counts as 0.
std::vector<std::int64_t> numbers_in(std::string_view name) {
  std::vector<std::int64_t> numbers;
  for (std::size_t i = 0; i < name.size();) {
    std::size_t end = i;
    while (end < name.size() && is_digit(name[end])) ++end;
    if (end > i) numbers.push_back(io::parse_int64(name.substr(i, end - i)).value_or(0));
    i = end + 1;
  }
  return numbers;
}

// A name without its numbers, each as '#': "node#.gpu#"; of a form ("nodeN.gpuM") likewise.
std::string shape_of(std::string_view name) {
  std::string shape;
  for (const char letter : name) {
    const bool number = is_digit(letter) || (letter >= 'A' && letter <= 'Z');
    if (!number) shape += letter;
    if (number && (shape.empty() || shape.back() != '#')) shape += '#';
  }
  return shape;
}

// Names of that shape with the numbers of `name` or what these are easily mistaken for: one less (counting
// from 1), or one digit dropped.
void add_guesses(std::string_view shape, std::string_view name, std::vector<std::string>& guesses) {
  const std::vector<std::int64_t> numbers = numbers_in(name);
  std::vector<std::string> all = {""};
  std::size_t slot = 0;
  for (const char letter : shape) {
    if (letter != '#') {
      for (std::string& text : all) text += letter;
      continue;
    }
    const std::int64_t number = slot < numbers.size() ? numbers[slot] : 0;
    ++slot;
    std::vector<std::string> longer;
    for (const std::string& text : all) {
      for (const std::int64_t guess : {number, number - 1, number / 10, number % 10}) {
        const bool dropped = number < 10 && guess < number - 1;
        if (guess >= 0 && !dropped) longer.push_back(text + std::to_string(guess));
      }
    }
    all = std::move(longer);
  }
  guesses.insert(guesses.end(), all.begin(), all.end());
}

// The nearest of the guesses that exist, in quotes, or "".
std::string nearest_of(std::string_view name, std::vector<std::string> guesses,
                       const std::function<bool(std::string_view)>& exists) {
  std::erase_if(guesses, [&](const std::string& guess) { return !exists(guess); });
  const std::string found = config::nearest(name, guesses);
  return found.empty() ? "" : fmt::format("\"{}\"", found);
}

std::string range(std::string_view what, std::int32_t count) {
  return count == 1 ? fmt::format("{}0", what) : fmt::format("{}0 .. {}{}", what, what, count - 1);
}

// What a name of another sort is, to tell apart from what is wanted; "" for no name of the cluster.
std::string other_sort(std::string_view name, const Topology& topology) {
  if (topology.find_device(name)) return "a device";
  if (topology.find_link(name)) return "a link";
  return detail::find_nic(topology, name) ? "a NIC" : "";
}

std::string no_such(std::string_view sort, std::string_view name, const Topology& topology,
                    std::string_view known) {
  const std::string other = other_sort(name, topology);
  if (!other.empty()) return fmt::format("\"{}\" is {} and no {}: {}", name, other, sort, known);
  return fmt::format("there is no {} \"{}\" in the cluster: {}", sort, name, known);
}

class DisturbanceChecker {
 public:
  DisturbanceChecker(const Topology& topology, std::int64_t used, Problems& problems)
      : topology_(&topology), used_(used), problems_(&problems) {}

  void background(std::span<const Traffic> all) {
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::string pointer = fmt::format("/background/{}", i);
      if (all[i].from && *all[i].from != "host") traffic_device(*all[i].from, pointer + "/from", true);
      if (all[i].to && *all[i].to != "host") traffic_device(*all[i].to, pointer + "/to", true);
      for (std::size_t d = 0; d < all[i].devices.size(); ++d) {
        traffic_device(all[i].devices[d], fmt::format("{}/devices/{}", pointer, d), false);
      }
    }
  }

  void faults(std::span<const Fault> all) {
    bool good = true;
    for (std::size_t i = 0; i < all.size(); ++i) {
      good &= target(all[i], fmt::format("/faults/{}/target", i));
    }
    if (!good || !overlaps(all)) return;
    lost_nodes(all);
  }

 private:
  // The device of a name; reports an error if there is none.
  std::optional<DeviceIndex> device(const std::string& name, const std::string& pointer, bool or_host) {
    const auto found = topology_->find_device(name);
    if (found) return found;
    std::vector<std::string> guesses;
    if (or_host) guesses.emplace_back("host");
    add_guesses("node#.gpu#", name, guesses);
    const auto exists = [&](std::string_view guess) {
      return guess == "host" || topology_->find_device(guess).has_value();
    };
    problems_->error(pointer,
                     no_such("device", name, *topology_,
                             fmt::format("{}, {}", range("node", topology_->nodes()),
                                         range("gpu", topology_->gpus_per_node()))),
                     nearest_of(name, std::move(guesses), exists), "unknown_device");
    return std::nullopt;
  }

  void traffic_device(const std::string& name, const std::string& pointer, bool or_host) {
    if (const auto found = device(name, pointer, or_host)) in_background_.insert(*found);
  }

  std::optional<LinkIndex> link(const std::string& name, const std::string& pointer) {
    const auto found = topology_->find_link(name);
    if (found) return found;
    std::vector<std::string> guesses, forms;
    std::string message;
    for (const KnownLinks& known : known_links()) {
      forms.push_back(known.form);
      add_guesses(shape_of(known.form), name, guesses);
      if (shape_of(known.form) == shape_of(name)) message = no_such("link", name, *topology_, known.ends);
    }
    for (std::size_t kind = 0; kind < hardware::kLinkKinds && message.empty(); ++kind) {
      const std::string_view form = name_form(static_cast<LinkKind>(kind));
      if (shape_of(form) != shape_of(name)) continue;
      message = fmt::format("the cluster has no links \"{}\"; it has {}", form, fmt::join(forms, ", "));
    }
    if (message.empty())
      message = no_such("link", name, *topology_, fmt::format("{}", fmt::join(forms, ", ")));
    const auto exists = [&](std::string_view guess) { return topology_->find_link(guess).has_value(); };
    problems_->error(pointer, message, nearest_of(name, std::move(guesses), exists), "unknown_link");
    return std::nullopt;
  }

  // The kinds of links that the cluster has, with the first and the last link of each. Looked for once: a
  // large cluster has millions of links.
  struct KnownLinks {
    std::string form;
    std::string ends;  // "node0.gpu0.port-out .. node3.gpu7.port-out"
  };
  const std::vector<KnownLinks>& known_links() {
    if (!known_links_.empty()) return known_links_;
    std::array<std::int32_t, hardware::kLinkKinds> first{}, last{};
    const auto links = topology_->links();
    for (std::size_t i = links.size(); i-- > 0;) {
      const auto kind = static_cast<std::size_t>(links[i].kind);
      first[kind] = static_cast<std::int32_t>(i);
      last[kind] = std::max(last[kind], first[kind]);
    }
    for (const LinkKind kind : topology_->link_kinds()) {
      const auto k = static_cast<std::size_t>(kind);
      known_links_.push_back(
          {std::string(name_form(kind)), fmt::format("{} .. {}", topology_->name(LinkIndex{first[k]}),
                                                     topology_->name(LinkIndex{last[k]}))});
    }
    return known_links_;
  }

  std::optional<detail::NicPlace> nic(const std::string& name, const std::string& pointer) {
    const auto found = detail::find_nic(*topology_, name);
    if (found) return found;
    if (topology_->nics_per_node() == 0) {
      problems_->error(pointer,
                       "the cluster has no network: that takes \"nics\" of its node and a \"fabric\"");
      return std::nullopt;
    }
    std::vector<std::string> guesses;
    add_guesses("node#.nic#", name, guesses);
    const auto exists = [&](std::string_view guess) {
      return detail::find_nic(*topology_, guess).has_value();
    };
    problems_->error(pointer,
                     no_such("NIC", name, *topology_,
                             fmt::format("{}, {}", range("node", topology_->nodes()),
                                         range("nic", topology_->nics_per_node()))),
                     nearest_of(name, std::move(guesses), exists), "unknown_nic");
    return std::nullopt;
  }

  bool target(const Fault& fault, const std::string& pointer) {
    switch (fault.kind) {
      case FaultKind::slow_hbm:
      case FaultKind::paused_device: {
        const auto found = device(fault.target, pointer, false);
        if (found) warn_if_unused(*found, *found, fault.target, pointer);
        return found.has_value();
      }
      case FaultKind::degraded_link: {
        const auto found = link(fault.target, pointer);
        // Links of one GPU begin with its name.
        const auto owner = topology_->find_device(fault.target.substr(0, fault.target.rfind('.')));
        if (found && owner) warn_if_unused(*owner, *owner, fault.target, pointer);
        return found.has_value();
      }
      case FaultKind::lost_nic: {
        const auto found = nic(fault.target, pointer);
        if (!found) return false;
        const std::int32_t gpus = topology_->gpus_per_node();
        warn_if_unused({found->node * gpus}, {(found->node + 1) * gpus - 1}, fault.target, pointer);
        return true;
      }
    }
    return false;
  }

  // A fault at something that only the devices first .. last use.
  void warn_if_unused(DeviceIndex first, DeviceIndex last, std::string_view name,
                      const std::string& pointer) {
    if (first.value < used_) return;
    const auto traffic = in_background_.lower_bound(first);
    if (traffic != in_background_.end() && *traffic <= last) return;
    problems_->warning(
        pointer,
        fmt::format("nothing uses {}: the pools take the first {} GPUs of the cluster, and no background "
                    "traffic begins or ends there",
                    name, used_));
  }

  // False after reporting faults of one kind and target that last at the same time.
  bool overlaps(std::span<const Fault> all) {
    std::map<std::pair<FaultKind, std::string_view>, std::vector<std::size_t>> groups;
    for (std::size_t i = 0; i < all.size(); ++i) groups[{all[i].kind, all[i].target}].push_back(i);
    bool good = true;
    for (auto& [key, group] : groups) {
      std::stable_sort(group.begin(), group.end(),
                       [&](std::size_t a, std::size_t b) { return all[a].from < all[b].from; });
      for (std::size_t i = 1; i < group.size(); ++i) {
        const auto& until = all[group[i - 1]].until;
        if (until && *until <= all[group[i]].from) continue;
        const auto [earlier, later] = std::minmax(group[i - 1], group[i]);
        problems_->error(fmt::format("/faults/{}", later),
                         fmt::format("overlaps with /faults/{}: both are a \"{}\" of {}", earlier,
                                     config::enum_name(key.first), key.second));
        good = false;
      }
    }
    return good;
  }

  // Reports nodes that lose all their NICs: nothing can take over their traffic.
  void lost_nodes(std::span<const Fault> all) {
    std::map<std::int32_t, std::vector<std::size_t>> by_node;
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (all[i].kind != FaultKind::lost_nic) continue;
      by_node[detail::find_nic(*topology_, all[i].target)->node].push_back(i);
    }
    for (auto& [node, group] : by_node) {
      std::stable_sort(group.begin(), group.end(),
                       [&](std::size_t a, std::size_t b) { return all[a].from < all[b].from; });
      std::multiset<core::Duration> ends;  // of the faults that last, each at a NIC of its own
      for (const std::size_t i : group) {
        ends.erase(ends.begin(), ends.upper_bound(all[i].from));
        ends.insert(all[i].until.value_or(core::Duration{INT64_MAX}));
        if (static_cast<std::int64_t>(ends.size()) < topology_->nics_per_node()) continue;
        problems_->error(
            fmt::format("/faults/{}", i),
            fmt::format("node{} has no NIC left at {}: all {} are lost", node,
                        config::format_exact(all[i].from.ps, config::Dimension::duration), ends.size()));
        break;
      }
    }
  }

  const Topology* topology_;
  std::int64_t used_;
  Problems* problems_;
  std::set<DeviceIndex> in_background_;
  std::vector<KnownLinks> known_links_;
};

}  // namespace

void check_disturbances(std::span<const Fault> faults, std::span<const Traffic> background,
                        const Topology& topology, std::int64_t used, Problems& problems) {
  DisturbanceChecker checker(topology, used, problems);
  checker.background(background);
  checker.faults(faults);
}

}  // namespace moesim::execution
