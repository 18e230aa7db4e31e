// Decodes a Perfetto trace with protozero, for tests. Anything unexpected fails the test.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <protozero/pbf_reader.hpp>
#include <string>
#include <vector>

#include "tests/support/catch.hpp"

namespace moesim::reports::testing {

struct ReadTrack {
  std::string name, process, unit;
  std::uint64_t parent = 0;
  std::int32_t pid = 0, tid = 0;
  bool is_process = false, is_counter = false;
};

struct ReadEvent {
  std::uint64_t ns = 0, track = 0;
  std::int32_t type = 0;
  std::string name, category;
  std::map<std::string, std::int64_t> integers;
  std::map<std::string, double> doubles;
  std::optional<double> value;
};

struct ReadTrace {
  std::map<std::uint64_t, ReadTrack> tracks;
  std::vector<ReadEvent> events;
};

namespace detail {

using Names = std::map<std::uint64_t, std::string>;

struct Interned {
  Names categories, events, annotations;
};

inline void read_interned(protozero::pbf_reader data, Interned& interned) {
  while (data.next()) {
    Names* const tables[] = {nullptr, &interned.categories, &interned.events, &interned.annotations};
    REQUIRE((data.tag() >= 1 && data.tag() <= 3));
    Names& names = *tables[data.tag()];
    protozero::pbf_reader entry = data.get_message();
    std::uint64_t iid = 0;
    std::string name;
    while (entry.next()) {
      if (entry.tag() == 1) {
        iid = entry.get_uint64();
      } else {
        REQUIRE(entry.tag() == 2);
        name = entry.get_string();
      }
    }
    REQUIRE(iid != 0);
    REQUIRE(names.emplace(iid, name).second);
  }
}

inline void read_descriptor(protozero::pbf_reader data, ReadTrace& trace) {
  ReadTrack track;
  std::uint64_t uuid = 0;
  while (data.next()) {
    const auto field = data.tag();
    if (field == 1) {
      uuid = data.get_uint64();
    } else if (field == 2) {
      track.name = data.get_string();
    } else if (field == 5) {
      track.parent = data.get_uint64();
    } else {
      REQUIRE((field == 3 || field == 4 || field == 8));
      track.is_process = track.is_process || field == 3;
      track.is_counter = track.is_counter || field == 8;
      protozero::pbf_reader inner = data.get_message();
      while (inner.next()) {
        if (field != 8 && inner.tag() == 1) {
          track.pid = inner.get_int32();
        } else if (field == 4 && inner.tag() == 2) {
          track.tid = inner.get_int32();
        } else {
          REQUIRE(inner.tag() == (field == 4 ? 5U : 6U));
          (field == 3 ? track.process : field == 4 ? track.name : track.unit) = inner.get_string();
        }
      }
    }
  }
  REQUIRE(uuid != 0);
  REQUIRE(trace.tracks.emplace(uuid, track).second);
}

inline void read_annotation(protozero::pbf_reader data, const Interned& interned, ReadEvent& event) {
  std::string name;
  while (data.next()) {
    if (data.tag() == 1) {
      name = interned.annotations.at(data.get_uint64());
    } else if (data.tag() == 4) {
      event.integers[name] = data.get_int64();
    } else {
      REQUIRE(data.tag() == 5);
      event.doubles[name] = data.get_double();
    }
  }
  REQUIRE_FALSE(name.empty());
}

inline void read_event(protozero::pbf_reader data, const Interned& interned, ReadEvent& event) {
  while (data.next()) {
    switch (data.tag()) {
      case 3:
        event.category = interned.categories.at(data.get_uint64());
        break;
      case 4:
        read_annotation(data.get_message(), interned, event);
        break;
      case 9:
        event.type = data.get_enum();
        break;
      case 10:
        event.name = interned.events.at(data.get_uint64());
        break;
      case 11:
        event.track = data.get_uint64();
        break;
      case 44:
        event.value = data.get_double();
        break;
      default:
        FAIL("unexpected field " << data.tag() << " of a track event");
    }
  }
}

}  // namespace detail

inline ReadTrace read_perfetto(const std::string& bytes) {
  ReadTrace trace;
  detail::Interned interned;
  protozero::pbf_reader packets(bytes);
  bool cleared = false;
  while (packets.next()) {
    REQUIRE(packets.tag() == 1);
    protozero::pbf_reader packet = packets.get_message();
    ReadEvent event;
    bool is_event = false, timed = false;
    std::uint32_t sequence = 0, flags = 0;
    while (packet.next()) {
      switch (packet.tag()) {
        case 8:
          event.ns = packet.get_uint64();
          timed = true;
          break;
        case 10:
          sequence = packet.get_uint32();
          break;
        case 11:
          detail::read_event(packet.get_message(), interned, event);
          is_event = true;
          break;
        case 12:
          detail::read_interned(packet.get_message(), interned);
          break;
        case 13:
          flags = packet.get_uint32();
          break;
        case 60:
          detail::read_descriptor(packet.get_message(), trace);
          break;
        default:
          FAIL("unexpected field " << packet.tag() << " of a packet");
      }
    }
    REQUIRE(sequence == 1);
    cleared = cleared || (flags & 1U) != 0;
    REQUIRE(timed == is_event);
    if (!is_event) continue;
    REQUIRE(cleared);  // else the viewer drops what needs the state
    REQUIRE(flags == 2);
    REQUIRE(trace.tracks.count(event.track) == 1);
    trace.events.push_back(event);
  }
  return trace;
}

}  // namespace moesim::reports::testing
