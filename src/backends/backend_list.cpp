#include <array>
#include <string_view>
#include <vector>

#include <sluice/backend.hpp>

#include "backends/cpu/cpu_backend.hpp"
#ifdef SLUICE_HAS_CUDA
#include "backends/cuda/cuda_backend.hpp"
#endif
#include "backends/reference/reference_backend.hpp"
#include "base/fail.hpp"
#include "base/nearest_name.hpp"

namespace sluice {

// Fastest first, reference last: choose_backend takes the first that is usable. Explicit, because a
// static library drops registration by static constructors.
std::span<const Backend* const> backends() {
  static const std::array list{
#ifdef SLUICE_HAS_CUDA
      &cuda_backend(),
#endif
      &cpu_backend(),
      &reference_backend(),
  };
  return list;
}

const Backend& backend(std::string_view name) {
  std::vector<std::string_view> known;
  for (const Backend* candidate : backends()) {
    if (candidate->name() == name) return *candidate;
    known.push_back(candidate->name());
  }
  fail(ErrorKind::user, "no backend is named \"{}\"; there are {}{}", name, fmt::join(known, ", "),
       did_you_mean(name, known));
}

}  // namespace sluice
