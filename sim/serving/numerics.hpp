// The check of a scenario's arithmetic: what is asked for, and what came out of it. Plain values;
// sim/studies runs the check.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace moesim::serving {

// One layer of each kind of the model, scaled down, runs through the CPU reference kernels.
struct NumericsSettings {
  bool check = false;
  std::int64_t tokens = 32;   // new tokens of the prompt that is computed
  std::int64_t context = 96;  // tokens before them
};

// What a size of the model became in the scaled layer.
struct ScaledSize {
  std::string name;
  std::int64_t model = 0;
  std::int64_t scaled = 0;
};

// A matrix in its number format.
struct FormatError {
  std::string matrix;
  std::string format;
  double relative = 0;     // root mean square of the error / of the values
  double bound_share = 0;  // worst error / the format's a-priori bound
};

// One property that was checked.
struct NumericsClaim {
  std::string name;
  bool held = false;
  // Worst |error| / bound over all elements; none where the property is bit for bit.
  std::optional<double> bound_share;
};

// One count of one operator: of a kernel while it ran, and of the operator that the simulator prices.
struct CountPair {
  std::string name;  // "experts down: weight bytes"
  std::int64_t kernel = 0;
  std::int64_t model = 0;

  [[nodiscard]] bool equal() const { return kernel == model; }
};

struct LayerCheck {
  std::string name;     // "moe", "attention"
  std::string form;     // "8 of 256 experts, learned", "latent"
  std::string layout;   // "tp 8, ep 8"
  std::string formats;  // "weights fp8_block, activations fp8_block"
  std::vector<ScaledSize> sizes;
  std::vector<FormatError> format_errors;
  std::vector<NumericsClaim> claims;
  std::vector<CountPair> counts;
  std::vector<std::string> not_checked;  // what and why

  [[nodiscard]] bool checked() const { return !claims.empty() || !counts.empty(); }
  [[nodiscard]] bool passed() const {
    return std::all_of(claims.begin(), claims.end(), [](const NumericsClaim& c) { return c.held; }) &&
           std::all_of(counts.begin(), counts.end(), [](const CountPair& c) { return c.equal(); }) &&
           std::all_of(format_errors.begin(), format_errors.end(),
                       [](const FormatError& f) { return f.bound_share <= 1.0; });
  }
  // The largest share of a bound; 0 where nothing has one.
  [[nodiscard]] double bound_share() const {
    double worst = 0;
    for (const NumericsClaim& claim : claims) worst = std::max(worst, claim.bound_share.value_or(0));
    return worst;
  }
};

struct NumericsCheck {
  std::vector<LayerCheck> layers;

  // True if something was checked and all of it held.
  [[nodiscard]] bool passed() const {
    return std::any_of(layers.begin(), layers.end(), [](const LayerCheck& l) { return l.checked(); }) &&
           std::all_of(layers.begin(), layers.end(), [](const LayerCheck& l) { return l.passed(); });
  }
  [[nodiscard]] double bound_share() const {
    double worst = 0;
    for (const LayerCheck& layer : layers) worst = std::max(worst, layer.bound_share());
    return worst;
  }
  [[nodiscard]] std::int64_t counts() const {
    std::int64_t n = 0;
    for (const LayerCheck& layer : layers) n += static_cast<std::int64_t>(layer.counts.size());
    return n;
  }
};

}  // namespace moesim::serving
