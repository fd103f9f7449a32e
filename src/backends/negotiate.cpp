#include <fmt/format.h>

#include <sluice/backend.hpp>

namespace sluice {

Support negotiate(const Backend& backend, const MoeSpec& spec) {
  const FieldSet claims = backend.claims();
  Support support;
  for (const Field& field : fields()) {
    if (field.is_neutral(spec) || claims.contains(field.name)) continue;
    support.refusals.push_back(
        {std::string(field.name),
         fmt::format("is {}; backend {} does not implement this field and takes only its neutral "
                     "value ({})",
                     field.value(spec), backend.name(), field.neutral)});
  }
  // Limits of a kernel say nothing while the arithmetic itself is unknown to the backend.
  return support.ok() ? backend.supports(spec) : support;
}

}  // namespace sluice
