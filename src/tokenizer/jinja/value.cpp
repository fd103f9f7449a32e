#include "tokenizer/jinja/value.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "base/fail.hpp"

namespace sluice::tokenizer::jinja {
namespace {

// True == 1 in Python.
std::optional<std::int64_t> as_number(const Value& value) {
  if (const bool* flag = value.as<bool>()) return *flag ? 1 : 0;
  if (const std::int64_t* number = value.as<std::int64_t>()) return *number;
  return std::nullopt;
}

constexpr int kMaxDepth = 16;
constexpr std::size_t kMaxKeyBytes = 4096;  // loops copy keys

int depth_with(const Value& inner) {
  const List* list = inner.list();
  const Mapping* mapping = inner.mapping();
  if (mapping != nullptr && mapping->assignable) {
    fail(ErrorKind::unsupported, "chat template: a namespace inside a list or mapping");
  }
  const int depth = 1 + (list != nullptr ? list->depth : mapping != nullptr ? mapping->depth : 0);
  if (depth > kMaxDepth) {
    fail(ErrorKind::unsupported, "chat template: lists nested deeper than {}", kMaxDepth);
  }
  return depth;
}

}  // namespace

const Value* Mapping::find(std::string_view key) const {
  const auto item = std::find_if(items.begin(), items.end(),
                                 [&](const auto& entry) { return entry.first == key; });
  return item == items.end() ? nullptr : &item->second;
}

void Mapping::set(std::string_view key, Value value) {
  if (key.size() > kMaxKeyBytes) {
    fail(ErrorKind::unsupported, "chat template: a key longer than {} bytes", kMaxKeyBytes);
  }
  depth = std::max(depth, depth_with(value));
  for (auto& [name, old] : items) {
    if (name == key) {
      old = std::move(value);
      return;
    }
  }
  if (items.size() == kMaxNames) {
    fail(ErrorKind::unsupported, "chat template: a mapping of more than {} keys", kMaxNames);
  }
  items.emplace_back(key, std::move(value));
}

const List* Value::list() const {
  const auto* pointer = as<std::shared_ptr<List>>();
  return pointer == nullptr ? nullptr : pointer->get();
}

const Mapping* Value::mapping() const {
  const auto* pointer = as<std::shared_ptr<Mapping>>();
  return pointer == nullptr ? nullptr : pointer->get();
}

Value make_list(List items) {
  items.weight = 0;
  for (const Value& item : items) {
    items.depth = std::max(items.depth, depth_with(item));
    items.weight = std::min(items.weight + weight(item), kMaxWeight);
  }
  return std::make_shared<List>(std::move(items));
}

std::size_t weight(const Value& value) {
  if (const auto* text = value.as<std::string>()) return 1 + text->size() / kBytesPerStep;
  if (const List* list = value.list()) return 1 + list->weight;
  const auto* function = value.as<Function>();
  return function == nullptr || function->self == nullptr ? 1 : 1 + weight(*function->self);
}

bool truthy(const Value& value) {
  if (const auto number = as_number(value)) return *number != 0;
  if (const auto* text = value.as<std::string>()) return !text->empty();
  if (const List* list = value.list()) return !list->empty();
  if (const Mapping* mapping = value.mapping())
    return mapping->assignable || !mapping->items.empty();
  return value.as<Function>() != nullptr;
}

bool equal(const Value& a, const Value& b) {
  if (const auto x = as_number(a), y = as_number(b); x && y) return *x == *y;
  if (a.index() != b.index()) return false;
  if (const auto* text = a.as<std::string>()) return *text == *b.as<std::string>();
  if (const List* list = a.list()) {
    return std::equal(list->begin(), list->end(), b.list()->begin(), b.list()->end(), equal);
  }
  if (const Mapping* mapping = a.mapping()) return mapping == b.mapping();
  return a.as<Undefined>() != nullptr || a.as<None>() != nullptr;
}

const char* type_name(const Value& value) {
  constexpr std::array kNames{"undefined", "none", "boolean", "integer",
                              "string",    "list", "mapping", "function"};
  return kNames[value.index()];
}

}  // namespace sluice::tokenizer::jinja
