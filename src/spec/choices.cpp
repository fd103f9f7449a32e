#include "spec/choices.hpp"

namespace sluice {

std::string_view to_string(ScoreFunc value) { return choice_name(value); }
std::string_view to_string(ScoreOrder value) { return choice_name(value); }
std::string_view to_string(GroupScore value) { return choice_name(value); }
std::string_view to_string(NormRule value) { return choice_name(value); }
std::string_view to_string(LogitsDType value) { return choice_name(value); }
std::string_view to_string(Activation value) { return choice_name(value); }
std::string_view to_string(GateUpOrder value) { return choice_name(value); }
std::string_view to_string(WeightFormat value) { return choice_name(value); }
std::string_view to_string(ActivationFormat value) { return choice_name(value); }
std::string_view to_string(OutputDType value) { return choice_name(value); }

}  // namespace sluice
