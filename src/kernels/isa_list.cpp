#include "kernels/isa_list.hpp"

#include <fmt/ranges.h>

#include <string>
#include <vector>

#include "base/environment.hpp"
#include "base/fail.hpp"
#include "kernels/cpu_features.hpp"
#include "kernels/isa/isa_files.hpp"

namespace sluice {
namespace {

struct Entry {
  Isa isa;
  bool present;
};

#if defined(__x86_64__)
Isa with_bf16_panels(const char* name, const Bf16Panels& bf16) {
  Isa isa = kAvx512Isa;
  isa.name = name;
  isa.bf16_bf16 = bf16.panels;
  isa.bf16_loop = bf16.loop;
  return isa;
}
#endif

// Every instruction set of this build, fastest first. Intel's vdpbf16ps multiplies two columns in
// the time that it takes for four in fp32: many tokens take 1.8 times as long, few about the same.
const std::vector<Entry>& entries() {
  static const std::vector<Entry> list = [] {
#if defined(__x86_64__)
    const CpuFeatures& cpu = cpu_features();
    const Entry tiles{with_bf16_panels("amx_bf16", kAmxBf16Panels), cpu.amx_bf16};
    const Entry pairs{with_bf16_panels("avx512_bf16", kAvx512Bf16Panels), cpu.avx512_bf16};
    const Entry widened{kAvx512Isa, cpu.avx512};
    return std::vector<Entry>{tiles,
                              cpu.intel ? widened : pairs,
                              cpu.intel ? pairs : widened,
                              {kAvx2Isa, cpu.avx2},
                              {kGenericIsa, true}};
#else
    return std::vector<Entry>{{kGenericIsa, true}};
#endif
  }();
  return list;
}

std::vector<std::string> names(bool only_present) {
  std::vector<std::string> names;
  for (const Entry& entry : entries()) {
    if (entry.present || !only_present) names.emplace_back(entry.isa.name);
  }
  return names;
}

}  // namespace

std::span<const Isa* const> present_isas() {
  static const std::vector<const Isa*> list = [] {
    std::vector<const Isa*> present;
    for (const Entry& entry : entries()) {
      if (entry.present) present.push_back(&entry.isa);
    }
    return present;
  }();
  return list;
}

const Isa& isa(std::string_view name) {
  for (const Entry& entry : entries()) {
    if (entry.isa.name != name) continue;
    if (entry.present) return entry.isa;
    fail(ErrorKind::unsupported, "this machine lacks the instruction set \"{}\"; it has {}", name,
         fmt::join(names(true), ", "));
  }
  fail(ErrorKind::user, "unknown instruction set \"{}\"; known are {}; this machine has {}", name,
       fmt::join(names(false), ", "), fmt::join(names(true), ", "));
}

const Isa& choose_isa() {
  const auto forced = environment("SLUICE_ISA");
  return forced ? isa(*forced) : *present_isas().front();
}

const Isa& default_isa() {
  static const Isa& chosen = choose_isa();
  return chosen;
}

}  // namespace sluice
