#include "model/batch.hpp"

#include <algorithm>
#include <unordered_set>

#include "base/fail.hpp"

namespace sluice {
namespace {

SequenceState& checked_sequence(const Model& model, const SequenceInput& input, std::size_t index) {
  auto* sequence = dynamic_cast<SequenceState*>(input.sequence);
  if (sequence == nullptr || sequence->owner() != &model) {
    fail(ErrorKind::user,
         "input {} of the batch has {}; make its sequence with this model's new_sequence()", index,
         input.sequence == nullptr ? "no sequence" : "a sequence of another model");
  }
  return *sequence;
}

void check_ids(const Model& model, const SequenceInput& input, std::size_t index) {
  const std::int64_t vocab_size = model.description().vocab_size;
  for (std::size_t i = 0; i < input.ids.size(); ++i) {
    if (input.ids[i] >= 0 && input.ids[i] < vocab_size) continue;
    fail(ErrorKind::user, "id {} of input {} is {}; the vocabulary has ids 0 to {}", i, index,
         input.ids[i], vocab_size - 1);
  }
}

}  // namespace

Batch::Batch(const Model& model, std::span<const SequenceInput> inputs) {
  std::unordered_set<const Sequence*> seen;
  for (std::size_t index = 0; index < inputs.size(); ++index) {
    const SequenceInput& input = inputs[index];
    SequenceState& sequence = checked_sequence(model, input, index);
    if (!seen.insert(&sequence).second) {
      fail(ErrorKind::user, "input {} of the batch repeats a sequence; give each once", index);
    }
    if (input.logits < 0) {
      fail(ErrorKind::user, "input {} wants the logits of {} positions; ask for 0 or more", index,
           input.logits);
    }
    check_ids(model, input, index);
    const auto count = static_cast<std::int64_t>(input.ids.size());
    if (count == 0) continue;
    entries_.push_back({&sequence, rows(), count, sequence.length()});
    for (std::int64_t i = count - std::min(count, input.logits); i < count; ++i) {
      wanted_.push_back(rows() + i);
    }
    for (std::int64_t i = 0; i < count; ++i) positions_.push_back(sequence.length() + i);
    ids_.insert(ids_.end(), input.ids.begin(), input.ids.end());
  }
}

void Batch::commit() const {
  for (const BatchEntry& entry : entries_) entry.sequence->advance(entry.rows);
}

}  // namespace sluice
