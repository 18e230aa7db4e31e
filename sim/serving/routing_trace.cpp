#include "sim/serving/routing_trace.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

#include "workloads/router_trace.hpp"
#include "workloads/trace_reader.hpp"

namespace moesim::serving {

namespace {

constexpr std::int64_t kMostExperts = 65536;
// Of the lines that are kept for messages.
constexpr std::size_t kMaxKeptLines = std::size_t{32} << 20;

// The layers of a model that have experts.
struct RoutedLayers {
  std::vector<std::int64_t> numbers;  // among all layers
  std::int64_t layers = 0;            // all
  std::int64_t experts = 0;
  std::int64_t top_k = 0;
  bool equal = true;  // in experts and top_k
};

RoutedLayers routed_layers(const llm::Architecture& model) {
  RoutedLayers routed;
  for (const llm::LayerRun& run : llm::layer_runs(model)) {
    const auto* moe = std::get_if<llm::MoeFfn>(&model.layers[run.group].ffn);
    for (std::int64_t i = 0; i < run.count; ++i, ++routed.layers) {
      if (moe == nullptr) continue;
      if (routed.numbers.empty()) {
        routed.experts = moe->choices();
        routed.top_k = moe->top_k;
      }
      routed.equal &= routed.experts == moe->choices() && routed.top_k == moe->top_k;
      routed.numbers.push_back(routed.layers);
    }
  }
  return routed;
}

class ReplayBuilder {
 public:
  explicit ReplayBuilder(RoutedLayers routed) : routed_(std::move(routed)) {}

  ReplayReading read(const std::filesystem::path& file) {
    try {
      workloads::RouterTraceReader reader(file, {routed_.experts, routed_.top_k});
      bool more = true;
      while (more && !full_) more = take(reader);
      if (!reading_.diagnostics.has_errors()) bind(file);
    } catch (const config::InputError& error) {
      add(error);
    }
    return std::move(reading_);
  }

 private:
  bool take(workloads::RouterTraceReader& reader) {
    try {
      if (!reader.next(record_)) return false;
    } catch (const config::InputError& error) {
      add(error);
      return !workloads::ends_reading(error);
    }
    choices_ += static_cast<std::int64_t>(record_.experts.size());
    if (choices_ > kMaxReplayedChoices) {
      throw config::InputError(
          "too_large",
          fmt::format("the routing trace has more than {} choices of experts", kMaxReplayedChoices),
          "fewer steps");
    }
    auto block = std::find(blocks_.begin(), blocks_.end(), record_.block);
    if (block == blocks_.end()) block = blocks_.insert(blocks_.end(), record_.block);
    const std::pair key(block - blocks_.begin(), record_.layer);
    layers_.try_emplace(key, routed_.experts, routed_.top_k).first->second.add_record(record_.experts);
    embedding_only_ |= record_.embedding_only;
    return true;
  }

  void add(const config::InputError& error) {
    for (config::Diagnostic problem : error.diagnostics().errors()) {
      if (problem.where.source >= 0) {
        const config::Source& source = error.sources().at(problem.where.source);
        kept_ += source.text.size();
        problem.where.source = reading_.sources.add(source);
      }
      full_ =
          reading_.diagnostics.error_count() + 1 == config::Diagnostics::kMaxErrors || kept_ > kMaxKeptLines;
      if (full_) problem.note = "the trace was not read any further";
      reading_.diagnostics.add(std::move(problem));
    }
  }

  void bind(const std::filesystem::path& file) {
    auto replay = std::make_shared<routing::Replay>();
    replay->experts = routed_.experts;
    replay->top_k = routed_.top_k;
    for (auto& [key, layer] : layers_) {
      if (layer.tokens() > 0) replay->layers.push_back(std::move(layer));
    }
    if (replay->layers.empty()) {
      throw config::InputError("empty_file",
                               fmt::format("the routing trace {} holds no token", file.string()));
    }
    replay->layer_of.assign(static_cast<std::size_t>(routed_.layers), SIZE_MAX);
    for (std::size_t i = 0; i < routed_.numbers.size(); ++i) {
      replay->layer_of[static_cast<std::size_t>(routed_.numbers[i])] = i % replay->layers.size();
    }
    add_warnings(*replay);
    reading_.replay = std::move(replay);
  }

  void add_warnings(routing::Replay& replay) const {
    const std::size_t has = replay.layers.size(), needs = routed_.numbers.size();
    const std::string_view layers = has == 1 ? "layer" : "layers";
    const std::string counts =
        fmt::format("the routing trace has {} {} and the model {} with experts", has, layers, needs);
    if (has < needs) {
      replay.warnings.push_back(counts + ": they are used again in turn");
    } else if (has > needs) {
      const std::size_t rest = has - needs;
      replay.warnings.push_back(fmt::format("{}: the last {} not used", counts,
                                            rest == 1 ? "one is" : fmt::format("{} are", rest)));
    }
    if (embedding_only_) {
      replay.warnings.emplace_back(
          "the routing trace was made from token embeddings (embedding_only): it does not "
          "say how the model routes");
    }
  }

  RoutedLayers routed_;
  ReplayReading reading_;
  workloads::RouterTraceRecord record_;
  std::vector<std::string> blocks_;  // in the order of their first records
  std::map<std::pair<std::ptrdiff_t, std::int64_t>, routing::ReplayLayer> layers_;
  std::int64_t choices_ = 0;
  std::size_t kept_ = 0;
  bool full_ = false;
  bool embedding_only_ = false;
};

}  // namespace

ReplayReading read_replay(const llm::Architecture& model, const std::filesystem::path& file) {
  RoutedLayers routed = routed_layers(model);
  ReplayReading reading;
  const auto refuse = [&](std::string message) {
    config::Diagnostic problem;
    problem.code = "unsupported_model";
    problem.message = std::move(message);
    reading.diagnostics.add(std::move(problem));
  };
  if (routed.numbers.empty()) {
    refuse("a routing trace needs a model with experts");
  } else if (!routed.equal) {
    refuse("the layers of this model differ in their experts: no routing trace of it can be replayed");
  } else if (routed.experts > kMostExperts) {
    refuse(fmt::format("a routing trace tells up to {} experts apart", kMostExperts));
  }
  if (reading.diagnostics.has_errors()) return reading;
  return ReplayBuilder(std::move(routed)).read(file);
}

std::optional<std::filesystem::path> routing_trace_file(const Scenario& scenario,
                                                        const workloads::TraceFolders& folders) {
  const auto* trace = std::get_if<routing::TracePopularity>(&scenario.routing.popularity);
  if (trace == nullptr) return std::nullopt;
  return workloads::trace_path(trace->file, folders);
}

routing::Popularity resolved_popularity(const Scenario& scenario, const workloads::TraceFolders& folders) {
  const auto file = routing_trace_file(scenario, folders);
  if (!file) return scenario.routing.popularity;
  ReplayReading reading = read_replay(scenario.model, *file);
  if (reading.diagnostics.has_errors()) {
    throw config::InputError(std::move(reading.sources), std::move(reading.diagnostics));
  }
  routing::TracePopularity popularity = std::get<routing::TracePopularity>(scenario.routing.popularity);
  popularity.trace = std::move(reading.replay);
  return popularity;
}

}  // namespace moesim::serving
