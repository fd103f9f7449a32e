#include "tokenizer/tokenizer_json.hpp"

#include <algorithm>
#include <utility>

#include "base/fail.hpp"
#include "tokenizer/byte_alphabet.hpp"
#include "tokenizer/json_fields.hpp"
#include "tokenizer/pre_tokenizer_json.hpp"
#include "tokenizer/utf8.hpp"

namespace sluice::tokenizer {
namespace {

constexpr std::size_t kMaxFileBytes = 256 << 20;

void refuse_unless_empty(Fields& model, std::string_view name) {
  const Json* value = model.find(name);
  if (value == nullptr || *value == "" || *value == 0.0) return;
  if (value->is_structured()) fail_type(model.path(name), "a number, a text or null", *value);
  fail(ErrorKind::unsupported, "{} is {}; only null is supported", model.path(name),
       shown(value->dump(-1, ' ', false, Json::error_handler_t::replace)));
}

TokenTable read_vocabulary(Fields& model) {
  TokenTable tokens;
  const Json& vocabulary = model.require("vocab");
  if (!vocabulary.is_object()) fail_type("model.vocab", "an object", vocabulary);
  for (const auto& [token, id] : vocabulary.items()) {
    if (!id.is_number_integer())
      fail_type("model.vocab[\"" + shown(token) + "\"]", "an integer", id);
    const bool too_large = id.is_number_unsigned() && id.get<std::uint64_t>() > INT64_MAX;
    tokens.add(token, too_large ? INT64_MAX : id.get<std::int64_t>());
  }
  return tokens;
}

// Each merge is "left right" or ["left", "right"].
std::vector<std::pair<std::string, std::string>> read_merges(Fields& model) {
  std::vector<std::pair<std::string, std::string>> merges;
  const Json& list = model.array("merges");
  merges.reserve(list.size());
  for (const Json& merge : list) {
    if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
      merges.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
      continue;
    }
    const std::string text = merge.is_string() ? merge.get<std::string>() : "";
    if (text.starts_with("#version")) continue;
    const std::size_t space = text.find(' ');
    if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) {
      fail_type("model.merges[" + std::to_string(merges.size()) + "]",
                R"("left right" or ["left", "right"])", merge);
    }
    merges.emplace_back(text.substr(0, space), text.substr(space + 1));
  }
  return merges;
}

bool has_every_byte(const TokenTable& tokens) {
  for (int byte = 0; byte < 256; ++byte) {
    std::string character;
    append_byte_characters(character, std::string(1, static_cast<char>(byte)));
    if (!tokens.find(character)) return false;
  }
  return true;
}

Bpe read_model(const Json& json) {
  Fields model(json, "model");
  const std::string type = model.text_or_null("type").value_or("BPE");
  if (type != "BPE") fail(ErrorKind::unsupported, "model is of type {}; known: BPE", shown(type));
  refuse_unless_empty(model, "dropout");
  refuse_unless_empty(model, "continuing_subword_prefix");
  refuse_unless_empty(model, "end_of_word_suffix");
  const BpeOptions options{model.text_or_null("unk_token"), model.flag("fuse_unk", false),
                           model.flag("ignore_merges", false)};
  TokenTable tokens = read_vocabulary(model);
  // With every byte in the vocabulary nothing is ever left to fall back for.
  if (model.flag("byte_fallback", false) && !has_every_byte(tokens)) {
    fail(ErrorKind::unsupported,
         "model.byte_fallback is true and the vocabulary lacks single bytes: only byte-level "
         "vocabularies are supported");
  }
  const auto merges = read_merges(model);
  model.refuse_others();
  return Bpe(std::move(tokens), merges, options);
}

bool read_nfc(const Json* json, const std::string& path, int depth = 0) {
  if (json == nullptr) return false;
  Fields normalizer(*json, path);
  const std::string type = normalizer.text("type");
  bool nfc = type == "NFC";
  if (type == "Sequence" && depth == 0) {
    std::size_t index = 0;
    for (const Json& part : normalizer.array("normalizers")) {
      nfc |= read_nfc(&part, path + ".normalizers[" + std::to_string(index++) + "]", 1);
    }
  } else if (type != "NFC") {
    fail(ErrorKind::unsupported, "{} is of type {}; known: NFC, Sequence", path, shown(type));
  }
  normalizer.refuse_others();
  return nfc;
}

void read_decoder(const Json& json) {
  Fields decoder(json, "decoder");
  const std::string type = decoder.text("type");
  if (type == "Sequence") {
    const Json& parts = decoder.array("decoders");
    decoder.refuse_others();
    if (parts.size() == 1) return read_decoder(parts[0]);
    fail(ErrorKind::unsupported, "decoder is a Sequence of {}; only ByteLevel alone is supported",
         parts.size());
  }
  if (type != "ByteLevel") {
    fail(ErrorKind::unsupported, "decoder is of type {}; known: ByteLevel, Sequence", shown(type));
  }
}

class PostProcessorReader {
 public:
  explicit PostProcessorReader(Pipeline& pipeline) : pipeline_(pipeline) {}

  void read(const Json& json, const std::string& path, int depth = 0) {
    Fields fields(json, path);
    const std::string type = fields.text("type");
    if (type == "Sequence" && depth == 0) {
      std::size_t index = 0;
      for (const Json& part : fields.array("processors")) {
        read(part, path + ".processors[" + std::to_string(index++) + "]", 1);
      }
    } else if (type == "TemplateProcessing") {
      read_template(fields);
    } else if (type != "ByteLevel") {  // ByteLevel moves offsets, which are not reported here
      fail(ErrorKind::unsupported,
           "{} is of type {}; known: TemplateProcessing, ByteLevel, Sequence", path, shown(type));
    }
  }

 private:
  // The template wraps what an earlier one made.
  void read_template(Fields& fields) {
    Fields ids(fields.require("special_tokens"), fields.path("special_tokens"));
    std::vector<std::optional<TokenId>> wrapped;
    for (const Json& part : fields.array("single")) {
      Fields piece(part, fields.path("single[]"));
      if (const Json* sequence = piece.find("Sequence")) {
        const std::string name = Fields(*sequence, piece.path("Sequence")).text("id");
        if (name != "A") {
          fail(ErrorKind::checkpoint, "{} names sequence {}; a single text is A", piece.path(),
               name);
        }
        wrapped.insert(wrapped.end(), pipeline_.around.begin(), pipeline_.around.end());
      } else {
        const std::string name =
            Fields(piece.require("SpecialToken"), piece.path("SpecialToken")).text("id");
        append_ids(ids, name, wrapped);
      }
      piece.refuse_others();
      if (wrapped.size() > kMaxTemplate) {
        fail(ErrorKind::checkpoint, "{} has more than {} parts", fields.path("single"),
             kMaxTemplate);
      }
    }
    pipeline_.around = std::move(wrapped);
  }

  void append_ids(Fields& tokens, const std::string& name,
                  std::vector<std::optional<TokenId>>& parts) const {
    Fields token(tokens.require(name), tokens.path(name));
    for (const Json& id : token.array("ids")) {
      const bool known = id.is_number_integer() && id >= 0 && id <= kMaxTokenId &&
                         pipeline_.token_of(id.get<TokenId>()) != nullptr;
      if (!known) fail_type(token.path("ids"), "ids of the vocabulary", id);
      parts.emplace_back(id.get<TokenId>());
    }
  }

  static constexpr std::size_t kMaxTemplate = 1024;
  Pipeline& pipeline_;
};

// The id that Hugging Face's reader gives: the file's, unless that leaves a gap.
void check_id(const Pipeline& pipeline, const AddedToken& token) {
  if (pipeline.tokens().find(token.content)) return;
  const std::int64_t size = static_cast<std::int64_t>(pipeline.tokens().size());
  const std::int64_t expected = std::max(size, pipeline.added.largest_id() + 1);
  if (token.id != expected) {
    fail(ErrorKind::checkpoint,
         "added_tokens: \"{}\" has id {} where the next free id is {}; Hugging Face would give it "
         "that one",
         shown(token.content), token.id, expected);
  }
}

void read_added_tokens(const Json& list, Pipeline& pipeline) {
  for (const Json& json : list) {
    Fields fields(json, "added_tokens[]");
    const std::int64_t id = fields.integer("id");
    if (id < 0 || id > kMaxTokenId) {
      fail(ErrorKind::checkpoint, "added_tokens: id {} is not between 0 and {}", id, kMaxTokenId);
    }
    AddedToken token;
    token.id = static_cast<TokenId>(id);
    token.content = fields.text("content");
    token.single_word = fields.flag("single_word");
    token.lstrip = fields.flag("lstrip");
    token.rstrip = fields.flag("rstrip");
    token.special = fields.flag("special");
    const bool normalized = fields.flag("normalized");
    fields.refuse_others();
    check_id(pipeline, token);
    pipeline.add_token(std::move(token), normalized);
  }
}

}  // namespace

Pipeline read_tokenizer_json(std::string_view text) {
  const Json document = parse_json(text, "tokenizer.json", kMaxFileBytes);
  Fields file(document, "");
  if (const auto version = file.text_or_null("version"); version && *version != "1.0") {
    fail(ErrorKind::unsupported, "tokenizer.json is of version {}; known: 1.0", shown(*version));
  }
  file.ignore("truncation");
  file.ignore("padding");
  read_decoder(file.require("decoder"));
  Pipeline pipeline(ByteLevelBpe{read_pre_tokenizer(file.require("pre_tokenizer")),
                                 read_model(file.require("model"))});
  pipeline.nfc = read_nfc(file.find("normalizer"), "normalizer");
  if (file.find("added_tokens") != nullptr) {
    read_added_tokens(file.array("added_tokens"), pipeline);
  }
  if (const Json* processor = file.find("post_processor")) {
    PostProcessorReader(pipeline).read(*processor, "post_processor");
  }
  file.refuse_others();
  return pipeline;
}

}  // namespace sluice::tokenizer
