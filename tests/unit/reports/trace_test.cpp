#include <algorithm>
#include <array>
#include <random>
#include <tuple>

#include "reports/chrome_trace.hpp"
#include "reports/perfetto.hpp"
#include "reports/trace_file.hpp"
#include "sim/config/document.hpp"
#include "sim/core/check.hpp"
#include "sim/io/error.hpp"
#include "tests/support/catch.hpp"
#include "tests/unit/io/temporary_folder.hpp"
#include "tests/unit/reports/trace_reader.hpp"

namespace moesim::reports {

namespace {

using core::Duration;
using core::Time;
using execution::Timeline;
using testing::ReadEvent;
using testing::ReadTrace;

constexpr std::int32_t kBegin = 1, kEnd = 2, kInstant = 3, kCounter = 4;

std::string written(void (*writer)(const Timeline&, const Sink&), const Timeline& timeline) {
  std::string text;
  writer(timeline, [&](std::string_view bytes) { text += bytes; });
  return text;
}

// Two processes; on the first track a parent around two neighbours with a gap below a nanosecond.
Timeline example_timeline(std::size_t limit = Timeline::kDefaultLimit) {
  Timeline timeline(limit);
  const auto cluster = timeline.add_process("cluster");
  const auto device = timeline.add_process("node0.gpu0 \"a\"");
  const auto compute = timeline.add_track(device, "compute");
  const auto copy = timeline.add_track(device, "copy");
  const auto batch = timeline.add_counter(cluster, "batch", "sequences");
  const auto gemm = timeline.name("gemm");
  const auto layer = timeline.name("layer");
  const auto category = timeline.name("kernel");
  const auto tokens = timeline.name("tokens");
  const std::array<Timeline::Argument, 1> arguments = {{{tokens, -5}}};
  timeline.count(batch, Time{0}, 0);
  timeline.slice(compute, gemm, category, Time{1'000}, Time{2'500}, Duration{1'200}, arguments);
  timeline.slice(copy, gemm, category, Time{0}, Time{2'999});
  timeline.count(batch, Time{2'600}, 1.5);
  timeline.slice(compute, gemm, category, Time{2'600}, Time{3'999'999'999'999});
  timeline.slice(compute, layer, category, Time{1'000}, Time{3'999'999'999'999});
  return timeline;
}

// A random forest on `tracks` tracks, with many equal instants and slices without length.
struct Forest {
  explicit Forest(std::uint32_t seed) : random(seed) {
    const auto process = timeline.add_process("p");
    name = timeline.name("s");
    for (int i = 0; i < 3; ++i) {
      const auto track = timeline.add_track(process, "t");
      Time now{static_cast<std::int64_t>(random() % 2'000)};
      for (int n = 0; n < 20; ++n) now = grow(track, now, 4);
    }
  }
  // Records a slice after its children, and returns an instant not before its end.
  Time grow(Timeline::Track track, Time begin, int depth) {
    Time end = begin;
    if (random() % 4 != 0) {
      for (auto children = depth > 0 ? random() % 3 : 0U; children > 0; --children) {
        end = grow(track, end, depth - 1);
      }
      if (random() % 3 != 0) end += Duration{static_cast<std::int64_t>(random() % 3'000)};
    }
    timeline.slice(track, name, name, begin, end);
    return random() % 2 == 0 ? end : end + Duration{static_cast<std::int64_t>(random() % 3'000)};
  }

  std::mt19937 random;
  Timeline timeline;
  Timeline::Name name;
};

using Span = std::tuple<std::uint64_t, std::uint64_t, std::uint64_t>;  // track, begin and end in ns

// Matches begins with ends track by track; fails unless times rise and every end has its begin.
std::vector<Span> spans_of(const ReadTrace& trace) {
  std::vector<Span> spans;
  std::map<std::uint64_t, std::vector<std::uint64_t>> open;
  std::map<std::uint64_t, std::uint64_t> last;
  for (const ReadEvent& event : trace.events) {
    REQUIRE(event.ns >= last[event.track]);
    last[event.track] = event.ns;
    if (event.type == kBegin) open[event.track].push_back(event.ns);
    if (event.type != kEnd) continue;
    REQUIRE_FALSE(open[event.track].empty());
    spans.emplace_back(event.track, open[event.track].back(), event.ns);
    open[event.track].pop_back();
  }
  for (const auto& [track, left] : open) CHECK(left.empty());
  return spans;
}

}  // namespace

TEST_CASE("a Perfetto trace has the processes, tracks, counters and events of the timeline") {
  const ReadTrace trace = testing::read_perfetto(written(write_perfetto, example_timeline()));
  REQUIRE(trace.tracks.size() == 5);
  CHECK(trace.tracks.at(1).process == "cluster");
  CHECK(trace.tracks.at(2).process == "node0.gpu0 \"a\"");
  CHECK(trace.tracks.at(3).name == "compute");
  CHECK(trace.tracks.at(3).parent == 2);
  CHECK(trace.tracks.at(3).pid == trace.tracks.at(2).pid);
  CHECK(trace.tracks.at(3).tid != trace.tracks.at(4).tid);
  CHECK(trace.tracks.at(5).is_counter);
  CHECK(trace.tracks.at(5).unit == "sequences");
  CHECK(trace.tracks.at(5).parent == 1);

  // The order and the times of everything that happened: layer(gemm gemm), then the copy, then the counter.
  std::vector<std::tuple<std::int32_t, std::uint64_t, std::uint64_t, std::string>> got;
  for (const ReadEvent& event : trace.events) got.emplace_back(event.type, event.track, event.ns, event.name);
  const decltype(got) wanted = {{kBegin, 3, 1, "layer"},
                                {kBegin, 3, 1, "gemm"},
                                {kEnd, 3, 2, ""},
                                {kBegin, 3, 2, "gemm"},
                                {kEnd, 3, 3'999'999'999, ""},
                                {kEnd, 3, 3'999'999'999, ""},
                                {kBegin, 4, 0, "gemm"},
                                {kEnd, 4, 2, ""},
                                {kCounter, 5, 0, ""},
                                {kCounter, 5, 2, ""}};
  CHECK(got == wanted);
  CHECK(trace.events[1].category == "kernel");
  CHECK(trace.events[1].integers == std::map<std::string, std::int64_t>{{"tokens", -5}});
  CHECK(trace.events[1].doubles == std::map<std::string, double>{{"alone_s", 1.2e-9}});
  CHECK(trace.events[0].doubles.empty());
  CHECK(trace.events[9].value == 1.5);
}

TEST_CASE("the Chrome form is exact to the picosecond") {
  CHECK(written(write_chrome_trace, example_timeline()) == R"({"displayTimeUnit":"ns","traceEvents":[
{"ph":"M","name":"process_name","pid":1,"args":{"name":"cluster"}},
{"ph":"M","name":"process_sort_index","pid":1,"args":{"sort_index":0}},
{"ph":"M","name":"process_name","pid":2,"args":{"name":"node0.gpu0 \"a\""}},
{"ph":"M","name":"process_sort_index","pid":2,"args":{"sort_index":1}},
{"ph":"M","name":"thread_name","pid":2,"tid":3,"args":{"name":"compute"}},
{"ph":"M","name":"thread_sort_index","pid":2,"tid":3,"args":{"sort_index":0}},
{"ph":"M","name":"thread_name","pid":2,"tid":4,"args":{"name":"copy"}},
{"ph":"M","name":"thread_sort_index","pid":2,"tid":4,"args":{"sort_index":1}},
{"ph":"X","pid":2,"tid":3,"name":"layer","cat":"kernel","ts":0.001000,"dur":3999999.998999},
{"ph":"X","pid":2,"tid":3,"name":"gemm","cat":"kernel","ts":0.001000,"dur":0.001500,"args":{"tokens":-5,"alone_s":0.0000000012}},
{"ph":"X","pid":2,"tid":3,"name":"gemm","cat":"kernel","ts":0.002600,"dur":3999999.997399},
{"ph":"X","pid":2,"tid":4,"name":"gemm","cat":"kernel","ts":0.000000,"dur":0.002999},
{"ph":"C","pid":1,"name":"batch","ts":0.000000,"args":{"sequences":0}},
{"ph":"C","pid":1,"name":"batch","ts":0.002600,"args":{"sequences":1.5}}
]}
)");
}

TEST_CASE("any nesting gives balanced events with the times that were recorded, rounded down") {
  for (std::uint32_t seed = 1; seed <= 50; ++seed) {
    const Forest forest(seed);
    const ReadTrace trace = testing::read_perfetto(written(write_perfetto, forest.timeline));
    std::vector<Span> wanted;
    for (const auto& slice : forest.timeline.slices()) {
      wanted.emplace_back(slice.track + 2, slice.begin.ps / 1000, slice.end.ps / 1000);
    }
    std::vector<Span> got = spans_of(trace);
    std::sort(wanted.begin(), wanted.end());
    std::sort(got.begin(), got.end());
    REQUIRE(got == wanted);
    // Also well-formed JSON with one event a slice.
    const auto document =
        config::load_text(written(write_chrome_trace, forest.timeline), "t.json", config::Catalogue({}), {});
    const config::Node* events = config::resolve_pointer(document.root, "/traceEvents");
    REQUIRE(events != nullptr);
    CHECK(events->items.size() == 2 + 3 * 2 + wanted.size());
  }
}

TEST_CASE("slices that are alike nest in the order of recording, those without length stand side by side") {
  Timeline timeline;
  const auto track = timeline.add_track(timeline.add_process("p"), "t");
  const auto category = timeline.name("c");
  const auto add = [&](const char* name, std::int64_t begin, std::int64_t end) {
    timeline.slice(track, timeline.name(name), category, Time{begin * 1000}, Time{end * 1000});
  };
  add("mark 1", 5, 5);
  add("mark 2", 5, 5);
  add("child", 5, 9);
  add("parent", 5, 9);
  add("mark 3", 9, 9);
  std::string order;
  for (const ReadEvent& event : testing::read_perfetto(written(write_perfetto, timeline)).events) {
    order += event.type == kBegin ? "(" + event.name : ")";
  }
  CHECK(order == "(parent(child(mark 1)(mark 2)))(mark 3)");
}

TEST_CASE("slices that cut into each other are a mistake that the writers find") {
  Timeline timeline;
  const auto track = timeline.add_track(timeline.add_process("p"), "t");
  const auto name = timeline.name("s");
  timeline.slice(track, name, name, Time{0}, Time{10});
  timeline.slice(track, name, name, Time{12}, Time{13});
  timeline.slice(track, name, name, Time{5},
                 Time{20});  // not seen by the timeline: it knows the last slice only
  CHECK_THROWS_AS(written(write_perfetto, timeline), core::InvariantError);
  CHECK_THROWS_AS(written(write_chrome_trace, timeline), core::InvariantError);
}

TEST_CASE("a truncated timeline says so in both forms") {
  const Timeline timeline = example_timeline(2);
  const ReadTrace trace = testing::read_perfetto(written(write_perfetto, timeline));
  const ReadEvent& last = trace.events.back();
  CHECK(last.type == kInstant);
  CHECK(last.ns == 0);  // the copy, which was left out, begins at 0
  CHECK(last.name == "trace limit: not complete from here on");
  CHECK(trace.tracks.at(last.track).name == "trace limit");
  CHECK(spans_of(trace).size() == 1);
  const std::string json = written(write_chrome_trace, timeline);
  CHECK(json.find("\"name\":\"trace limit: not complete from here on\",\"ts\":0.000000}\n]}") !=
        std::string::npos);
}

TEST_CASE("an empty timeline is a valid trace") {
  const ReadTrace trace = testing::read_perfetto(written(write_perfetto, Timeline()));
  CHECK(trace.tracks.empty());
  CHECK(trace.events.empty());
  CHECK(written(write_chrome_trace, Timeline()) == "{\"displayTimeUnit\":\"ns\",\"traceEvents\":[\n]}\n");
}

TEST_CASE("the name of a trace file says its form") {
  CHECK(trace_form("a.pftrace") == TraceForm::perfetto);
  CHECK(trace_form("b/a.x.pftrace.gz") == TraceForm::perfetto);
  CHECK(trace_form("a.json") == TraceForm::chrome);
  CHECK(trace_form("a.json.zst") == TraceForm::chrome);
  for (const char* name :
       {"", "a", "a.gz", "a.pftrace.xz", "a.pftrace.gz.gz", ".json", ".pftrace", "a.JSON"}) {
    CHECK_FALSE(trace_form(name));
  }
}

TEST_CASE("a trace file appears whole, compressed as its name says") {
  const io::testing::TemporaryFolder folder;
  const Timeline timeline = example_timeline();
  write_trace_file(folder / "a.pftrace", timeline);
  CHECK(io::testing::raw_bytes(folder / "a.pftrace") == written(write_perfetto, timeline));
  write_trace_file(folder / "a.json", timeline);
  CHECK(io::testing::raw_bytes(folder / "a.json") == written(write_chrome_trace, timeline));
  write_trace_file(folder / "a.pftrace.gz", timeline);
  CHECK(io::testing::raw_bytes(folder / "a.pftrace.gz").substr(0, 2) == "\x1f\x8b");
  CHECK_THROWS_AS(write_trace_file(folder / "missing/a.json", timeline), io::IoError);
  CHECK_THROWS_AS(write_trace_file(folder / "a.txt", timeline), core::InvariantError);
  CHECK(folder.count_files() == 3);
}

}  // namespace moesim::reports
