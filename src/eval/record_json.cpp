#include "eval/record_json.hpp"

#include <cstdint>
#include <limits>
#include <stdexcept>

namespace sluice {
namespace {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

constexpr std::array kFinishReasons{FinishReason::stop_id, FinishReason::stop_string,
                                    FinishReason::length, FinishReason::not_a_number};

FinishReason finish_from(const std::string& name) {
  for (FinishReason reason : kFinishReasons) {
    if (to_string(reason) == name) return reason;
  }
  throw std::invalid_argument("unknown finish reason " + name);
}

// Json::get would cut fractions and wrap what does not fit.
TokenId token_id(const Json& json) {
  const auto id = json.is_number_unsigned() ? json.get<std::uint64_t>() : UINT64_MAX;
  if (id > std::numeric_limits<TokenId>::max()) throw std::invalid_argument("no token id");
  return static_cast<TokenId>(id);
}

// Figures of one answer or one batch: far above any, and their sums over a file do not overflow.
std::int64_t token_count(const Json& json) {
  const auto count = json.is_number_unsigned() ? json.get<std::uint64_t>() : UINT64_MAX;
  if (count > std::numeric_limits<std::uint32_t>::max()) throw std::invalid_argument("no count");
  return static_cast<std::int64_t>(count);
}

// JSON has no NaN: a broken subject's figures come back from null.
double number(const Json& json) {
  return json.is_null() ? std::numeric_limits<double>::quiet_NaN() : json.get<double>();
}

OrderedJson to_json(const Throughput& phase) {
  return {{"tokens", phase.tokens}, {"seconds", phase.seconds}};
}

Throughput throughput_from(const Json& json) {
  return {token_count(json.at("tokens")), json.at("seconds").get<double>()};
}

struct Part {
  const char* name;
  double ForwardTimes::*seconds;
};

constexpr std::array<Part, 6> kParts{{{"attention", &ForwardTimes::attention},
                                      {"router", &ForwardTimes::router},
                                      {"experts", &ForwardTimes::experts},
                                      {"dense_mlp", &ForwardTimes::dense_mlp},
                                      {"head", &ForwardTimes::head},
                                      {"rest", &ForwardTimes::rest}}};

}  // namespace

OrderedJson to_json(const EvalAnswer& answer) {
  OrderedJson correct;
  for (std::size_t rule = 0; rule < kScoringRules; ++rule) {
    correct[std::string(scoring_rules()[rule].name)] = answer.correct[rule];
  }
  return {{"completion", answer.completion},
          {"finish", to_string(answer.finish)},
          {"correct", correct},
          {"gold_tokens", answer.gold_tokens},
          {"gold_nll", answer.gold_nll},
          {"kl", answer.kl},
          {"ids", answer.ids}};
}

EvalAnswer answer_from_json(const Json& json) {
  EvalAnswer answer;
  answer.completion = json.at("completion").get<std::string>();
  answer.finish = finish_from(json.at("finish").get<std::string>());
  for (std::size_t rule = 0; rule < kScoringRules; ++rule) {
    answer.correct[rule] = json.at("correct").at(std::string(scoring_rules()[rule].name));
  }
  answer.gold_tokens = token_count(json.at("gold_tokens"));
  answer.gold_nll = number(json.at("gold_nll"));
  answer.kl = number(json.at("kl"));
  for (const Json& id : json.at("ids")) answer.ids.push_back(token_id(id));
  return answer;
}

OrderedJson to_json(const EvalTimes& times) {
  OrderedJson json{{"prefill", to_json(times.prefill)}, {"decode", to_json(times.decode)}};
  for (const Part& part : kParts) json["parts"][part.name] = times.parts.*part.seconds;
  return json;
}

EvalTimes times_from_json(const Json& json) {
  EvalTimes times;
  times.prefill = throughput_from(json.at("prefill"));
  times.decode = throughput_from(json.at("decode"));
  times.parts.tokens = times.prefill.tokens + times.decode.tokens;
  for (const Part& part : kParts) times.parts.*part.seconds = json.at("parts").at(part.name);
  return times;
}

}  // namespace sluice
