// Filters, tests, methods and global functions that chat templates call.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tokenizer/jinja/value.hpp"

namespace sluice::tokenizer::jinja {

struct Arguments {
  List positional;
  std::vector<std::pair<std::string, Value>> named;
};

// Each throws Error(unsupported), with the line, for a name or a use that is not known.
Value apply_filter(int line, std::string_view name, const Value& value, const Arguments& arguments);
bool apply_test(int line, std::string_view name, const Value& value, const Arguments& arguments);
// raise_exception throws Error(user) with the template's own words.
Value call(int line, const Value& callee, const Arguments& arguments);
bool is_method(const Value& self, std::string_view name);

// What {{ value }} prints.
std::string printed(int line, const Value& value);
// a + b, a == b, a in b …
Value apply_operator(int line, std::string_view sign, const Value& a, const Value& b);
Value slice(int line, const Value& value, const Value& from, const Value& to, const Value& step);
// obj.name and obj[key]; Undefined when there is no such thing.
Value attribute(int line, const Value& object, std::string_view name);
Value item(int line, const Value& object, const Value& key);
// What a loop over the value sees: a list's items, a mapping's keys, nothing of undefined.
List iterated(int line, const Value& value);

}  // namespace sluice::tokenizer::jinja
