#include "models/hardware/node.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "models/hardware/limits.hpp"
#include "models/hardware/sources.hpp"
#include "sim/core/check.hpp"

namespace moesim::hardware {

using config::above;
using config::at_least;
using config::between;
using config::Problems;
using config::Record;
using config::Type;

namespace {

void check_sources(const Node& node, Problems& problems) {
  SourceCheck source(node.sources, problems);
  if (node.scale_up) {
    source("/scale_up/bandwidth", node.scale_up->bandwidth);
    source("/scale_up/latency", node.scale_up->latency);
  }
  source("/host_link/bandwidth", node.host_link.bandwidth);
  source("/host_link/latency", node.host_link.latency);
  for (std::size_t i = 0; i < node.host_link.collectives.size(); ++i) {
    source(fmt::format("/host_link/collectives/{}/fraction", i), node.host_link.collectives[i].fraction);
  }
  if (node.socket_link) {
    source("/socket_link/bandwidth", node.socket_link->bandwidth);
    source("/socket_link/latency", node.socket_link->latency);
  }
  if (node.host_memory) {
    source("/host_memory/capacity", node.host_memory->capacity);
    source("/host_memory/bandwidth", node.host_memory->bandwidth);
  }
  if (node.nics) {
    source("/nics/bandwidth", node.nics->bandwidth);
    source("/nics/latency", node.nics->latency);
  }
}

void check_mesh(const Node& node, Problems& problems) {
  const std::int64_t peers = node.scale_up->domain_gpus - 1;
  const std::int64_t links = node.gpu.scale_up->links.value;
  if (peers > 0 && links % peers == 0) return;
  problems.error("/scale_up/domain_gpus",
                 fmt::format("a full mesh of {} GPUs needs a multiple of {} links per GPU, but {} has {}",
                             peers + 1, peers, node.gpu.name, links),
                 fmt::format("{}", links + 1));
}

void check_scale_up(const Node& node, Problems& problems) {
  const ScaleUpNetwork& network = *node.scale_up;
  if (network.kind == DomainKind::host_bridge) {
    problems.error("/scale_up/kind", "\"host-bridge\" is what a node without \"scale_up\" has",
                   "leave \"scale_up\" out");
    return;
  }
  if (!node.gpu.scale_up) {
    problems.error("/scale_up", fmt::format("{} has no scale-up links", node.gpu.name),
                   "leave \"scale_up\" out");
    return;
  }
  if (network.domain_gpus % node.gpus != 0) {
    problems.error("/scale_up/domain_gpus",
                   fmt::format("a domain of {} GPUs is not made of whole nodes of {} GPUs",
                               network.domain_gpus, node.gpus),
                   fmt::format("{}", std::max<std::int64_t>(1, network.domain_gpus / node.gpus) * node.gpus));
  }
  if (network.bandwidth && network.bandwidth->value > node.gpu.scale_up->bandwidth.value) {
    problems.error("/scale_up/bandwidth/value",
                   fmt::format("{:g} GB/s per direction is more than the {:g} GB/s of the links of {}",
                               network.bandwidth->value.as_double() / 1e9,
                               node.gpu.scale_up->bandwidth.value.as_double() / 1e9, node.gpu.name));
  }
  if (network.kind == DomainKind::full_mesh) {
    check_mesh(node, problems);
    if (network.in_switch_reduction) {
      problems.error("/scale_up/in_switch_reduction", "a full mesh has no switch that could reduce", "false");
    }
  }
}

void check_node(const Node& node, Problems& problems) {
  check_identifier(node.name, problems);
  check_sources(node, problems);
  if (node.scale_up) {
    check_scale_up(node, problems);
  } else if (node.gpu.scale_up && node.gpus > 1) {
    problems.warning(
        "", fmt::format("{} has scale-up links, but this node has no \"scale_up\": its GPUs talk over PCIe",
                        node.gpu.name));
  }
  if (node.socket_link && node.gpus % node.socket_link->sockets != 0) {
    problems.error("/socket_link/sockets", fmt::format("{} GPUs cannot be divided evenly among {} sockets",
                                                       node.gpus, node.socket_link->sockets));
  }
  if (node.nics && node.nics->count > node.gpus) {
    problems.error("/nics/count",
                   fmt::format("{} NICs for {} GPUs: each GPU uses one NIC", node.nics->count, node.gpus),
                   "one NIC per GPU, with the bandwidth of those it replaces");
  }
  if (node.host_link.kind == HostLinkKind::nvlink_c2c && node.host_link.generation) {
    problems.warning("/host_link/generation", "a PCIe generation says nothing about an NVLink-C2C link",
                     "leave \"generation\" out");
  }
}

}  // namespace

const Record<ScaleUpNetwork>& record_of(Type<ScaleUpNetwork>) {
  static const auto record =
      Record<ScaleUpNetwork>("scale-up network", "How the GPUs of a domain are joined")
          .required("kind", &ScaleUpNetwork::kind, "Shape of the network")
          .required("domain_gpus", &ScaleUpNetwork::domain_gpus,
                    "GPUs of a full domain, a multiple of the node's", between(1, 65536))
          .optional("bandwidth", &ScaleUpNetwork::bandwidth,
                    "Bandwidth per GPU and direction; left out: all links of the GPU",
                    at_least(kMinBandwidth))
          .required("latency", &ScaleUpNetwork::latency, "From GPU memory to GPU memory, unloaded",
                    between(0, kMaxLinkLatency))
          .optional("in_switch_reduction", &ScaleUpNetwork::in_switch_reduction,
                    "Whether the switch adds and multicasts (NVLink SHARP)");
  return record;
}

const Record<CollectiveShare>& record_of(Type<CollectiveShare>) {
  using S = CollectiveShare;
  static const auto record =
      Record<S>("collective share", "What collectives over PCIe reach")
          .required("gpus", &S::gpus, "For collectives over up to so many GPUs", between(2, 1e6))
          .required("fraction", &S::fraction, "Share of each GPU's host link", config::above_up_to(0, 1));
  return record;
}

const Record<HostLink>& record_of(Type<HostLink>) {
  static const auto record =
      Record<HostLink>("host link", "Link of each GPU towards the host and its NIC")
          .required("kind", &HostLink::kind, "Kind of link")
          .optional("generation", &HostLink::generation, "PCIe generation", between(1, 9))
          .required("bandwidth", &HostLink::bandwidth, "Bandwidth per GPU and direction",
                    at_least(kMinBandwidth))
          .required("latency", &HostLink::latency, "Latency of one crossing", between(0, kMaxLinkLatency))
          .optional("collectives", &HostLink::collectives,
                    "What collectives reach where the GPUs talk over PCIe, by number of GPUs, rising")
          .check([](const HostLink& link, Problems& problems) {
            for (std::size_t i = 1; i < link.collectives.size(); ++i) {
              if (link.collectives[i].gpus <= link.collectives[i - 1].gpus) {
                problems.error(fmt::format("/collectives/{}/gpus", i), "numbers of GPUs must rise");
              }
            }
          });
  return record;
}

const Record<SocketLink>& record_of(Type<SocketLink>) {
  static const auto record =
      Record<SocketLink>("socket link", "What joins the CPU sockets of a node")
          .required("sockets", &SocketLink::sockets, "CPU sockets; GPUs are divided evenly among them",
                    between(2, 16))
          .required("bandwidth", &SocketLink::bandwidth, "Bandwidth between two sockets, per direction",
                    at_least(kMinBandwidth))
          .required("latency", &SocketLink::latency, "Latency of one crossing", between(0, kMaxLinkLatency));
  return record;
}

const Record<HostMemory>& record_of(Type<HostMemory>) {
  static const auto record =
      Record<HostMemory>("host memory", "Memory of the node's CPUs")
          .required("capacity", &HostMemory::capacity, "Capacity of the node", above(0))
          .required("bandwidth", &HostMemory::bandwidth, "Bandwidth of the node, reads and writes together",
                    at_least(kMinBandwidth));
  return record;
}

const Record<Nics>& record_of(Type<Nics>) {
  static const auto record =
      Record<Nics>("nics", "Network cards of a node; GPU g uses card g x count / gpus")
          .required("count", &Nics::count, "Cards of the node", between(1, 1024))
          .required("bandwidth", &Nics::bandwidth, "Bandwidth of one card, per direction",
                    at_least(kMinBandwidth))
          .required("latency", &Nics::latency, "Latency of one card", between(0, kMaxLinkLatency));
  return record;
}

const Record<Node>& record_of(Type<Node>) {
  static const auto record =
      Record<Node>("node", "A box of GPUs and how they reach each other, the host and the network")
          .required("name", &Node::name, "Identifier: lower case, with dashes", at_least(1))
          .required("gpu", &Node::gpu, "The GPU, by name")
          .required("gpus", &Node::gpus, "GPUs of the node", between(1, 1024))
          .optional("scale_up", &Node::scale_up, "Scale-up network; left out for boxes with only PCIe")
          .required("host_link", &Node::host_link, "Link of each GPU towards the host and its NIC")
          .optional("socket_link", &Node::socket_link, "Link between CPU sockets; left out: never a limit")
          .optional("host_memory", &Node::host_memory, "Memory of the node's CPUs")
          .optional("nics", &Node::nics, "Network cards; needed when a cluster has several domains")
          .required("sources", &Node::sources, "Text of every source that the numbers name")
          .check(check_node);
  return record;
}

std::optional<config::Sourced<double>> collective_share(const HostLink& link, std::int64_t gpus) {
  if (link.collectives.empty()) return std::nullopt;
  const auto found = std::find_if(link.collectives.begin(), link.collectives.end(),
                                  [&](const CollectiveShare& share) { return share.gpus >= gpus; });
  return found != link.collectives.end() ? found->fraction : link.collectives.back().fraction;
}

DomainKind domain_kind(const Node& node) {
  return node.scale_up ? node.scale_up->kind : DomainKind::host_bridge;
}

std::int64_t domain_gpus(const Node& node) { return node.scale_up ? node.scale_up->domain_gpus : node.gpus; }

core::BytesPerSecond domain_bandwidth(const Node& node) {
  if (!node.scale_up) return node.host_link.bandwidth.value;
  if (node.scale_up->bandwidth) return node.scale_up->bandwidth->value;
  core::check(node.gpu.scale_up.has_value(), "a node with a scale-up network has GPUs with scale-up links");
  return node.gpu.scale_up->bandwidth.value;
}

core::BytesPerSecond mesh_link_bandwidth(const Node& node) {
  core::check(domain_kind(node) == DomainKind::full_mesh && domain_gpus(node) > 1,
              "the node has a full mesh");
  return {domain_bandwidth(node).value / (domain_gpus(node) - 1)};
}

config::Loaded<Node> load_node(std::string_view name, const config::Catalogue& catalogue) {
  return config::load_entry<Node>(name, catalogue);
}

}  // namespace moesim::hardware
