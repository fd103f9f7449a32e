// The field registry: the one list of everything a MoeSpec can say.
//
// Negotiation, audit, JSON, `sluice inspect` and the generated docs all read it. A field at its
// neutral value asks nothing of a backend; any other value must be claimed or the layer is refused.
#pragma once

#include <bitset>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include <sluice/spec.hpp>

namespace sluice {

inline constexpr std::size_t kFieldCount = 38;

// Index into fields(); stable within one build only. Cross every boundary by name.
enum class FieldId : std::uint8_t {};

enum class FieldKind : std::uint8_t {
  size,  // a structural size (num_experts, hidden_size, …): no neutral value, every backend
         // must honour it; limits are refused in Backend::supports
  flag,
  tensor_flag,
  integer,
  real,
  choice,
  list
};

struct Field {
  std::string_view name;  // "router.routed_scaling_factor"
  std::string_view key;   // "routed_scaling_factor"
  FieldKind kind;
  std::string_view neutral;  // as printed in docs; "–" for sizes
  std::string_view meaning;  // one line
  bool (*is_neutral)(const MoeSpec&);
  // Sets the field to its neutral value: what a backend computes that dropped it.
  void (*reset)(MoeSpec&);
  // Sets the field to a non-neutral value that is legal for the spec and drawn from `seed`, and
  // whatever else that value needs to mean something (n_group > 1 needs num_experts divisible).
  // Returns false when no such value exists for this spec. Sizes are left alone (false).
  bool (*perturb)(MoeSpec&, std::uint64_t seed);
  std::string (*value)(const MoeSpec&);  // as printed in JSON
  bool (*equal)(const MoeSpec&, const MoeSpec&);
};

std::span<const Field> fields();
const Field& field(FieldId id);
// Throws Error(user) with the nearest known name. Accepts "router.top_k" and, if unique, "top_k".
FieldId find_field(std::string_view name);
std::optional<FieldId> try_find_field(std::string_view name);

// A set of fields; a backend's claims start empty and are filled by name.
class FieldSet {
 public:
  FieldSet() = default;
  FieldSet(std::initializer_list<std::string_view> names);  // throws on unknown names
  static FieldSet all();
  FieldSet& add(std::string_view name);
  FieldSet& remove(std::string_view name);
  bool contains(FieldId id) const { return bits_.test(static_cast<std::size_t>(id)); }
  bool contains(std::string_view name) const { return contains(find_field(name)); }
  std::size_t size() const { return bits_.count(); }
  friend bool operator==(const FieldSet&, const FieldSet&) = default;

 private:
  std::bitset<kFieldCount> bits_;
};

}  // namespace sluice
