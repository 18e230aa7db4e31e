#include "sim/serving/scenario.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "models/cost/price.hpp"
#include "models/hardware/topology.hpp"
#include "sim/serving/rules.hpp"

namespace moesim::serving {

const config::Record<Pool>& record_of(config::Type<Pool>) {
  static const auto record =
      config::Record<Pool>("pool", "Replicas of one kind; GPUs of a replica = pp x tp x cp x dp_attention")
          .optional("role", &Pool::role, "What the replicas do")
          .optional("replicas", &Pool::replicas, "Number of replicas", config::between(1, 65536))
          .optional("tp", &Pool::tp, "Tensor-parallel ranks", config::between(1, 4096))
          .optional("pp", &Pool::pp, "Pipeline stages; only 1 is supported", config::between(1, 4096))
          .optional("ep", &Pool::ep, "Expert-parallel shards; divides tp x dp_attention",
                    config::between(1, 4096))
          .optional("dp_attention", &Pool::dp_attention, "Data-parallel attention ranks",
                    config::between(1, 4096))
          .optional("cp", &Pool::cp, "Context-parallel ranks of a prompt; only 1 is supported",
                    config::between(1, 4096))
          .optional("dcp", &Pool::dcp,
                    "Decode context parallelism: tensor ranks that share the KV rows each of them would hold",
                    config::between(1, 4096))
          .optional("sequence_parallel", &Pool::sequence_parallel,
                    "Norms and residual stream divided over the tensor ranks");
  return record;
}

const config::Record<SchedulerSettings>& record_of(config::Type<SchedulerSettings>) {
  using S = SchedulerSettings;
  static const auto record = config::Record<S>("scheduler", "What differs from the engine's defaults")
                                 .optional("max_num_batched_tokens", &S::max_num_batched_tokens,
                                           "Token budget of one step and DP rank", config::between(1, 1e7))
                                 .optional("max_num_seqs", &S::max_num_seqs, "Running sequences per DP rank",
                                           config::between(1, 1e6));
  return record;
}

const config::Record<FormatSettings>& record_of(config::Type<FormatSettings>) {
  using S = FormatSettings;
  static const auto record =
      config::Record<S>("formats", "Number formats of weights, activations and KV cache")
          .optional("weights", &S::weights,
                    "Weights of the linear layers; embedding, norms, router and head stay bf16. When absent, "
                    "the format in which the model was published")
          .optional("attention_weights", &S::attention_weights,
                    "Weights of attention, where they differ. When absent as published where \"weights\" is "
                    "the published format, else as \"weights\"")
          .optional("dense_weights", &S::dense_weights,
                    "Weights of dense feed-forward layers and shared experts; when absent like "
                    "\"attention_weights\"")
          .optional(
              "activations", &S::activations,
              "Inputs of the linear layers as multiplied and dispatched. When absent that of the weights, "
              "and bf16 for int4 and mxfp4 weights and where the GPU cannot multiply the format; so too for "
              "the matrices that no kernel multiplies by it")
          .optional("kv", &S::kv, "KV cache: bf16, fp16, fp8 or int8");
  return record;
}

llm::Formats Scenario::formats() const {
  using llm::WeightKind;
  const FormatSettings& asked = deployment.formats;
  const bool published = asked.weights.value_or(model.published_weights) == model.published_weights;
  llm::Formats formats = published ? model.published_formats() : llm::Formats{};
  if (!published) formats.weights = *asked.weights;
  if (asked.attention_weights) formats.attention_weights = asked.attention_weights;
  if (asked.dense_weights) formats.dense_weights = asked.dense_weights;
  formats.activations = asked.activations;
  formats.kv = asked.kv;
  if (formats.activations) return formats;
  // What the GPU cannot multiply is widened, each kind of matrix by itself.
  const auto usable = [&](WeightKind matrices) {
    const llm::NumberFormat own = formats.of(matrices).activations;
    return cost::has_units_for(cluster.node.gpu, own) ? own : llm::NumberFormat::bf16;
  };
  const llm::NumberFormat attention = usable(WeightKind::attention), dense = usable(WeightKind::dense),
                          experts = usable(WeightKind::experts);
  if (experts != formats.linear_activations()) formats.activations = experts;
  if (formats.of(WeightKind::attention).activations != attention) formats.attention_activations = attention;
  if (formats.of(WeightKind::dense).activations != dense) formats.dense_activations = dense;
  return formats;
}

const config::Record<Deployment>& record_of(config::Type<Deployment>) {
  static const auto record =
      config::Record<Deployment>("deployment", "How the model is served")
          .required("engine", &Deployment::engine, "The serving engine")
          .optional("mode", &Deployment::mode, "Where prefill and decode run")
          .required("pools", &Deployment::pools, "The replicas, by a name of your choice")
          .optional("formats", &Deployment::formats, "Number formats of weights, activations and KV cache")
          .optional("scheduler", &Deployment::scheduler, "Scheduler settings")
          .optional("balancer", &Deployment::balancer, "How requests choose a replica")
          .optional("micro_batches", &Deployment::micro_batches,
                    "Parts into which the sequences of a step are dealt; while one communicates another "
                    "computes (two-batch overlap). More than 1 needs kernel fidelity",
                    config::between(1, 8))
          .check([](const Deployment& deployment, config::Problems& problems) {
            if (deployment.pools.empty()) problems.error("/pools", "there is no pool of replicas");
          });
  return record;
}

const config::Record<MemorySettings>& record_of(config::Type<MemorySettings>) {
  static const auto record =
      config::Record<MemorySettings>("memory", "How much of a device's memory the engine may use")
          .optional("utilization", &MemorySettings::utilization, "Instead of the engine's fraction",
                    config::above_up_to(0, 1))
          .optional("rule", &MemorySettings::rule, "Instead of the engine's rule");
  return record;
}

const config::Record<KvSettings>& record_of(config::Type<KvSettings>) {
  static const auto record = config::Record<KvSettings>("kv", "The KV cache")
                                 .optional("block_tokens", &KvSettings::block_tokens, "Tokens of one block",
                                           config::between(1, 65536));
  return record;
}

const config::Record<Prices>& record_of(config::Type<Prices>) {
  static const auto record =
      config::Record<Prices>("prices", "What things cost")
          .optional("gpu_hour", &Prices::gpu_hour,
                    "One GPU for one hour, instead of the GPU file's rental price", config::between(0, 1e6));
  return record;
}

const config::Record<NumericsSettings>& record_of(config::Type<NumericsSettings>) {
  using S = NumericsSettings;
  static const auto record =
      config::Record<S>("numerics", "Check of the arithmetic by the CPU reference kernels")
          .optional("check", &S::check,
                    "Run a scaled layer of each kind of the model through the reference kernels, with this "
                    "layout and these formats")
          .optional("tokens", &S::tokens, "New tokens of the prompt that is computed",
                    config::between(2, 1024))
          .optional("context", &S::context, "Tokens before them", config::between(0, 4096));
  return record;
}

namespace {

void check_layouts(const Scenario& scenario, config::Problems& problems) {
  std::int64_t needed = 0;
  std::string equation;
  for (const auto& [name, pool] : scenario.deployment.pools) {
    const std::string pointer = fmt::format("/deployment/pools/{}", name);
    for (const std::string& problem : llm::run_problems(scenario.model, pool.layout())) {
      problems.error(pointer, problem, "", "illegal_layout");
    }
    needed += pool.replicas * pool.layout().ranks();
    equation += fmt::format("{}{}: {} replicas x {} tp x {} dp_attention x {} cp x {} pp",
                            equation.empty() ? "" : "; ", name, pool.replicas, pool.tp, pool.dp_attention,
                            pool.cp, pool.pp);
  }
  const std::int64_t devices = hardware::device_count(scenario.cluster);
  if (needed > devices) {
    problems.error("/deployment/pools",
                   fmt::format("the pools need {} GPUs ({}) but the cluster has {} ({} nodes x {})", needed,
                               equation, devices, scenario.cluster.nodes, scenario.cluster.node.gpus),
                   "", "too_few_gpus");
  } else if (needed < devices) {
    problems.warning(
        "/deployment/pools",
        fmt::format("{} of the cluster's {} GPUs are not used and not paid for", devices - needed, devices));
  }
}

void check_rules(const std::vector<std::string>& rules, std::string_view pointer,
                 config::Problems& problems) {
  for (std::size_t i = 0; i < rules.size(); ++i) {
    Rule rule;
    RuleError error;
    if (!parse_rule(rules[i], rule, error)) {
      problems.error(fmt::format("{}/{}", pointer, i), error.message, error.suggestion, "bad_rule");
    }
  }
}

// Engines choose other defaults on some GPUs.
void check_defaults(const Scenario& scenario, config::Problems& problems) {
  const cost::SchedulerDefaults& defaults = scenario.deployment.engine.scheduler;
  const hardware::Gpu& gpu = scenario.cluster.node.gpu;
  const SchedulerSettings& own = scenario.deployment.scheduler;
  if (cost::made_for(defaults, gpu.name, gpu.hbm.usable_capacity.value)) return;
  if (own.max_num_batched_tokens && own.max_num_seqs) return;
  problems.warning(
      "/deployment/engine",
      // No suggestion: whether the other profile exists is not known here.
      fmt::format("the scheduler defaults of engine \"{}\" are those of other GPUs than {}{}",
                  scenario.deployment.engine.name, gpu.name,
                  defaults.otherwise ? fmt::format("; it names \"{}\" for those", *defaults.otherwise) : ""));
}

void check_formats(const Scenario& scenario, config::Problems& problems) {
  for (const llm::FormatProblem& problem : llm::format_problems(scenario.formats())) {
    problems.error(fmt::format("/deployment/formats/{}", problem.field), problem.message,
                   std::string(problem.suggestion));
  }
  const auto& asked = scenario.deployment.formats.activations;
  const hardware::Gpu& gpu = scenario.cluster.node.gpu;
  if (asked && !cost::has_units_for(gpu, *asked)) {
    problems.warning(
        "/deployment/formats/activations",
        fmt::format("{} has no units for {}: these numbers are widened to bf16 and multiplied at "
                    "its rate",
                    gpu.name, config::enum_name(*asked)));
  }
}

// The longest that a length can be; nullopt where no limit is stated.
std::optional<std::int64_t> longest(const workloads::LengthDistribution& lengths) {
  if (const auto* fixed = std::get_if<workloads::FixedLength>(&lengths)) return fixed->tokens;
  if (const auto* uniform = std::get_if<workloads::UniformLength>(&lengths)) return uniform->tokens;
  if (const auto* empirical = std::get_if<workloads::EmpiricalLength>(&lengths)) {
    if (empirical->values.empty()) return std::nullopt;
    return *std::max_element(empirical->values.begin(), empirical->values.end());
  }
  const auto& lognormal = std::get<workloads::LognormalLength>(lengths);
  return lognormal.max < workloads::kMaxTokens ? std::optional(lognormal.max) : std::nullopt;
}

// Requests past the model's context are refused when they come; those of a trace are known only then.
void check_context(const Scenario& scenario, config::Problems& problems) {
  if (!scenario.workload.lengths) return;
  const std::optional<std::int64_t> input = longest(scenario.workload.lengths->input);
  const std::optional<std::int64_t> output = longest(scenario.workload.lengths->output);
  const std::int64_t context = scenario.model.max_context_tokens;
  if (!input || !output || *input + *output <= context) return;
  problems.warning(
      "/workload/lengths",
      fmt::format("requests of up to {} tokens pass the model's context of {}: those are refused",
                  *input + *output, context));
}

// Kernel fidelity holds every device and link of the cluster, used or not.
constexpr std::int64_t kMostKernelDevices = 65536;

void check_kernel_fidelity(const Scenario& scenario, config::Problems& problems) {
  if (scenario.fidelity == Fidelity::kernel) {
    const std::int64_t devices = hardware::device_count(scenario.cluster);
    if (devices > kMostKernelDevices) {
      problems.error(
          "/fidelity",
          fmt::format("kernel fidelity takes clusters of up to {} GPUs, not {}", kMostKernelDevices, devices),
          "\"fidelity\": \"step\"", "too_many_devices");
    }
    return;
  }
  const auto refuse = [&](std::string_view pointer, std::string_view what) {
    problems.error(pointer,
                   fmt::format("{} \"fidelity\": \"kernel\": at step fidelity nothing is shared", what),
                   "\"fidelity\": \"kernel\"", "needs_kernel_fidelity");
  };
  if (!scenario.faults.empty()) refuse("/faults", "faults need");
  if (!scenario.background.empty()) refuse("/background", "background traffic needs");
  if (scenario.deployment.micro_batches > 1) {
    refuse("/deployment/micro_batches", "several micro-batches need");
  }
}

void check_faults_and_background(const Scenario& scenario, config::Problems& problems) {
  if (scenario.faults.empty() && scenario.background.empty()) return;
  std::int64_t used = 0;
  for (const auto& [name, pool] : scenario.deployment.pools) used += pool.replicas * pool.layout().ranks();
  execution::check_disturbances(scenario.faults, scenario.background, hardware::Topology(scenario.cluster),
                                used, problems);
}

void check_scenario(const Scenario& scenario, config::Problems& problems) {
  check_layouts(scenario, problems);
  check_formats(scenario, problems);
  check_defaults(scenario, problems);
  check_context(scenario, problems);
  check_rules(scenario.slo, "/slo", problems);
  check_rules(scenario.expect, "/expect", problems);
  check_kernel_fidelity(scenario, problems);
  check_faults_and_background(scenario, problems);
}

}  // namespace

const config::Record<Scenario>& record_of(config::Type<Scenario>) {
  using S = Scenario;
  static const auto record =
      config::Record<S>("scenario", "One run: hardware, model, deployment, load and targets")
          .required("version", &S::version, "Version of this format", config::between(1, 1))
          .optional("kind", &S::kind, "What is run")
          .optional("name", &S::name,
                    "A short name: what results call this scenario, instead of the name of its file")
          .optional("description", &S::description, "What this scenario is about")
          .required("cluster", &S::cluster, "The hardware")
          .required("model", &S::model, "The model")
          .required("deployment", &S::deployment, "How the model is served")
          .required("workload", &S::workload, "What arrives")
          .optional("routing", &S::routing, "How tokens choose experts")
          .optional("memory", &S::memory, "Memory settings")
          .optional("kv", &S::kv, "KV cache settings")
          .optional("slo", &S::slo, "Targets such as \"ttft.p99 <= 1 s\"")
          .optional("expect", &S::expect, "Facts that `run --expect` checks, in the form of \"slo\"")
          .optional("prices", &S::prices, "Prices")
          .optional("fidelity", &S::fidelity, "How a step is simulated")
          .optional("numerics", &S::numerics, "Check of the arithmetic on the CPU")
          .optional("faults", &S::faults, "What is slow or gone for a while; needs kernel fidelity")
          .optional("background", &S::background,
                    "Traffic that is not the deployment's own; needs kernel fidelity")
          .optional("seed", &S::seed, "Seed of every random draw", config::between(0, 9007199254740992.0))
          .check(check_scenario);
  return record;
}

}  // namespace moesim::serving
