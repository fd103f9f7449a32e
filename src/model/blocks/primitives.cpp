#include "model/blocks/primitives.hpp"

#include <string_view>

#include "kernels/isa_list.hpp"

namespace sluice {
namespace {

const Primitives& choose() {
#ifdef SLUICE_X86_PRIMITIVES
  const std::string_view isa = default_isa().name;
  if (isa == "avx2") return kPrimitivesAvx2;
  if (isa != "generic") return kPrimitivesAvx512;
#endif
  return kPrimitivesGeneric;
}

}  // namespace

const Primitives& primitives() {
  static const Primitives& chosen = choose();
  return chosen;
}

}  // namespace sluice
