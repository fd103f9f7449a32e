#include "tokenizer/jinja/parser.hpp"

#include <fmt/format.h>

#include <initializer_list>
#include <string>
#include <utility>

#include "tokenizer/jinja/expression_parser.hpp"
#include "tokenizer/jinja/lexer.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer::jinja {
namespace {

using Kind = Statement::Kind;

constexpr int kMaxNesting = 100;

class Parser {
 public:
  explicit Parser(std::vector<Segment> segments) : segments_(std::move(segments)) {}

  Block run() {
    Block body = block({}, 0);
    return body;
  }

 private:
  // Statements up to a tag whose name is in `ends`, which is left in end_tag_.
  Block block(std::initializer_list<std::string_view> ends, int opened_at) {
    if (++depth_ > kMaxNesting)
      refuse(opened_at, fmt::format("more than {} nested tags", kMaxNesting));
    Block body;
    while (position_ < segments_.size()) {
      const Segment& segment = segments_[position_++];
      if (segment.kind == Segment::Kind::text) {
        Statement text = statement(Kind::text, segment.line);
        text.text = segment.text;
        body.push_back(std::move(text));
        continue;
      }
      ExpressionParser tag(segment);
      if (segment.kind == Segment::Kind::expression) {
        Statement output = statement(Kind::output, segment.line);
        output.expressions.push_back(tag.expression());
        tag.expect_end();
        body.push_back(std::move(output));
        continue;
      }
      std::string name = tag.name();
      for (const std::string_view end : ends) {
        if (name != end) continue;
        end_tag_ = std::move(name);
        end_segment_ = position_ - 1;
        --depth_;
        return body;
      }
      parse_tag(name, tag, body);
    }
    if (ends.size() != 0) refuse(opened_at, "a tag without its end tag");
    return body;
  }

  static Statement statement(Kind kind, int line) {
    Statement result;
    result.kind = kind;
    result.line = line;
    return result;
  }

  void parse_tag(const std::string& name, ExpressionParser& tag, Block& body) {
    if (name == "if") {
      body.push_back(condition(tag));
    } else if (name == "for") {
      body.push_back(loop(tag));
    } else if (name == "set") {
      body.push_back(assignment(tag));
    } else if (name == "macro") {
      body.push_back(macro(tag));
    } else if (name == "break" || name == "continue") {
      tag.expect_end();
      body.push_back(statement(name == "break" ? Kind::stop : Kind::skip, tag.line()));
    } else if (name == "generation") {  // marks the assistant's text for training; renders as is
      tag.expect_end();
      for (Statement& inner : block({"endgeneration"}, tag.line()))
        body.push_back(std::move(inner));
    } else {
      refuse(tag.line(), fmt::format("tag {{% {} %}}", shown(name)));
    }
  }

  Statement condition(ExpressionParser& tag) {
    Statement result = statement(Kind::condition, tag.line());
    result.expressions.push_back(tag.expression());
    tag.expect_end();
    for (;;) {
      result.branches.push_back(block({"elif", "else", "endif"}, result.line));
      if (end_tag_ == "endif") break;
      if (end_tag_ == "else") {
        result.branches.push_back(block({"endif"}, result.line));
        return result;
      }
      ExpressionParser next(segments_[end_segment_]);
      next.name();
      result.expressions.push_back(next.expression());
      next.expect_end();
    }
    result.branches.emplace_back();
    return result;
  }

  Statement loop(ExpressionParser& tag) {
    Statement result = statement(Kind::loop, tag.line());
    do {
      result.names.push_back(tag.name());
    } while (tag.take_sign(","));
    if (!tag.take_name("in")) refuse(tag.line(), "a loop without \"in\"");
    result.expressions.push_back(tag.without_choice());
    if (tag.take_name("if")) result.expressions.push_back(tag.expression());
    if (tag.take_name("recursive")) refuse(tag.line(), "a recursive loop");
    tag.expect_end();
    result.branches.push_back(block({"else", "endfor"}, result.line));
    result.branches.push_back(end_tag_ == "else" ? block({"endfor"}, result.line) : Block{});
    return result;
  }

  Statement assignment(ExpressionParser& tag) {
    Statement result = statement(Kind::assignment, tag.line());
    result.text = tag.name();
    if (tag.take_sign(".")) result.attribute = tag.name();
    if (tag.at_end() && result.attribute.empty()) {
      result.kind = Kind::capture;
      result.branches.push_back(block({"endset"}, result.line));
      return result;
    }
    tag.expect_sign("=");
    result.expressions.push_back(tag.expression());
    tag.expect_end();
    return result;
  }

  Statement macro(ExpressionParser& tag) {
    Statement result = statement(Kind::macro, tag.line());
    result.text = tag.name();
    tag.expect_sign("(");
    while (!tag.take_sign(")")) {
      if (result.names.size() == kMaxNames) refuse(tag.line(), "a macro with this many arguments");
      result.names.push_back(tag.name());
      result.expressions.push_back(tag.take_sign("=") ? tag.expression() : Expression{});
      if (!tag.take_sign(",") && !tag.at_sign(")")) tag.expect_sign(")");
    }
    tag.expect_end();
    result.branches.push_back(block({"endmacro"}, result.line));
    return result;
  }

  std::vector<Segment> segments_;
  std::size_t position_ = 0;
  std::string end_tag_;
  std::size_t end_segment_ = 0;
  int depth_ = 0;
};

}  // namespace

Block parse(std::string_view source) { return Parser(segments(source)).run(); }

}  // namespace sluice::tokenizer::jinja
