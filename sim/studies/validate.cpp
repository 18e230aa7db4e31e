#include "sim/studies/validate.hpp"

#include <fmt/format.h>

#include <functional>
#include <utility>

#include "models/cost/kernel_file.hpp"
#include "sim/config/render.hpp"
#include "sim/serving/memory.hpp"
#include "sim/serving/simulate.hpp"
#include "sim/studies/inputs.hpp"

namespace moesim::studies {

namespace {

// A warning if the deployment cannot exist.
void check_feasible(const serving::Scenario& scenario, const config::Node& root, Validation& validation) {
  const config::Node* deployment = root.find("deployment");
  const auto warn = [&](std::string message, std::string suggestion) {
    config::Diagnostic warning;
    warning.code = "does_not_fit";
    warning.pointer = "/deployment";
    if (deployment != nullptr) {
      warning.where = deployment->where;
      warning.where.end = warning.where.begin + 1;
    }
    warning.message = "the deployment does not fit: " + std::move(message);
    warning.note = std::move(suggestion);
    warning.warning = true;
    validation.warnings.push_back(std::move(warning));
  };
  try {
    for (const serving::MemoryBudget& budget : serving::memory_budgets(scenario)) {
      if (budget.kv_budget.value > 0 && budget.kv_blocks > 0) continue;
      warn(fmt::format("a device of pool \"{}\" has {} bytes left for KV blocks", budget.pool,
                       budget.kv_budget.value),
           serving::memory_remedy(scenario, budget.pool, scenario.deployment.pools.at(budget.pool)));
    }
  } catch (const serving::InfeasibleError& error) {
    warn(error.what(), error.remedy());
  }
}

template <class T>
void read_as(config::Document document, const config::Catalogue& catalogue, Validation& validation) {
  config::Loaded<T> loaded = config::read_document<T>(std::move(document), catalogue);
  validation.warnings = std::move(loaded.warnings);
  validation.sources = std::move(loaded.document.sources);
}

void read_scenario(config::Document document, const config::Catalogue& catalogue,
                   const std::filesystem::path& folder, const std::filesystem::path& data_dir,
                   Validation& validation) {
  config::Loaded<serving::Scenario> loaded =
      config::read_document<serving::Scenario>(std::move(document), catalogue);
  validation.warnings = std::move(loaded.warnings);
  check_feasible(loaded.value, loaded.document.root, validation);
  InputProblems trace = trace_problems(loaded, folder, data_dir, MissingData::warning);
  validation.errors = trace.diagnostics.errors();
  validation.error_count = trace.diagnostics.error_count();
  for (const config::Diagnostic& warning : trace.diagnostics.warnings())
    validation.warnings.push_back(warning);
  validation.sources = std::move(trace.sources);
}

}  // namespace

namespace {

// Checks what `load` gives; `file` is its name.
Validation validate_document(const std::filesystem::path& file, std::optional<DocumentKind> kind,
                             const config::Catalogue& catalogue, const std::filesystem::path& data_dir,
                             const std::function<config::Document()>& load) {
  Validation validation;
  validation.file = file.string();
  validation.kind = kind.value_or(guess_kind(file, config::Node{}));
  try {
    config::Document document = load();
    validation.kind = kind.value_or(guess_kind(file, document.root));
    switch (validation.kind) {
      case DocumentKind::scenario:
        read_scenario(std::move(document), catalogue, folder_of(file), data_dir, validation);
        break;
      case DocumentKind::gpu:
        read_as<hardware::Gpu>(std::move(document), catalogue, validation);
        break;
      case DocumentKind::node:
        read_as<hardware::Node>(std::move(document), catalogue, validation);
        break;
      case DocumentKind::fabric:
        read_as<hardware::Fabric>(std::move(document), catalogue, validation);
        break;
      case DocumentKind::engine:
        read_as<cost::EngineProfile>(std::move(document), catalogue, validation);
        break;
      case DocumentKind::model:
        read_as<llm::Architecture>(std::move(document), catalogue, validation);
        break;
      case DocumentKind::kernels:
        read_as<cost::KernelFile>(std::move(document), catalogue, validation);
        break;
    }
  } catch (const config::InputError& error) {
    validation.sources = error.sources();
    validation.errors = error.diagnostics().errors();
    validation.error_count = error.diagnostics().error_count();
    validation.warnings = error.diagnostics().warnings();
  }
  return validation;
}

}  // namespace

Validation validate_file(const std::filesystem::path& file, std::optional<DocumentKind> kind,
                         const config::Catalogue& catalogue, const std::filesystem::path& data_dir) {
  return validate_document(file, kind, catalogue, data_dir,
                           [&] { return config::load_document(file, catalogue); });
}

Validation validate_text(std::string text, const std::string& name, std::optional<DocumentKind> kind,
                         const config::Catalogue& catalogue, const std::filesystem::path& data_dir) {
  return validate_document(name, kind, catalogue, data_dir,
                           [&] { return config::load_text(std::move(text), name, catalogue); });
}

config::Node to_node(const Validation& validation) {
  using config::Node;
  Node node = Node::object();
  node.set("file", Node::of(std::string_view(validation.file)));
  node.set("kind", Node::of(kind_info(validation.kind).name));
  const auto list = [&](const std::vector<config::Diagnostic>& diagnostics) {
    Node all = Node::array();
    for (const config::Diagnostic& diagnostic : diagnostics) {
      Node entry = config::to_node(diagnostic, validation.sources);
      if (entry.find("file") == nullptr) entry.set("file", Node::of(std::string_view(validation.file)));
      all.items.push_back(std::move(entry));
    }
    return all;
  };
  node.set("errors", list(validation.errors));
  node.set("warnings", list(validation.warnings));
  if (validation.error_count > validation.errors.size()) {
    node.set("more_errors",
             Node::of(static_cast<std::int64_t>(validation.error_count - validation.errors.size())));
  }
  return node;
}

}  // namespace moesim::studies
