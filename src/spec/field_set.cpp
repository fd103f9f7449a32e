#include <vector>

#include <sluice/fields.hpp>

#include "base/fail.hpp"
#include "base/nearest_name.hpp"

namespace sluice {

std::optional<FieldId> try_find_field(std::string_view name) {
  std::optional<FieldId> by_key;
  for (std::size_t i = 0; i < fields().size(); ++i) {
    if (fields()[i].name == name) return FieldId{static_cast<std::uint8_t>(i)};
    // Keys are unique over the three groups (tested), so a short name is never ambiguous.
    if (fields()[i].key == name) by_key = FieldId{static_cast<std::uint8_t>(i)};
  }
  return by_key;
}

FieldId find_field(std::string_view name) {
  if (const auto id = try_find_field(name)) return *id;
  std::vector<std::string_view> known;
  for (const Field& field : fields()) {
    known.push_back(name.find('.') == std::string_view::npos ? field.key : field.name);
  }
  fail(ErrorKind::user, "no field is named \"{}\"{}", name, did_you_mean(name, known));
}

FieldSet::FieldSet(std::initializer_list<std::string_view> names) {
  for (std::string_view name : names) add(name);
}

FieldSet FieldSet::all() {
  FieldSet set;
  set.bits_.set();
  return set;
}

FieldSet& FieldSet::add(std::string_view name) {
  bits_.set(static_cast<std::size_t>(find_field(name)));
  return *this;
}

FieldSet& FieldSet::remove(std::string_view name) {
  bits_.reset(static_cast<std::size_t>(find_field(name)));
  return *this;
}

}  // namespace sluice
