#include <algorithm>
#include <array>
#include <filesystem>
#include <regex>
#include <string_view>

#include "tests/unit/house/house.hpp"

namespace moesim::house {

namespace {

struct Room {
  std::string_view folder;
  std::vector<std::string_view> may_include;  // besides itself
};

// Part 3 of the design, with "and below" written out. Two rows say "their values only" and name no foundation
// rooms: reports and sim/cli also see core, io and config, because those values are made of their types and
// because main turns their errors into exit codes. The generated moesim_version.hpp belongs to sim/cli.
[[nodiscard]] const std::vector<Room>& rooms() {
  static const std::vector<Room> table = {
      {"sim/core", {}},
      {"sim/io", {"sim/core"}},
      {"sim/config", {"sim/core", "sim/io"}},
      {"models/hardware", {"sim/core", "sim/io", "sim/config"}},
      {"models/llm", {"sim/core", "sim/io", "sim/config"}},
      {"models/routing", {"sim/core", "sim/io", "sim/config"}},
      {"models/cost",
       {"sim/core", "sim/io", "sim/config", "models/hardware", "models/llm", "models/routing"}},
      {"models/reference", {"sim/core", "sim/io", "sim/config", "models/routing/gate"}},
      {"workloads", {"sim/core", "sim/io", "sim/config"}},
      {"sim/execution",
       {"sim/core", "sim/io", "sim/config", "models/hardware", "models/llm", "models/routing",
        "models/cost"}},
      {"sim/serving",
       {"sim/core", "sim/io", "sim/config", "models/hardware", "models/llm", "models/routing", "models/cost",
        "workloads", "sim/execution"}},
      {"reports", {"sim/core", "sim/io", "sim/config", "sim/execution", "sim/serving"}},
      {"sim/studies",
       {"sim/core", "sim/io", "sim/config", "models/hardware", "models/llm", "models/routing", "models/cost",
        "models/reference", "workloads", "sim/execution", "sim/serving", "reports"}},
      {"sim/cli", {"sim/core", "sim/io", "sim/config", "reports", "sim/studies", "moesim_version.hpp"}},
  };
  return table;
}

constexpr std::size_t kMaxJsonFiles = 12;
constexpr std::size_t kMaxLines = 500;

[[nodiscard]] bool is_inside(std::string_view path, std::string_view folder) {
  return path.substr(0, folder.size()) == folder &&
         (path.size() == folder.size() || path[folder.size()] == '/');
}

[[nodiscard]] const Room* room_of(std::string_view path) {
  const auto found = std::find_if(rooms().begin(), rooms().end(),
                                  [&](const Room& room) { return is_inside(path, room.folder); });
  return found == rooms().end() ? nullptr : &*found;
}

[[nodiscard]] std::string at(const SourceFile& file, std::size_t line, std::string_view what) {
  return file.path + ":" + std::to_string(line) + ": " + std::string(what);
}

// One offence for each line of `lines` in which `pattern` is found.
void search(const SourceFile& file, const std::vector<std::string>& lines, const std::regex& pattern,
            std::string_view what, Offences& offences) {
  for (std::size_t i = 0; i < lines.size(); ++i) {
    std::smatch match;
    if (std::regex_search(lines[i], match, pattern)) {
      offences.push_back(at(file, i + 1, std::string(what) + ": " + match.str()));
    }
  }
}

// True if the expression that starts at `position` of `text` has a brace in it.
[[nodiscard]] bool has_brace(std::string_view text, std::size_t position) {
  int depth = 0;
  for (std::size_t i = position; i < text.size(); ++i) {
    switch (text[i]) {
      case '(':
      case '[':
        ++depth;
        break;
      case ')':
      case ']':
        if (--depth < 0) {
          return false;
        }
        break;
      case '{':
        return true;
      case ';':
        return false;
      default:
        break;
    }
  }
  return false;
}

}  // namespace

Offences forbidden_includes(const Sources& sources) {
  Offences offences;
  for (const SourceFile& file : sources) {
    const Room* room = room_of(file.path);
    if (room == nullptr) {
      offences.push_back(at(file, 1, "this file is in no room of the house"));
      continue;
    }
    for (const Include& include : file.includes) {
      if (!include.quoted || is_inside(include.path, room->folder) ||
          std::any_of(room->may_include.begin(), room->may_include.end(),
                      [&](std::string_view allowed) { return is_inside(include.path, allowed); })) {
        continue;
      }
      const Room* target = room_of(include.path);
      const std::string what = target == nullptr ? "is not a path from the root of the repository to a room"
                                                 : "is out of bounds: " + std::string(room->folder) +
                                                       " may not include " + std::string(target->folder);
      offences.push_back(at(file, include.line, "\"" + include.path + "\" " + what));
    }
  }
  return offences;
}

Offences heavy_includes(const Sources& sources) {
  Offences offences;
  Offences json;
  Offences cli;
  bool has_main = false;
  for (const SourceFile& file : sources) {
    has_main = has_main || file.path == "sim/cli/main/main.cpp";
    for (const Include& include : file.includes) {
      const bool is_json = is_inside(include.path, "nlohmann") && include.path != "nlohmann/json_fwd.hpp";
      const bool is_cli = is_inside(include.path, "CLI");
      if ((is_json || is_cli) && file.is_header()) {
        offences.push_back(at(file, include.line, "a header may not include <" + include.path + ">"));
      } else if (is_json) {
        json.push_back(at(file, include.line, "one of the files that include <" + include.path + ">"));
      } else if (is_cli) {
        cli.push_back(at(file, include.line, "one of the files that include <" + include.path + ">"));
      }
    }
  }
  if (json.size() > kMaxJsonFiles) {
    offences.push_back(std::to_string(json.size()) + " files include json.hpp; at most 12 may");
    offences.insert(offences.end(), json.begin(), json.end());
  }
  if (cli.size() > 1 || (has_main && cli.empty())) {
    offences.push_back(std::to_string(cli.size()) + " files include CLI11; exactly one must");
    offences.insert(offences.end(), cli.begin(), cli.end());
  }
  return offences;
}

Offences header_manners(const Sources& sources) {
  static const std::regex pragma("^\\s*#\\s*pragma\\s+once\\b");
  static const std::regex using_namespace("\\busing\\s+namespace\\b");
  Offences offences;
  for (const SourceFile& file : sources) {
    if (!file.is_header()) {
      continue;
    }
    if (std::none_of(file.code.begin(), file.code.end(),
                     [](const std::string& line) { return std::regex_search(line, pragma); })) {
      offences.push_back(at(file, 1, "a header without #pragma once"));
    }
    search(file, file.code, using_namespace, "in a header", offences);
    for (const Include& include : file.includes) {
      if (!include.quoted && (include.path == "regex" || include.path == "iostream")) {
        offences.push_back(at(file, include.line, "a header may not include <" + include.path + ">"));
      }
    }
  }
  return offences;
}

Offences unportable_random(const Sources& sources) {
  static const std::regex pattern(
      "\\bstd\\s*::\\s*(\\w+_distribution|random_device|shuffle|sample|generate_canonical)\\b|\\bs?rand\\s*"
      "\\(");
  Offences offences;
  for (const SourceFile& file : sources) {
    search(file, file.code, pattern, "not the same everywhere", offences);
  }
  return offences;
}

Offences braces_in_co_await(const Sources& sources) {
  static constexpr std::string_view kWord = "co_await";
  Offences offences;
  for (const SourceFile& file : sources) {
    std::string text;
    for (const std::string& line : file.code) {
      text += line + "\n";
    }
    for (std::size_t i = text.find(kWord); i != std::string::npos; i = text.find(kWord, i + 1)) {
      const std::size_t before = text.find_last_not_of(" \n", i == 0 ? 0 : i - 1);
      const bool overloads =
          before != std::string::npos && before >= 7 && text.compare(before - 7, 8, "operator") == 0;
      if (!overloads && has_brace(text, i + kWord.size())) {
        const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(i), '\n');
        offences.push_back(at(file, static_cast<std::size_t>(line),
                              "braces inside a co_await expression: give the awaitable a name first"));
      }
    }
  }
  return offences;
}

Offences long_files(const Sources& sources) {
  Offences offences;
  for (const SourceFile& file : sources) {
    if (file.lines.size() > kMaxLines) {
      offences.push_back(at(file, file.lines.size(), "more than 500 lines"));
    }
  }
  return offences;
}

Offences unfinished_marks(const Sources& sources) {
  static const std::regex pattern("\\b(TODO|FIXME|XXX|HACK)\\b");
  Offences offences;
  for (const SourceFile& file : sources) {
    search(file, file.lines, pattern, "finish it or write it down elsewhere", offences);
  }
  return offences;
}

Offences missing_folders(const std::string& root) {
  // tests/accuracy joins this list with its first file.
  static constexpr std::array kFolders = {
      "sim/core",
      "sim/io",
      "sim/config",
      "sim/execution",
      "sim/serving",
      "sim/studies",
      "sim/cli",
      "models/hardware",
      "models/llm",
      "models/routing",
      "models/cost",
      "models/reference",
      "models/zoo",
      "hw_configs/gpus",
      "hw_configs/nodes",
      "hw_configs/fabrics",
      "hw_configs/engines",
      "workloads/scenarios",
      "workloads/traces",
      "reports",
      "tests/unit",
      "tests/property",
      "tests/golden",
      "tests/cli",
      "tests/fuzz",
      "tests/bench",
      "docs",
      "tools",
  };
  Offences offences;
  for (const char* folder : kFolders) {
    if (!std::filesystem::is_directory(std::filesystem::path(root) / folder)) {
      offences.push_back(std::string(folder) + ": this folder of the house is missing");
    }
  }
  return offences;
}

}  // namespace moesim::house
