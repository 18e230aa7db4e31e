// Strong types for physical quantities. Capacities and rates are whole numbers of their SI unit, so that
// times computed from them are exact (see duration_for); money and power are doubles.
#pragma once

#include <compare>
#include <cstdint>

namespace moesim::core {

template <class Tag, class Rep>
struct Quantity {
  using rep = Rep;
  Rep value{};

  constexpr auto operator<=>(const Quantity&) const = default;
  constexpr Quantity& operator+=(Quantity other) {
    value += other.value;
    return *this;
  }
  constexpr Quantity& operator-=(Quantity other) {
    value -= other.value;
    return *this;
  }
  friend constexpr Quantity operator+(Quantity a, Quantity b) { return {a.value + b.value}; }
  friend constexpr Quantity operator-(Quantity a, Quantity b) { return {a.value - b.value}; }
  friend constexpr Quantity operator*(Quantity a, Rep n) { return {a.value * n}; }
  friend constexpr Quantity operator*(Rep n, Quantity a) { return {n * a.value}; }
  [[nodiscard]] constexpr double as_double() const { return static_cast<double>(value); }
};

using Bytes = Quantity<struct BytesTag, std::int64_t>;                    // bytes
using BytesPerSecond = Quantity<struct BytesPerSecondTag, std::int64_t>;  // bytes per second
using FlopsPerSecond =
    Quantity<struct FlopsPerSecondTag, std::int64_t>;     // floating-point (or integer) operations / s
using Hertz = Quantity<struct HertzTag, std::int64_t>;    // cycles per second
using PerSecond = Quantity<struct PerSecondTag, double>;  // things (requests) per second
using Watts = Quantity<struct WattsTag, double>;          // watts
using Usd = Quantity<struct UsdTag, double>;              // US dollars

}  // namespace moesim::core
