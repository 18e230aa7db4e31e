#include "models/reference/weights/weight_set.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>
#include <system_error>
#include <utility>

#include "models/reference/weights/safetensors.hpp"
#include "sim/config/document.hpp"
#include "sim/core/check.hpp"
#include "sim/io/error.hpp"
#include "sim/io/line_reader.hpp"

namespace moesim::reference {

namespace fs = std::filesystem;

namespace {

constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::int64_t kScaleBlock = 128;

bool is_gguf(std::span<const std::byte> bytes) {
  return bytes.size() >= 4 && std::memcmp(bytes.data(), "GGUF", 4) == 0;
}

// Files of a folder with that ending, sorted by name.
std::vector<fs::path> files_with(const fs::path& folder, std::string_view ending) {
  std::vector<fs::path> files;
  std::error_code failed;
  for (fs::directory_iterator it(folder, failed), end; !failed && it != end; it.increment(failed)) {
    if (it->path().filename().string().ends_with(ending)) files.push_back(it->path());
  }
  if (failed) throw io::IoError(folder.string(), 0, "cannot read the folder: " + failed.message());
  std::sort(files.begin(), files.end());
  return files;
}

// An error at a place of the index.
[[noreturn]] void fail_index(config::Document& document, const config::Location& where, std::string pointer,
                             std::string code, std::string message) {
  config::Diagnostics problems;
  config::Diagnostic problem;
  problem.code = std::move(code);
  problem.pointer = std::move(pointer);
  problem.where = where;
  problem.message = std::move(message);
  problems.add(std::move(problem));
  throw config::InputError(std::move(document.sources), std::move(problems));
}

}  // namespace

WeightSet::WeightSet(const fs::path& path) {
  std::error_code ignored;
  folder_ = fs::is_directory(path, ignored) ? path : path.parent_path();
  if (fs::is_directory(path, ignored)) {
    open_folder(path);
  } else if (path.filename().string().ends_with(".index.json")) {
    open_index(path);
  } else {
    open_file(path);
  }
}

void WeightSet::open_folder(const fs::path& folder) {
  std::error_code ignored;
  const fs::path index = folder / kIndexName;
  if (fs::exists(index, ignored)) return open_index(index);
  std::vector<fs::path> files = files_with(folder, ".safetensors");
  if (files.empty()) files = files_with(folder, ".gguf");
  if (files.empty()) {
    throw config::InputError(
        "cannot_read", fmt::format("the folder {} holds no .safetensors and no .gguf file", folder.string()));
  }
  for (const fs::path& file : files) open_file(file);
}

void WeightSet::open_index(const fs::path& index) {
  config::Document document = config::parse_text(io::read_file(index, config::kMaxFileBytes), index.string());
  files_.push_back(index);
  const config::Node* map = document.root.find("weight_map");
  if (map == nullptr || map->kind != config::Node::Kind::object) {
    fail_index(document, document.root.where, "", "wrong_type",
               "the index has no object \"weight_map\" of tensors and their files");
  }
  std::set<std::string> shards;
  for (const config::Member& member : map->members) {
    const std::string pointer = config::pointer_join("/weight_map", member.key);
    const config::Node& file = member.value;
    if (file.kind != config::Node::Kind::string) {
      fail_index(document, file.where, pointer, "wrong_type", "the file of a tensor is not a text");
    }
    // Shards lie beside the index: it must not lead anywhere else.
    const bool plain = !file.text.empty() && file.text != "." && file.text != ".." &&
                       file.text.find_first_of(std::string_view("/\\\0", 3)) == std::string::npos;
    if (!plain) {
      fail_index(document, file.where, pointer, "bad_name",
                 "a shard is not the plain name of a file beside the index");
    }
    if (shards.insert(file.text).second) open_file(index.parent_path() / file.text);
  }
  for (const config::Member& member : map->members) {
    const WeightTensor* found = find(member.key);
    const std::string shard = (index.parent_path() / member.value.text).string();
    if (found == nullptr || found->file != shard) {
      fail_index(document, member.value.where, config::pointer_join("/weight_map", member.key),
                 "unknown_name", fmt::format("the shard {} has no tensor \"{}\"", shard, member.key));
    }
  }
}

void WeightSet::open_file(const fs::path& file) {
  MappedFile mapped(file);
  if (is_gguf(mapped.bytes())) {
    Gguf gguf = parse_gguf(mapped.bytes(), file.string());
    for (WeightTensor& tensor : gguf.tensors) add(std::move(tensor));
    gguf.tensors.clear();
    if (!gguf_) gguf_ = std::move(gguf);
  } else {
    Safetensors read = parse_safetensors(mapped.bytes(), file.string());
    for (WeightTensor& tensor : read.tensors) add(std::move(tensor));
  }
  files_.push_back(file);
  maps_.push_back(std::move(mapped));
}

void WeightSet::add(WeightTensor tensor) {
  const auto [place, fresh] = by_name_.emplace(tensor.name, tensors_.size());
  if (!fresh) {
    throw config::InputError("duplicate_key",
                             fmt::format("the tensor \"{}\" is both in {} and in {}", tensor.name,
                                         tensors_[place->second].file, tensor.file));
  }
  tensors_.push_back(std::move(tensor));
}

const WeightTensor* WeightSet::find(std::string_view name) const {
  const auto found = by_name_.find(name);
  return found == by_name_.end() ? nullptr : &tensors_[found->second];
}

std::vector<float> WeightSet::to_floats(const WeightTensor& tensor, std::int64_t first_row,
                                        std::int64_t rows) const {
  std::vector<float> values = reference::to_floats(tensor, first_row, rows);
  const bool eight_bits = tensor.type == WeightType::f8_e4m3 || tensor.type == WeightType::f8_e5m2;
  const WeightTensor* scale = eight_bits ? find(tensor.name + "_scale_inv") : nullptr;
  if (scale == nullptr) return values;
  const std::int64_t columns = tensor.columns();
  const auto blocks = [](std::int64_t n) { return (n + kScaleBlock - 1) / kScaleBlock; };
  const std::vector<std::int64_t> wanted = {blocks(tensor.rows()), blocks(columns)};
  if (tensor.shape.size() != 2 || scale->shape != wanted) {
    throw config::InputError(
        "wrong_size",
        fmt::format("{}: the scales \"{}\" have the shape {}; one for each block of 128 x 128 of "
                    "\"{}\" would be {}",
                    scale->file, scale->name, shape_text(scale->shape), tensor.name, shape_text(wanted)));
  }
  const std::vector<float> scales = reference::to_floats(*scale);
  for (std::int64_t r = 0; r < rows; ++r) {
    const float* of_row = scales.data() + (first_row + r) / kScaleBlock * wanted[1];
    float* row = values.data() + r * columns;
    for (std::int64_t c = 0; c < columns; ++c) row[c] *= of_row[c / kScaleBlock];
  }
  return values;
}

}  // namespace moesim::reference
