#include "model/kimi_linear/names.hpp"

#include <string_view>

namespace sluice::kimi_linear {
namespace {

struct Renaming {
  std::string_view released;
  std::string_view other;
};

// transformers moves the forget gate into a module of its own, and on saving renames the dense
// layers' `mlp` along with the experts'.
constexpr Renaming kRenamings[] = {
    {".self_attn.f_a_proj.", ".self_attn.forget_gate.f_a_proj."},
    {".self_attn.f_b_proj.", ".self_attn.forget_gate.f_b_proj."},
    {".self_attn.A_log", ".self_attn.forget_gate.A_log"},
    {".self_attn.dt_bias", ".self_attn.forget_gate.dt_bias"},
    {".self_attn.f_a_proj.", ".self_attn.forget_gate_down."},
    {".self_attn.f_b_proj.", ".self_attn.forget_gate_up."},
    {".self_attn.b_proj.", ".self_attn.beta_proj."},
    {".self_attn.g_a_proj.", ".self_attn.output_gate_down."},
    {".self_attn.g_b_proj.", ".self_attn.output_gate_up."},
    {".block_sparse_moe.", ".mlp."},
    {".mlp.", ".block_sparse_moe."},
};

}  // namespace

std::vector<std::string> spellings(const std::string& released) {
  std::vector<std::string> names{released};
  for (const Renaming& renaming : kRenamings) {
    const auto at = released.find(renaming.released);
    if (at == std::string::npos) continue;
    names.push_back(std::string(released).replace(at, renaming.released.size(), renaming.other));
  }
  return names;
}

}  // namespace sluice::kimi_linear
