// The oracle: a whole layer in double precision, each output with its error bound.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "audit/case.hpp"
#include "audit/oracle/dot.hpp"
#include "audit/oracle/router.hpp"
#include "audit/unpacked.hpp"

namespace sluice::auditing {

struct OracleOptions {
  bool slot_outputs_rounded = false;  // AuditAllowances
};

class Oracle {
 public:
  // Keeps a reference to the case.
  explicit Oracle(const Case& subject, const OracleOptions& options = {});

  // Of the token's logits; nullopt when the case gives the routing.
  const std::optional<TokenRouting>& routing(std::int64_t token) const;
  // Every hidden state of the token is a finite number.
  bool is_finite(std::int64_t token) const;
  // What exact arithmetic chooses, or what the case gives.
  std::vector<std::int32_t> ids(std::int64_t token) const;
  std::vector<Approx> weights(std::int64_t token, std::span<const std::int32_t> ids) const;
  // [H], before the rounding to the output's dtype.
  const std::vector<Approx>& output(std::int64_t token, std::span<const std::int32_t> ids) const;
  // One slot's contribution, unweighted, [H].
  std::vector<Approx> slot_output(std::int64_t token, std::int32_t id, const Approx& weight) const;

 private:
  struct Matrix {
    std::span<const float> values;
    std::size_t columns = 0;
    std::vector<int> lowest;  // per row
  };
  struct Block {
    Matrix gate, up, down;
    std::span<const float> gate_bias, up_bias, down_bias;
  };
  static Matrix matrix(std::span<const float> values, std::size_t columns);
  Block block(const UnpackedExpert& expert) const;
  std::vector<Approx> run(const Block& block, std::int64_t token, const Approx* weight,
                          bool plain) const;
  std::vector<Approx> compute(std::int64_t token, std::span<const std::int32_t> ids) const;
  void add_shared(std::int64_t token, std::vector<Approx>& out) const;

  const Case& case_;
  OracleOptions options_;
  Unpacked tensors_;
  std::vector<float> hidden_;  // [tokens, H]
  std::vector<std::optional<TokenRouting>> routings_;
  std::vector<Block> experts_;
  Block shared_;
  struct Memo {
    std::vector<std::int32_t> ids;
    std::vector<Approx> output;
  };
  mutable std::vector<std::vector<Memo>> memo_;  // by token
  mutable std::vector<std::vector<std::pair<std::int32_t, std::vector<Approx>>>> slots_;
};

}  // namespace sluice::auditing
