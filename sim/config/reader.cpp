#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "sim/config/internal.hpp"

namespace moesim::config {

namespace fs = std::filesystem;

void Reader::error(std::string code, const Node& at, std::string message, std::string suggestion,
                   std::string note, bool schema_level) {
  add({std::move(code), pointer_, at.where, std::move(message), std::move(suggestion), std::move(note),
       schema_level && entry_depth_ == 0, false});
}

void Reader::add(Diagnostic diagnostic) {
  if (entry_depth_ > 0) diagnostic.schema_level = false;
  diagnostics_.add(std::move(diagnostic));
}

namespace {

struct Overridden {
  std::string path;  // from the root, with dots: "deployment.pools.main.tp"
  Location where;
};

constexpr std::size_t kMaxOrigins = 3;  // that one message lists

// The values at and below `node` that an override made. A null is a removal, which has a note of its own.
void collect_overridden(const Node& node, const std::string& path, const SourceSet& sources,
                        std::vector<Overridden>& found) {
  if (node.members.empty() && node.items.empty()) {
    const bool overridden = node.where.source >= 0 && is_override(sources.at(node.where.source).kind);
    if (overridden && node.kind != Node::Kind::null) found.push_back({path, node.where});
    return;
  }
  const std::string prefix = path.empty() ? "" : path + ".";
  for (const Member& member : node.members)
    collect_overridden(member.value, prefix + member.key, sources, found);
  for (std::size_t i = 0; i < node.items.size(); ++i)
    collect_overridden(node.items[i], prefix + std::to_string(i), sources, found);
}

std::string dotted(std::string_view pointer) {
  std::string path;
  for (std::size_t i = 1; i < pointer.size(); ++i) {
    if (pointer[i] == '~' && i + 1 < pointer.size()) {
      path += pointer[++i] == '1' ? '/' : '~';
    } else {
      path += pointer[i] == '/' ? '.' : pointer[i];
    }
  }
  return path;
}

void append_note(std::string& note, const std::string& more) {
  if (!more.empty()) note += (note.empty() ? "" : "; ") + more;
}

// "tp comes from --set tp=3", once for each flag: an object that one --set gave has many values.
std::string origins_note(const std::vector<Overridden>& found, const Document& document) {
  constexpr int kMaxExamined = 64;  // each reads the text of its flag or file, which may be long
  std::vector<std::pair<std::string, std::vector<std::string>>> origins;
  std::vector<int> told;
  int examined = 0;
  for (const Overridden& value : found) {
    const auto changed = document.changed.find(value.where.source);
    if (std::find(told.begin(), told.end(), value.where.source) != told.end()) continue;
    if (changed != document.changed.end()) told.push_back(value.where.source);
    if (++examined > kMaxExamined) break;
    const std::string origin = origin_text(document.sources, value.where);
    const std::string& path = changed == document.changed.end() ? value.path : changed->second;
    auto known =
        std::find_if(origins.begin(), origins.end(), [&](const auto& one) { return one.first == origin; });
    if (known == origins.end()) known = origins.insert(known, {origin, {}});
    std::vector<std::string>& paths = known->second;
    if (std::find(paths.begin(), paths.end(), path) == paths.end() && paths.size() <= kMaxOrigins)
      paths.push_back(path);
    if (origins.size() > kMaxOrigins) break;
  }
  std::string note;
  for (std::size_t i = 0; i < std::min(origins.size(), kMaxOrigins); ++i) {
    auto& [origin, paths] = origins[i];
    const bool many = paths.size() > 1;
    if (paths.size() > kMaxOrigins) paths.back() = "...";
    append_note(note, fmt::format("{} {} from {}", fmt::join(paths, ", "), many ? "come" : "comes", origin));
  }
  return note;
}

// Changes that may bear on a problem although they are not part of the value it points at: cluster.nodes
// where the pools are too many.
std::string all_changes(const SourceSet& sources) {
  std::vector<std::string> changes;
  for (int i = 0; i < sources.size(); ++i) {
    if (sources.at(i).kind <= OriginKind::flag) continue;
    if (sources.at(i).kind == OriginKind::merge) {
      changes.push_back("--merge " + sources.at(i).name);
    } else {
      changes.push_back(origin_text(sources, {i, 0, 0}));
    }
  }
  if (changes.empty()) return "";
  const bool more = changes.size() > kMaxOrigins;
  if (more) changes.resize(kMaxOrigins);
  return fmt::format("changed by {}{}", fmt::join(changes, ", "), more ? " and more" : "");
}

// True for a null of --unset, and for an object that was made only to hold such: files may remove what is not
// there, but a flag that does nothing is misspelt.
bool only_removals(const Node& node, const SourceSet& sources) {
  if (node.kind == Node::Kind::null)
    return node.where.source >= 0 && sources.at(node.where.source).kind >= OriginKind::environment;
  return !node.members.empty() &&
         std::all_of(node.members.begin(), node.members.end(),
                     [&](const Member& member) { return only_removals(member.value, sources); });
}

}  // namespace

std::string Reader::removal_note(std::string_view pointer) const {
  for (const Removal& removal : document_->removals) {
    const std::string_view removed = removal.pointer;
    const bool inside = removed.starts_with(pointer) && removed.substr(pointer.size()).starts_with('/');
    if (removed != pointer && !inside) continue;
    const std::size_t slash = removed.rfind('/');
    return fmt::format("\"{}\" was removed by {}", removed.substr(slash + 1),
                       origin_text(document_->sources, removal.where));
  }
  return "";
}

void Reader::add_with_overrides(Diagnostic diagnostic) {
  const SourceSet& sources = document_->sources;
  std::vector<Overridden> found;
  const std::string path = dotted(diagnostic.pointer);
  if (const Node* node = resolve_pointer(document_->root, diagnostic.pointer))
    collect_overridden(*node, path, sources, found);
  const bool points_there =
      diagnostic.where.source >= 0 && is_override(sources.at(diagnostic.where.source).kind);
  if (!points_there && !found.empty()) diagnostic.where = found.front().where;
  // Where the value itself was overridden, the place says it all.
  const bool itself = found.size() == 1 && found.front().path == path;
  if (!itself) append_note(diagnostic.note, origins_note(found, *document_));
  append_note(diagnostic.note, removal_note(diagnostic.pointer));
  if (found.empty() && !points_there && diagnostic.note.empty() && !diagnostic.warning)
    diagnostic.note = all_changes(sources);
  add(std::move(diagnostic));
}

fs::path Reader::file_of(const Location& where) const {
  if (where.source < 0) return {};
  const Source& source = document_->sources.at(where.source);
  const bool file = source.kind == OriginKind::catalogue || source.kind == OriginKind::file;
  return file && source.name != kStandardInput ? fs::path(source.name) : fs::path();
}

std::optional<Node> Reader::read_companion(const fs::path& file) {
  std::error_code ignored;
  if (!fs::is_regular_file(file, ignored)) return std::nullopt;
  Node tree;
  Diagnostics problems;
  const bool good = parse_file(file, OriginKind::catalogue, document_->sources, document_->files, {},
                               pointer_, problems, tree);
  for (const Diagnostic& problem : problems.errors()) diagnostics_.add(problem);
  return good ? std::optional<Node>(std::move(tree)) : std::nullopt;
}

void Reader::check_removals(const Node& entry, const Node& patch) {
  // What a reference names may hold it: that entry is read later.
  if (entry.kind == Node::Kind::string || entry.find("extends") != nullptr) return;
  for (const Member& member : patch.members) {
    inside(member.key, [&] {
      if (const Node* child = entry.find(member.key)) {
        check_removals(*child, member.value);
      } else if (only_removals(member.value, document_->sources)) {
        error("bad_override", member.value, fmt::format("there is no \"{}\" to remove", member.key),
              nearest(member.key, keys_of(entry)), "", false);
      }
      return true;
    });
  }
}

std::optional<Node> Reader::resolve_entry(const Node& node, const std::string& folder,
                                          const std::string& noun) {
  constexpr int kMaxEntryDepth = 8;
  const Node* name = node.kind == Node::Kind::string ? &node : node.find("extends");
  const auto fail = [&](std::string code, std::string message, std::string suggestion = "",
                        std::string note = "") -> std::optional<Node> {
    const auto report = [&] {
      error(std::move(code), *name, std::move(message), std::move(suggestion), std::move(note), false);
      return true;
    };
    static_cast<void>(name == &node ? report() : inside("extends", report));
    return std::nullopt;
  };
  if (name->kind != Node::Kind::string) {
    return fail("wrong_type",
                fmt::format("\"extends\" must name a {}, not {}", noun, kind_words(name->kind)));
  }
  if (entry_depth_ >= kMaxEntryDepth) {
    return fail("extends_chain",
                fmt::format("{} entries are nested more than {} times", noun, kMaxEntryDepth));
  }
  fs::path file;
  if (looks_like_path(name->text)) {
    const fs::path from =
        name->where.source < 0 ? fs::path() : fs::path(document_->sources.at(name->where.source).name);
    const bool in_file = name->where.source >= 0 &&
                         document_->sources.at(name->where.source).kind <= OriginKind::merge && !from.empty();
    file = in_file ? from.parent_path() / name->text : fs::path(name->text);
  } else {
    file = catalogue_->find(folder, name->text);
  }
  if (file.empty()) {
    const std::vector<std::string> known = catalogue_->names(folder);
    return fail("unknown_entry", fmt::format("there is no {} \"{}\"", noun, name->text),
                nearest(name->text, known),
                known.empty() ? fmt::format("no {} was found: check MOESIM_HOME", folder)
                              : fmt::format("known: {}", fmt::join(known, ", ")));
  }
  Diagnostics problems;
  Node tree;
  const bool good = parse_file(file, OriginKind::catalogue, document_->sources, document_->files, name->where,
                               pointer_, problems, tree) &&
                    follow_extends(tree, file, document_->sources, document_->files, {}, *catalogue_, folder,
                                   OriginKind::catalogue, problems);
  for (const Diagnostic& problem : problems.errors()) diagnostics_.add(problem);
  if (!good) return std::nullopt;
  if (node.kind == Node::Kind::object) {
    Node patch = node;
    std::erase_if(patch.members, [](const Member& m) { return m.key == "extends"; });
    const std::size_t before = diagnostics_.error_count();
    check_removals(tree, patch);
    if (diagnostics_.error_count() > before) return std::nullopt;
    merge_over(tree, std::move(patch), true);
  }
  ++entry_depth_;
  return tree;
}

namespace {

// The location of the node at `relative`, or of its nearest ancestor that was written somewhere.
Location locate(const Node& record, std::string_view relative) {
  std::string pointer(relative);
  while (true) {
    const Node* node = resolve_pointer(record, pointer);
    if (node != nullptr && node->where.source >= 0) return node->where;
    if (pointer.empty()) return record.where;
    pointer.resize(pointer.rfind('/'));
  }
}

}  // namespace

void Problems::add(std::string_view relative_pointer, std::string message, std::string suggestion,
                   std::string code, bool warning) {
  reader_->add_with_overrides({std::move(code), pointer_ + std::string(relative_pointer),
                               locate(*record_, relative_pointer), std::move(message), std::move(suggestion),
                               "", false, warning});
}

void Problems::error(std::string_view relative_pointer, std::string message, std::string suggestion,
                     std::string code) {
  add(relative_pointer, std::move(message), std::move(suggestion), std::move(code), false);
}

void Problems::warning(std::string_view relative_pointer, std::string message, std::string suggestion,
                       std::string code) {
  add(relative_pointer, std::move(message), std::move(suggestion), std::move(code), true);
}

namespace {

std::vector<std::string> field_keys(const std::vector<Field>& fields) {
  std::vector<std::string> keys;
  for (const Field& field : fields) keys.push_back(field.key);
  return keys;
}

}  // namespace

namespace {

// Where a flag or a patch removed the field, else where the object that lacks it begins: a file that still
// holds the field is not to blame.
Location missing_place(const Node& in, const Reader& reader, const Field& field) {
  const std::string pointer = pointer_join(reader.pointer(), field.key);
  for (const Removal& removal : reader.document().removals) {
    if (removal.pointer == pointer) return removal.where;
  }
  return {in.where.source, in.where.begin, in.where.begin + 1};
}

std::string missing_note(const Reader& reader, const Field& field) {
  std::string note = reader.removal_note(pointer_join(reader.pointer(), field.key));
  append_note(note, fmt::format("expected {}", field.type->summary()));
  return note;
}

}  // namespace

bool RecordTable::read(const Node& in, Reader& reader, void* out, Node& resolved,
                       std::string_view tag) const {
  if (!detail::read_object(in, reader)) return false;
  if (foreign_.recognises == nullptr || !foreign_.recognises(in))
    return read_own(in, reader, out, resolved, tag);
  reader.enter_entry();
  const std::optional<Node> own = foreign_.translate(in, reader);
  const bool good = own && read_own(*own, reader, out, resolved, tag);
  reader.leave_entry();
  return good;
}

bool RecordTable::read_own(const Node& in, Reader& reader, void* out, Node& resolved,
                           std::string_view tag) const {
  const bool is_root = reader.pointer().empty() || !folder_.empty();
  bool good = true;
  std::vector<std::string> keys = field_keys(fields_);
  if (!tag.empty()) keys.emplace_back(tag);
  for (const Member& member : in.members) {
    const bool known = std::find(keys.begin(), keys.end(), member.key) != keys.end();
    if (known || (is_root && member.key == "$schema")) continue;
    const std::string shown = member.key.size() > 64 ? member.key.substr(0, 64) + "..." : member.key;
    Node at;
    at.where = member.key_where;
    reader.inside(member.key, [&] {
      const std::string meant = nearest(member.key, keys);
      reader.error("unknown_key", at, fmt::format("unknown key \"{}\" in {}", shown, name_), meant,
                   fmt::format("known keys: {}", fmt::join(keys, ", ")));
      return true;
    });
    good = false;
  }
  resolved = Node::object();
  resolved.where = in.where;
  std::shared_ptr<void> defaults;
  for (const Field& field : fields_) {
    if (const Node* child = in.find(field.key)) {
      Node child_resolved;
      good &= detail::read_inside(reader, field.key, [&] {
        return field.type->read(*child, reader, field.locate(out), child_resolved);
      });
      resolved.members.push_back({field.key, {}, std::move(child_resolved)});
    } else if (field.required) {
      Node at;
      at.where = missing_place(in, reader, field);
      reader.error("missing_key", at, fmt::format("{} needs \"{}\": {}", name_, field.key, field.sentence),
                   "", missing_note(reader, field));
      good = false;
    } else {
      if (!defaults) defaults = make_default_();
      const void* value = field.locate(defaults.get());
      if (!field.type->absent(value)) resolved.members.push_back({field.key, {}, field.type->write(value)});
    }
  }
  if (good && check_) {
    const std::size_t before = reader.diagnostics().error_count();
    Problems problems(reader, resolved, reader.pointer());
    check_(out, problems);
    good = reader.diagnostics().error_count() == before;
  }
  return good;
}

Node RecordTable::write(const void* in) const {
  Node node = Node::object();
  for (const Field& field : fields_) {
    // locate() needs a mutable pointer to serve reading; writing does not change the struct.
    const void* value = field.locate(const_cast<void*>(in));
    if (!field.type->absent(value)) node.members.push_back({field.key, {}, field.type->write(value)});
  }
  return node;
}

namespace detail {

bool read_inside(Reader& reader, std::string_view token, const std::function<bool()>& body) {
  return reader.inside(token, body);
}

bool read_record(const RecordTable& record, const Node& in, Reader& reader, void* out, Node& resolved) {
  const bool entry = !record.catalogue_folder().empty();
  const bool named = entry && (in.kind == Node::Kind::string ||
                               (in.kind == Node::Kind::object && in.find("extends") != nullptr));
  if (!named) return record.read(in, reader, out, resolved);
  const auto tree = reader.resolve_entry(in, record.catalogue_folder(), record.catalogue_noun());
  if (!tree) return false;
  const bool good = record.read(*tree, reader, out, resolved);
  reader.leave_entry();
  return good;
}

void read_root(Document& document, const Catalogue& catalogue, const RecordTable& record, void* out,
               Node& resolved, std::vector<Diagnostic>& warnings) {
  Reader reader(document, catalogue);
  record.read(document.root, reader, out, resolved);
  warnings = reader.diagnostics().warnings();
  if (reader.diagnostics().has_errors()) throw InputError(document.sources, reader.diagnostics());
}

}  // namespace detail

}  // namespace moesim::config
