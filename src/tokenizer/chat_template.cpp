#include "tokenizer/chat_template.hpp"

#include <memory>
#include <utility>
#include <vector>

#include "base/fail.hpp"
#include "tokenizer/jinja/parser.hpp"
#include "tokenizer/jinja/render.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

using jinja::Value;

constexpr std::size_t kMaxTemplateBytes = 1 << 20;

}  // namespace

std::string render_chat(std::string_view source, const ChatTokens& tokens,
                        std::span<const ChatMessage> messages, bool add_generation_prompt) {
  if (source.size() > kMaxTemplateBytes) {
    fail(ErrorKind::checkpoint, "the chat template has {} bytes; the limit is {}", source.size(),
         kMaxTemplateBytes);
  }
  jinja::List list;
  for (const ChatMessage& message : messages) {
    auto entry = std::make_shared<jinja::Mapping>();
    entry->set("role", valid_utf8(message.role));
    entry->set("content", valid_utf8(message.content));
    list.emplace_back(std::move(entry));
  }
  std::vector<std::pair<std::string, Value>> variables{
      {"messages", jinja::make_list(std::move(list))},
      {"tools", jinja::None{}},
      {"documents", jinja::None{}},
      {"add_generation_prompt", add_generation_prompt}};
  const auto add = [&](const char* name, const std::optional<std::string>& token) {
    if (token) variables.emplace_back(name, *token);
  };
  add("bos_token", tokens.bos);
  add("eos_token", tokens.eos);
  add("pad_token", tokens.pad);
  add("unk_token", tokens.unk);
  return jinja::render(jinja::parse(valid_utf8(source)), std::move(variables));
}

}  // namespace sluice::tokenizer
