// Hugging Face's tokenizer.json.
#pragma once

#include <string_view>

#include "tokenizer/pipeline.hpp"

namespace sluice::tokenizer {

// Known: byte-level BPE; normalizer NFC; pre-tokenizers Split, Digits, ByteLevel; post-processors
// TemplateProcessing, ByteLevel; decoder ByteLevel; sequences of each. `truncation` and `padding`
// are settings of a training run and are ignored, as transformers does.
// Throws Error(unsupported) naming anything else, Error(checkpoint) for damage.
Pipeline read_tokenizer_json(std::string_view json);

}  // namespace sluice::tokenizer
