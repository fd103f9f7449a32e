#include <sluice/generate.hpp>
#include <sluice/tokenizer.hpp>

namespace sluice {
namespace {

class TokenizerDecoder final : public TextDecoder {
 public:
  explicit TokenizerDecoder(const Tokenizer& tokenizer) : stream_(tokenizer) {}
  std::string push(std::int32_t id) override { return stream_.push(id); }
  std::string finish() override { return stream_.finish(); }

 private:
  TokenStream stream_;
};

}  // namespace

std::unique_ptr<TextDecoder> make_text_decoder(const Tokenizer& tokenizer) {
  return std::make_unique<TokenizerDecoder>(tokenizer);
}

}  // namespace sluice
