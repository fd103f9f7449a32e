#include "tokenizer/jinja/functions.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "base/fail.hpp"
#include "tokenizer/jinja/lexer.hpp"
#include "tokenizer/jinja/strings.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer::jinja {
namespace {

std::int64_t integer(int line, const Value& value, std::string_view what) {
  const auto* number = value.as<std::int64_t>();
  if (number == nullptr) refuse(line, fmt::format("{} of type {}", what, type_name(value)));
  return *number;
}

Value joined(int line, std::string a, const std::string& b) {
  append(line, a, b);
  return a;
}

std::optional<Value> arithmetic(std::string_view sign, std::int64_t a, std::int64_t b) {
  std::int64_t result = 0;
  if (sign == "+" && !__builtin_add_overflow(a, b, &result)) return result;
  if (sign == "-" && !__builtin_sub_overflow(a, b, &result)) return result;
  if (sign == "*" && !__builtin_mul_overflow(a, b, &result)) return result;
  if (b == 0 || b == -1) return std::nullopt;
  const std::int64_t rest = a % b;
  const bool adjust = rest != 0 && (rest < 0) != (b < 0);  // Python rounds down
  if (sign == "//") return a / b - (adjust ? 1 : 0);
  if (sign == "%") return rest + (adjust ? b : 0);
  return std::nullopt;
}

std::optional<bool> contains(const Value& container, const Value& value) {
  if (const auto* text = container.as<std::string>()) {
    const auto* part = value.as<std::string>();
    if (part == nullptr) return std::nullopt;
    return find(*text, *part) != std::string::npos;
  }
  if (const List* list = container.list()) {
    return std::any_of(list->begin(), list->end(),
                       [&](const Value& each) { return equal(each, value); });
  }
  if (const Mapping* mapping = container.mapping()) {
    const auto* key = value.as<std::string>();
    return key != nullptr && mapping->find(*key) != nullptr;
  }
  return std::nullopt;
}

std::optional<bool> compared(std::string_view sign, const Value& a, const Value& b) {
  int order = 0;
  if (a.as<std::string>() != nullptr && b.as<std::string>() != nullptr) {
    order = a.as<std::string>()->compare(*b.as<std::string>());
  } else if (a.as<std::int64_t>() != nullptr && b.as<std::int64_t>() != nullptr) {
    const std::int64_t x = *a.as<std::int64_t>();
    const std::int64_t y = *b.as<std::int64_t>();
    order = x < y ? -1 : x > y ? 1 : 0;
  } else {
    return std::nullopt;
  }
  if (sign == "<") return order < 0;
  if (sign == "<=") return order <= 0;
  if (sign == ">") return order > 0;
  return order >= 0;
}

std::optional<std::size_t> length(const Value& value) {
  if (const auto* text = value.as<std::string>()) return characters(*text);
  if (const List* list = value.list()) return list->size();
  if (const Mapping* mapping = value.mapping()) return mapping->items.size();
  if (value.as<Undefined>() != nullptr) return 0;
  return std::nullopt;
}

Value range(int line, const List& bounds) {
  if (bounds.empty() || bounds.size() > 2) refuse(line, "range() with these arguments");
  const std::int64_t from = bounds.size() == 2 ? integer(line, bounds[0], "range()") : 0;
  const std::int64_t to = integer(line, bounds.back(), "range()");
  List numbers;
  for (std::int64_t i = from; i < to; ++i) {
    if (numbers.size() == kMaxListItems) {
      refuse(line, fmt::format("a range longer than {}", kMaxListItems));
    }
    numbers.emplace_back(i);
  }
  return make_list(std::move(numbers));
}

List pairs(const Mapping& mapping) {
  List result;
  for (const auto& [key, value] : mapping.items) result.push_back(make_list({key, value}));
  return result;
}

Value mapping_method(int line, std::string_view name, const Mapping& self, const List& arguments) {
  if (name == "get" && (arguments.size() == 1 || arguments.size() == 2)) {
    const auto* key = arguments[0].as<std::string>();
    const Value* found = key == nullptr ? nullptr : self.find(*key);
    if (found != nullptr) return *found;
    return arguments.size() == 2 ? arguments[1] : Value(None{});
  }
  if (name == "items" && arguments.empty()) return make_list(pairs(self));
  List result;
  if (name == "keys" && arguments.empty()) {
    for (const auto& [key, value] : self.items) result.emplace_back(key);
    return make_list(std::move(result));
  }
  if (name == "values" && arguments.empty()) {
    for (const auto& [key, value] : self.items) result.push_back(value);
    return make_list(std::move(result));
  }
  refuse(line, fmt::format("{}() with {} arguments", name, arguments.size()));
}

}  // namespace

std::string printed(int line, const Value& value) {
  if (const auto* text = value.as<std::string>()) return *text;
  if (const auto* number = value.as<std::int64_t>()) return std::to_string(*number);
  if (const bool* flag = value.as<bool>()) return *flag ? "True" : "False";
  if (value.as<None>() != nullptr) return "None";
  if (value.as<Undefined>() != nullptr) return "";
  refuse(line, fmt::format("printing a {}", type_name(value)));
}

Value apply_operator(int line, std::string_view sign, const Value& a, const Value& b) {
  if (sign == "==") return equal(a, b);
  if (sign == "!=") return !equal(a, b);
  if (sign == "~") return joined(line, printed(line, a), printed(line, b));
  if (sign == "in") {
    if (const auto found = contains(b, a)) return *found;
  } else if (sign[0] == '<' || sign[0] == '>') {
    if (const auto result = compared(sign, a, b)) return *result;
  } else if (a.as<std::int64_t>() != nullptr && b.as<std::int64_t>() != nullptr) {
    const auto result = arithmetic(sign, *a.as<std::int64_t>(), *b.as<std::int64_t>());
    if (result) return *result;
  } else if (sign == "+" && a.as<std::string>() != nullptr && b.as<std::string>() != nullptr) {
    return joined(line, *a.as<std::string>(), *b.as<std::string>());
  } else if (sign == "+" && a.list() != nullptr && b.list() != nullptr) {
    // By weight: few long texts, doubled over and over, would take all memory.
    if (a.list()->weight + b.list()->weight > kMaxListItems) refuse(line, "a list this long");
    List both = *a.list();
    both.insert(both.end(), b.list()->begin(), b.list()->end());
    return make_list(std::move(both));
  }
  refuse(line, fmt::format("{} {} {}", type_name(a), sign, type_name(b)));
}

Value slice(int line, const Value& value, const Value& from, const Value& to, const Value& step) {
  const auto* text = value.as<std::string>();
  const List* list = value.list();
  if (text == nullptr && list == nullptr) {
    refuse(line, fmt::format("a slice of type {}", type_name(value)));
  }
  const auto size = static_cast<std::int64_t>(text != nullptr ? characters(*text) : list->size());
  const auto given = [&](const Value& bound) {
    return bound.as<Undefined>() == nullptr && bound.as<None>() == nullptr;
  };
  const std::int64_t stride = given(step) ? integer(line, step, "a slice's step") : 1;
  if (stride == 0) refuse(line, "a slice with step 0");
  const auto clamped = [&](const Value& bound, std::int64_t absent) {
    if (!given(bound)) return absent;
    const std::int64_t index = integer(line, bound, "a slice's bound");
    const std::int64_t low = stride > 0 ? 0 : -1;
    const std::int64_t high = stride > 0 ? size : size - 1;
    return std::clamp(index < 0 ? std::max(index, -size - 1) + size : index, low, high);
  };
  const std::int64_t begin = clamped(from, stride > 0 ? 0 : size - 1);
  const std::int64_t end = clamped(to, stride > 0 ? size : -1);
  if (text != nullptr) return picked(*text, begin, end, stride);
  List part;
  for (std::int64_t i = begin; stride > 0 ? i < end : i > end;) {
    part.push_back((*list)[static_cast<std::size_t>(i)]);
    if (__builtin_add_overflow(i, stride, &i)) break;
  }
  return make_list(std::move(part));
}

bool is_method(const Value& self, std::string_view name) {
  constexpr std::array<std::string_view, 4> kOfMappings{"get", "items", "keys", "values"};
  if (self.as<std::string>() != nullptr) return is_string_method(name);
  const Mapping* mapping = self.mapping();
  return mapping != nullptr && !mapping->assignable &&
         std::find(kOfMappings.begin(), kOfMappings.end(), name) != kOfMappings.end();
}

Value attribute(int line, const Value& object, std::string_view name) {
  if (const auto* missing = object.as<Undefined>()) {
    fail(ErrorKind::user, "chat template line {}: {} is undefined and has no attribute {}", line,
         shown(missing->name), shown(name));
  }
  if (is_method(object, name)) {
    return Function{std::string(name), std::make_shared<const Value>(object)};
  }
  if (const Mapping* mapping = object.mapping()) {
    if (const Value* found = mapping->find(name)) return *found;
  }
  return Undefined{std::string(name)};
}

Value item(int line, const Value& object, const Value& key) {
  const auto* text = key.as<std::int64_t>() == nullptr ? nullptr : object.as<std::string>();
  const List* list = object.list();
  if (text != nullptr || list != nullptr) {
    const auto size = static_cast<std::int64_t>(text != nullptr ? characters(*text) : list->size());
    std::int64_t index = integer(line, key, "a list's index");
    if (index < 0 && index >= -size) index += size;
    if (index < 0 || index >= size) return Undefined{"list item"};
    if (text != nullptr) return picked(*text, index, index + 1, 1);
    return (*list)[static_cast<std::size_t>(index)];
  }
  const auto* name = key.as<std::string>();
  if (name == nullptr) {
    refuse(line, fmt::format("{}[{}]", type_name(object), type_name(key)));
  }
  if (const Mapping* mapping = object.mapping()) {
    if (const Value* found = mapping->find(*name)) return *found;
  }
  return attribute(line, object, *name);
}

List iterated(int line, const Value& value) {
  if (const List* list = value.list()) return *list;
  List items;
  if (const Mapping* mapping = value.mapping()) {
    for (const auto& [key, unused] : mapping->items) items.emplace_back(key);
    return items;
  }
  if (value.as<Undefined>() != nullptr) return items;
  refuse(line, fmt::format("a loop over a {}", type_name(value)));
}

Value apply_filter(int line, std::string_view name, const Value& value,
                   const Arguments& arguments) {
  const List& given = arguments.positional;
  const bool plain = arguments.named.empty();
  const auto* text = value.as<std::string>();
  const List* list = value.list();
  if ((name == "length" || name == "count") && plain && given.empty()) {
    if (const auto count = length(value)) return static_cast<std::int64_t>(*count);
  } else if (name == "trim" && plain && given.empty()) {
    return stripped(printed(line, value), "", true, true);
  } else if (name == "string" && plain && given.empty()) {
    return printed(line, value);
  } else if (name == "safe" && plain && given.empty()) {
    return value;
  } else if ((name == "upper" || name == "lower") && plain && given.empty() && text != nullptr) {
    return string_method(line, name, *text, {});
  } else if (name == "replace" && plain && given.size() == 2 && text != nullptr) {
    return string_method(line, name, *text, given);
  } else if ((name == "first" || name == "last") && plain && given.empty() && list != nullptr) {
    if (list->empty()) return Undefined{std::string(name)};
    return name == "first" ? list->front() : list->back();
  } else if (name == "list" && plain && given.empty()) {
    return make_list(iterated(line, value));
  } else if (name == "items" && plain && given.empty() && value.mapping() != nullptr) {
    return make_list(pairs(*value.mapping()));
  } else if ((name == "default" || name == "d") && plain && !given.empty() && given.size() <= 2) {
    const bool falsy_too = given.size() == 2 && truthy(given[1]);
    const bool replace = falsy_too ? !truthy(value) : value.as<Undefined>() != nullptr;
    return replace ? given[0] : value;
  } else if (name == "join" && plain && given.size() <= 1 && list != nullptr) {
    std::string result;
    const std::string separator = given.empty() ? "" : printed(line, given[0]);
    for (std::size_t i = 0; i < list->size(); ++i) {
      if (i > 0) append(line, result, separator);
      append(line, result, printed(line, (*list)[i]));
    }
    return result;
  }
  refuse(line, fmt::format("filter {} on a {}", shown(name), type_name(value)));
}

bool apply_test(int line, std::string_view name, const Value& value, const Arguments& arguments) {
  const List& given = arguments.positional;
  if (given.empty() && arguments.named.empty()) {
    const bool is_list = value.list() != nullptr;
    const bool is_mapping = value.mapping() != nullptr;
    const bool is_text = value.as<std::string>() != nullptr;
    const bool* flag = value.as<bool>();
    if (name == "defined") return value.as<Undefined>() == nullptr;
    if (name == "undefined") return value.as<Undefined>() != nullptr;
    if (name == "none") return value.as<None>() != nullptr;
    if (name == "string") return is_text;
    if (name == "mapping") return is_mapping;
    if (name == "iterable" || name == "sequence") return is_list || is_mapping || is_text;
    if (name == "integer") return value.as<std::int64_t>() != nullptr;
    if (name == "number") return value.as<std::int64_t>() != nullptr || flag != nullptr;
    if (name == "boolean") return flag != nullptr;
    if (name == "true") return flag != nullptr && *flag;
    if (name == "false") return flag != nullptr && !*flag;
    if (name == "callable") return value.as<Function>() != nullptr;
    if (name == "odd") return integer(line, value, "a number") % 2 != 0;
    if (name == "even") return integer(line, value, "a number") % 2 == 0;
  } else if (given.size() == 1 && arguments.named.empty()) {
    if (name == "equalto" || name == "eq") return equal(value, given[0]);
    if (name == "ne") return !equal(value, given[0]);
    if (name == "in") return truthy(apply_operator(line, "in", value, given[0]));
  }
  refuse(line, fmt::format("test \"is {}\"", shown(name)));
}

Value call(int line, const Value& callee, const Arguments& arguments) {
  const auto* function = callee.as<Function>();
  if (function == nullptr) {
    const auto* missing = callee.as<Undefined>();
    refuse(line, missing == nullptr ? fmt::format("calling a {}", type_name(callee))
                                    : fmt::format("function {}()", shown(missing->name)));
  }
  const List& given = arguments.positional;
  if (function->self == nullptr && function->name == "namespace" && given.empty()) {
    auto space = std::make_shared<Mapping>();
    space->assignable = true;
    for (const auto& [name, value] : arguments.named) space->set(name, value);
    return space;
  }
  if (!arguments.named.empty()) {
    refuse(line, fmt::format("{}() with named arguments", shown(function->name)));
  }
  if (function->self != nullptr) {
    if (const auto* text = function->self->as<std::string>()) {
      return string_method(line, function->name, *text, given);
    }
    return mapping_method(line, function->name, *function->self->mapping(), given);
  }
  if (function->name == "raise_exception" && given.size() == 1) {
    fail(ErrorKind::user, "the chat template rejects these messages: {}",
         shown(printed(line, given[0])));
  }
  if (function->name == "range") return range(line, given);
  refuse(line, fmt::format("function {}()", shown(function->name)));
}

}  // namespace sluice::tokenizer::jinja
