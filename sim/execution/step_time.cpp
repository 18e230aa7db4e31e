#include "sim/execution/step_time.hpp"

namespace moesim::execution {

std::string_view to_string(Part part) {
  switch (part) {
    case Part::attention:
      return "attention";
    case Part::dense_ffn:
      return "dense FFN";
    case Part::routed_experts:
      return "routed experts";
    case Part::shared_experts:
      return "shared experts";
    case Part::router:
      return "router";
    case Part::dispatch_combine:
      return "dispatch and combine";
    case Part::all_reduce:
      return "all-reduce";
    case Part::norms:
      return "norms and elementwise";
    case Part::embedding_head:
      return "embedding and head";
    case Part::host:
      return "host";
    case Part::hyper_connections:
      return "hyper-connections";
    case Part::contention:
      return "contention";
  }
  return "?";
}

StepTime& StepTime::operator+=(const StepTime& other) {
  total = core::saturating_add(total, other.total);
  for (std::size_t i = 0; i < by_part.size(); ++i)
    by_part[i] = core::saturating_add(by_part[i], other.by_part[i]);
  for (std::size_t i = 0; i < by_resource.size(); ++i)
    by_resource[i] = core::saturating_add(by_resource[i], other.by_resource[i]);
  for (std::size_t i = 0; i < by_label.size(); ++i)
    by_label[i] = core::saturating_add(by_label[i], other.by_label[i]);
  for (std::size_t i = 0; i < splits.size(); ++i) {
    PartSplit& mine = splits[i];
    const PartSplit& theirs = other.splits[i];
    // Most steps have only some of the parts.
    if (other.by_part[i] == core::Duration{}) continue;
    for (std::size_t r = 0; r < mine.by_resource.size(); ++r)
      mine.by_resource[r] = core::saturating_add(mine.by_resource[r], theirs.by_resource[r]);
    for (std::size_t l = 0; l < mine.by_label.size(); ++l)
      mine.by_label[l] = core::saturating_add(mine.by_label[l], theirs.by_label[l]);
    mine.speed_of_light = core::saturating_add(mine.speed_of_light, theirs.speed_of_light);
  }
  slowest_shard_rows += other.slowest_shard_rows;
  all_shard_rows += other.all_shard_rows;
  return *this;
}

StepTime operator*(const StepTime& time, std::int64_t n) {
  StepTime product = time;
  product.total = core::saturating_multiply(time.total, n);
  for (auto& part : product.by_part) part = core::saturating_multiply(part, n);
  for (auto& part : product.by_resource) part = core::saturating_multiply(part, n);
  for (auto& part : product.by_label) part = core::saturating_multiply(part, n);
  for (PartSplit& split : product.splits) {
    for (auto& part : split.by_resource) part = core::saturating_multiply(part, n);
    for (auto& part : split.by_label) part = core::saturating_multiply(part, n);
    split.speed_of_light = core::saturating_multiply(split.speed_of_light, n);
  }
  product.slowest_shard_rows *= n;
  product.all_shard_rows *= n;
  return product;
}

void add(StepTime& time, core::Duration length, Part part, cost::Resource resource, config::Label label,
         core::Duration speed_of_light) {
  const auto grow = [&](core::Duration& sum) { sum = core::saturating_add(sum, length); };
  grow(time.total);
  grow(time.by_part[static_cast<std::size_t>(part)]);
  grow(time.by_resource[static_cast<std::size_t>(resource)]);
  grow(time.by_label[static_cast<std::size_t>(label)]);
  PartSplit& split = time.splits[static_cast<std::size_t>(part)];
  grow(split.by_resource[static_cast<std::size_t>(resource)]);
  grow(split.by_label[static_cast<std::size_t>(label)]);
  split.speed_of_light = core::saturating_add(split.speed_of_light, speed_of_light);
}

void add(StepTime& time, const cost::Price& price, Part part) {
  add(time, price.time, part, price.binding, price.label, price.speed_of_light);
}

}  // namespace moesim::execution
