// Arithmetic on sizes that come from files or callers: overflow is an answer, not a surprise.
#pragma once

#include <concepts>
#include <optional>

namespace sluice {

template <std::integral T>
std::optional<T> checked_add(T a, T b) {
  T sum{};
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

template <std::integral T>
std::optional<T> checked_mul(T a, T b) {
  T product{};
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

template <std::integral To, std::integral From>
std::optional<To> checked_cast(From value) {
  To result{};
  if (__builtin_add_overflow(value, From{0}, &result)) return std::nullopt;
  return result;
}

}  // namespace sluice
