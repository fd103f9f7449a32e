#include "spec/stray_choices.hpp"

#include <type_traits>

#include "spec/registry.hpp"

namespace sluice {

void find_stray_choices(const MoeSpec& spec, Problems& problems) {
  for_each_row([&](const auto& row) {
    const auto& value = row.get(spec);
    using Value = std::remove_cvref_t<decltype(value)>;
    if constexpr (std::is_enum_v<Value>) {
      if (is_choice(value)) return;
      problems.add("{} is the number {}; it must lie in 0 … {} ({})", row.field.name,
                   static_cast<int>(value), Choices<Value>::kNames.size() - 1,
                   fmt::join(Choices<Value>::kNames, ", "));
    }
  });
}

}  // namespace sluice
