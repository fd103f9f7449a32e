#include "audit/oracle/dot.hpp"

namespace sluice::auditing {
namespace {

struct Sums {
  double dot = 0.0;
  double absolute = 0.0;  // sum |a b|
  double squares = 0.0;   // sum (a b)²
  double slack = 0.0;     // sum |a| slack
  double slack_squares = 0.0;
};

// Eight interleaved partial sums: vectorisable, and the order does not matter at double precision.
Sums accumulate(std::span<const float> a, const RoundedVector& b) {
  constexpr std::size_t kLanes = 8;
  double dot[kLanes] = {}, absolute[kLanes] = {}, squares[kLanes] = {};
  const std::size_t whole = a.size() / kLanes * kLanes;
  for (std::size_t i = 0; i < whole; i += kLanes) {
    for (std::size_t lane = 0; lane < kLanes; ++lane) {
      const double product = static_cast<double>(a[i + lane]) * b.values[i + lane];
      dot[lane] += product;
      absolute[lane] += std::fabs(product);
      squares[lane] += product * product;
    }
  }
  Sums sums;
  for (std::size_t i = whole; i < a.size(); ++i) {
    const double product = static_cast<double>(a[i]) * b.values[i];
    sums.dot += product;
    sums.absolute += std::fabs(product);
    sums.squares += product * product;
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    sums.dot += dot[lane];
    sums.absolute += absolute[lane];
    sums.squares += squares[lane];
  }
  for (std::size_t i = 0; i < b.slack.size(); ++i) {
    if (b.slack[i] == 0.0) continue;
    const double slack = std::fabs(static_cast<double>(a[i])) * b.slack[i];
    sums.slack += slack;
    sums.slack_squares += slack * slack;
  }
  return sums;
}

// sum |a b| over the products with a denormal operand, which may be read as zero.
double denormal_products(std::span<const float> a, int a_lowest, const RoundedVector& b) {
  // A denormal number is no multiple of the smallest normal one.
  if (a_lowest >= -126 && b.lowest >= -126) return 0.0;
  const auto denormal = [](double x) { return x != 0.0 && std::fabs(x) < kSmallest; };
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double x = a[i];
    if (denormal(x) || denormal(b.values[i])) sum += std::fabs(x * b.values[i]);
  }
  return sum;
}

// Every partial sum, in any order, is a multiple of 2^lowest below 2^24 of them: fp32 is exact.
bool sums_are_exact(double absolute, int lowest) {
  return lowest > -126 && absolute < std::ldexp(1.0, 24 + std::min(lowest, 900));
}

}  // namespace

Approx dot_error(std::span<const float> a, int a_lowest, const RoundedVector& b, double bias,
                 bool statistical) {
  const Sums sums = accumulate(a, b);
  const double value = sums.dot + bias;
  const double absolute = sums.absolute + std::fabs(bias);
  const int lowest = std::min(a_lowest + b.lowest, lowest_bit(bias));
  const double flushed = denormal_products(a, a_lowest, b);
  if (b.exact() && flushed == 0.0 && sums_are_exact(absolute, lowest)) return {value, 0.0};

  // n products and n sums: (n + 1) roundings lie on the longest path of the simplest loop.
  const auto n = static_cast<double>(a.size()) + (bias != 0.0 ? 2.0 : 1.0);
  double rounding = n * kUnit / (1.0 - n * kUnit) * absolute;
  double flips = sums.slack;
  if (statistical) {
    const double spread = std::sqrt(sums.squares + bias * bias);
    const double partial_sum = std::fabs(value) + kPartialSums * spread;
    const double growth = kLambda * std::sqrt(n) + n / 8.0;
    rounding = std::min(rounding, kUnit * (growth * partial_sum + kLambda * spread));
    flips = std::min(flips, kLambda * std::sqrt(sums.slack_squares));
  }
  return {value, rounding + flips + flushed + n * kSmallest};
}

int lowest_bit_of(std::span<const float> row) {
  int lowest = 4096;
  for (const float x : row) lowest = std::min(lowest, lowest_bit(x));
  return lowest;
}

int lowest_bit_of(std::span<const double> row) {
  int lowest = 4096;
  for (const double x : row) lowest = std::min(lowest, lowest_bit(x));
  return lowest;
}

}  // namespace sluice::auditing
