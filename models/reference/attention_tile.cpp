#include "models/reference/attention_tile.hpp"

namespace moesim::reference::detail {

KeyRange united(std::span<const QueryRow> rows) {
  KeyRange all{0, 0};
  bool any = false;
  for (const QueryRow& row : rows) {
    if (row.visible.begin >= row.visible.end) continue;
    all.begin = any ? std::min(all.begin, row.visible.begin) : row.visible.begin;
    all.end = any ? std::max(all.end, row.visible.end) : row.visible.end;
    any = true;
  }
  return all;
}

KeyRange common(KeyRange a, KeyRange b) {
  const std::int64_t begin = std::max(a.begin, b.begin);
  return {begin, std::max(begin, std::min(a.end, b.end))};
}

}  // namespace moesim::reference::detail
