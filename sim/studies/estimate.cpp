#include "sim/studies/estimate.hpp"

#include <fmt/format.h>

#include <utility>

#include "models/cost/engine_profile.hpp"
#include "models/hardware/cluster.hpp"
#include "models/llm/architecture.hpp"

namespace moesim::studies {

namespace {

using config::InputError;
using config::Node;

constexpr std::int64_t kRequestsPerClient = 10;  // of the InferenceX benchmark

Node text(std::string_view value) { return Node::of(value); }

// The node type of a GPU: the smallest that holds a replica, so that no GPU is rented in vain, else the
// largest; the first by name among equals.
std::string node_of_gpu(const std::string& gpu, std::int64_t replica_gpus,
                        const config::Catalogue& catalogue) {
  static_cast<void>(hardware::load_gpu(gpu, catalogue));  // says what is wrong with the name
  const std::vector<std::string> names = catalogue.names(config::CatalogueEntry<hardware::Node>::folder);
  std::string best;
  std::int64_t best_gpus = 0;
  for (const std::string& name : names) {
    const hardware::Node node = hardware::load_node(name, catalogue).value;
    if (node.gpu.name != gpu) continue;
    const bool better = best_gpus >= replica_gpus ? node.gpus >= replica_gpus && node.gpus < best_gpus
                                                  : node.gpus > best_gpus;
    if (!best.empty() && !better) continue;
    best = name;
    best_gpus = node.gpus;
  }
  if (!best.empty()) return best;
  throw InputError("no_node", fmt::format("no node of the catalogue holds the GPU \"{}\"", gpu),
                   "--node NODE", fmt::format("known nodes: {}", fmt::join(names, ", ")));
}

// The first fabric by name whose ports are as fast as the node's NICs, else the first of all.
std::string fabric_of_node(const hardware::Node& node, const config::Catalogue& catalogue) {
  const std::vector<std::string> names = catalogue.names(config::CatalogueEntry<hardware::Fabric>::folder);
  for (const std::string& name : names) {
    const hardware::Fabric fabric = hardware::load_fabric(name, catalogue).value;
    if (node.nics && fabric.link_bandwidth.value == node.nics->bandwidth.value) return name;
  }
  return names.empty() ? "" : names.front();
}

// The node type that is asked for, or that of the GPU, with its name in the catalogue.
std::pair<std::string, hardware::Node> choose_node(const EstimateRequest& request,
                                                   const config::Catalogue& catalogue) {
  const std::string name = request.node.empty()
                               ? node_of_gpu(request.gpu, request.tp * request.dp_attention, catalogue)
                               : request.node;
  const hardware::Node node = hardware::load_node(name, catalogue).value;
  if (!request.gpu.empty() && node.gpu.name != request.gpu) {
    throw InputError("contradiction",
                     fmt::format("--node {} holds the GPU {}, not {}", name, node.gpu.name, request.gpu),
                     "only one of --gpu and --node");
  }
  return {name, node};
}

Node cluster_node(const EstimateRequest& request, const std::string& name, const hardware::Node& box,
                  const config::Catalogue& catalogue) {
  hardware::Cluster cluster;
  cluster.node = box;
  const std::int64_t needed = request.replicas * request.tp * request.dp_attention;
  cluster.nodes = (needed + cluster.node.gpus - 1) / cluster.node.gpus;
  Node node = Node::object();
  node.set("node", text(name));
  node.set("nodes", Node::of(cluster.nodes));
  if (hardware::domain_count(cluster) > 1) node.set("fabric", text(fabric_of_node(cluster.node, catalogue)));
  return node;
}

Node length_node(std::int64_t tokens, const std::optional<double>& ratio) {
  Node node = Node::object();
  node.set("distribution", text(ratio ? "uniform" : "fixed"));
  node.set("tokens", Node::of(tokens));
  if (ratio) node.set("ratio", Node::of(*ratio));
  return node;
}

Node workload_node(const EstimateRequest& request) {
  Node arrival = Node::object();
  arrival.set("process", text("closed-loop"));
  arrival.set("clients", Node::of(request.concurrency));
  Node lengths = Node::object();
  lengths.set("input", length_node(request.input_tokens, request.length_ratio));
  lengths.set("output", length_node(request.output_tokens, request.length_ratio));
  Node stop = Node::object();
  stop.set("requests", Node::of(request.requests.value_or(kRequestsPerClient * request.concurrency)));
  Node workload = Node::object();
  workload.set("arrival", std::move(arrival));
  workload.set("lengths", std::move(lengths));
  workload.set("stop", std::move(stop));
  return workload;
}

// The engine that is asked for, else vLLM with its scheduler defaults for the GPU.
std::string engine_for(const EstimateRequest& request, const hardware::Gpu& gpu,
                       const config::Catalogue& catalogue) {
  if (!request.engine.empty()) return request.engine;
  const std::string usual = "vllm";
  const auto engine = config::load_entry<cost::EngineProfile>(usual, catalogue).value;
  const cost::SchedulerDefaults& defaults = engine.scheduler;
  const bool fits = cost::made_for(defaults, gpu.name, gpu.hbm.usable_capacity.value);
  if (fits || !defaults.otherwise) return usual;
  const bool exists =
      !catalogue.find(config::CatalogueEntry<cost::EngineProfile>::folder, *defaults.otherwise).empty();
  return exists ? *defaults.otherwise : usual;
}

Node deployment_node(const EstimateRequest& request, std::string_view published_weights,
                     const std::string& engine) {
  Node pool = Node::object();
  pool.set("replicas", Node::of(request.replicas));
  pool.set("tp", Node::of(request.tp));
  pool.set("ep", Node::of(request.ep));
  pool.set("dp_attention", Node::of(request.dp_attention));
  Node pools = Node::object();
  pools.set("main", std::move(pool));
  Node formats = Node::object();
  formats.set("weights", text(request.weights.empty() ? published_weights : request.weights));
  formats.set("kv", text(request.kv));
  Node deployment = Node::object();
  deployment.set("engine", text(engine));
  deployment.set("pools", std::move(pools));
  deployment.set("formats", std::move(formats));
  return deployment;
}

// The format in which the model was published. A model that does not exist is told when the scenario is read:
// then the message has a place.
std::string_view published_weights(const std::string& model, const config::Catalogue& catalogue) {
  using llm::Architecture;
  const bool named = model.find('/') == std::string::npos && !model.ends_with(".json");
  if (named && catalogue.find(config::CatalogueEntry<Architecture>::folder, model).empty()) return "bf16";
  return config::enum_name(config::load_entry<Architecture>(model, catalogue).value.published_weights);
}

// Bounds that keep the products below from overflowing; the scenario's own field tables have the finer ones.
void check_range(std::string_view flag, std::int64_t value) {
  constexpr std::int64_t kMost = 1'000'000;
  if (value >= 1 && value <= kMost) return;
  throw InputError("out_of_range", fmt::format("{} must be from 1 to {}, not {}", flag, kMost, value));
}

}  // namespace

std::string estimate_scenario(const EstimateRequest& request, const config::Catalogue& catalogue) {
  if (request.gpu.empty() && request.node.empty()) {
    throw InputError(
        "missing_flag", "an estimate needs a GPU or a node type", "--gpu h100-sxm",
        fmt::format("known GPUs: {}",
                    fmt::join(catalogue.names(config::CatalogueEntry<hardware::Gpu>::folder), ", ")));
  }
  check_range("--tp", request.tp);
  check_range("--ep", request.ep);
  check_range("--dp-attention", request.dp_attention);
  check_range("--replicas", request.replicas);
  check_range("--concurrency", request.concurrency);
  check_range("the number of GPUs of a replica (--tp x --dp-attention)", request.tp * request.dp_attention);
  check_range("the number of GPUs", request.replicas * request.tp * request.dp_attention);

  Node popularity = Node::object();
  popularity.set("family", text(request.popularity));
  Node routing = Node::object();
  routing.set("popularity", std::move(popularity));
  Node slo = Node::array();
  for (const std::string& rule : request.slo) slo.items.push_back(text(rule));

  Node scenario = Node::object();
  scenario.set("version", Node::of(std::int64_t{1}));
  scenario.set("name", text("estimate"));
  scenario.set("description",
               text(fmt::format("{} clients in a closed loop, {} tokens in and {} out", request.concurrency,
                                request.input_tokens, request.output_tokens)));
  const auto [node_name, node] = choose_node(request, catalogue);
  scenario.set("cluster", cluster_node(request, node_name, node, catalogue));
  scenario.set("model", text(request.model));
  scenario.set("deployment", deployment_node(request, published_weights(request.model, catalogue),
                                             engine_for(request, node.gpu, catalogue)));
  scenario.set("workload", workload_node(request));
  scenario.set("routing", std::move(routing));
  if (!slo.items.empty()) scenario.set("slo", std::move(slo));
  return config::to_json(scenario) + "\n";
}

}  // namespace moesim::studies
