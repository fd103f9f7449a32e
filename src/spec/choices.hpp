// The names of every enumeration of the spec, in one table each.
#pragma once

#include <array>
#include <string_view>
#include <utility>

#include <sluice/spec.hpp>

namespace sluice {

template <typename E>
struct Choices;

template <>
struct Choices<ScoreFunc> {
  static constexpr std::array<std::string_view, 4> kNames{"softmax", "sigmoid", "sqrt_softplus",
                                                          "none"};
};
template <>
struct Choices<ScoreOrder> {
  static constexpr std::array<std::string_view, 2> kNames{"before_topk", "after_topk"};
};
template <>
struct Choices<GroupScore> {
  static constexpr std::array<std::string_view, 2> kNames{"sum_of_top2", "max"};
};
template <>
struct Choices<NormRule> {
  static constexpr std::array<std::string_view, 2> kNames{"add", "clamp"};
};
template <>
struct Choices<LogitsDType> {
  static constexpr std::array<std::string_view, 2> kNames{"f32", "bf16"};
};
template <>
struct Choices<Activation> {
  static constexpr std::array<std::string_view, 7> kNames{"swiglu", "geglu", "geglu_tanh", "relu2",
                                                          "silu",   "gelu",  "identity"};
};
template <>
struct Choices<GateUpOrder> {
  static constexpr std::array<std::string_view, 3> kNames{"gate_up", "up_gate", "interleaved"};
};
template <>
struct Choices<WeightFormat> {
  static constexpr std::array<std::string_view, 9> kNames{
      "bf16",  "f32",   "f16", "fp8_e4m3_tensor", "fp8_e4m3_channel", "fp8_e4m3_block128",
      "nvfp4", "mxfp4", "int4"};
};
template <>
struct Choices<ActivationFormat> {
  static constexpr std::array<std::string_view, 4> kNames{"bf16", "f32", "f16", "fp8_e4m3"};
};
template <>
struct Choices<OutputDType> {
  static constexpr std::array<std::string_view, 4> kNames{"as_input", "f32", "bf16", "f16"};
};

// False for a number that was cast into the enumeration and names nothing in it.
template <typename E>
constexpr bool is_choice(E value) {
  return static_cast<std::size_t>(value) < Choices<E>::kNames.size();
}

template <typename E>
constexpr std::string_view choice_name(E value) {
  return is_choice(value) ? Choices<E>::kNames[static_cast<std::size_t>(value)] : "(no such value)";
}

}  // namespace sluice
