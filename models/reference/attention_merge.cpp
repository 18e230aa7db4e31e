#include "models/reference/attention_merge.hpp"

namespace moesim::reference {

std::vector<KeyRange> split_keys(KeyRange keys, std::int64_t parts) {
  core::check(parts > 0 && keys.begin <= keys.end, "keys are split into at least one part");
  const std::int64_t count = keys.end - keys.begin;
  std::vector<KeyRange> ranges;
  std::int64_t begin = keys.begin;
  for (std::int64_t i = 0; i < parts; ++i) {
    const std::int64_t end = begin + count / parts + (i < count % parts ? 1 : 0);
    ranges.push_back({begin, end});
    begin = end;
  }
  return ranges;
}

}  // namespace moesim::reference
