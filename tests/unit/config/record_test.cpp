#include "sim/config/record.hpp"

#include "sim/config/document.hpp"
#include "sim/config/render.hpp"
#include "tests/support/catch.hpp"

namespace sample {

using namespace moesim;

enum class Kind : std::uint8_t { hbm3, gddr7 };

struct Memory {
  Kind kind = Kind::hbm3;
  core::Bytes capacity;
  std::int64_t stacks = 5;
  config::Sourced<core::BytesPerSecond> bandwidth;
};

struct Steady {
  core::PerSecond rate;
};
struct Bursts {
  core::PerSecond rate;
  double cv = 1.0;
};
using Arrival = std::variant<Steady, Bursts>;

struct Machine {
  std::string name;
  Memory memory;
  std::optional<core::Duration> latency;
  std::vector<std::int64_t> sizes;
  std::map<std::string, core::Usd> prices;
  std::optional<Arrival> arrival;
  bool fast = false;
};

const config::Record<Memory>& record_of(config::Type<Memory>) {
  static const auto record =
      config::Record<Memory>("memory", "The memory")
          .optional("kind", &Memory::kind, "What it is made of")
          .required("capacity", &Memory::capacity, "How much", config::above(0))
          .optional("stacks", &Memory::stacks, "How many stacks", config::between(1, 16))
          .required("bandwidth", &Memory::bandwidth, "How fast", config::above(0))
          .check([](const Memory& memory, config::Problems& problems) {
            if (memory.stacks > 8 && memory.kind == Kind::gddr7)
              problems.error("/stacks", "GDDR7 has no stacks");
          });
  return record;
}
const config::Record<Steady>& record_of(config::Type<Steady>) {
  static const auto record =
      config::Record<Steady>("steady", "Steady").required("rate", &Steady::rate, "Rate", config::above(0));
  return record;
}
const config::Record<Bursts>& record_of(config::Type<Bursts>) {
  static const auto record = config::Record<Bursts>("bursts", "Bursts")
                                 .required("rate", &Bursts::rate, "Rate", config::above(0))
                                 .optional("cv", &Bursts::cv, "Variation", config::above(0));
  return record;
}
const config::Record<Machine>& record_of(config::Type<Machine>) {
  static const auto record = config::Record<Machine>("machine", "A machine")
                                 .required("name", &Machine::name, "Its name", config::at_least(1))
                                 .required("memory", &Machine::memory, "Its memory")
                                 .optional("latency", &Machine::latency, "Latency")
                                 .optional("sizes", &Machine::sizes, "Sizes", config::at_least(1))
                                 .optional("prices", &Machine::prices, "Prices")
                                 .optional("arrival", &Machine::arrival, "Arrivals")
                                 .optional("fast", &Machine::fast, "Fast");
  return record;
}

}  // namespace sample

namespace moesim::config {
template <>
struct EnumNames<sample::Kind> {
  static constexpr EnumName<sample::Kind> table[] = {{sample::Kind::hbm3, "hbm3", ""},
                                                     {sample::Kind::gddr7, "gddr7", ""}};
};
template <>
struct VariantTag<sample::Arrival> {
  static constexpr std::string_view key = "process";
  static constexpr std::string_view names[] = {"steady", "bursts"};
};
}  // namespace moesim::config

using namespace moesim;

namespace {

const config::Catalogue kNoCatalogue({});

constexpr std::string_view kGood = R"({
  // a comment
  "name": "m1",
  "memory": {"capacity": "80 GiB", "bandwidth": {"value": "3.35 TB/s", "source": "ds", "label": "datasheet"}},
  "arrival": {"process": "bursts", "rate": "5/s"},
  "prices": {"gpu-hour": "2.49 USD"},
  "sizes": [1, 2, 4]
})";

config::Loaded<sample::Machine> read(std::string_view text,
                                     const std::vector<config::Override>& changes = {}) {
  return config::read_document<sample::Machine>(
      config::load_text(std::string(text), "m.json", kNoCatalogue, changes), kNoCatalogue);
}

config::Diagnostics problems_of(std::string_view text, const std::vector<config::Override>& changes = {}) {
  try {
    static_cast<void>(read(text, changes));
  } catch (const config::InputError& error) {
    for (const auto& problem : error.diagnostics().errors()) {
      if (problem.where.source >= 0) CHECK(!config::render(problem, error.sources(), false).empty());
    }
    return error.diagnostics();
  }
  FAIL("no error");
  return {};
}

std::string replaced(std::string text, std::string_view from, std::string_view to) {
  const std::size_t at = text.find(from);
  REQUIRE(at != std::string::npos);
  return text.replace(at, from.size(), to);
}

}  // namespace

TEST_CASE("a record reads its fields, fills in defaults and keeps origins") {
  const auto loaded = read(kGood);
  CHECK(loaded.value.memory.capacity.value == std::int64_t{80} << 30);
  CHECK(loaded.value.memory.stacks == 5);
  CHECK(loaded.value.memory.bandwidth.value.value == 3'350'000'000'000);
  CHECK(std::get<sample::Bursts>(*loaded.value.arrival).cv == 1.0);
  CHECK(loaded.value.prices.at("gpu-hour").value == 2.49);
  const config::Node* stacks = config::resolve_pointer(loaded.resolved, "/memory/stacks");
  REQUIRE(stacks != nullptr);
  CHECK(stacks->integer == 5);
  CHECK(stacks->where.source == -1);
  const config::Node* capacity = config::resolve_pointer(loaded.resolved, "/memory/capacity");
  CHECK(loaded.document.sources.line_column(capacity->where).line == 4);
  CHECK(loaded.document.sources.line_column(capacity->where).column == 26);
  CHECK(config::resolve_pointer(loaded.resolved, "/latency") == nullptr);
}

TEST_CASE("reading what was resolved gives the same resolution") {
  const auto first = read(kGood);
  const auto second = read(config::to_json(first.resolved));
  CHECK(config::to_json(second.resolved) == config::to_json(first.resolved));
}

TEST_CASE("every error of a document is reported, with pointer and suggestion") {
  std::string text = replaced(std::string(kGood), "\"capacity\"", "\"capacty\"");
  text = replaced(text, "3.35 TB/s", "3.35 TBps");
  text = replaced(text, "\"bursts\"", "\"brusts\"");
  text = replaced(text, "[1, 2, 4]", "[1, 0, \"4\"]");
  const config::Diagnostics found = problems_of(text);
  REQUIRE(found.error_count() == 6);
  const auto& errors = found.errors();
  CHECK(errors[0].pointer == "/memory/capacty");
  CHECK(errors[0].suggestion == "capacity");
  CHECK(errors[1].code == "missing_key");
  CHECK(errors[2].pointer == "/memory/bandwidth/value");
  CHECK(errors[2].suggestion == "\"3.35 TB/s\"");
  CHECK(errors[3].pointer == "/sizes/1");
  CHECK(errors[4].pointer == "/sizes/2");
  CHECK(errors[5].pointer == "/arrival/process");
  CHECK(errors[5].suggestion == "\"bursts\"");
}

TEST_CASE("a rule between fields points at the field") {
  const std::string text =
      replaced(std::string(kGood), "\"capacity\"", "\"kind\": \"gddr7\", \"stacks\": 9, \"capacity\"");
  const config::Diagnostics found = problems_of(text);
  REQUIRE(found.error_count() == 1);
  CHECK(found.errors()[0].pointer == "/memory/stacks");
  CHECK_FALSE(found.errors()[0].schema_level);
}

TEST_CASE("duplicate keys, depth, trailing commas and unfinished text are syntax errors with a place") {
  CHECK(problems_of(R"({"name": "a", "name": "b"})").errors()[0].code == "duplicate_key");
  CHECK(problems_of("{\"name\": \"a\",\n}").errors()[0].message.find("comma") != std::string::npos);
  CHECK(problems_of(std::string(10'000'000, '[')).errors()[0].code == "too_deep");
  CHECK(problems_of("{\"name\": \"a").errors()[0].code == "syntax");
  CHECK(problems_of("{\"name\": 1e999}").errors()[0].message == "the number is out of range");
  CHECK(problems_of("{\"name\": NaN}").errors()[0].message.find("finite") != std::string::npos);
  CHECK(problems_of("{} {}").errors()[0].code == "syntax");
  CHECK(problems_of("").errors()[0].code == "syntax");
  CHECK(problems_of("{\"name\": \"\xff\"}").errors()[0].code == "syntax");
}

TEST_CASE("overrides change values and keep their own origin") {
  using Kind = config::Override::Kind;
  const auto loaded = read(
      kGood, {{Kind::set, "memory.stacks=8", config::OriginKind::command_line, "--set"},
              {Kind::set, "memory.stacks=7", config::OriginKind::environment, "MOESIM_SET_memory__stacks"},
              {Kind::set, "name=h100", config::OriginKind::command_line, "--set"},
              {Kind::set, "/sizes/-=8", config::OriginKind::command_line, "--set"},
              {Kind::unset, "arrival", config::OriginKind::command_line, "--unset"}});
  CHECK(loaded.value.memory.stacks == 8);
  CHECK(loaded.value.name == "h100");
  CHECK(loaded.value.sizes == std::vector<std::int64_t>{1, 2, 4, 8});
  CHECK_FALSE(loaded.value.arrival.has_value());
  const config::Node* stacks = config::resolve_pointer(loaded.resolved, "/memory/stacks");
  CHECK(loaded.document.sources.at(stacks->where.source).kind == config::OriginKind::command_line);

  const auto set = [](std::string text) {
    return problems_of(kGood, {{Kind::set, std::move(text), config::OriginKind::command_line, "--set"}})
        .errors()[0];
  };
  CHECK(set("memory.capacity=80GiB").suggestion == "\"80 GiB\"");
  CHECK(set("memory.stcks=1").suggestion == "stacks");
  CHECK(set("name").code == "bad_override");
  CHECK(set("=1").code == "bad_override");
  CHECK(set("sizes.9=1").code == "bad_override");
  const auto unset =
      problems_of(kGood, {{Kind::unset, "memry", config::OriginKind::command_line, "--unset"}});
  CHECK(unset.errors()[0].suggestion == "memory");
}

TEST_CASE("environment variables become overrides in the order of their names") {
  const char* environment[] = {"PATH=/bin", "MOESIM_SET_memory__stacks=3", "MOESIM_SET_fast=true", nullptr};
  const auto changes = config::overrides_from_environment(environment);
  REQUIRE(changes.size() == 2);
  CHECK(changes[0].argument == "fast=true");
  CHECK(changes[1].argument == "memory.stacks=3");
}

TEST_CASE("at most twenty errors are kept and the rest is counted") {
  std::string text = "{";
  for (int i = 0; i < 50; ++i) text += "\"k" + std::to_string(i) + "\": 1, ";
  text += "\"name\": \"a\"}";
  const config::Diagnostics found = problems_of(text);
  CHECK(found.errors().size() == 20);
  CHECK(found.error_count() == 51);
}

TEST_CASE("a suggestion keeps the number and is near") {
  CHECK(config::nearest("foo", {"slo", "fit", "model"}).empty());
  CHECK(config::nearest("pt", {"tp", "ep"}) == "tp");
  config::QuantityError error;
  double value = 0;
  CHECK_FALSE(config::parse_real("2.49 EUR", config::Dimension::usd, value, error));
  CHECK(error.suggestion.empty());
  CHECK_FALSE(config::parse_real("2.49 $", config::Dimension::usd, value, error));
  CHECK(error.suggestion == "2.49 USD");
}

TEST_CASE("text after the document is called so") {
  for (const char* text : {"{} x", "{\"a\": 1}\n}", "[1] {\"b\": 2}", "{} ,"}) {
    try {
      static_cast<void>(config::parse_text(text, "t.json"));
      FAIL(text);
    } catch (const config::InputError& error) {
      CHECK(std::string(error.what()) == "text after the end of the document");
    }
  }
}

TEST_CASE("the schema lists fields, bounds, patterns and alternatives") {
  const config::Node schema = config::json_schema<sample::Machine>("machine");
  CHECK(config::resolve_pointer(schema, "/anyOf/0/required/1")->text == "memory");
  CHECK(config::resolve_pointer(schema, "/anyOf/0/additionalProperties")->boolean == false);
  CHECK(config::resolve_pointer(schema, "/definitions/memory/properties/stacks/maximum")->integer == 16);
  CHECK(config::resolve_pointer(schema, "/definitions/memory/properties/stacks/default")->integer == 5);
  CHECK(
      config::resolve_pointer(schema, "/anyOf/0/properties/arrival/oneOf/1/properties/process/const")->text ==
      "bursts");
  CHECK(config::resolve_pointer(schema, "/anyOf/1/required/0")->text == "extends");
  CHECK(config::resolve_pointer(schema, "/anyOf/1/properties/extends/type")->text == "string");
}

TEST_CASE("a caret stands under the error and control characters do not reach the terminal") {
  const config::InputError error =
      config::line_error("t.csv", 7, "a,\x1b[31mb,c", 2, 8, "bad", "bad \x1b value", "c");
  const std::string text = config::render(error, false);
  CHECK(text.find('\x1b') == std::string::npos);
  CHECK(text.find("--> t.csv:7:3") != std::string::npos);
  CHECK(text.find("        |   ^^^^^^ did you mean c?") == std::string::npos);
  CHECK(text.find("|   ^^^^^^ did you mean c?") != std::string::npos);
}

TEST_CASE("suggestions are near and never far-fetched") {
  const std::vector<std::string> known = {"bandwidth", "capacity", "max_num_seqs", "h200-sxm", "h100-sxm"};
  CHECK(config::nearest("bandwith", known) == "bandwidth");
  CHECK(config::nearest("maxNumSeqs", known) == "max_num_seqs");
  CHECK(config::nearest("h200", known) == "h200-sxm");
  CHECK(config::nearest("zzz", known).empty());
  CHECK(config::nearest(std::string(1'000'000, 'x'), known).empty());
}
