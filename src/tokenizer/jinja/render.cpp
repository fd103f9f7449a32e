#include "tokenizer/jinja/render.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <memory>
#include <unordered_map>

#include "tokenizer/jinja/functions.hpp"
#include "tokenizer/jinja/lexer.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer::jinja {
namespace {

constexpr std::int64_t kMaxSteps = 1'000'000;  // a second or so; templates take thousands
constexpr std::size_t kMaxOutputBytes = 64 << 20;

constexpr int kMaxMacroDepth = 32;

enum class Flow { on, stop, skip };

class Renderer {
 public:
  explicit Renderer(std::vector<std::pair<std::string, Value>> variables) {
    // strftime_now is known and refused: a template that asks whether it is defined must not render
    // another date than transformers does.
    for (const char* name : {"raise_exception", "namespace", "range", "strftime_now"}) {
      variables.emplace_back(name, Function{name, nullptr});
    }
    scopes_.emplace_back(variables.begin(), variables.end());
  }

  std::string run(const Block& block) {
    execute(block);
    return std::move(output_);
  }

 private:
  using Scope = std::unordered_map<std::string, Value>;

  void step(int line, std::size_t count = 1) {
    steps_ += static_cast<std::int64_t>(count);
    if (steps_ > kMaxSteps) refuse(line, fmt::format("more than {} steps", kMaxSteps));
  }

  Value* find(const std::string& name) {
    for (auto scope = scopes_.rbegin(); scope != scopes_.rend(); ++scope) {
      const auto found = scope->find(name);
      if (found != scope->end()) return &found->second;
    }
    return nullptr;
  }

  // A loop's body sets names of its own: they end with the iteration.
  void set(const std::string& name, Value value) {
    scopes_.back().insert_or_assign(name, std::move(value));
  }

  Value evaluate(const Expression& e) {
    Value value = computed(e);
    step(e.line, weight(value));
    return value;
  }

  Value computed(const Expression& e) {
    const auto part = [&](std::size_t i) { return evaluate(e.parts[i]); };
    switch (e.kind) {
      case Expression::Kind::literal:
        return e.value;
      case Expression::Kind::name: {
        const Value* value = find(e.text);
        return value == nullptr ? Value(Undefined{e.text}) : *value;
      }
      case Expression::Kind::list: {
        List list;
        for (const Expression& each : e.parts) list.push_back(evaluate(each));
        return make_list(std::move(list));
      }
      case Expression::Kind::mapping:
        return mapping(e);
      case Expression::Kind::attribute:
        return attribute(e.line, part(0), e.text);
      case Expression::Kind::item:
        return item(e.line, part(0), part(1));
      case Expression::Kind::slice:
        return slice(e.line, part(0), part(1), part(2), part(3));
      case Expression::Kind::call: {
        const Value callee = part(0);
        const auto* function = callee.as<Function>();
        const bool global = function != nullptr && function->self == nullptr;
        const auto macro = global ? macros_.find(function->name) : macros_.end();
        if (macro != macros_.end()) return expand(*macro->second, arguments(e));
        return call(e.line, callee, arguments(e));
      }
      case Expression::Kind::filter:
        return apply_filter(e.line, e.text, part(0), arguments(e));
      case Expression::Kind::test:
        return apply_test(e.line, e.text, part(0), arguments(e));
      case Expression::Kind::negation:
        return !truthy(part(0));
      case Expression::Kind::minus:
        return apply_operator(e.line, "-", Value(std::int64_t{0}), part(0));
      case Expression::Kind::conjunction: {
        Value left = part(0);
        return truthy(left) ? part(1) : left;
      }
      case Expression::Kind::disjunction: {
        Value left = part(0);
        return truthy(left) ? left : part(1);
      }
      case Expression::Kind::binary: {
        const Value left = part(0);
        return apply_operator(e.line, e.text, left, part(1));
      }
      case Expression::Kind::choice:
        return truthy(part(0)) ? part(1) : part(2);
    }
    return Undefined{};
  }

  Value mapping(const Expression& e) {
    auto result = std::make_shared<Mapping>();
    for (std::size_t i = 0; i < e.parts.size(); i += 2) {
      const Value key = evaluate(e.parts[i]);
      const auto* name = key.as<std::string>();
      if (name == nullptr)
        refuse(e.line, fmt::format("a mapping's key of type {}", type_name(key)));
      result->set(*name, evaluate(e.parts[i + 1]));
    }
    return result;
  }

  Arguments arguments(const Expression& e) {
    Arguments result;
    for (std::size_t i = 1; i < e.parts.size(); ++i) {
      Value value = evaluate(e.parts[i]);
      if (e.names[i].empty()) {
        result.positional.push_back(std::move(value));
      } else {
        result.named.emplace_back(e.names[i], std::move(value));
      }
    }
    return result;
  }

  void write(int line, const std::string& text) {
    if (output_.size() + text.size() > kMaxOutputBytes) {
      refuse(line, fmt::format("a prompt longer than {} MiB", kMaxOutputBytes >> 20));
    }
    output_ += text;
  }

  Flow execute(const Block& block) {
    for (const Statement& statement : block) {
      step(statement.line);
      Flow flow = Flow::on;
      switch (statement.kind) {
        case Statement::Kind::text:
          step(statement.line, statement.text.size() / kBytesPerStep);
          write(statement.line, statement.text);
          break;
        case Statement::Kind::output:
          write(statement.line, printed(statement.line, evaluate(statement.expressions[0])));
          break;
        case Statement::Kind::condition:
          flow = condition(statement);
          break;
        case Statement::Kind::loop:
          flow = loop(statement);
          break;
        case Statement::Kind::assignment:
          assign(statement);
          break;
        case Statement::Kind::capture:
          set(statement.text, captured(statement.branches[0]));
          break;
        case Statement::Kind::macro:
          macros_[statement.text] = &statement;
          set(statement.text, Function{statement.text, nullptr});
          break;
        case Statement::Kind::stop:
          flow = Flow::stop;
          break;
        case Statement::Kind::skip:
          flow = Flow::skip;
          break;
      }
      if (flow != Flow::on) return flow;
    }
    return Flow::on;
  }

  Flow condition(const Statement& statement) {
    for (std::size_t i = 0; i < statement.expressions.size(); ++i) {
      if (truthy(evaluate(statement.expressions[i]))) return execute(statement.branches[i]);
    }
    return execute(statement.branches.back());
  }

  void assign(const Statement& statement) {
    Value value = evaluate(statement.expressions[0]);
    if (statement.attribute.empty()) {
      set(statement.text, std::move(value));
      return;
    }
    Value* object = find(statement.text);
    auto* space = object == nullptr ? nullptr : std::get_if<std::shared_ptr<Mapping>>(object);
    if (space == nullptr || !(*space)->assignable) {
      refuse(statement.line, fmt::format("setting {}.{}, which is no namespace",
                                         shown(statement.text), shown(statement.attribute)));
    }
    (*space)->set(statement.attribute, std::move(value));
  }

  std::string captured(const Block& block) {
    std::string outside = std::exchange(output_, {});
    execute(block);
    return std::exchange(output_, std::move(outside));
  }

  // A macro sees its arguments and the outermost variables, not those where it is called.
  Value expand(const Statement& macro, const Arguments& given) {
    if (++macro_depth_ > kMaxMacroDepth) refuse(macro.line, "a macro that calls itself this deep");
    if (given.positional.size() > macro.names.size()) refuse(macro.line, "too many arguments");
    Scope scope;
    for (std::size_t i = 0; i < macro.names.size(); ++i) {
      scope.emplace(macro.names[i], macro_argument(macro, given, i));
    }
    std::vector<Scope> outside(std::make_move_iterator(scopes_.begin() + 1),
                               std::make_move_iterator(scopes_.end()));
    scopes_.resize(1);
    scopes_.push_back(std::move(scope));
    std::string text = captured(macro.branches[0]);
    scopes_.pop_back();
    std::move(outside.begin(), outside.end(), std::back_inserter(scopes_));
    --macro_depth_;
    return text;
  }

  Value macro_argument(const Statement& macro, const Arguments& given, std::size_t i) {
    if (i < given.positional.size()) return given.positional[i];
    for (const auto& [name, value] : given.named) {
      if (name == macro.names[i]) return value;
    }
    return evaluate(macro.expressions[i]);
  }

  void bind(const Statement& loop, const Value& value) {
    if (loop.names.size() == 1) {
      set(loop.names[0], value);
      return;
    }
    const List* parts = value.list();
    if (parts == nullptr || parts->size() != loop.names.size()) {
      refuse(loop.line, fmt::format("a loop over {} variables here", loop.names.size()));
    }
    for (std::size_t i = 0; i < loop.names.size(); ++i) set(loop.names[i], (*parts)[i]);
  }

  List loop_items(const Statement& statement) {
    List items = iterated(statement.line, evaluate(statement.expressions[0]));
    for (const Value& value : items) step(statement.line, weight(value));
    if (statement.expressions.size() == 1) return items;
    List kept;
    for (Value& value : items) {
      scopes_.emplace_back();
      bind(statement, value);
      const bool keep = truthy(evaluate(statement.expressions[1]));
      scopes_.pop_back();
      if (keep) kept.push_back(std::move(value));
    }
    return kept;
  }

  static Value loop_variable(const List& items, std::size_t i) {
    const auto number = [](std::size_t n) { return Value(static_cast<std::int64_t>(n)); };
    auto loop = std::make_shared<Mapping>();
    loop->items = {{"index", number(i + 1)},
                   {"index0", number(i)},
                   {"revindex", number(items.size() - i)},
                   {"revindex0", number(items.size() - i - 1)},
                   {"first", i == 0},
                   {"last", i + 1 == items.size()},
                   {"length", number(items.size())}};
    if (i > 0) loop->items.emplace_back("previtem", items[i - 1]);
    if (i + 1 < items.size()) loop->items.emplace_back("nextitem", items[i + 1]);
    return loop;
  }

  Flow loop(const Statement& statement) {
    const List items = loop_items(statement);
    if (items.empty()) return execute(statement.branches[1]);
    for (std::size_t i = 0; i < items.size(); ++i) {
      step(statement.line);
      scopes_.emplace_back();
      bind(statement, items[i]);
      set("loop", loop_variable(items, i));
      const Flow flow = execute(statement.branches[0]);
      scopes_.pop_back();
      if (flow == Flow::stop) break;
    }
    return Flow::on;
  }

  std::vector<Scope> scopes_;
  std::unordered_map<std::string, const Statement*> macros_;
  int macro_depth_ = 0;
  std::string output_;
  std::int64_t steps_ = 0;
};

}  // namespace

std::string render(const Block& block, std::vector<std::pair<std::string, Value>> variables) {
  return Renderer(std::move(variables)).run(block);
}

}  // namespace sluice::tokenizer::jinja
