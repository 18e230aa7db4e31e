// Shared between the files of sim/config only.
#pragma once

#include <filesystem>

#include "sim/config/document.hpp"

namespace moesim::config {

// Parses a source that is already in the set; reports problems and returns what could be read.
[[nodiscard]] Node parse_source(SourceSet& sources, int source, Diagnostics& diagnostics);

// Applies a patch as RFC 7396 does (null removes). With `entry_aware`, an object laid over a string keeps the
// string as "extends": {"gpu": {"tdp": ...}} over {"gpu": "h100-sxm"} changes one number of that GPU. A null
// there that finds nothing to remove stays until the entry is read: it may be a member of the entry.
void merge_over(Node& target, Node patch, bool entry_aware);

// Follows the "extends" of a tree that came from `file`; `chain` holds the files on the way here. False after
// an error.
bool follow_extends(Node& tree, const std::filesystem::path& file, SourceSet& sources,
                    std::vector<std::string>& files, std::vector<std::filesystem::path> chain,
                    const Catalogue& catalogue, std::string_view folder, OriginKind kind,
                    Diagnostics& diagnostics);

// Reads and parses a file into the set. False after an error; `referrer` is the node that named it.
bool parse_file(const std::filesystem::path& file, OriginKind kind, SourceSet& sources,
                std::vector<std::string>& files, const Location& referrer, const std::string& pointer,
                Diagnostics& diagnostics, Node& out);

[[nodiscard]] std::vector<std::string> keys_of(const Node& object);

// Applies one --set, --unset or environment change; a removal is added to the document's list.
void apply_override(Document& document, const Override& change, Diagnostics& diagnostics);

// Where a value comes from, as the user wrote it: "--set seed=3", "MOESIM_SET_seed=3", "--merge
// patch.json:4".
[[nodiscard]] std::string origin_text(const SourceSet& sources, const Location& where);

// True when the text names a file and not a catalogue entry.
[[nodiscard]] bool looks_like_path(std::string_view text);

}  // namespace moesim::config
