#include "sim/config/document.hpp"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <system_error>
#include <utility>

#include "sim/config/internal.hpp"
#include "sim/io/error.hpp"
#include "sim/io/line_reader.hpp"

namespace moesim::config {

namespace fs = std::filesystem;

std::vector<std::string> Catalogue::names(std::string_view folder) const {
  std::vector<std::string> found;
  for (const fs::path& root : roots_) {
    std::error_code ignored;
    for (fs::directory_iterator it(root / folder, ignored), end; !ignored && it != end;
         it.increment(ignored)) {
      if (it->path().extension() == ".json") found.push_back(it->path().stem().string());
    }
  }
  std::sort(found.begin(), found.end());
  found.erase(std::unique(found.begin(), found.end()), found.end());
  return found;
}

fs::path Catalogue::find(std::string_view folder, std::string_view name) const {
  const bool plain = !name.empty() && name.find('/') == std::string_view::npos && name != "." && name != "..";
  for (const fs::path& root : roots_) {
    std::error_code ignored;
    fs::path path = root / folder / (std::string(name) + ".json");
    if (plain && fs::is_regular_file(path, ignored)) return path;
  }
  return {};
}

bool looks_like_path(std::string_view text) {
  return text.find('/') != std::string_view::npos || text.ends_with(".json") || text.ends_with(".json.gz") ||
         text.ends_with(".json.zst");
}

bool parse_file(const fs::path& file, OriginKind kind, SourceSet& sources, std::vector<std::string>& files,
                const Location& referrer, const std::string& pointer, Diagnostics& diagnostics, Node& out) {
  std::string text;
  try {
    text = io::read_file(file, kMaxFileBytes);
  } catch (const io::IoError& error) {
    diagnostics.add({"cannot_read", pointer, referrer, error.what(), "", "", false, false});
    return false;
  }
  const std::size_t before = diagnostics.error_count();
  const int source = sources.add({file.string(), kind, std::move(text)});
  files.push_back(file.string());
  out = parse_source(sources, source, diagnostics);
  return diagnostics.error_count() == before;
}

namespace {

Location key_location(const Node& object, std::string_view key) {
  for (const Member& member : object.members) {
    if (member.key == key) return member.key_where;
  }
  return object.where;
}

bool same_file(const char* a, const char* b) {
  // fs::equivalent() refuses pipes.
  using Status = struct ::stat;
  Status first{}, second{};
  return ::stat(a, &first) == 0 && ::stat(b, &second) == 0 && first.st_dev == second.st_dev &&
         first.st_ino == second.st_ino;
}

// One name for each file, to find circles with: standard input is the same whatever it is called. A pipe has
// no canonical path.
fs::path identity(const fs::path& file) {
  if (same_file(file.c_str(), "/dev/stdin")) return kStandardInput;
  std::error_code failed;
  fs::path canonical = fs::weakly_canonical(file, failed);
  if (failed || canonical.empty()) canonical = fs::absolute(file, failed).lexically_normal();
  return canonical.empty() ? file : canonical;
}

std::string shown_name(const fs::path& file) {
  std::error_code failed;
  const fs::path near = file.is_absolute() ? fs::proximate(file, failed) : file;
  return failed || near.empty() ? file.string() : near.string();
}

std::string same_file_chain(const std::vector<fs::path>& chain, const fs::path& again) {
  std::string text;
  for (const fs::path& file : chain) text += shown_name(file) + " -> ";
  return text + shown_name(again);
}

}  // namespace

bool follow_extends(Node& tree, const fs::path& file, SourceSet& sources, std::vector<std::string>& files,
                    std::vector<fs::path> chain, const Catalogue& catalogue, std::string_view folder,
                    OriginKind kind, Diagnostics& diagnostics) {
  constexpr std::size_t kMaxChain = 8;
  const Node* extends = tree.kind == Node::Kind::object ? tree.find("extends") : nullptr;
  if (extends == nullptr) return true;
  const Location where = key_location(tree, "extends");
  bool schema_level = false;
  const auto fail = [&](std::string code, std::string message, std::string suggestion = "") {
    diagnostics.add({std::move(code), "/extends", extends->where, std::move(message), std::move(suggestion),
                     "", schema_level, false});
    return false;
  };
  if (extends->kind != Node::Kind::string) {
    schema_level = chain.empty() && kind == OriginKind::file;
    return fail("wrong_type", fmt::format("\"extends\" must be a file, not {}", kind_words(extends->kind)));
  }
  fs::path base;
  if (looks_like_path(extends->text)) {
    base = file.parent_path() / extends->text;
  } else {
    base = catalogue.find(folder, extends->text);
    if (base.empty()) {
      return fail("unknown_entry", fmt::format("there is no entry \"{}\" in {}", extends->text, folder),
                  nearest(extends->text, catalogue.names(folder)));
    }
  }
  // A text has no file, but it has a name.
  chain.push_back(file.empty() ? fs::path(sources.at(extends->where.source).name) : identity(file));
  const fs::path next = identity(base);
  if (std::find(chain.begin(), chain.end(), next) != chain.end()) {
    return fail("extends_cycle",
                fmt::format("\"extends\" goes in a circle: {}", same_file_chain(chain, next)));
  }
  if (chain.size() > kMaxChain) {
    return fail("extends_chain", fmt::format("\"extends\" is chained more than {} times", kMaxChain));
  }
  Node base_tree;
  if (!parse_file(base, kind, sources, files, extends->where, "/extends", diagnostics, base_tree))
    return false;
  if (base_tree.kind != Node::Kind::object) {
    return fail("wrong_type",
                fmt::format("{} holds {}, not an object", base.string(), kind_words(base_tree.kind)));
  }
  if (!follow_extends(base_tree, base, sources, files, std::move(chain), catalogue, folder, kind,
                      diagnostics))
    return false;
  std::erase_if(tree.members, [](const Member& m) { return m.key == "extends"; });
  static_cast<void>(where);
  merge_over(base_tree, std::move(tree), true);
  tree = std::move(base_tree);
  return true;
}

namespace {

constexpr std::string_view kScenarioFolder = "workloads/scenarios";

// The catalogue folder that a file lies in ("hw_configs/engines"), where the names in its "extends" are
// looked up; for a file elsewhere `other`.
std::string folder_of(const fs::path& file, const Catalogue& catalogue, std::string_view other) {
  const auto whole = [](const fs::path& path) {
    std::error_code ignored;
    return fs::weakly_canonical(fs::current_path(ignored) / path, ignored);
  };
  const fs::path folder = whole(file).parent_path();
  for (const fs::path& root : catalogue.roots()) {
    const fs::path inside = folder.lexically_relative(whole(root));
    if (!inside.empty() && *inside.begin() != ".." && inside != ".") return inside.generic_string();
  }
  return std::string(other.empty() ? kScenarioFolder : other);
}

void collect_removals(const Node& patch, const std::string& pointer, std::vector<Removal>& removals) {
  if (patch.kind == Node::Kind::null) removals.push_back({pointer, patch.where});
  for (const Member& member : patch.members)
    collect_removals(member.value, pointer_join(pointer, member.key), removals);
}

Document finish(Document document, const Catalogue& catalogue, const std::vector<Override>& overrides,
                std::string_view folder, Diagnostics diagnostics) {
  if (!diagnostics.has_errors()) {
    document.extended = document.root.kind == Node::Kind::object && document.root.find("extends") != nullptr;
    follow_extends(document.root, document.path, document.sources, document.files, {}, catalogue,
                   folder_of(document.path, catalogue, folder), OriginKind::file, diagnostics);
  }
  std::vector<Override> ordered = overrides;
  std::stable_sort(ordered.begin(), ordered.end(),
                   [](const Override& a, const Override& b) { return a.origin < b.origin; });
  for (const Override& change : ordered) {
    if (diagnostics.has_errors()) break;
    if (change.kind != Override::Kind::merge_file) {
      apply_override(document, change, diagnostics);
      continue;
    }
    Node patch;
    if (parse_file(change.argument, OriginKind::merge, document.sources, document.files, {}, "", diagnostics,
                   patch)) {
      if (patch.kind != Node::Kind::object) {
        diagnostics.add(
            {"wrong_type", "", patch.where, "a merge file must hold an object", "", "", false, false});
      }
      collect_removals(patch, "", document.removals);
      merge_over(document.root, std::move(patch), false);
    }
  }
  if (diagnostics.has_errors()) throw InputError(std::move(document.sources), std::move(diagnostics));
  return document;
}

}  // namespace

Document parse_text(std::string text, std::string name, OriginKind kind) {
  Document document;
  Diagnostics diagnostics;
  const int source = document.sources.add({std::move(name), kind, std::move(text)});
  document.root = parse_source(document.sources, source, diagnostics);
  if (diagnostics.has_errors()) throw InputError(std::move(document.sources), std::move(diagnostics));
  return document;
}

Document load_document(const fs::path& path, const Catalogue& catalogue,
                       const std::vector<Override>& overrides, std::string_view folder) {
  Document document;
  Diagnostics diagnostics;
  document.path = path;
  parse_file(path, OriginKind::file, document.sources, document.files, {}, "", diagnostics, document.root);
  return finish(std::move(document), catalogue, overrides, folder, std::move(diagnostics));
}

Document load_text(std::string text, std::string name, const Catalogue& catalogue,
                   const std::vector<Override>& overrides) {
  Document document;
  Diagnostics diagnostics;
  const int source = document.sources.add({std::move(name), OriginKind::file, std::move(text)});
  document.root = parse_source(document.sources, source, diagnostics);
  return finish(std::move(document), catalogue, overrides, {}, std::move(diagnostics));
}

fs::path entry_path(std::string_view name, std::string_view folder, std::string_view noun,
                    const Catalogue& catalogue) {
  if (looks_like_path(name)) return fs::path(name);
  fs::path path = catalogue.find(folder, name);
  if (path.empty()) {
    const std::vector<std::string> known = catalogue.names(folder);
    throw InputError("unknown_entry", fmt::format("there is no {} \"{}\"", noun, name), nearest(name, known),
                     fmt::format("known: {}", fmt::join(known, ", ")));
  }
  return path;
}

}  // namespace moesim::config
