#include "sim/studies/kinds.hpp"

#include <fmt/format.h>

#include <array>
#include <string>
#include <vector>

#include "models/cost/kernel_file.hpp"
#include "models/llm/hf_import.hpp"
#include "sim/config/document.hpp"
#include "sim/core/check.hpp"
#include "sim/serving/scenario.hpp"

namespace moesim::studies {

namespace {

constexpr std::array<KindInfo, 7> kKinds = {{
    {DocumentKind::scenario, "scenario", "workloads/scenarios",
     "a serving run: cluster, model, deployment, workload"},
    {DocumentKind::gpu, "gpu", "hw_configs/gpus", "one GPU, every number with its source"},
    {DocumentKind::node, "node", "hw_configs/nodes", "a box of GPUs and its links"},
    {DocumentKind::fabric, "fabric", "hw_configs/fabrics", "the network between boxes"},
    {DocumentKind::engine, "engine", "hw_configs/engines", "how a serving engine behaves and what it costs"},
    {DocumentKind::model, "model", "models/zoo", "the shape of a large language model"},
    {DocumentKind::kernels, "kernels", "hw_configs/kernels", "fitted kernels of one library on one GPU"},
}};

}  // namespace

std::span<const KindInfo> document_kinds() { return kKinds; }

const KindInfo& kind_info(DocumentKind kind) { return kKinds[static_cast<std::size_t>(kind)]; }

DocumentKind kind_by_name(std::string_view name) {
  std::vector<std::string> known;
  for (const KindInfo& info : kKinds) {
    if (info.name == name) return info.kind;
    known.emplace_back(info.name);
  }
  throw config::InputError("unknown_kind", fmt::format("there is no kind of document called \"{}\"", name),
                           config::nearest(name, known), fmt::format("known: {}", fmt::join(known, ", ")));
}

const config::RecordTable& record_table(DocumentKind kind) {
  using config::Type;
  switch (kind) {
    case DocumentKind::scenario:
      return record_of(Type<serving::Scenario>{});
    case DocumentKind::gpu:
      return record_of(Type<hardware::Gpu>{});
    case DocumentKind::node:
      return record_of(Type<hardware::Node>{});
    case DocumentKind::fabric:
      return record_of(Type<hardware::Fabric>{});
    case DocumentKind::engine:
      return record_of(Type<cost::EngineProfile>{});
    case DocumentKind::model:
      return record_of(Type<llm::Architecture>{});
    case DocumentKind::kernels:
      return record_of(Type<cost::KernelFile>{});
  }
  core::fail_invariant("unknown kind of document");
}

std::string schema_file_name(DocumentKind kind) {
  return fmt::format("{}.v1.schema.json", kind_info(kind).name);
}

config::Node schema_of(DocumentKind kind) {
  return config::json_schema(record_table(kind), schema_file_name(kind));
}

DocumentKind guess_kind(const std::filesystem::path& path, const config::Node& root) {
  const std::string folder = path.parent_path().filename().string();
  for (const KindInfo& info : kKinds) {
    if (folder == std::filesystem::path(info.folder).filename().string()) return info.kind;
  }
  const auto has = [&](std::string_view key) { return root.find(key) != nullptr; };
  if (has("cluster") || has("deployment") || has("workload")) return DocumentKind::scenario;
  if (has("hbm") || has("achievable")) return DocumentKind::gpu;
  if (has("gpus") && has("host_link")) return DocumentKind::node;
  if (has("oversubscription") || has("nodes_per_leaf")) return DocumentKind::fabric;
  if (has("vocab_size") || has("hidden_size") || llm::is_hugging_face(root)) return DocumentKind::model;
  if (has("families") && has("library")) return DocumentKind::kernels;
  if (has("scheduler") && has("host")) return DocumentKind::engine;
  return DocumentKind::scenario;
}

}  // namespace moesim::studies
