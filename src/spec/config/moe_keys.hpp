// Every key of config.json that some family uses to change its MoE layer's arithmetic.
#pragma once

#include <span>
#include <string_view>

namespace sluice::config {

struct MoeKey {
  std::string_view name;
  std::string_view neutral;  // as JSON: the value that asks for nothing, besides null
};

std::span<const MoeKey> moe_keys();

}  // namespace sluice::config
