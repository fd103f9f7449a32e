// Kimi's tokenizer: tiktoken.model for the words, tokenizer_config.json for the special tokens.
#pragma once

#include <string_view>

#include "tokenizer/config.hpp"
#include "tokenizer/pipeline.hpp"

namespace sluice::tokenizer {

Pipeline read_kimi(std::string_view ranks, const TokenizerConfig& config);

}  // namespace sluice::tokenizer
