#include "reports/perfetto.hpp"

#include <cstdint>
#include <protozero/pbf_writer.hpp>
#include <string>
#include <vector>

#include "reports/slice_order.hpp"

namespace moesim::reports {

namespace {

using execution::Timeline;
using protozero::pbf_writer;

// Field numbers of the messages that are written.
namespace trace {
constexpr std::uint32_t kPacket = 1;
}
namespace packet {
constexpr std::uint32_t kTimestamp = 8, kSequenceId = 10, kTrackEvent = 11, kInternedData = 12,
                        kSequenceFlags = 13, kTrackDescriptor = 60;
constexpr std::uint32_t kStateCleared = 1, kNeedsState = 2;  // values of kSequenceFlags
}  // namespace packet
namespace descriptor {
constexpr std::uint32_t kUuid = 1, kName = 2, kProcess = 3, kThread = 4, kParentUuid = 5, kCounter = 8;
constexpr std::uint32_t kProcessPid = 1, kProcessName = 6;
constexpr std::uint32_t kThreadPid = 1, kThreadTid = 2, kThreadName = 5;
constexpr std::uint32_t kCounterUnitName = 6;
}  // namespace descriptor
namespace event {
constexpr std::uint32_t kCategoryIids = 3, kDebugAnnotations = 4, kType = 9, kNameIid = 10, kTrackUuid = 11,
                        kDoubleCounterValue = 44;
constexpr std::int32_t kSliceBegin = 1, kSliceEnd = 2, kInstant = 3, kCounter = 4;  // values of kType
}  // namespace event
namespace annotation {
constexpr std::uint32_t kNameIid = 1, kIntValue = 4, kDoubleValue = 5;
}
namespace interned {
constexpr std::uint32_t kEventCategories = 1, kEventNames = 2, kAnnotationNames = 3;
constexpr std::uint32_t kIid = 1, kName = 2;
}  // namespace interned

constexpr std::uint32_t kSequence = 1;  // all packets are one sequence
constexpr std::int64_t kPicosecondsPerNanosecond = 1000;

class PerfettoWriter {
 public:
  PerfettoWriter(const Timeline& timeline, const Sink& sink) : timeline_(timeline), sink_(sink) {}

  void write() {
    write_names();
    write_descriptors();
    const SliceOrder order(timeline_);
    for (std::size_t track = 0; track < timeline_.tracks().size(); ++track) {
      walk_track(
          timeline_, order.of_track(track), [&](std::uint32_t index) { begin_slice(index); },
          [&](std::uint32_t index) { end_slice(index); });
    }
    for (const Timeline::CounterValue& value : timeline_.counter_values()) write_value(value);
    if (timeline_.truncated_at()) write_truncation(*timeline_.truncated_at());
    flush();
  }

 private:
  // Identifiers must not be 0. Processes, tracks and counters share one space of uuids; the thread of a track
  // has an id that no process has, as the two equal mean a main thread.
  [[nodiscard]] std::uint64_t process_uuid(std::size_t process) const { return 1 + process; }
  [[nodiscard]] std::uint64_t track_uuid(std::size_t track) const {
    return process_uuid(timeline_.processes().size()) + track;
  }
  [[nodiscard]] std::uint64_t counter_uuid(std::size_t counter) const {
    return track_uuid(timeline_.tracks().size()) + counter;
  }
  [[nodiscard]] std::uint64_t truncation_uuid() const { return counter_uuid(timeline_.counters().size()); }
  [[nodiscard]] std::uint64_t iid(std::size_t name) const { return 1 + name; }
  [[nodiscard]] std::uint64_t alone_iid() const { return iid(timeline_.names().size()); }
  [[nodiscard]] std::uint64_t truncation_iid() const { return alone_iid() + 1; }

  void flush() {
    if (!out_.empty()) sink_(out_);
    out_.clear();
  }

  // Adds what stands in packet_.
  void end_packet(std::uint32_t flags) {
    constexpr std::size_t kChunkBytes = std::size_t{1} << 16;
    pbf_writer fields(packet_);
    fields.add_uint32(packet::kSequenceId, kSequence);
    if (flags != 0) fields.add_uint32(packet::kSequenceFlags, flags);
    pbf_writer(out_).add_message(trace::kPacket, packet_);
    packet_.clear();
    if (out_.size() >= kChunkBytes) flush();
  }

  static void add_name(pbf_writer& data, std::uint32_t field, std::uint64_t iid, std::string_view text) {
    pbf_writer entry(data, field);
    entry.add_uint64(interned::kIid, iid);
    entry.add_string(interned::kName, text.data(), text.size());
  }

  // The names go first, each in the tables in which it is used.
  void write_names() {
    const auto names = timeline_.names();
    std::vector<bool> categories(names.size()), events(names.size()), annotations(names.size());
    bool alone = false;
    for (std::size_t i = 0; i < timeline_.slices().size(); ++i) {
      const Timeline::Slice& slice = timeline_.slices()[i];
      categories[slice.category] = true;
      events[slice.name] = true;
      alone = alone || slice.alone.ps >= 0;
      for (const Timeline::Argument& argument : timeline_.arguments(i))
        annotations[argument.name.index] = true;
    }
    {
      pbf_writer fields(packet_);
      pbf_writer data(fields, packet::kInternedData);
      for (std::size_t i = 0; i < names.size(); ++i) {
        if (categories[i]) add_name(data, interned::kEventCategories, iid(i), names[i]);
        if (events[i]) add_name(data, interned::kEventNames, iid(i), names[i]);
        if (annotations[i]) add_name(data, interned::kAnnotationNames, iid(i), names[i]);
      }
      if (alone) add_name(data, interned::kAnnotationNames, alone_iid(), "alone_s");
      if (timeline_.truncated_at()) {
        add_name(data, interned::kEventNames, truncation_iid(), "trace limit: not complete from here on");
      }
    }
    end_packet(packet::kStateCleared);
  }

  template <class Body>
  void describe(std::uint64_t uuid, Body body) {
    {
      pbf_writer fields(packet_);
      pbf_writer track(fields, packet::kTrackDescriptor);
      track.add_uint64(descriptor::kUuid, uuid);
      body(track);
    }
    end_packet(0);
  }

  void write_descriptors() {
    const auto pid = [](std::size_t process) { return static_cast<std::int32_t>(1 + process); };
    const auto processes = timeline_.processes();
    for (std::size_t i = 0; i < processes.size(); ++i) {
      describe(process_uuid(i), [&](pbf_writer& track) {
        pbf_writer process(track, descriptor::kProcess);
        process.add_int32(descriptor::kProcessPid, pid(i));
        process.add_string(descriptor::kProcessName, processes[i]);
      });
    }
    for (std::size_t i = 0; i < timeline_.tracks().size(); ++i) {
      const Timeline::TrackEntry& entry = timeline_.tracks()[i];
      describe(track_uuid(i), [&](pbf_writer& track) {
        track.add_uint64(descriptor::kParentUuid, process_uuid(entry.process));
        pbf_writer thread(track, descriptor::kThread);
        thread.add_int32(descriptor::kThreadPid, pid(entry.process));
        thread.add_int32(descriptor::kThreadTid, static_cast<std::int32_t>(track_uuid(i)));
        thread.add_string(descriptor::kThreadName, entry.name);
      });
    }
    for (std::size_t i = 0; i < timeline_.counters().size(); ++i) {
      const Timeline::CounterEntry& entry = timeline_.counters()[i];
      describe(counter_uuid(i), [&](pbf_writer& track) {
        track.add_string(descriptor::kName, entry.name);
        track.add_uint64(descriptor::kParentUuid, process_uuid(entry.process));
        pbf_writer counter(track, descriptor::kCounter);
        counter.add_string(descriptor::kCounterUnitName, entry.unit);
      });
    }
    if (!timeline_.truncated_at()) return;
    describe(truncation_uuid(),
             [](pbf_writer& track) { track.add_string(descriptor::kName, "trace limit"); });
  }

  // A packet with the track event that `body` fills in.
  template <class Body>
  void write_event(core::Time at, std::int32_t type, std::uint64_t uuid, Body body) {
    pbf_writer fields(event_);
    fields.add_enum(event::kType, type);
    fields.add_uint64(event::kTrackUuid, uuid);
    body(fields);
    pbf_writer outer(packet_);
    outer.add_uint64(packet::kTimestamp, static_cast<std::uint64_t>(at.ps / kPicosecondsPerNanosecond));
    outer.add_message(packet::kTrackEvent, event_);
    event_.clear();
    end_packet(packet::kNeedsState);
  }

  void begin_slice(std::uint32_t index) {
    const Timeline::Slice& slice = timeline_.slices()[index];
    write_event(slice.begin, event::kSliceBegin, track_uuid(slice.track), [&](pbf_writer& fields) {
      fields.add_uint64(event::kNameIid, iid(slice.name));
      fields.add_uint64(event::kCategoryIids, iid(slice.category));
      for (const Timeline::Argument& argument : timeline_.arguments(index)) {
        pbf_writer entry(fields, event::kDebugAnnotations);
        entry.add_uint64(annotation::kNameIid, iid(argument.name.index));
        entry.add_int64(annotation::kIntValue, argument.value);
      }
      if (slice.alone.ps >= 0) {
        pbf_writer entry(fields, event::kDebugAnnotations);
        entry.add_uint64(annotation::kNameIid, alone_iid());
        entry.add_double(annotation::kDoubleValue, slice.alone.seconds());
      }
    });
  }

  void end_slice(std::uint32_t index) {
    const Timeline::Slice& slice = timeline_.slices()[index];
    write_event(slice.end, event::kSliceEnd, track_uuid(slice.track), [](pbf_writer&) {});
  }

  void write_value(const Timeline::CounterValue& value) {
    write_event(value.at, event::kCounter, counter_uuid(value.counter),
                [&](pbf_writer& fields) { fields.add_double(event::kDoubleCounterValue, value.value); });
  }

  void write_truncation(core::Time at) {
    write_event(at, event::kInstant, truncation_uuid(),
                [&](pbf_writer& fields) { fields.add_uint64(event::kNameIid, truncation_iid()); });
  }

  const Timeline& timeline_;
  const Sink& sink_;
  std::string out_;     // whole packets
  std::string packet_;  // the fields of the next one
  std::string event_;
};

}  // namespace

void write_perfetto(const Timeline& timeline, const Sink& sink) { PerfettoWriter(timeline, sink).write(); }

}  // namespace moesim::reports
