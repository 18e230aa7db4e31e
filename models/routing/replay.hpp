// The choices of a routing trace, replayed token by token.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

namespace moesim::routing {

// What a trace says of one layer: whole tokens, in the order of the trace.
class ReplayLayer {
 public:
  ReplayLayer(std::int64_t experts, std::int64_t top_k);

  // Adds the tokens of one record, [tokens, top_k].
  void add_record(std::span<const std::uint16_t> experts);

  [[nodiscard]] std::int64_t tokens() const { return tokens_; }
  // Tokens by expert in the whole layer.
  [[nodiscard]] std::span<const std::int64_t> counts() const { return counts_; }
  // True if a record has exactly so many tokens.
  [[nodiscard]] bool has_record_of(std::int64_t tokens) const { return starts_by_size_.contains(tokens); }
  // The first tokens of the records with exactly so many tokens; of all records if there is none.
  [[nodiscard]] std::span<const std::int64_t> starts_for(std::int64_t tokens) const;
  // Tokens by expert among `tokens` tokens from token `first` on, around the end as often as it takes.
  void count_from(std::int64_t first, std::int64_t tokens, std::span<std::int64_t> counts) const;

 private:
  std::int64_t top_k_;
  std::int64_t tokens_ = 0;
  std::vector<std::uint16_t> experts_;  // [tokens, top_k]
  std::vector<std::int64_t> counts_;
  std::vector<std::int64_t> starts_;  // of all records that have tokens
  std::map<std::int64_t, std::vector<std::int64_t>> starts_by_size_;
};

// A trace bound to a model.
struct Replay {
  std::int64_t experts = 0;
  std::int64_t top_k = 0;
  std::vector<ReplayLayer> layers;    // in the order of the trace's layers; each has tokens
  std::vector<std::size_t> layer_of;  // by the model's layer, dense ones counted: an index into `layers`
  std::vector<std::string> warnings;  // what of the trace is not what the model is

  // What stands for a layer of the model.
  [[nodiscard]] const ReplayLayer& layer(std::int64_t model_layer) const;
};

}  // namespace moesim::routing
