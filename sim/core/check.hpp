// Broken invariants of the simulator itself (never bad input): the command line turns them into exit code 4.
#pragma once

#include <stdexcept>
#include <string>

namespace moesim::core {

// Something that can only happen through a mistake in moesim: negative time, lost bytes, a full identifier
// space.
class InvariantError : public std::logic_error {
 public:
  using std::logic_error::logic_error;
};

// Throws InvariantError with `what` and the caller's file and line. The two last arguments are never given;
// they stand in for std::source_location, which clang 14 does not know.
[[noreturn]] void fail_invariant(const std::string& what, const char* file = __builtin_FILE(),
                                 int line = __builtin_LINE());

// Throws InvariantError with `what` and the caller's file and line unless `condition` holds.
inline void check(bool condition, const char* what, const char* file = __builtin_FILE(),
                  int line = __builtin_LINE()) {
  if (!condition) [[unlikely]] {
    fail_invariant(what, file, line);
  }
}

}  // namespace moesim::core
