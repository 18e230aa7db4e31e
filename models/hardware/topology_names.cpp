// Names of devices and links, for messages, timelines and the faults of a scenario.
#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "models/hardware/topology.hpp"
#include "sim/core/check.hpp"
#include "sim/io/numbers.hpp"

namespace moesim::hardware {

namespace {

// Reads a name from left to right.
class NameScanner {
 public:
  explicit NameScanner(std::string_view text) : rest_(text) {}
  bool skip(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  // Digits that make a number from 0 up to below `limit`.
  bool number(std::int64_t limit, std::int32_t& value) {
    const std::size_t digits = std::min(rest_.find_first_not_of("0123456789"), rest_.size());
    const auto read = io::parse_int64(rest_.substr(0, digits));
    if (!read || *read >= std::min<std::int64_t>(limit, INT32_MAX)) return false;
    value = static_cast<std::int32_t>(*read);
    rest_.remove_prefix(digits);
    return true;
  }
  // Two different numbers "A-B" below `limit`.
  bool pair(std::int64_t limit, std::int32_t& from, std::int32_t& to) {
    return number(limit, from) && skip("-") && number(limit, to) && from != to;
  }
  // The number of the one of `words` that is all there is left; -1 for none.
  [[nodiscard]] int last(std::initializer_list<std::string_view> words) const {
    const auto found = std::find(words.begin(), words.end(), rest_);
    return found == words.end() ? -1 : static_cast<int>(found - words.begin());
  }
  [[nodiscard]] bool at_end() const { return rest_.empty(); }

 private:
  std::string_view rest_;
};

}  // namespace

std::string_view name_form(LinkKind kind) {
  constexpr std::array<std::string_view, kLinkKinds> kForms = {
      "nodeN.gpuM.port-out", "nodeN.gpuM.port-in", "domainN.mesh.A-B",  "nodeN.gpuM.host-out",
      "nodeN.gpuM.host-in",  "nodeN.socket.A-B",   "nodeN.host-memory", "nodeN.nicM.out",
      "nodeN.nicM.in",       "leafN.up",           "leafN.down"};
  return kForms[static_cast<std::size_t>(kind)];
}

std::vector<LinkKind> Topology::link_kinds() const {
  std::array<bool, kLinkKinds> seen{};
  for (const Link& link : links_) seen[static_cast<std::size_t>(link.kind)] = true;
  std::vector<LinkKind> kinds;
  for (std::size_t i = 0; i < kLinkKinds; ++i) {
    if (seen[i]) kinds.push_back(static_cast<LinkKind>(i));
  }
  return kinds;
}

std::optional<DeviceIndex> Topology::find_device(std::string_view text) const {
  NameScanner scanner(text);
  std::int32_t node = 0, gpu = 0;
  if (!scanner.skip("node") || !scanner.number(nodes_, node) || !scanner.skip(".gpu") ||
      !scanner.number(gpus_, gpu) || !scanner.at_end()) {
    return std::nullopt;
  }
  const DeviceIndex device{node * gpus_ + gpu};
  if (name(device) != text) return std::nullopt;  // "node01.gpu2"
  return device;
}

std::optional<LinkIndex> Topology::find_node_link(std::string_view text) const {
  NameScanner scanner(text);
  std::int32_t node = 0, inside = 0, to = 0;
  if (!scanner.skip("node") || !scanner.number(nodes_, node)) return std::nullopt;
  if (scanner.skip(".gpu")) {
    if (!scanner.number(gpus_, inside)) return std::nullopt;
    const std::int32_t device = node * gpus_ + inside;
    const int way = scanner.last({".port-out", ".port-in", ".host-out", ".host-in"});
    if (way < 0) return std::nullopt;
    return LinkIndex{way < 2 ? first_.port + 2 * device + way : first_.host + 2 * device + way - 2};
  }
  if (scanner.skip(".nic")) {
    if (!scanner.number(nics_, inside)) return std::nullopt;
    const int way = scanner.last({".out", ".in"});
    if (way < 0) return std::nullopt;
    return LinkIndex{nic_out(node, inside).value + way};
  }
  if (scanner.skip(".socket.")) {
    if (!scanner.pair(sockets_, inside, to) || !scanner.at_end()) return std::nullopt;
    return socket_link(node, inside, to);
  }
  if (scanner.last({".host-memory"}) != 0) return std::nullopt;
  return LinkIndex{first_.host_memory + node};
}

std::optional<LinkIndex> Topology::find_shared_link(std::string_view text) const {
  NameScanner scanner(text);
  std::int32_t number = 0;
  if (scanner.skip("leaf")) {
    if (!scanner.number(leaves_, number)) return std::nullopt;
    const int way = scanner.last({".up", ".down"});
    if (way < 0) return std::nullopt;
    return LinkIndex{first_.leaf + 2 * number + way};
  }
  if (domain_kind_ != DomainKind::full_mesh) return std::nullopt;
  DevicePlace from, to;
  if (!scanner.skip("domain") || !scanner.number(domains_, number) || !scanner.skip(".mesh.") ||
      !scanner.pair(domain_size(number), from.domain_rank, to.domain_rank) || !scanner.at_end()) {
    return std::nullopt;
  }
  from.domain = to.domain = number;
  return mesh_link(from, to);
}

std::optional<LinkIndex> Topology::find_link(std::string_view text) const {
  const auto found = text.starts_with("node") ? find_node_link(text) : find_shared_link(text);
  // Where the cluster has no links of the kind, the number is that of another link.
  if (!found || found->value >= next_link() || name(*found) != text) return std::nullopt;
  return found;
}

std::string Topology::name(DeviceIndex device) const {
  const DevicePlace where = place(device);
  return fmt::format("node{}.gpu{}", where.node, where.local_rank);
}

std::string Topology::mesh_name(LinkIndex index) const {
  const std::int32_t per_domain = domain_gpus_ * (domain_gpus_ - 1);
  const std::int32_t domain = (index.value - first_.mesh) / per_domain;
  const std::int32_t peers = domain_size(domain) - 1;
  const std::int32_t inside = index.value - first_mesh_link(domain);
  const std::int32_t from = inside / peers;
  const std::int32_t peer = inside % peers;
  return fmt::format("domain{}.mesh.{}-{}", domain, from, peer < from ? peer : peer + 1);
}

std::string Topology::leaf_or_nic_name(LinkIndex index) const {
  const LinkKind kind = link(index).kind;
  if (kind == LinkKind::leaf_up || kind == LinkKind::leaf_down) {
    return fmt::format("leaf{}.{}", (index.value - first_.leaf) / 2,
                       kind == LinkKind::leaf_up ? "up" : "down");
  }
  const std::int32_t nic = (index.value - first_.nic) / 2;
  return fmt::format("node{}.nic{}.{}", nic / nics_, nic % nics_, kind == LinkKind::nic_out ? "out" : "in");
}

std::string Topology::name(LinkIndex index) const {
  core::check(index.value >= 0 && index.value < next_link(), "the link is in the cluster");
  const auto gpu = [&](std::int32_t first, std::string_view what) {
    return fmt::format("{}.{}", name(DeviceIndex{(index.value - first) / 2}), what);
  };
  switch (link(index).kind) {
    case LinkKind::port_out:
      return gpu(first_.port, "port-out");
    case LinkKind::port_in:
      return gpu(first_.port, "port-in");
    case LinkKind::mesh:
      return mesh_name(index);
    case LinkKind::host_out:
      return gpu(first_.host, "host-out");
    case LinkKind::host_in:
      return gpu(first_.host, "host-in");
    case LinkKind::socket: {
      const std::int32_t row = (index.value - first_.socket) / (sockets_ - 1);
      const std::int32_t peer = (index.value - first_.socket) % (sockets_ - 1);
      const std::int32_t from = row % sockets_;
      return fmt::format("node{}.socket.{}-{}", row / sockets_, from, peer < from ? peer : peer + 1);
    }
    case LinkKind::host_memory:
      return fmt::format("node{}.host-memory", index.value - first_.host_memory);
    case LinkKind::nic_out:
    case LinkKind::nic_in:
    case LinkKind::leaf_up:
    case LinkKind::leaf_down:
      return leaf_or_nic_name(index);
  }
  core::fail_invariant("a link of an unknown kind");
}

}  // namespace moesim::hardware
