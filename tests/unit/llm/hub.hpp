// Texts and helpers for the tests of the importer of config.json files.
#pragma once

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>
#include <vector>

#include "models/llm/architecture.hpp"
#include "models/llm/parameters.hpp"
#include "sim/config/document.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/llm/zoo.hpp"

namespace moesim::llm::test {

namespace fs = std::filesystem;

// A folder that is removed at the end.
class Folder {
 public:
  Folder() : path_(fs::temp_directory_path() / ("moesim-import-" + std::to_string(::getpid()))) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { fs::remove_all(path_); }
  fs::path write(const std::string& name, const std::string& text) const {
    const fs::path file = path_ / name;
    fs::create_directories(file.parent_path());
    std::ofstream(file) << text;
    return file;
  }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

inline config::Loaded<Architecture> load(const std::string& text, const std::string& name = "config.json") {
  return config::read_document<Architecture>(config::parse_text(text, name), catalogue());
}

inline config::Loaded<Architecture> load_file(const fs::path& file) {
  return config::load_entry<Architecture>(file.string(), catalogue());
}

// The first error: "code pointer line:column message".
inline std::string error_of(const std::string& text) {
  try {
    static_cast<void>(load(text));
  } catch (const config::InputError& error) {
    const config::Diagnostic& first = error.diagnostics().errors().at(0);
    CHECK_FALSE(first.schema_level);  // the schema knows nothing of the hub
    const config::LineColumn at = error.sources().line_column(first.where);
    return first.code + " " + first.pointer + " " + std::to_string(at.line) + ":" +
           std::to_string(at.column) + " " + first.message;
  }
  return "no error";
}

inline std::size_t errors_of(const std::string& text) {
  try {
    static_cast<void>(load(text));
  } catch (const config::InputError& error) {
    return error.diagnostics().error_count();
  }
  return 0;
}

inline std::string warning_of(const config::Loaded<Architecture>& loaded, std::string_view code) {
  for (const config::Diagnostic& warning : loaded.warnings) {
    if (warning.code == code) return warning.message + (warning.note.empty() ? "" : " | " + warning.note);
  }
  return "no warning";
}

// A Qwen3-MoE configuration of two layers with these lines more.
inline std::string small_moe(const std::string& more = "") {
  return R"({
  "architectures": ["Qwen3MoeForCausalLM"],
  "model_type": "qwen3_moe",
  "hidden_size": 64,
  "num_hidden_layers": 6,
  "num_attention_heads": 4,
  "num_key_value_heads": 2,
  "head_dim": 32,
  "intermediate_size": 200,
  "moe_intermediate_size": 48,
  "num_experts": 16,
  "num_experts_per_tok": 2,
  "max_position_embeddings": 4096,
  "vocab_size": 1000)" +
         (more.empty() ? "" : ",\n  " + more) + "\n}\n";
}

inline std::string small_latent(const std::string& more = "") {
  return R"({"model_type": "deepseek_v3", "hidden_size": 64, "num_hidden_layers": 5, "vocab_size": 1000,
  "num_attention_heads": 4, "kv_lora_rank": 32, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16,
  "v_head_dim": 16, "intermediate_size": 200, "max_position_embeddings": 4096)" +
         (more.empty() ? "" : ", " + more) + "}";
}

// The fields of these configurations in turn are removed or replaced by something hostile: that may be an
// error with a place, or a model, but never anything else. Both must happen.
inline void check_hostile(const std::vector<std::string>& sound) {
  const std::string hostile[] = {"null",
                                 "-1",
                                 "0",
                                 "1e300",
                                 "9223372036854775807",
                                 "-9223372036854775808",
                                 "0.5",
                                 "true",
                                 "\"\"",
                                 "\"x\"",
                                 "[]",
                                 "{}",
                                 "[[[1]]]",
                                 "[-1, 1e99, \"a\", null]",
                                 "{\"a\": {\"b\": []}}",
                                 "99999999999999999999999999",
                                 "[\"\"]",
                                 "{\"quant_method\": 3, \"config_groups\": 7, \"ignore\": {}}"};
  int all_models = 0;
  for (const std::string& text : sound) {
    INFO(text);
    int models = 0, errors = 0;
    const config::Node root = config::parse_text(text, "config.json").root;
    for (std::size_t i = 0; i < root.members.size(); ++i) {
      for (const std::string& value : hostile) {
        config::Node changed = root;
        changed.members[i].value = config::parse_text("[" + value + "]", "value").root.items.at(0);
        try {
          static_cast<void>(count_parameters(load(config::to_json(changed)).value));
          ++models;
        } catch (const config::InputError& error) {
          CHECK(error.diagnostics().has_errors());
          for (const config::Diagnostic& problem : error.diagnostics().errors())
            CHECK(problem.where.source >= 0);
          ++errors;
        }
      }
    }
    CHECK(errors > 50);
    all_models += models;
  }
  CHECK(all_models > 20);
}

}  // namespace moesim::llm::test
