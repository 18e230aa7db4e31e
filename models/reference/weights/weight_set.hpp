// The tensors of a checkpoint: one file, or a folder of shards.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/reference/weights/gguf.hpp"
#include "models/reference/weights/mapped_file.hpp"
#include "models/reference/weights/weight_tensor.hpp"

namespace moesim::reference {

class WeightSet {
 public:
  // Opens a .safetensors or .gguf file (told apart by its first bytes), an index "*.index.json" of shards, or
  // a folder: its model.safetensors.index.json and what that names, else all its *.safetensors, else all its
  // *.gguf (the parts of one file). Files are mapped, not read. Throws io::IoError for what cannot be opened
  // and config::InputError for what is wrong in it, for names that two shards have, and for names that the
  // index promises and the shard lacks.
  explicit WeightSet(const std::filesystem::path& path);

  // In the order of the files, and inside a file of its data (safetensors) or list (GGUF).
  [[nodiscard]] const std::vector<WeightTensor>& tensors() const { return tensors_; }
  // The tensor of that name, or nullptr.
  [[nodiscard]] const WeightTensor* find(std::string_view name) const;
  // As to_floats() of a tensor. Where safetensors hold "NAME_scale_inv" beside FP8 weights (one f32 for each
  // block of 128 x 128: deepseek-ai/DeepSeek-V3 inference/fp8_cast_bf16.py), the values are multiplied by it.
  [[nodiscard]] std::vector<float> to_floats(const WeightTensor& tensor, std::int64_t first_row,
                                             std::int64_t rows) const;
  [[nodiscard]] std::vector<float> to_floats(const WeightTensor& tensor) const {
    return to_floats(tensor, 0, tensor.rows());
  }

  // The metadata of the first GGUF file; nullptr for safetensors.
  [[nodiscard]] const Gguf* gguf() const { return gguf_ ? &*gguf_ : nullptr; }
  // The files that were opened, the index first.
  [[nodiscard]] const std::vector<std::filesystem::path>& files() const { return files_; }
  // The folder that holds them.
  [[nodiscard]] const std::filesystem::path& folder() const { return folder_; }

 private:
  void open_folder(const std::filesystem::path& folder);
  void open_index(const std::filesystem::path& index);
  void open_file(const std::filesystem::path& file);
  void add(WeightTensor tensor);

  std::filesystem::path folder_;
  std::vector<std::filesystem::path> files_;
  std::vector<MappedFile> maps_;
  std::vector<WeightTensor> tensors_;
  std::map<std::string, std::size_t, std::less<>> by_name_;
  std::optional<Gguf> gguf_;
};

}  // namespace moesim::reference
