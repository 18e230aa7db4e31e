#include "sim/studies/templates.hpp"

#include <fmt/format.h>

#include <array>
#include <string>
#include <vector>

#include "sim/config/diagnostics.hpp"

namespace moesim::studies {

namespace {

constexpr std::string_view kMinimal = R"({
  // The smallest useful scenario: one box, one model, a fixed number of clients.
  // Check it with `moesim validate FILE`, run it with `moesim run FILE`,
  // see every default with `moesim explain FILE`.
  "version": 1,
  "cluster": {
    "node": "hgx-h100-8",  // moesim describe node
    "nodes": 1
  },
  "model": "llama-3.1-8b",  // moesim describe model
  "deployment": {
    "engine": "vllm",  // moesim describe engine
    "pools": {
      // GPUs of a replica = tp x dp_attention
      "main": {"replicas": 8, "tp": 1}
    }
  },
  "workload": {
    // Each client sends its next request when it has its answer.
    "arrival": {"process": "closed-loop", "clients": 128},
    "lengths": {
      "input": {"distribution": "fixed", "tokens": 1024},
      "output": {"distribution": "fixed", "tokens": 256}
    },
    "stop": {"requests": 640}
  }
}
)";

constexpr std::string_view kChat = R"({
  // A chat service: an open loop of users on a mixture-of-experts model, with targets and a price.
  "version": 1,
  "name": "chat",
  "cluster": {"node": "hgx-h100-8", "nodes": 1},
  "model": "qwen3-30b-a3b",
  "deployment": {
    "engine": "vllm",
    "pools": {
      // Four replicas of two GPUs. The experts of a replica are spread over both of its GPUs.
      "chat": {"replicas": 4, "tp": 2, "ep": 2}
    },
    "formats": {"weights": "fp8", "kv": "bf16"},
    "balancer": "least-loaded"
  },
  "workload": {
    // Requests arrive at random, whether the service keeps up or not.
    "arrival": {"process": "poisson", "rate": "16/s"},
    "lengths": {
      "input": {"distribution": "lognormal", "median": 900, "sigma": 1.0, "max": 8192},
      "output": {"distribution": "lognormal", "median": 250, "sigma": 0.8, "max": 2048}
    },
    // The first requests meet an empty service: leave them out of the metrics.
    "warmup": {"requests": 50},
    "stop": {"requests": 500}
  },
  // How unevenly tokens choose experts.
  "routing": {"popularity": {"family": "lognormal", "sigma": 1.05}},
  // moesim describe metric
  "slo": ["ttft.p99 <= 1 s", "tpot.p95 <= 50 ms"],
  // Instead of the price in the GPU's file.
  "prices": {"gpu_hour": "2.49 USD"},
  "seed": 1
}
)";

constexpr std::string_view kLongContext = R"({
  // Long prompts on a large mixture-of-experts model over two boxes. The attention of a request is cut
  // over the 8 GPUs of a box (tp); the boxes have requests and KV caches of their own (dp_attention);
  // the experts are spread over all 16 GPUs (ep).
  "version": 1,
  "name": "long-context",
  "cluster": {"node": "hgx-h200-8", "nodes": 2, "fabric": "ib-ndr400-rail"},
  "model": "deepseek-v3",
  "deployment": {
    "engine": "vllm",
    "pools": {
      "main": {"replicas": 1, "tp": 8, "dp_attention": 2, "ep": 16}
    },
    "formats": {"weights": "fp8_block", "kv": "bf16"}
  },
  "workload": {
    "arrival": {"process": "poisson", "rate": "1/s"},
    "lengths": {
      // Half of the prompts have more than 7,000 tokens, a few have more than 100,000.
      "input": {"distribution": "lognormal", "median": 7000, "sigma": 1.1, "min": 500, "max": 120000},
      "output": {"distribution": "lognormal", "median": 350, "sigma": 0.6, "max": 2000}
    },
    "stop": {"requests": 200}
  },
  "slo": ["ttft.p99 <= 10 s", "tpot.p95 <= 100 ms"],
  "seed": 1
}
)";

constexpr std::array<Template, 3> kTemplates = {{
    {"minimal", "one box, a dense model, a closed loop of clients", kMinimal},
    {"chat", "a mixture-of-experts model under random arrivals, with targets and a price", kChat},
    {"long-context", "long prompts on DeepSeek-V3 over 16 GPUs, cut by tensor, data and experts",
     kLongContext},
}};

}  // namespace

std::span<const Template> templates() { return kTemplates; }

const Template& template_by_name(std::string_view name) {
  std::vector<std::string> known;
  for (const Template& entry : kTemplates) {
    if (entry.name == name) return entry;
    known.emplace_back(entry.name);
  }
  throw config::InputError("unknown_template", fmt::format("there is no template \"{}\"", name),
                           config::nearest(name, known), fmt::format("known: {}", fmt::join(known, ", ")));
}

}  // namespace moesim::studies
