// Field tables, metrics and policies.
#include <fmt/format.h>

#include <algorithm>

#include "models/llm/formats.hpp"
#include "sim/serving/results.hpp"
#include "sim/serving/scenario.hpp"
#include "sim/studies/describe_topics.hpp"

namespace moesim::studies::detail {

namespace {

using config::Node;
using config::RecordTable;
using config::Type;
using reports::Table;

// A place of the scenario with the field table of what stands there.
struct Place {
  std::string path;
  const RecordTable* table;
};

template <class T>
const RecordTable* table_of() {
  return &record_of(Type<T>{});
}

template <class Variant>
void add_variant(std::vector<Place>& places, std::string_view path) {
  const auto tables = config::detail::VariantType<Variant>::tables();
  for (std::size_t i = 0; i < tables.size(); ++i) {
    places.push_back({fmt::format("{}.{}", path, config::VariantTag<Variant>::names[i]), tables[i]});
  }
}

std::vector<Place> workload_places() {
  std::vector<Place> places = {{"workload", table_of<workloads::Workload>()}};
  add_variant<workloads::Arrival>(places, "workload.arrival");
  places.push_back({"workload.lengths", table_of<workloads::Lengths>()});
  add_variant<workloads::LengthDistribution>(places, "workload.lengths.input");
  places.push_back({"workload.warmup", table_of<workloads::Warmup>()});
  places.push_back({"workload.stop", table_of<workloads::Stop>()});
  return places;
}

std::vector<Place> scenario_places() {
  std::vector<Place> places = {{"scenario", table_of<serving::Scenario>()},
                               {"cluster", table_of<hardware::Cluster>()},
                               {"cluster.node", table_of<hardware::Node>()},
                               {"cluster.node.gpu", table_of<hardware::Gpu>()},
                               {"cluster.fabric", table_of<hardware::Fabric>()},
                               {"model", table_of<llm::Architecture>()},
                               {"deployment", table_of<serving::Deployment>()},
                               {"deployment.engine", table_of<cost::EngineProfile>()},
                               {"deployment.pools.NAME", table_of<serving::Pool>()},
                               {"deployment.formats", table_of<serving::FormatSettings>()},
                               {"deployment.scheduler", table_of<serving::SchedulerSettings>()}};
  for (Place& place : workload_places()) places.push_back(std::move(place));
  places.push_back({"routing", table_of<routing::Routing>()});
  add_variant<routing::Popularity>(places, "routing.popularity");
  places.push_back({"memory", table_of<serving::MemorySettings>()});
  places.push_back({"kv", table_of<serving::KvSettings>()});
  places.push_back({"prices", table_of<serving::Prices>()});
  places.push_back({"numerics", table_of<serving::NumericsSettings>()});
  places.push_back({"faults", table_of<execution::Fault>()});
  places.push_back({"background", table_of<execution::Traffic>()});
  return places;
}

// The default of each optional field, taken from the schema.
std::string default_of(const Node& schema, std::string_view key) {
  const Node* properties = schema.find("properties");
  const Node* property = properties == nullptr ? nullptr : properties->find(key);
  const Node* value = property == nullptr ? nullptr : property->find("default");
  return value == nullptr ? "" : config::to_json(*value, -1);
}

Description field_table(const Place& place) {
  Description description;
  Table table({{"field", false, 0},
               {"write", false, 0},
               {"default", false, 0},
               {"required", false, 0},
               {"meaning", false, 0}});
  const Node schema = config::json_schema(*place.table, "");
  std::vector<Entry> entries;
  Node fields = Node::array();
  for (const config::Field& field : place.table->fields()) {
    const std::string fallback = field.required ? "" : default_of(schema, field.key);
    const std::string state = field.required     ? "required"
                              : fallback.empty() ? "optional"
                                                 : fmt::format("default {}", fallback);
    table.add({field.key, field.type->summary(), fallback, field.required ? "yes" : "no", field.sentence});
    entries.push_back({fmt::format("{} ({})", field.key, state),
                       fmt::format("{}. Write {}", field.sentence, field.type->summary())});
    Node entry = Node::object();
    entry.set("name", text_node(field.key));
    entry.set("meaning", text_node(field.sentence));
    entry.set("write", text_node(field.type->summary()));
    entry.set("required", Node::of(field.required));
    if (!fallback.empty()) entry.set("default", text_node(fallback));
    fields.items.push_back(std::move(entry));
  }
  description.document = Node::object();
  description.document.set("path", text_node(place.path));
  description.document.set("meaning", text_node(place.table->sentence()));
  description.document.set("fields", std::move(fields));
  description.sections.push_back(
      {fmt::format("{}: {}", place.path, place.table->sentence()), std::move(table), std::move(entries)});
  return description;
}

Description describe_places(const std::vector<Place>& places, std::string_view name, std::string_view topic) {
  std::vector<std::string> known;
  for (const Place& place : places) known.push_back(place.path);
  const auto matches = [&](const Place& place) {
    const std::size_t dot = place.path.rfind('.');
    return place.path == name || (dot != std::string::npos && place.path.substr(dot + 1) == name);
  };
  const auto found = name.empty() ? places.begin() : std::find_if(places.begin(), places.end(), matches);
  if (found == places.end()) fail_unknown(fmt::format("part of a {}", topic), name, known);
  Description description = field_table(*found);
  if (name.empty()) {
    Table table({{"part", false, 0}, {"meaning", false, 0}});
    Node parts = Node::array();
    for (std::size_t i = 1; i < places.size(); ++i) {
      table.add({places[i].path, places[i].table->sentence()});
      parts.items.push_back(text_node(places[i].path));
    }
    description.document.set("parts", std::move(parts));
    description.sections.push_back(
        {fmt::format("Parts (moesim describe {} PART)", topic), std::move(table), {}});
  }
  return description;
}

// One choice by name that a scenario or an engine file makes.
struct Choice {
  std::string policy;
  std::string where;
  std::string name;
  std::string sentence;
};

template <class E>
void add_enum(std::vector<Choice>& all, std::string_view policy, std::string_view where) {
  for (const auto& entry : config::EnumNames<E>::table) {
    all.push_back(
        {std::string(policy), std::string(where), std::string(entry.name), std::string(entry.sentence)});
  }
}

template <class Variant>
void add_variant_choices(std::vector<Choice>& all, std::string_view policy, std::string_view where) {
  const auto tables = config::detail::VariantType<Variant>::tables();
  for (std::size_t i = 0; i < tables.size(); ++i) {
    all.push_back({std::string(policy), std::string(where),
                   std::string(config::VariantTag<Variant>::names[i]), tables[i]->sentence()});
  }
}

std::vector<Choice> choices() {
  std::vector<Choice> all;
  add_enum<serving::Mode>(all, "mode", "deployment.mode");
  add_enum<serving::Role>(all, "role", "deployment.pools.NAME.role");
  add_enum<serving::Balancer>(all, "balancer", "deployment.balancer");
  add_enum<llm::NumberFormat>(all, "format", "deployment.formats");
  add_variant_choices<routing::Popularity>(all, "popularity", "routing.popularity.family");
  add_variant_choices<workloads::Arrival>(all, "arrival", "workload.arrival.process");
  add_variant_choices<workloads::LengthDistribution>(all, "length", "workload.lengths.*.distribution");
  add_enum<workloads::TraceFormat>(all, "trace-format", "workload.format");
  add_enum<cost::BudgetRule>(all, "budget-rule", "memory.rule, engine kv.budget_rule");
  add_enum<cost::AllToAll>(all, "all-to-all", "engine comm.all_to_all");
  add_enum<serving::Fidelity>(all, "fidelity", "fidelity");
  add_enum<execution::FaultKind>(all, "fault", "faults.N.kind");
  add_enum<execution::TrafficKind>(all, "background", "background.N.kind");
  return all;
}

}  // namespace

Description describe_scenario(std::string_view name) {
  return describe_places(scenario_places(), name, "scenario");
}

Description describe_workload(std::string_view name) {
  return describe_places(workload_places(), name, "workload");
}

Description describe_metric(std::string_view name) {
  Table table({{"metric", false, 0}, {"unit", false, 0}, {"meaning", false, 0}});
  Node list = Node::array();
  std::vector<std::string> known;
  for (const serving::MetricInfo& info : serving::metric_catalogue()) {
    known.push_back(info.name);
    const std::string head = info.name.substr(0, info.name.find('.'));
    if (std::find(known.begin(), known.end(), head) == known.end()) known.push_back(head);
    const bool family = info.name.starts_with(fmt::format("{}.", name));
    if (!name.empty() && info.name != name && !family) continue;
    table.add({info.name, info.unit, info.sentence});
    Node entry = Node::object();
    entry.set("name", text_node(info.name));
    entry.set("unit", text_node(info.unit));
    entry.set("meaning", text_node(info.sentence));
    list.items.push_back(std::move(entry));
  }
  if (list.items.empty()) fail_unknown("metric", name, known);
  Node document = Node::object();
  document.set("metrics", std::move(list));
  return {{{"Metrics: over all measured requests, the opening burst included, warm-up left out",
            std::move(table),
            {}}},
          std::move(document)};
}

Description describe_policy(std::string_view name) {
  Table table({{"policy", false, 0}, {"name", false, 0}, {"meaning", false, 0}});
  Node list = Node::array();
  std::vector<std::string> known, words;
  for (const Choice& choice : choices()) {
    if (std::find(known.begin(), known.end(), choice.policy) == known.end()) known.push_back(choice.policy);
    words.push_back(choice.name);
    if (!name.empty() && name != choice.policy && name != choice.name) continue;
    table.add({choice.policy, choice.name, choice.sentence});
    Node entry = Node::object();
    entry.set("policy", text_node(choice.policy));
    entry.set("name", text_node(choice.name));
    entry.set("where", text_node(choice.where));
    entry.set("meaning", text_node(choice.sentence));
    list.items.push_back(std::move(entry));
  }
  if (list.items.empty()) {
    words.insert(words.end(), known.begin(), known.end());
    throw config::InputError("unknown_name", fmt::format("there is no policy \"{}\"", name),
                             config::nearest(name, words), fmt::format("known: {}", fmt::join(known, ", ")));
  }
  Node document = Node::object();
  document.set("policies", std::move(list));
  return {{{"Policies", std::move(table), {}}}, std::move(document)};
}

}  // namespace moesim::studies::detail
