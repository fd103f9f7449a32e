// Checks for numbers that CLI11 would turn into others: it wraps -1 and 2^64 around, reads 010 as
// eight and no characters as 0, and takes nan.
#pragma once

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdint>
#include <string>

#include "at_least.hpp"

namespace sluice::cli {

inline CLI::Validator seed_check() {
  const auto check = [](const std::string& text) -> std::string {
    std::uint64_t value = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    const bool octal = has_leading_zero(text);
    if (error == std::errc{} && stop == end && !octal) return "";
    return fmt::format("\"{}\" given; a whole number from 0 to {} is needed{}", text, UINT64_MAX,
                       octal ? ", without leading zeros" : "");
  };
  return {check, "0 … 2^64 - 1"};
}

// Any number: which of them are possible is for the library to say.
inline CLI::Validator number_check() {
  const auto check = [](const std::string& text) -> std::string {
    double value = 0.0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc{} && stop == end) return "";
    return fmt::format("\"{}\" given; a number is needed", text);
  };
  return {check, ""};
}

inline CLI::Validator seconds_check() {
  const auto check = [](const std::string& text) -> std::string {
    constexpr double kMost = 1e9;  // thirty years: as good as no limit, and clocks can add it
    double value = 0.0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data(), end, value);
    if (error == std::errc{} && stop == end && value > 0.0 && value <= kMost) return "";
    return fmt::format("\"{}\" given; seconds above 0, at most {:g}, are needed", text, kMost);
  };
  return {check, ">0"};
}

}  // namespace sluice::cli
