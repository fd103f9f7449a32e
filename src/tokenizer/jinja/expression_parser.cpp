#include "tokenizer/jinja/expression_parser.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer::jinja {
namespace {

using Kind = Expression::Kind;

constexpr int kMaxNesting = 100;
constexpr int kMaxHeight = 300;

}  // namespace

bool ExpressionParser::at_sign(std::string_view sign) const {
  return peek().kind == Token::Kind::sign && peek().text == sign;
}

bool ExpressionParser::at_name(std::string_view name) const {
  return peek().kind == Token::Kind::name && peek().text == name;
}

bool ExpressionParser::take_sign(std::string_view sign) {
  if (!at_sign(sign)) return false;
  ++position_;
  return true;
}

bool ExpressionParser::take_name(std::string_view name) {
  if (!at_name(name)) return false;
  ++position_;
  return true;
}

void ExpressionParser::unexpected() const {
  refuse(line_, at_end() ? "a tag that ends here" : fmt::format("\"{}\" here", shown(peek().text)));
}

void ExpressionParser::expect_sign(std::string_view sign) {
  if (!take_sign(sign)) unexpected();
}

void ExpressionParser::expect_end() const {
  if (!at_end()) unexpected();
}

std::string ExpressionParser::name() {
  if (peek().kind != Token::Kind::name) unexpected();
  return tokens_[position_++].text;
}

template <typename... Parts>
Expression ExpressionParser::node(Kind kind, std::string text, Parts... parts) const {
  Expression result;
  result.kind = kind;
  result.line = line_;
  result.text = std::move(text);
  (add_part(result, std::move(parts)), ...);
  return result;
}

void ExpressionParser::add_part(Expression& whole, Expression part) const {
  whole.height = std::max(whole.height, part.height + 1);
  if (whole.height > kMaxHeight) refuse(line_, "an expression this long");
  whole.parts.push_back(std::move(part));
}

Expression ExpressionParser::expression() {
  if (++depth_ > kMaxNesting) {
    refuse(line_, fmt::format("an expression nested deeper than {}", kMaxNesting));
  }
  Expression value = without_choice();
  while (take_name("if")) {
    Expression condition = without_choice();
    Expression otherwise = take_name("else") ? expression() : node(Kind::literal, "");
    value = node(Kind::choice, "", std::move(condition), std::move(value), std::move(otherwise));
  }
  --depth_;
  return value;
}

Expression ExpressionParser::without_choice() {
  Expression left = conjunction();
  while (take_name("or")) left = node(Kind::disjunction, "", std::move(left), conjunction());
  return left;
}

Expression ExpressionParser::conjunction() {
  Expression left = inversion();
  while (take_name("and")) left = node(Kind::conjunction, "", std::move(left), inversion());
  return left;
}

Expression ExpressionParser::inversion() {
  int negations = 0;
  while (take_name("not")) ++negations;
  Expression value = comparison();
  // "not not x" is the boolean of x: an even number still converts.
  for (int i = 0; i < (negations == 0 ? 0 : negations % 2 == 0 ? 2 : 1); ++i) {
    value = node(Kind::negation, "", std::move(value));
  }
  return value;
}

Expression ExpressionParser::comparison() {
  Expression left = sum();
  for (const std::string_view sign : {"==", "!=", "<=", ">=", "<", ">"}) {
    if (take_sign(sign)) {
      left = node(Kind::binary, std::string(sign), std::move(left), sum());
      break;
    }
  }
  if (take_name("in")) {
    left = node(Kind::binary, "in", std::move(left), sum());
  } else if (at_name("not") && tokens_[position_ + 1].text == "in") {
    position_ += 2;
    left = node(Kind::negation, "", node(Kind::binary, "in", std::move(left), sum()));
  }
  for (const std::string_view sign : {"==", "!=", "<=", ">=", "<", ">"}) {
    if (at_sign(sign)) refuse(line_, "a chain of comparisons");
  }
  return left;
}

Expression ExpressionParser::sum() {
  Expression left = concatenation();
  while (at_sign("+") || at_sign("-")) {
    std::string sign = tokens_[position_++].text;
    left = node(Kind::binary, std::move(sign), std::move(left), concatenation());
  }
  return left;
}

Expression ExpressionParser::concatenation() {
  Expression left = product();
  while (take_sign("~")) left = node(Kind::binary, "~", std::move(left), product());
  return left;
}

Expression ExpressionParser::product() {
  Expression left = unary(true);
  while (at_sign("*") || at_sign("/") || at_sign("//") || at_sign("%") || at_sign("**")) {
    std::string sign = tokens_[position_++].text;
    left = node(Kind::binary, std::move(sign), std::move(left), unary(true));
  }
  return left;
}

Expression ExpressionParser::unary(bool with_filters) {
  Expression value;
  if (take_sign("-")) {
    if (++depth_ > kMaxNesting) refuse(line_, "a long run of signs");
    value = node(Kind::minus, "", unary(false));
    --depth_;
  } else {
    value = postfix(primary());
  }
  return with_filters ? filters(std::move(value)) : value;
}

Expression ExpressionParser::primary() {
  const Token& token = peek();
  switch (token.kind) {
    case Token::Kind::integer: {
      ++position_;
      Expression literal = node(Kind::literal, "");
      literal.value = token.number;
      return literal;
    }
    case Token::Kind::text:
      return string_literal();
    case Token::Kind::name: {
      for (const std::string_view word : {"if", "else", "and", "or", "not", "in", "is"}) {
        if (token.text == word) unexpected();
      }
      ++position_;
      Expression literal = node(Kind::literal, "");
      if (token.text == "true" || token.text == "True") {
        literal.value = true;
      } else if (token.text == "false" || token.text == "False") {
        literal.value = false;
      } else if (token.text == "none" || token.text == "None") {
        literal.value = None{};
      } else {
        return node(Kind::name, token.text);
      }
      return literal;
    }
    default:
      return bracketed();
  }
}

Expression ExpressionParser::string_literal() {
  std::string text;
  while (peek().kind == Token::Kind::text) text += tokens_[position_++].text;
  Expression literal = node(Kind::literal, "");
  literal.value = std::move(text);
  return literal;
}

Expression ExpressionParser::bracketed() {
  if (take_sign("(")) {
    Expression inner = expression();
    if (take_sign(")")) return inner;
    Expression tuple = node(Kind::list, "", std::move(inner));
    while (!take_sign(")")) {
      expect_sign(",");
      if (!at_sign(")")) add_part(tuple, expression());
    }
    return tuple;
  }
  if (take_sign("[")) {
    Expression list = node(Kind::list, "");
    while (!take_sign("]")) {
      add_part(list, expression());
      if (!at_sign("]")) expect_sign(",");
    }
    return list;
  }
  if (take_sign("{")) return mapping();
  unexpected();
}

Expression ExpressionParser::mapping() {
  Expression result = node(Kind::mapping, "");
  while (!take_sign("}")) {
    add_part(result, expression());
    expect_sign(":");
    add_part(result, expression());
    if (!at_sign("}")) expect_sign(",");
  }
  return result;
}

Expression ExpressionParser::postfix(Expression operand) {
  for (;;) {
    if (take_sign(".")) {
      operand = node(Kind::attribute, name(), std::move(operand));
    } else if (take_sign("[")) {
      operand = subscript(std::move(operand));
    } else if (take_sign("(")) {
      Expression call = node(Kind::call, "", std::move(operand));
      call.names.emplace_back();
      arguments(call);
      operand = std::move(call);
    } else {
      return operand;
    }
  }
}

Expression ExpressionParser::subscript(Expression operand) {
  std::array<Expression, 3> bounds;
  std::size_t bound = 0;
  while (!take_sign("]")) {
    if (take_sign(":")) {
      if (++bound > 2) unexpected();
    } else {
      bounds[bound] = expression();
      if (!at_sign("]") && !at_sign(":")) unexpected();
    }
  }
  if (bound == 0) {
    return node(Kind::item, "", std::move(operand), std::move(bounds[0]));
  }
  return node(Kind::slice, "", std::move(operand), std::move(bounds[0]), std::move(bounds[1]),
              std::move(bounds[2]));
}

void ExpressionParser::arguments(Expression& call) {
  while (!take_sign(")")) {
    if (call.parts.size() > kMaxNames) refuse(line_, "a call with this many arguments");
    const bool keyword = peek().kind == Token::Kind::name &&
                         tokens_[position_ + 1].kind == Token::Kind::sign &&
                         tokens_[position_ + 1].text == "=";
    call.names.push_back(keyword ? name() : "");
    if (keyword) expect_sign("=");
    add_part(call, expression());
    if (!at_sign(")")) expect_sign(",");
  }
}

Expression ExpressionParser::filters(Expression operand) {
  for (;;) {
    if (take_sign("|")) {
      Expression filter = node(Kind::filter, name(), std::move(operand));
      filter.names.emplace_back();
      if (take_sign("(")) arguments(filter);
      operand = std::move(filter);
    } else if (take_name("is")) {
      operand = test(std::move(operand));
    } else {
      return operand;
    }
  }
}

Expression ExpressionParser::test(Expression operand) {
  const bool negated = take_name("not");
  Expression result = node(Kind::test, name(), std::move(operand));
  result.names.emplace_back();
  const Token& next = peek();
  const bool ends = next.kind == Token::Kind::end ||
                    (next.kind == Token::Kind::sign && next.text != "(" && next.text != "[") ||
                    at_name("and") || at_name("or") || at_name("else") || at_name("is") ||
                    at_name("if") || at_name("in") || at_name("not");
  if (take_sign("(")) {
    arguments(result);
  } else if (!ends) {
    result.names.emplace_back();
    add_part(result, postfix(primary()));
  }
  return negated ? node(Kind::negation, "", std::move(result)) : result;
}

}  // namespace sluice::tokenizer::jinja
