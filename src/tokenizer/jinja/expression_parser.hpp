// Expressions of a chat template, with Jinja's precedence.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tokenizer/jinja/ast.hpp"
#include "tokenizer/jinja/lexer.hpp"

namespace sluice::tokenizer::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(const Segment& tag) : tokens_(tag.tokens), line_(tag.line) {}

  Expression expression();      // with "… if … else …"
  Expression without_choice();  // what a loop iterates over: its "if" is a filter
  bool take_name(std::string_view name);
  bool take_sign(std::string_view sign);
  std::string name();  // any name
  bool at_sign(std::string_view sign) const;
  void expect_sign(std::string_view sign);
  void expect_end() const;
  bool at_end() const { return peek().kind == Token::Kind::end; }
  int line() const { return line_; }

 private:
  const Token& peek() const { return tokens_[position_]; }
  bool at_name(std::string_view name) const;
  [[noreturn]] void unexpected() const;
  // The parts are moved: a list of initializers would copy trees that may be as long as the
  // template.
  template <typename... Parts>
  Expression node(Expression::Kind kind, std::string text, Parts... parts) const;
  void add_part(Expression& whole, Expression part) const;

  Expression conjunction();
  Expression inversion();
  Expression comparison();
  Expression sum();
  Expression concatenation();
  Expression product();
  Expression unary(bool with_filters);
  Expression primary();
  Expression string_literal();
  Expression bracketed();
  Expression mapping();
  Expression postfix(Expression operand);
  Expression subscript(Expression operand);
  Expression filters(Expression operand);
  Expression test(Expression operand);
  void arguments(Expression& call);

  const std::vector<Token>& tokens_;
  std::size_t position_ = 0;
  int line_;
  int depth_ = 0;
};

}  // namespace sluice::tokenizer::jinja
