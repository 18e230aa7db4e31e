// A number together with where it comes from and how good it is.
#pragma once

#include <cstdint>
#include <string>

namespace moesim::config {

// How a number was obtained, best first.
enum class Label : std::uint8_t {
  measured,    // read off the hardware or software itself
  calibrated,  // fitted to measurements
  datasheet,   // stated by the vendor or a source that cites the vendor
  derived,     // computed from datasheet values or scaled from a relative
  assumed,     // general knowledge or a choice; no source was read
};

template <class T>
struct Sourced {
  T value{};
  std::string source;  // an identifier of the file's "sources", or the override that gave the number
  Label label = Label::assumed;
  std::string note;
  bool overridden = false;  // given by --set, --merge or the environment, which is then its source
};

}  // namespace moesim::config
