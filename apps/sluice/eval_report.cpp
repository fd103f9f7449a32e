#include "eval_report.hpp"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "output/table.hpp"

namespace sluice::cli {
namespace {

using Json = nlohmann::ordered_json;

std::string percent(const Proportion& proportion) {
  return fmt::format("{:.1f} %", 100 * proportion.value());
}

std::string part(double seconds, const ForwardTimes& times) {
  return times.total() > 0 ? fmt::format("{:.0f} %", 100 * seconds / times.total()) : "-";
}

// "with router.top_k lost", "with router.top_k applied twice", "with the fault swap_gate_up".
std::string fault_in_words(const std::string& fault) {
  const std::size_t colon = fault.find(':');
  if (colon == std::string::npos) return "with the fault " + fault;
  const std::string field = fault.substr(colon + 1);
  return "with " + field + (fault.starts_with("drop:") ? " lost" : " applied twice");
}

}  // namespace

std::string percent_with_interval(const Proportion& proportion) {
  return fmt::format("{:.1f} % [{:.1f}, {:.1f}]", 100 * proportion.value(), 100 * proportion.low(),
                     100 * proportion.high());
}

std::string accuracy_table(const EvalReport& report) {
  Table table({{"run"},
               {"gsm8k [95 %]", true},
               {"lm-eval strict", true},
               {"flexible", true},
               {"vllm", true},
               {"gold NLL", true},
               {"same answers", true},
               {"differs at", true},
               {"KL", true}});
  for (const SubjectReport& subject : report.subjects) {
    const bool first = &subject == &report.subjects.front();
    table.add({subject.name, percent_with_interval(subject.accuracy[0]),
               percent(subject.accuracy[1]), percent(subject.accuracy[2]),
               percent(subject.accuracy[3]), fmt::format("{:.3g}", subject.gold_nll),
               first ? "-" : percent(subject.identical),
               subject.first_divergence ? fmt::format("{}", *subject.first_divergence) : "-",
               first ? "-" : fmt::format("{:.2e}", subject.mean_kl)});
  }
  std::string text = table.text();
  for (const SubjectReport& subject : report.subjects) {
    if (subject.not_a_number == 0) continue;
    text +=
        fmt::format("{}: {} of {} answers ended where no logit was a number, and count as wrong\n",
                    subject.name, subject.not_a_number, std::ssize(subject.answers));
  }
  return text;
}

std::string speed_table(const EvalReport& report) {
  Table table({{"run"},
               {"prefill tok/s", true},
               {"decode tok/s", true},
               {"experts", true},
               {"router", true},
               {"attention", true},
               {"dense mlp", true},
               {"head", true},
               {"rest", true}});
  for (const SubjectReport& subject : report.subjects) {
    const ForwardTimes& parts = subject.times.parts;
    table.add({subject.name, fmt::format("{:.1f}", subject.times.prefill.rate()),
               fmt::format("{:.1f}", subject.times.decode.rate()), part(parts.experts, parts),
               part(parts.router, parts), part(parts.attention, parts),
               part(parts.dense_mlp, parts), part(parts.head, parts), part(parts.rest, parts)});
  }
  return table.text();
}

std::string fault_sentence(const std::string& fault, const EvalReport& report,
                           const SubjectReport& right, const SubjectReport& faulty) {
  const SubjectReport& first = report.subjects.front();
  std::string comparison;
  if (&right != &first) {
    comparison = fmt::format("{} gives {} of {} answers token by token as {} does; ", right.name,
                             right.identical.hits, right.identical.trials, first.name);
  }
  return fmt::format(
      "What you have just seen: {}{} it still runs without any error, but accuracy goes from "
      "{:.1f} % to {:.1f} % and the NLL of the right solution from {:.2g} to {:.2g} per token.\n",
      comparison, fault_in_words(fault), 100 * right.accuracy[0].value(),
      100 * faulty.accuracy[0].value(), right.gold_nll, faulty.gold_nll);
}

Json scores_json(const std::array<Proportion, kScoringRules>& scores) {
  Json json;
  for (std::size_t rule = 0; rule < kScoringRules; ++rule) {
    json[std::string(scoring_rules()[rule].name)] = {{"correct", scores[rule].hits},
                                                     {"of", scores[rule].trials},
                                                     {"accuracy", scores[rule].value()},
                                                     {"low", scores[rule].low()},
                                                     {"high", scores[rule].high()}};
  }
  return json;
}

Json report_json(const EvalReport& report) {
  Json runs = Json::array();
  for (const SubjectReport& subject : report.subjects) {
    const EvalTimes& times = subject.times;
    runs.push_back(
        {{"run", subject.name},
         {"accuracy", scores_json(subject.accuracy)},
         {"gold_nll", subject.gold_nll},
         {"answers_not_a_number", subject.not_a_number},
         {"identical_answers", subject.identical.value()},
         {"first_divergence", subject.first_divergence ? Json(*subject.first_divergence) : Json()},
         {"mean_kl", subject.mean_kl},
         {"prefill_tokens_per_second", times.prefill.rate()},
         {"decode_tokens_per_second", times.decode.rate()},
         {"prefill_tokens", times.prefill.tokens},
         {"decode_tokens", times.decode.tokens},
         {"seconds_by_part",
          {{"experts", times.parts.experts},
           {"router", times.parts.router},
           {"attention", times.parts.attention},
           {"dense_mlp", times.parts.dense_mlp},
           {"head", times.parts.head},
           {"rest", times.parts.rest}}}});
  }
  return {{"problems", report.subjects.front().accuracy[0].trials},
          {"resumed", report.resumed},
          {"runs", runs}};
}

}  // namespace sluice::cli
