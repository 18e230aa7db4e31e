// Simulated time: integer picoseconds behind two strong types. 2^63 ps are 106.7 days.
#pragma once

#include <compare>
#include <cstdint>

namespace moesim::core {

__extension__ using Int128 = __int128;
__extension__ using UInt128 = unsigned __int128;

inline constexpr std::int64_t kPicosecondsPerSecond = 1'000'000'000'000;

// A length of simulated time.
struct Duration {
  std::int64_t ps = 0;

  constexpr auto operator<=>(const Duration&) const = default;
  constexpr Duration& operator+=(Duration other) {
    ps += other.ps;
    return *this;
  }
  constexpr Duration& operator-=(Duration other) {
    ps -= other.ps;
    return *this;
  }
  friend constexpr Duration operator+(Duration a, Duration b) { return {a.ps + b.ps}; }
  friend constexpr Duration operator-(Duration a, Duration b) { return {a.ps - b.ps}; }
  friend constexpr Duration operator*(Duration a, std::int64_t n) { return {a.ps * n}; }
  friend constexpr Duration operator*(std::int64_t n, Duration a) { return {a.ps * n}; }

  // Seconds as a double, for reports only: never feed it back into the simulation.
  [[nodiscard]] constexpr double seconds() const {
    return static_cast<double>(ps) / static_cast<double>(kPicosecondsPerSecond);
  }
};

// a + b and a * n for lengths that input makes arbitrarily long: the longest Duration where the result passes
// it. None may be negative.
[[nodiscard]] constexpr Duration saturating_add(Duration a, Duration b) {
  std::int64_t sum = 0;
  return {__builtin_add_overflow(a.ps, b.ps, &sum) ? INT64_MAX : sum};
}
[[nodiscard]] constexpr Duration saturating_multiply(Duration a, std::int64_t n) {
  std::int64_t product = 0;
  return {__builtin_mul_overflow(a.ps, n, &product) ? INT64_MAX : product};
}

// An instant of simulated time, counted from the start of the simulation.
struct Time {
  std::int64_t ps = 0;

  constexpr auto operator<=>(const Time&) const = default;
  constexpr Time& operator+=(Duration d) {
    ps += d.ps;
    return *this;
  }
  friend constexpr Time operator+(Time t, Duration d) { return {t.ps + d.ps}; }
  friend constexpr Duration operator-(Time a, Time b) { return {a.ps - b.ps}; }

  [[nodiscard]] constexpr double seconds() const { return Duration{ps}.seconds(); }
};

inline constexpr Time kEndOfTime{INT64_MAX};

// The time that `amount` units need at `per_second` units a second, rounded up to the picosecond.
// Exact in 128-bit integers, monotone in both arguments; zero only for amount 0.
// Throws InvariantError if amount < 0, per_second <= 0 or the result passes 2^63 ps.
[[nodiscard]] Duration duration_for(std::int64_t amount, std::int64_t per_second);

// The same, but the longest Duration where the result passes it.
[[nodiscard]] Duration saturating_duration_for(std::int64_t amount, std::int64_t per_second);

// Seconds rounded up to the picosecond: the one door from a double cost formula to simulated time.
// Throws InvariantError if the value is negative, not finite or passes 2^63 ps.
[[nodiscard]] Duration duration_from_seconds(double seconds);

}  // namespace moesim::core
