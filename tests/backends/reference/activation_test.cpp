#include "backends/reference/activation.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace sluice::reference {
namespace {

TEST(Activation, Relu2IsZeroBelowZeroToInfinityAndKeepsNan) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  ExpertSpec experts;
  experts.activation = Activation::relu2;
  EXPECT_EQ(activate(experts, 3.0, 0.0), 9.0);
  for (double gate : {0.0, -0.0, -2.5, -kInfinity}) EXPECT_EQ(activate(experts, gate, 0.0), 0.0);
  EXPECT_EQ(activate(experts, kInfinity, 0.0), kInfinity);
  EXPECT_TRUE(std::isnan(activate(experts, std::nan(""), 0.0)));
}

}  // namespace
}  // namespace sluice::reference
