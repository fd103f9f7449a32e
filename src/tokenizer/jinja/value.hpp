// The values of a chat template. Lists and mappings are shared, as references are in Python.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace sluice::tokenizer::jinja {

struct Value;

struct Undefined {
  std::string name;  // for the message, should it be used after all
};
struct None {};
// Of a mapping's keys, and of a call's arguments: they are searched one by one.
constexpr std::size_t kMaxNames = 1000;

struct List : std::vector<Value> {
  using vector::vector;
  int depth = 1;  // of lists and mappings in each other: what is freed recursively must be shallow
  std::size_t weight = 0;  // of its values
};
struct Mapping {
  std::vector<std::pair<std::string, Value>> items;  // in order of insertion
  bool assignable = false;                           // namespace(…)
  int depth = 1;
  const Value* find(std::string_view key) const;
  void set(std::string_view key, Value value);
};
struct Function {
  std::string name;
  std::shared_ptr<const Value> self;  // of a method; nullptr: a global function
};

struct Value : std::variant<Undefined, None, bool, std::int64_t, std::string, std::shared_ptr<List>,
                            std::shared_ptr<Mapping>, Function> {
  using variant::variant;

  template <typename T>
  const T* as() const {
    return std::get_if<T>(this);
  }
  const List* list() const;
  const Mapping* mapping() const;
};

// Throws, as Mapping::set does, Error(unsupported) for deep nesting, for a namespace inside
// anything (it could come to hold itself), and for what is too long.
Value make_list(List items);
// What copying or walking it costs, in steps of the renderer. Lists may hold one list many times:
// the figure can be far beyond their memory, and ends at kMaxWeight.
std::size_t weight(const Value& value);
constexpr std::size_t kBytesPerStep = 512;
constexpr std::size_t kMaxWeight = std::size_t{1} << 32;
bool truthy(const Value& value);
bool equal(const Value& a, const Value& b);
const char* type_name(const Value& value);  // "undefined", "none", "string", …

}  // namespace sluice::tokenizer::jinja
