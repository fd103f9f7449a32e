// Backends that read scaled weights in the form of our own packer alone are seen.
#include "audit/cases/stored_forms.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "audit/faults/edit_weights.hpp"
#include "audit/faults/mutant_tables.hpp"
#include "base/float_types.hpp"
#include "small_audit.hpp"

namespace sluice::auditing {
namespace {

std::vector<float> unpacked(WeightFormat format, std::span<const float> matrix,
                            formats::MatrixSize size, StoredForm form) {
  const formats::PackedMatrix packed = pack_as(format, matrix, size, form);
  std::vector<float> out(matrix.size());
  formats::unpack(format, packed.view(), size, out);  // throws for a form that is not legal
  return out;
}

// What is stored in another form is the same matrix, but for the rounding of its scales to BF16,
// or, of int4 in groups of 128, but for half a step of theirs.
TEST(StoredForms, AllAreLegalAndHoldTheMatrix) {
  constexpr formats::MatrixSize kSize{6, 256};
  constexpr float kLargest = 50.0f;  // in every group
  std::vector<float> matrix;
  for (int i = 0; i < 6 * 256; ++i) matrix.push_back(static_cast<float>((i * 37) % 101) - kLargest);
  for (const WeightFormat format : formats::scaled_formats()) {
    SCOPED_TRACE(to_string(format));
    const std::vector<float> first = unpacked(format, matrix, kSize, StoredForm::first);
    const std::vector<float> last = unpacked(format, matrix, kSize, StoredForm::last);
    const bool regrouped = format == WeightFormat::int4;
    const std::vector<float>& same = regrouped ? matrix : first;
    for (std::size_t i = 0; i < matrix.size(); ++i) {
      const float step = regrouped ? kLargest / 7 : 0.0f;
      EXPECT_LE(std::fabs(last[i] - same[i]), step / 2 + 0x1p-8f * std::fabs(same[i])) << i;
    }
  }
}

// Scales of 128 columns, one after the other for every 32.
void take_groups_for_32(Load& load) {
  if (load.spec.experts.weight_format != WeightFormat::int4) return;
  const auto spread = [&](ExpertMatrices& all, std::int64_t columns) {
    for (TensorView& scales : all) {
      const std::int64_t rows = scales.shape[0];
      const std::int64_t groups = scales.shape[1];
      if (groups * 32 == columns) continue;
      OwnedTensor wrong(DType::f32, {rows, columns / 32});
      for (std::int64_t i = 0; i < wrong.elements(); ++i) {
        const std::int64_t row = i / (columns / 32);
        wrong.set(i, load_float(scales.data, scales.dtype, row * groups + i % groups));
      }
      scales = load.keep(std::move(wrong));
    }
  };
  spread(load.weights.gate_up_scale, load.spec.experts.hidden_size);
  spread(load.weights.down_scale, local_width(load.spec));
}

// A kernel that knows scales in F32 alone, and takes others for absent.
void lose_scales_in_bf16(Load& load) {
  for (ExpertMatrices* all : {&load.weights.gate_up_scale, &load.weights.down_scale}) {
    for (TensorView& scales : *all) {
      if (scales.dtype != DType::bf16) continue;
      OwnedTensor ones(DType::bf16, scales.shape);
      for (std::int64_t i = 0; i < ones.elements(); ++i) ones.set(i, 1.0f);
      scales = load.keep(std::move(ones));
    }
  }
}

void round_shared_to_bf16(Load& load) {
  if (load.weights.gate_up_scale.empty()) return;
  const EditMatrix round = [](std::span<float> values, auto, auto, auto) {
    for (float& value : values) value = round_to_bf16(value);
  };
  edit_shared_gate_up(load, round);
  edit_shared_down(load, round);
}

TEST(StoredForms, ABackendThatKnowsOneOfThemIsSeen) {
  const std::pair<const char*, void (*)(Load&)> faults[] = {
      {"int4 has groups of 32 alone", take_groups_for_32},
      {"scales in bf16 are lost", lose_scales_in_bf16},
      {"shared experts beside scales are bf16", round_shared_to_bf16}};
  for (const auto& [name, change] : faults) {
    const auto faulty =
        decorate(backend("reference"), {{name, '?', name, "-"}, on_load(change), {}});
    AuditOptions options = quick_options();
    options.rounds = 3;  // of the quick suite
    options.diagnose = false;
    EXPECT_FALSE(audit(*faulty, options).ok()) << name;
  }
}

}  // namespace
}  // namespace sluice::auditing
