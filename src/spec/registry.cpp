#include "spec/registry.hpp"

#include <array>

#include "spec/completeness.hpp"

namespace sluice {
namespace {

template <typename... Rows>
constexpr std::array<Field, sizeof...(Rows)> untyped(const std::tuple<Rows...>& rows) {
  return std::apply([](const auto&... row) { return std::array{row.field...}; }, rows);
}

template <typename... Rows>
consteval bool rows_are_distinct(const std::tuple<Rows...>&) {
  return completeness::all_distinct<Rows...>();
}

constexpr auto kFields = untyped(kRegistry);

// As many distinct members registered as there are: none is missing.
static_assert(rows_are_distinct(kRegistry), "the field registry names a member of MoeSpec twice");
static_assert(completeness::member_count<MoeSpec>() == 3,
              "MoeSpec has a group that the field registry does not know");
static_assert(completeness::member_count<RouterSpec>() + completeness::member_count<ExpertSpec>() +
                      completeness::member_count<LayerSpec>() ==
                  kFields.size(),
              "MoeSpec has a member that the field registry lacks: add its row to "
              "src/spec/registry.hpp");
static_assert(kFields.size() == kFieldCount, "kFieldCount in <sluice/fields.hpp> is stale");

}  // namespace

std::span<const Field> fields() { return kFields; }

const Field& field(FieldId id) { return kFields[static_cast<std::size_t>(id)]; }

}  // namespace sluice
