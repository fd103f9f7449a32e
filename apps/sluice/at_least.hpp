// A check for whole numbers whose message says the bound; CLI11's own prints the range of double.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>

namespace sluice::cli {

// What CLI11 would read as octal.
inline bool has_leading_zero(std::string_view number) {
  return number.size() > 1 && number[0] == '0';
}

inline CLI::Validator at_least(std::int64_t least) {
  const auto check = [least](const std::string& text) -> std::string {
    std::int64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    const bool octal = has_leading_zero(text);
    if (error == std::errc{} && stop == end && value >= least && !octal) return "";
    return fmt::format("\"{}\" given; a whole number of at least {} is needed{}", text, least,
                       octal ? ", without leading zeros" : "");
  };
  return {check, fmt::format(">={}", least)};
}

}  // namespace sluice::cli
