#include "audit/compare.hpp"

#include <fmt/format.h>

#include <cmath>

#include "base/element.hpp"

namespace sluice::auditing {
namespace {

double nearest(DType dtype, double value) {
  const auto single = static_cast<float>(value);
  if (dtype == DType::bf16) return round_to_bf16(single);
  if (dtype == DType::f16) return round_to_f16(single);
  return single;
}

// The row's largest share decides; ties to the first.
struct Worst {
  double share = -1.0;
  std::int64_t token = -1;
  std::int64_t element = -1;
  double got = 0.0;
  Approx expected;

  void see(double share_now, std::int64_t row, std::int64_t column, double value,
           const Approx& truth) {
    // NaN must win: it is worse than any number.
    if (share_now <= share || std::isnan(share)) return;
    share = share_now;
    token = row;
    element = column;
    got = value;
    expected = truth;
  }
};

std::vector<std::int32_t> reported_ids(const RunResult& result, std::int64_t token,
                                       std::int64_t top_k) {
  std::vector<std::int32_t> ids;
  for (std::int64_t slot = 0; slot < top_k; ++slot) {
    ids.push_back(static_cast<std::int32_t>(result.ids.id(token * top_k + slot)));
  }
  return ids;
}

class Comparer {
 public:
  Comparer(const Case& subject, const Oracle& oracle, const RunResult& result,
           const CompareOptions& options)
      : case_(subject), oracle_(oracle), result_(result), options_(options) {}

  Comparison run() {
    if (!result_.error.empty()) {
      return failure(result_.threw_at_load ? Stage::load : Stage::memory,
                     "threw: " + result_.error);
    }
    if (!result_.memory.empty()) return failure(Stage::memory, result_.memory);
    const Shape& shape = result_.output.shape();
    const std::int64_t first = options_.first_token;
    const Shape expected{case_.tokens() - first, case_.spec.experts.hidden_size};
    if (shape.rank() != 2 || shape[1] != expected[1] || shape[0] > expected[0] ||
        (first == 0 && !options_.part && shape[0] != expected[0])) {
      return failure(Stage::combine,
                     fmt::format("output has shape {}, expected {}",
                                 to_string(result_.output.shape()), to_string(expected)));
    }
    for (std::int64_t row = 0; row < shape[0]; ++row) see_token(row, first + row);
    return judge();
  }

 private:
  static Comparison failure(Stage stage, std::string message) {
    Comparison comparison;
    comparison.stage = stage;
    comparison.message = std::move(message);
    comparison.use = std::numeric_limits<double>::infinity();
    return comparison;
  }

  void see_token(std::int64_t row, std::int64_t token) {
    const std::int64_t top_k = case_.spec.router.top_k;
    std::vector<std::int32_t> ids = oracle_.ids(token);
    const auto& routing = oracle_.routing(token);
    if (options_.reports_routing) {
      const auto reported = reported_ids(result_, row, top_k);
      const std::string wrong = routing           ? routing->why_wrong(reported)
                                : reported == ids ? std::string()
                                                  : "the given ids were not kept";
      if (!wrong.empty()) {
        ++wrong_ids_;
        if (ids_message_.empty()) {
          ids_token_ = token;
          ids_message_ = fmt::format("token {}: chose [{}], expected [{}]: {}", token,
                                     fmt::join(reported, ", "), fmt::join(ids, ", "), wrong);
        }
        return;
      }
      ids = reported;
      const std::vector<Approx> weights = oracle_.weights(token, ids);
      for (std::int64_t slot = 0; slot < top_k; ++slot) {
        const double got = result_.weights.get(row * top_k + slot);
        const Approx& expected = weights[static_cast<std::size_t>(slot)];
        weights_.see(share_of_bound(DType::f32, got, expected), token, slot, got, expected);
      }
    } else if (routing && routing->ambiguous()) {
      return;  // either choice is right, and the backend does not say which it took
    }
    see_output(row, token, ids);
  }

  void see_output(std::int64_t row_index, std::int64_t token,
                  const std::vector<std::int32_t>& ids) {
    // What becomes of a token that is itself not finite is not defined; of others it is.
    if (!oracle_.is_finite(token)) return;
    const std::vector<Approx>& expected = oracle_.output(token, ids);
    const auto width = static_cast<std::int64_t>(expected.size());
    Worst row;
    for (std::int64_t i = 0; i < width; ++i) {
      const Approx& truth = expected[static_cast<std::size_t>(i)];
      if (!std::isfinite(truth.value)) continue;
      const double got = result_.output.get(row_index * width + i);
      row.see(share_of_bound(result_.output.dtype(), got, truth), token, i, got, truth);
    }
    if (row.token < 0) return;
    if (!(row.share <= 1.0)) ++wrong_rows_;
    output_.see(row.share, row.token, row.element, row.got, row.expected);
  }

  Comparison judge() const {
    Comparison comparison;
    if (wrong_ids_ > 0) {
      comparison.stage = Stage::ids;
      comparison.token = ids_token_;
      comparison.wrong_tokens = wrong_ids_;
      comparison.message =
          fmt::format("{} ({} of {} tokens)", ids_message_, wrong_ids_, case_.tokens());
      comparison.use = std::numeric_limits<double>::infinity();
      return comparison;
    }
    const Worst& worst = weights_.share > output_.share ? weights_ : output_;
    comparison.use = worst.share;
    if (worst.token >= 0) place(comparison, worst, &worst == &weights_ ? "slot" : "column");
    if (weights_.token >= 0 && !(weights_.share <= 1.0)) {
      comparison.stage = Stage::weights;
      place(comparison, weights_, "slot");
      comparison.use = weights_.share;
      return comparison;
    }
    if (output_.token >= 0 && !(output_.share <= 1.0)) {
      comparison.stage = Stage::expert;
      comparison.wrong_tokens = wrong_rows_;
      place(comparison, output_, "column");
      comparison.message +=
          fmt::format(" ({} of {} tokens are wrong)", wrong_rows_, case_.tokens());
    }
    comparison.use = std::max(comparison.use, 0.0);
    return comparison;
  }

  static void place(Comparison& comparison, const Worst& worst, const char* what) {
    comparison.token = worst.token;
    comparison.element = worst.element;
    comparison.message =
        fmt::format("token {}, {} {}: got {:.9g}, expected {:.9g}, bound {:.3g}, off by {:.3g}",
                    worst.token, what, worst.element, worst.got, worst.expected.value,
                    worst.expected.error, std::fabs(worst.got - worst.expected.value));
  }

  const Case& case_;
  const Oracle& oracle_;
  const RunResult& result_;
  const CompareOptions options_;
  Worst weights_;
  Worst output_;
  std::int64_t wrong_ids_ = 0;
  std::int64_t wrong_rows_ = 0;
  std::int64_t ids_token_ = -1;
  std::string ids_message_;
};

}  // namespace

double share_of_bound(DType dtype, double got, const Approx& expected) {
  if (std::isnan(got)) return got;
  // Divided by what may be zero, then perhaps multiplied by zero: any number is right.
  if (!std::isfinite(expected.error)) return 0.0;
  const double low = nearest(dtype, expected.value - expected.error);
  const double high = nearest(dtype, expected.value + expected.error);
  // Rounding is monotone: anything between the ends' roundings is a correct rounding of something
  // within the bound.
  const double nearest_value = nearest(dtype, expected.value);
  if (got == nearest_value) return 0.0;
  if (!(got >= low && got <= high)) {
    const double off = std::fabs(got - expected.value);
    return expected.error > 0.0 ? std::max(off / expected.error, 1.0 + 1e-9)
                                : std::numeric_limits<double>::infinity();
  }
  // How much of the bound it takes for the rounding to come out as `got`: bisection.
  const double direction = got > nearest_value ? 1.0 : -1.0;
  double enough = 1.0;
  double too_little = 0.0;
  for (int step = 0; step < 12; ++step) {
    const double middle = 0.5 * (enough + too_little);
    const double reached = nearest(dtype, expected.value + direction * middle * expected.error);
    (direction > 0 ? reached >= got : reached <= got) ? enough = middle : too_little = middle;
  }
  return enough;
}

Comparison compare(const Case& subject, const Oracle& oracle, const RunResult& result,
                   const CompareOptions& options) {
  return Comparer(subject, oracle, result, options).run();
}

}  // namespace sluice::auditing
