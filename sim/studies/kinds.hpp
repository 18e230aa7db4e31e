// The kinds of documents that people write, and their field tables.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>

#include "sim/config/node.hpp"
#include "sim/config/record.hpp"

namespace moesim::studies {

enum class DocumentKind : std::uint8_t { scenario, gpu, node, fabric, engine, model, kernels };

struct KindInfo {
  DocumentKind kind;
  std::string_view name;      // as written after --as and `schema`
  std::string_view folder;    // in a catalogue
  std::string_view sentence;  // what such a document says
};

// All kinds, the scenario first.
[[nodiscard]] std::span<const KindInfo> document_kinds();
[[nodiscard]] const KindInfo& kind_info(DocumentKind kind);
// The kind of that name; throws config::InputError with a suggestion for any other name.
[[nodiscard]] DocumentKind kind_by_name(std::string_view name);

[[nodiscard]] const config::RecordTable& record_table(DocumentKind kind);

// File name of the kind's JSON Schema: "scenario.v1.schema.json".
[[nodiscard]] std::string schema_file_name(DocumentKind kind);
[[nodiscard]] config::Node schema_of(DocumentKind kind);

// The kind of a document by the folder that holds it ("gpus", "zoo" ...), else by its keys; a scenario if
// neither tells.
[[nodiscard]] DocumentKind guess_kind(const std::filesystem::path& path, const config::Node& root);

}  // namespace moesim::studies
