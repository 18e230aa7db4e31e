#include <fmt/format.h>

#include <filesystem>
#include <system_error>

#include "sim/cli/command.hpp"
#include "sim/cli/exit_codes.hpp"
#include "sim/config/diagnostics.hpp"
#include "sim/io/atomic_file.hpp"
#include "sim/io/error.hpp"
#include "sim/studies/kinds.hpp"

namespace moesim::cli {

namespace {

class SchemaCommand final : public Command {
 public:
  std::string_view name() const override { return "schema"; }
  std::string_view summary() const override { return "print the JSON Schema of a kind of document"; }
  std::string_view usage() const override { return "schema [NAME] | schema --all -o DIR"; }
  std::string_view examples() const override {
    return "moesim schema                       the names\n"
           "moesim schema scenario > scenario.v1.schema.json\n"
           "moesim schema --all -o schemas      one file each";
  }
  std::string_view details() const override {
    return "Draft-07. Point an editor at it with a \"$schema\" key in your file: it then completes and "
           "explains keys.";
  }
  void declare(Arguments& arguments) override {
    arguments.flag("--all", "write the schemas of all kinds", all_);
    arguments.value("-o,--output", "DIR", "folder for --all", folder_);
    arguments.words("NAME", "scenario, gpu, node, fabric, engine or model", names_, 0, 1);
  }
  int execute(const Context& context, const Arguments&) override {
    require_format(context, "schema", true, false);
    if (all_) return write_all(context);
    if (folder_)
      throw config::InputError("missing_flag", "-o belongs to --all", "moesim schema --all -o DIR");
    if (!names_.empty()) {
      context.print_json(studies::schema_of(studies::kind_by_name(names_.front())));
      return kExitOk;
    }
    return list(context);
  }

 private:
  int write_all(const Context& context) {
    if (!folder_ || !names_.empty()) {
      throw config::InputError("missing_flag", "--all needs -o and no name",
                               "moesim schema --all -o schemas");
    }
    std::error_code failed;
    std::filesystem::create_directories(*folder_, failed);
    if (failed) throw io::IoError(*folder_, 0, "cannot make the folder: " + failed.message());
    config::Node written = config::Node::array();
    for (const studies::KindInfo& info : studies::document_kinds()) {
      const std::filesystem::path file =
          std::filesystem::path(*folder_) / studies::schema_file_name(info.kind);
      io::write_file(file, config::to_json(studies::schema_of(info.kind)) + "\n");
      written.items.push_back(config::Node::of(std::string_view(file.string())));
      if (context.format == Format::text) context.out->print(file.string() + "\n");
    }
    if (context.format == Format::json) {
      config::Node document = config::Node::object();
      document.set("written", std::move(written));
      context.print_json(document);
    }
    return kExitOk;
  }

  static int list(const Context& context) {
    reports::Table table({{"name", false, 0}, {"folder", false, 0}, {"what", false, 0}});
    config::Node names = config::Node::array();
    for (const studies::KindInfo& info : studies::document_kinds()) {
      table.add({std::string(info.name), std::string(info.folder), std::string(info.sentence)});
      names.items.push_back(config::Node::of(info.name));
    }
    if (context.format == Format::text) {
      context.out->print(table.text(context.out_style));
      return kExitOk;
    }
    config::Node document = config::Node::object();
    document.set("schemas", std::move(names));
    context.print_json(document);
    return kExitOk;
  }

  bool all_ = false;
  std::optional<std::string> folder_;
  std::vector<std::string> names_;
};

}  // namespace

std::unique_ptr<Command> make_schema_command() { return std::make_unique<SchemaCommand>(); }

}  // namespace moesim::cli
