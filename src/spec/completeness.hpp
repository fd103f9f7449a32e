// Compile-time proof that a struct has no member that the registry lacks.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace sluice::completeness {

struct Anything {
  template <typename T>
  operator T() const;  // never defined: only the type of the conversion is looked at
};

template <typename Aggregate, std::size_t... I>
consteval bool accepts(std::index_sequence<I...>) {
  return requires { Aggregate{(static_cast<void>(I), Anything{})...}; };
}

// An aggregate with N members accepts N initialisers and no more.
template <typename Aggregate, std::size_t N = 0>
consteval std::size_t member_count() {
  if constexpr (accepts<Aggregate>(std::make_index_sequence<N + 1>{})) {
    return member_count<Aggregate, N + 1>();
  } else {
    return N;
  }
}

template <typename... Rows>
consteval bool all_distinct() {
  // Each type equals exactly one of the list: itself.
  const auto equals = [](auto self) {
    return (std::size_t{0} + ... +
            std::size_t{std::is_same_v<Rows, typename decltype(self)::type>});
  };
  return ((equals(std::type_identity<Rows>{}) == 1) && ...);
}

}  // namespace sluice::completeness
