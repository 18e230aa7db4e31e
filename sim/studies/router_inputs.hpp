// What routers are run over: hidden states, or token ids.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "models/reference/weights/mapped_file.hpp"
#include "models/reference/weights/weight_set.hpp"

namespace moesim::studies {

class RouterInputs {
 public:
  // Opens the file that --tokens names:
  //   .safetensors with floats   the inputs of routers, [tokens, hidden] (or more dimensions in front). The
  //   number in
  //                              a tensor's name is its layer ("layers.3.hidden", "layer_3"); one without a
  //                              number is the input of every layer that has none of its own.
  //   .safetensors with integers token ids: the one integer tensor of the file
  //   .f32                       raw little-endian f32, [tokens, hidden], the input of every layer
  //   anything else              text, also .gz and .zst: token ids with spaces or commas between, or on each
  //   line a
  //                              JSON list, or an object with a list "input_ids", "prompt_token_ids",
  //                              "token_ids" or "tokens"
  // Throws config::InputError with the place of what is wrong, io::IoError for what cannot be read.
  explicit RouterInputs(const std::filesystem::path& file);

  [[nodiscard]] bool has_ids() const { return !hidden() && !ids_.empty(); }
  [[nodiscard]] bool hidden() const { return set_.has_value() || raw_.has_value(); }
  // Token ids, one after another.
  [[nodiscard]] const std::vector<std::int64_t>& ids() const { return ids_; }
  // The hidden states that enter the router of a layer; nullopt if the file has none for it. Throws
  // config::InputError if they do not have `hidden_size` columns.
  [[nodiscard]] std::optional<reference::WeightTensor> states(std::int64_t layer,
                                                              std::int64_t hidden_size) const;
  // "hidden states (layers.3.x)", for reports.
  [[nodiscard]] const std::string& file() const { return file_; }

 private:
  void read_tensors();
  void read_text(const std::filesystem::path& file);

  std::string file_;
  std::optional<reference::WeightSet> set_;
  std::optional<reference::MappedFile> raw_;
  std::vector<std::int64_t> ids_;
};

// Ids of more tokens than this are refused.
inline constexpr std::size_t kMaxRoutedTokens = std::size_t{1} << 26;

// The layer in the name of a tensor of hidden states: its last number, or nullopt.
[[nodiscard]] std::optional<std::int64_t> layer_of_states(std::string_view name);

}  // namespace moesim::studies
