#include "tokenizer/kimi.hpp"

#include <fmt/format.h>

#include "base/fail.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

constexpr std::size_t kMaxFileBytes = 64 << 20;
// 256 reserved and two more: moonshotai's TikTokenTokenizer, which is where the number stands.
constexpr std::int64_t kSpecialTokens = 258;

}  // namespace

Pipeline read_kimi(std::string_view ranks, const TokenizerConfig& config) {
  if (ranks.size() > kMaxFileBytes) {
    fail(ErrorKind::checkpoint, "tiktoken.model has {} bytes; the limit is {}", ranks.size(),
         kMaxFileBytes);
  }
  // The pattern is not in the files: another class would cut words in another way.
  if (config.tokenizer_class && *config.tokenizer_class != "TikTokenTokenizer") {
    fail(ErrorKind::unsupported,
         "tokenizer_class is {}; with tiktoken.model only Kimi's TikTokenTokenizer is known",
         *config.tokenizer_class);
  }
  if (!config.added_tokens) {
    fail(ErrorKind::checkpoint,
         "tiktoken.model says nothing of special tokens, and no tokenizer_config.json with "
         "\"added_tokens_decoder\" names them: <|im_end|> would be ten characters; put the "
         "checkpoint's own tokenizer_config.json beside it");
  }
  const auto& declared_tokens = *config.added_tokens;
  Pipeline pipeline(Tiktoken(ranks, kimi_pattern()));
  const std::int64_t first = pipeline.tokens().largest_id() + 1;
  for (const auto& [id, token] : declared_tokens) {
    if (id < first || id >= first + kSpecialTokens) {
      fail(ErrorKind::checkpoint,
           "added_tokens_decoder: \"{}\" has id {}; special tokens have ids {} to {}",
           shown(token.content), id, first, first + kSpecialTokens - 1);
    }
  }
  for (std::int64_t id = first; id < first + kSpecialTokens; ++id) {
    const auto declared = declared_tokens.find(id);
    AddedToken token;
    token.id = static_cast<TokenId>(id);
    token.special = true;
    token.content = declared != declared_tokens.end() ? declared->second.content
                                                      : fmt::format("<|reserved_token_{}|>", id);
    pipeline.add_token(std::move(token), false);
    // Every one is recognised in text; those declared not special (tool calls) show when decoded.
    if (declared != declared_tokens.end() && !declared->second.special) {
      pipeline.special.erase(static_cast<TokenId>(id));
    }
  }
  return pipeline;
}

}  // namespace sluice::tokenizer
