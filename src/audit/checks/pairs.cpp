// Every two claimed fields together, and every field with each form of call: bugs live where two
// conditions meet ("the bias loses its weight when the weight is on the input").
#include <fmt/format.h>

#include "audit/cases/draw_routing.hpp"
#include "audit/cases/draw_spec.hpp"
#include "audit/checks/check.hpp"

namespace sluice::auditing {
namespace {

// Small: there are hundreds of pairs. K = 1 is where the weight may go on the input; four groups.
constexpr Sizes kShapes[] = {{8, 3, 16, 16}, {8, 1, 16, 16}, {12, 4, 128, 128}};

enum class Form : std::uint8_t { logits, bf16_logits, given, one_token };
constexpr Form kForms[] = {Form::logits, Form::bf16_logits, Form::given, Form::one_token};

void give(Case& subject, Form form, std::uint64_t seed) {
  Draw draw(seed);
  if (form == Form::bf16_logits) draw_logits(subject, DType::bf16, draw, ordinary_logit);
  if (form != Form::given) return;
  subject.tensors.erase("router_logits");
  draw_given_routing(subject, DType::i32, DType::f32, false, draw);
}

std::optional<MoeSpec> together(const SpecSource& source, const Field& a, const Field& b,
                                std::uint64_t seed) {
  for (const Sizes& sizes : kShapes) {
    const auto base = source.base(sizes);
    if (!base) return std::nullopt;
    for (const auto& [first, second] : {std::pair{&a, &b}, std::pair{&b, &a}}) {
      const auto one = with_field(source.backend, *base, *first, seed);
      if (!one) continue;
      if (first == second || !second->is_neutral(*one)) return one;
      if (auto both = with_field(source.backend, *one, *second, seed + 1)) return both;
    }
  }
  return std::nullopt;
}

// False: enough was found.
bool check_pair(Context& context, const Field& a, const Field& b, Form form) {
  const std::uint64_t seed = context.options.seed;
  const auto spec = together(context.bank.source(), a, b, seed);
  if (!spec || !accepts(context.backend, *spec)) return true;
  const PreparedPtr prepared =
      context.bank.of(fmt::format("pair#{}#{}#{}", a.name, b.name, static_cast<int>(form)), [&] {
        Case made = plain_case(*spec, seed, form == Form::one_token ? 1 : 4);
        give(made, form, seed);
        made.regime = &a == &b ? fmt::format("{} = {}", a.key, a.value(*spec))
                               : fmt::format("{} and {}", a.key, b.key);
        return made;
      });
  constexpr std::size_t kEnough = 6;
  return context.judge(prepared) || (!context.done() && context.findings.size() < kEnough);
}

}  // namespace

void check_pairs(Context& context) {
  // What single fields have shown already, pairs would only repeat.
  if (context.bank.source().given || !context.findings.empty()) return;
  std::vector<const Field*> claimed;
  for (const Field& field : fields()) {
    const bool size = field.kind == FieldKind::size;
    if (!size && context.backend.claims().contains(field.name)) claimed.push_back(&field);
  }
  std::size_t turn = 0;
  for (std::size_t i = 0; i < claimed.size(); ++i) {
    for (const Form form : kForms) {
      if (!check_pair(context, *claimed[i], *claimed[i], form)) return;
    }
    for (std::size_t j = i + 1; j < claimed.size(); ++j) {
      if (!check_pair(context, *claimed[i], *claimed[j], kForms[turn++ % 3])) return;
    }
  }
}

}  // namespace sluice::auditing
