#include "reports/chrome_trace.hpp"

#include <fmt/format.h>

#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "reports/slice_order.hpp"
#include "reports/text.hpp"
#include "sim/config/node.hpp"
#include "sim/io/numbers.hpp"

namespace moesim::reports {

namespace {

using execution::Timeline;

std::string quoted(std::string_view text) { return config::to_json(config::Node::of(text), -1); }

class ChromeWriter {
 public:
  ChromeWriter(const Timeline& timeline, const Sink& sink) : timeline_(timeline), sink_(sink) {
    for (const std::string& name : timeline.names()) names_.push_back(quoted(name));
    for (const auto& counter : timeline.counters()) {
      counter_names_.push_back(quoted(counter.name));
      units_.push_back(quoted(counter.unit.empty() ? "value" : counter.unit));
    }
  }

  void write() {
    out_ += "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[";
    write_names();
    const SliceOrder order(timeline_);
    for (std::size_t track = 0; track < timeline_.tracks().size(); ++track) {
      walk_track(
          timeline_, order.of_track(track), [&](std::uint32_t index) { write_slice(index); },
          [](std::uint32_t) {});
    }
    for (const Timeline::CounterValue& value : timeline_.counter_values()) write_value(value);
    if (timeline_.truncated_at()) write_truncation(*timeline_.truncated_at());
    out_ += "\n]}\n";
    flush();
  }

 private:
  // As in the Perfetto form: no id is 0, and no thread has the id of a process.
  [[nodiscard]] static std::size_t pid(std::size_t process) { return 1 + process; }
  [[nodiscard]] std::size_t tid(std::size_t track) const { return 1 + timeline_.processes().size() + track; }

  void flush() {
    sink_(out_);
    out_.clear();
  }

  template <class... Values>
  void add(fmt::format_string<Values...> format, Values&&... values) {
    fmt::format_to(std::back_inserter(out_), format, std::forward<Values>(values)...);
  }
  // Exact microseconds.
  void add_time(std::int64_t ps) { add("{}.{:06}", ps / 1'000'000, ps % 1'000'000); }

  void begin_event() {
    constexpr std::size_t kChunkBytes = std::size_t{1} << 16;
    if (out_.size() >= kChunkBytes) flush();
    out_ += first_ ? "\n" : ",\n";
    first_ = false;
  }

  void write_names() {
    for (std::size_t i = 0; i < timeline_.processes().size(); ++i) {
      begin_event();
      add(R"({{"ph":"M","name":"process_name","pid":{},"args":{{"name":{}}}}})", pid(i),
          quoted(timeline_.processes()[i]));
      begin_event();
      add(R"({{"ph":"M","name":"process_sort_index","pid":{},"args":{{"sort_index":{}}}}})", pid(i), i);
    }
    for (std::size_t i = 0; i < timeline_.tracks().size(); ++i) {
      const Timeline::TrackEntry& track = timeline_.tracks()[i];
      begin_event();
      add(R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":{}}}}})", pid(track.process),
          tid(i), quoted(track.name));
      begin_event();
      add(R"({{"ph":"M","name":"thread_sort_index","pid":{},"tid":{},"args":{{"sort_index":{}}}}})",
          pid(track.process), tid(i), i);
    }
  }

  void write_slice(std::uint32_t index) {
    const Timeline::Slice& slice = timeline_.slices()[index];
    begin_event();
    add(R"({{"ph":"X","pid":{},"tid":{},"name":{},"cat":{},"ts":)",
        pid(timeline_.tracks()[slice.track].process), tid(slice.track), names_[slice.name],
        names_[slice.category]);
    add_time(slice.begin.ps);
    out_ += ",\"dur\":";
    add_time((slice.end - slice.begin).ps);
    const auto arguments = timeline_.arguments(index);
    if (!arguments.empty() || slice.alone.ps >= 0) {
      out_ += ",\"args\":{";
      const char* separator = "";
      for (const Timeline::Argument& argument : arguments) {
        add("{}{}:{}", separator, names_[argument.name.index], argument.value);
        separator = ",";
      }
      if (slice.alone.ps >= 0) add("{}\"alone_s\":{}", separator, exact_seconds(slice.alone));
      out_ += '}';
    }
    out_ += '}';
  }

  void write_value(const Timeline::CounterValue& value) {
    begin_event();
    add(R"({{"ph":"C","pid":{},"name":{},"ts":)", pid(timeline_.counters()[value.counter].process),
        counter_names_[value.counter]);
    add_time(value.at.ps);
    add(",\"args\":{{{}:{}}}}}", units_[value.counter], io::format_double(value.value));
  }

  void write_truncation(core::Time at) {
    begin_event();
    out_ += R"({"ph":"i","s":"g","pid":0,"tid":0,"name":"trace limit: not complete from here on","ts":)";
    add_time(at.ps);
    out_ += '}';
  }

  const Timeline& timeline_;
  const Sink& sink_;
  std::string out_;
  bool first_ = true;
  std::vector<std::string> names_;  // quoted, as all below
  std::vector<std::string> counter_names_;
  std::vector<std::string> units_;
};

}  // namespace

void write_chrome_trace(const Timeline& timeline, const Sink& sink) { ChromeWriter(timeline, sink).write(); }

}  // namespace moesim::reports
