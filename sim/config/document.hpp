// Loading a JSON document: parse, extends, overrides, and reading it into a struct with a record.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "sim/config/diagnostics.hpp"
#include "sim/config/node.hpp"
#include "sim/config/record.hpp"

namespace moesim::config {

// Limits on one JSON text.
inline constexpr std::size_t kMaxDepth = 64;
inline constexpr std::size_t kMaxFileBytes = std::size_t{64} << 20;

// The name of a text that came from standard input.
inline constexpr std::string_view kStandardInput = "<stdin>";

// Where named entries ("h200-sxm") are found: roots that hold hw_configs/, models/zoo/ and workloads/, best
// first.
class Catalogue {
 public:
  explicit Catalogue(std::vector<std::filesystem::path> roots) : roots_(std::move(roots)) {}
  [[nodiscard]] const std::vector<std::filesystem::path>& roots() const { return roots_; }
  // Names of the entries of a folder ("hw_configs/gpus"), sorted, without ".json".
  [[nodiscard]] std::vector<std::string> names(std::string_view folder) const;
  // The file of a named entry, or an empty path.
  [[nodiscard]] std::filesystem::path find(std::string_view folder, std::string_view name) const;

 private:
  std::vector<std::filesystem::path> roots_;
};

// One change to a document, applied in the order of OriginKind, then in the order given.
struct Override {
  enum class Kind : std::uint8_t { merge_file, set, unset };
  Kind kind = Kind::set;
  std::string argument;  // a path for merge_file, "path=value" for set, "path" for unset
  OriginKind origin = OriginKind::command_line;
  std::string name;     // as printed: "--set", "MOESIM_SET_seed"
  std::string shown{};  // what the user wrote, where that is not `argument`: "8" of "--tp 8"
};

// The MOESIM_SET_a__b=value variables of an environment (two underscores separate the parts of a path),
// sorted.
[[nodiscard]] std::vector<Override> overrides_from_environment(const char* const* environment);

// A value that an override removed: its JSON pointer and where that was asked for.
struct Removal {
  std::string pointer;
  Location where;
};

// A parsed document before it is read into a struct.
struct Document {
  Node root;
  SourceSet sources;
  std::filesystem::path path;          // the file, for relative paths inside it; empty for text
  std::vector<std::string> files;      // every file that took part, in the order of reading
  std::vector<Removal> removals;       // by --unset and by null in a merge file
  std::map<int, std::string> changed;  // by the source of an override: the path, with dots, of what it set
  bool extended = false;               // the root had "extends": JSON Schema sees only a part of it
};

// Parses a text. Throws InputError with every problem found (syntax, duplicate keys, depth, size, UTF-8).
[[nodiscard]] Document parse_text(std::string text, std::string name, OriginKind kind = OriginKind::file);

// Loads a file, follows its "extends" chain (cycles are errors that print the chain) and applies the
// overrides. Names in "extends" are looked up in the catalogue folder that the file lies in; those of a file
// elsewhere in `folder`, or where that is empty among the scenarios.
[[nodiscard]] Document load_document(const std::filesystem::path& path, const Catalogue& catalogue,
                                     const std::vector<Override>& overrides = {},
                                     std::string_view folder = "");
// The same for a text that is already in memory.
[[nodiscard]] Document load_text(std::string text, std::string name, const Catalogue& catalogue,
                                 const std::vector<Override>& overrides = {});

// State of one read: problems, and the way to named entries.
class Reader {
 public:
  Reader(Document& document, const Catalogue& catalogue)
      : document_(&document), catalogue_(&catalogue), entry_depth_(document.extended ? 1 : 0) {}

  void error(std::string code, const Node& at, std::string message, std::string suggestion = "",
             std::string note = "", bool schema_level = true);
  void add(Diagnostic diagnostic);
  // Adds a problem of a value whose members may come from different layers. Where --set, --merge or the
  // environment made one of them, the problem points there: the text of the file is not what was read.
  void add_with_overrides(Diagnostic diagnostic);
  // "it was removed by --unset seed" for the value at this pointer or below it, or "".
  [[nodiscard]] std::string removal_note(std::string_view pointer) const;
  // Enters a child for the time of `body`: pointers of problems inside start with its path.
  template <class Body>
  auto inside(std::string_view token, Body&& body) {
    const std::string outer = pointer_;
    pointer_ = pointer_join(pointer_, token);
    const auto result = body();
    pointer_ = outer;
    return result;
  }
  // The tree of a catalogue entry: a name, a path to a .json file, or an object with "extends". nullopt after
  // reporting an error.
  [[nodiscard]] std::optional<Node> resolve_entry(const Node& node, const std::string& folder,
                                                  const std::string& noun);
  // Enters and leaves a part that JSON Schema does not describe, for example another program's document.
  void enter_entry() { ++entry_depth_; }
  void leave_entry() { --entry_depth_; }
  // The file that a value was read from; empty for standard input, overrides and built-in values.
  [[nodiscard]] std::filesystem::path file_of(const Location& where) const;
  // Parses a file that belongs to the document although nothing in it names it. nullopt if it does not exist,
  // and after reporting errors if it cannot be read.
  [[nodiscard]] std::optional<Node> read_companion(const std::filesystem::path& file);

  [[nodiscard]] const std::string& pointer() const { return pointer_; }
  [[nodiscard]] const Diagnostics& diagnostics() const { return diagnostics_; }
  [[nodiscard]] const Document& document() const { return *document_; }

 private:
  // Reports what --unset is to remove from an entry that does not have it.
  void check_removals(const Node& entry, const Node& patch);

  Document* document_;
  const Catalogue* catalogue_;
  Diagnostics diagnostics_;
  std::string pointer_;
  int entry_depth_ =
      0;  // > 0 inside a catalogue entry or an object with "extends": schema rules no longer apply
};

// A value with the document it came from: `resolved` has every default and entry filled in, with origins.
template <class T>
struct Loaded {
  T value{};
  Node resolved;
  Document document;
  std::vector<Diagnostic> warnings;
};

namespace detail {
// Reads the document's root into *out. Throws InputError if there was any error.
void read_root(Document& document, const Catalogue& catalogue, const RecordTable& record, void* out,
               Node& resolved, std::vector<Diagnostic>& warnings);
}  // namespace detail

// Reads a document into a T. Throws InputError with all errors.
template <class T>
[[nodiscard]] Loaded<T> read_document(Document document, const Catalogue& catalogue) {
  Loaded<T> loaded;
  loaded.document = std::move(document);
  detail::read_root(loaded.document, catalogue, record_of(Type<T>{}), &loaded.value, loaded.resolved,
                    loaded.warnings);
  return loaded;
}

// Loads the named catalogue entry (or path) of type T. Throws InputError if it does not exist or is wrong.
template <class T>
[[nodiscard]] Loaded<T> load_entry(std::string_view name, const Catalogue& catalogue);

[[nodiscard]] std::filesystem::path entry_path(std::string_view name, std::string_view folder,
                                               std::string_view noun, const Catalogue& catalogue);

template <class T>
Loaded<T> load_entry(std::string_view name, const Catalogue& catalogue) {
  const auto path = entry_path(name, CatalogueEntry<T>::folder, CatalogueEntry<T>::noun, catalogue);
  return read_document<T>(load_document(path, catalogue, {}, CatalogueEntry<T>::folder), catalogue);
}

// Draft-07 JSON Schema of a record.
[[nodiscard]] Node json_schema(const RecordTable& record, std::string_view id);
template <class T>
[[nodiscard]] Node json_schema(std::string_view id) {
  return json_schema(record_of(Type<T>{}), id);
}

}  // namespace moesim::config
