#include "sim/execution/disturbances.hpp"

#include <fmt/format.h>

#include <set>

#include "sim/core/check.hpp"

namespace moesim::execution {

namespace {

using hardware::DeviceIndex;
using hardware::Topology;

constexpr std::string_view kHost = "host";
constexpr double kMaxName = 64;  // letters of a device, link or NIC

bool has_factor(FaultKind kind) { return kind == FaultKind::slow_hbm || kind == FaultKind::degraded_link; }

void check_fault(const Fault& fault, config::Problems& problems) {
  const std::string_view kind = config::enum_name(fault.kind);
  if (has_factor(fault.kind) && !fault.factor) {
    problems.error(
        "", fmt::format("a \"{}\" fault needs \"factor\": the share of the bandwidth that is left", kind),
        "\"factor\": 0.5", "missing_key");
  } else if (!has_factor(fault.kind) && fault.factor) {
    problems.error("/factor",
                   fmt::format("a \"{}\" fault has no \"factor\": nothing is left while it lasts", kind));
  } else if (fault.factor && *fault.factor >= 1) {
    problems.error("/factor", "1 is out of range: must be less than 1, which leaves all of the bandwidth", "",
                   "out_of_range");
  }
  if (fault.until && *fault.until <= fault.from) {
    problems.error("/until", "the fault ends before it begins: \"until\" must be later than \"from\"");
  }
}

// Fields that belong to the other kind, or that are missing. Returns whether the kind's own are there.
bool check_ends(const Traffic& traffic, config::Problems& problems) {
  const bool transfer = traffic.kind == TrafficKind::transfer;
  bool complete = true;
  const auto end = [&](std::string_view key, const std::optional<std::string>& value,
                       std::string_view meaning) {
    if (transfer && !value) {
      problems.error("", fmt::format("a transfer needs \"{}\": {}", key, meaning),
                     fmt::format("\"{}\": \"node0.gpu0\"", key), "missing_key");
      complete = false;
    } else if (!transfer && value) {
      problems.error(fmt::format("/{}", key),
                     fmt::format("an all-reduce has no \"{}\": its members are \"devices\"", key));
    }
  };
  end("from", traffic.from, "the device that sends, or \"host\"");
  end("to", traffic.to, "the device that receives, or \"host\"");
  if (transfer && !traffic.devices.empty()) {
    problems.error("/devices", "a transfer has no \"devices\": it goes \"from\" one \"to\" another");
  } else if (!transfer && traffic.devices.size() < 2) {
    const std::string_view pointer = traffic.devices.empty() ? "" : "/devices";
    problems.error(pointer, "an all-reduce needs \"devices\": at least 2", "",
                   traffic.devices.empty() ? "missing_key" : "contradiction");
  }
  return complete && transfer;
}

void check_traffic(const Traffic& traffic, config::Problems& problems) {
  if (check_ends(traffic, problems) && *traffic.from == *traffic.to) {
    problems.error("/to", *traffic.to == kHost
                              ? "a transfer from host to host crosses no link: one end must be a device"
                              : fmt::format("a transfer from {} to itself crosses no link", *traffic.to));
  }
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < traffic.devices.size(); ++i) {
    if (seen.insert(traffic.devices[i]).second) continue;
    problems.error(fmt::format("/devices/{}", i), fmt::format("{} is listed twice", traffic.devices[i]));
  }
  if (!traffic.every && traffic.count && *traffic.count > 1) {
    problems.error("/count",
                   fmt::format("{} times, but how often is not said: \"every\" is missing", *traffic.count),
                   "\"every\": \"10 ms\"");
  }
}

DeviceIndex device_named(std::string_view name, const Topology& topology) {
  const auto device = topology.find_device(name);
  core::check(device.has_value(), "the devices of faults and background traffic exist");
  return *device;
}

ResolvedFault resolve_one(const Fault& fault, const Topology& topology) {
  core::check(fault.factor.has_value() == has_factor(fault.kind), "a fault has a factor where its kind has");
  ResolvedFault resolved;
  resolved.kind = fault.kind;
  resolved.factor = fault.factor.value_or(1.0);
  resolved.from = core::Time{fault.from.ps};
  if (fault.until) resolved.until = core::Time{fault.until->ps};
  switch (fault.kind) {
    case FaultKind::slow_hbm:
    case FaultKind::paused_device:
      resolved.device = device_named(fault.target, topology);
      break;
    case FaultKind::degraded_link: {
      const auto link = topology.find_link(fault.target);
      core::check(link.has_value(), "the links of faults exist");
      resolved.link = *link;
      break;
    }
    case FaultKind::lost_nic: {
      const auto place = detail::find_nic(topology, fault.target);
      core::check(place.has_value(), "the NICs of faults exist");
      resolved.node = place->node;
      resolved.nic = place->nic;
      break;
    }
  }
  return resolved;
}

ResolvedTraffic resolve_one(const Traffic& traffic, const Topology& topology) {
  ResolvedTraffic resolved;
  resolved.kind = traffic.kind;
  resolved.bytes = traffic.bytes;
  resolved.start = core::Time{traffic.start.ps};
  resolved.every = traffic.every;
  resolved.count = traffic.count;
  if (!traffic.every && !traffic.count) resolved.count = 1;
  if (traffic.kind == TrafficKind::all_reduce) {
    for (const std::string& name : traffic.devices) resolved.devices.push_back(device_named(name, topology));
    return resolved;
  }
  core::check(traffic.from && traffic.to && *traffic.from != *traffic.to, "a transfer has two ends");
  if (*traffic.from != kHost) resolved.from = device_named(*traffic.from, topology);
  if (*traffic.to != kHost) resolved.to = device_named(*traffic.to, topology);
  return resolved;
}

}  // namespace

std::optional<detail::NicPlace> detail::find_nic(const Topology& topology, std::string_view name) {
  const auto out = topology.find_link(fmt::format("{}.out", name));
  if (!out || topology.link(*out).kind != hardware::LinkKind::nic_out) return std::nullopt;
  const std::int32_t number = (out->value - topology.nic_out(0, 0).value) / 2;
  return NicPlace{number / topology.nics_per_node(), number % topology.nics_per_node()};
}

std::vector<ResolvedFault> resolve(std::span<const Fault> faults, const Topology& topology) {
  std::vector<ResolvedFault> resolved;
  for (const Fault& fault : faults) resolved.push_back(resolve_one(fault, topology));
  return resolved;
}

std::vector<ResolvedTraffic> resolve(std::span<const Traffic> background, const Topology& topology) {
  std::vector<ResolvedTraffic> resolved;
  for (const Traffic& traffic : background) resolved.push_back(resolve_one(traffic, topology));
  return resolved;
}

const config::Record<Fault>& record_of(config::Type<Fault>) {
  static const auto record =
      config::Record<Fault>("fault", "Something that is slow or gone for a while; needs kernel fidelity")
          .required("kind", &Fault::kind, "What is wrong")
          .required("target", &Fault::target,
                    "A device as \"node0.gpu3\" (slow-hbm, paused-device), a link as \"node1.gpu3.port-out\" "
                    "(degraded-link) or a NIC as \"node0.nic1\" (lost-nic)",
                    config::between(1, kMaxName))
          .optional("factor", &Fault::factor,
                    "Share of the bandwidth that is left, less than 1; of slow-hbm and degraded-link, and "
                    "needed there",
                    config::above_up_to(0, 1))
          .optional("from", &Fault::from, "When it begins, from the start of the run")
          .optional("until", &Fault::until, "When it is over, from the start of the run; when absent, never",
                    config::above(0))
          .check(check_fault);
  return record;
}

const config::Record<Traffic>& record_of(config::Type<Traffic>) {
  using T = Traffic;
  static const auto record =
      config::Record<T>(
          "background traffic",
          "Traffic that is not the deployment's own, such as a checkpoint; needs kernel fidelity")
          .required("kind", &T::kind, "What is sent")
          .optional("from", &T::from, "The device that sends, or \"host\": the memory of the other's node",
                    config::between(1, kMaxName))
          .optional("to", &T::to, "The device that receives, or \"host\"", config::between(1, kMaxName))
          .optional("devices", &T::devices, "The members of an all-reduce, at least 2",
                    config::between(1, kMaxName))
          .required("bytes", &T::bytes, "Bytes of one transfer, or of the whole tensor of an all-reduce",
                    config::between(1, 0x1p50))
          .optional("start", &T::start, "When the first begins, from the start of the run")
          .optional("every", &T::every,
                    "Time from start to start; the next is late if the one before has not ended. When absent "
                    "there is one",
                    config::above(0))
          .optional("count", &T::count, "How many; when absent, with \"every\" to the end of the run",
                    config::between(1, 1e9))
          .check(check_traffic);
  return record;
}

}  // namespace moesim::execution
