#include <sluice/eval.hpp>

namespace sluice {
namespace {

std::string ask(const std::string& question) { return "Question: " + question + "\nAnswer:"; }

}  // namespace

std::string build_prompt(const PromptStyle& style, const std::string& question) {
  std::string prompt;
  for (const Problem& shot : style.shots) prompt += ask(shot.question) + " " + shot.answer + "\n\n";
  return prompt + ask(question);
}

std::vector<ChatMessage> build_chat(const PromptStyle& style, const std::string& question) {
  std::vector<ChatMessage> messages;
  for (const Problem& shot : style.shots) {
    messages.push_back({"user", ask(shot.question)});
    messages.push_back({"assistant", shot.answer});
  }
  messages.push_back({"user", ask(question)});
  return messages;
}

}  // namespace sluice
