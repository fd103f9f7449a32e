#include "audit/run_case.hpp"

#include <fmt/format.h>

#include <cstring>

#include "audit/fenced_buffer.hpp"
#include "backends/staged_experts.hpp"
#include "base/interruption.hpp"

namespace sluice::auditing {
namespace {

// What went wrong. An interruption is no failure of the backend, and goes on.
std::string describe_exception() {
  try {
    throw;
  } catch (const Interruption&) {
    throw;
  } catch (const Error& error) {
    return fmt::format("{} ({})", error.what(), to_string(error.kind()));
  } catch (const std::exception& error) {
    return error.what();
  } catch (...) {
    return "something that is no std::exception";
  }
}

// Bytes of tensors that the backend must not change.
class Unchanged {
 public:
  explicit Unchanged(const Case& subject) {
    for (const auto& [name, tensor] : subject.tensors) {
      if (is_input(name)) copies_.emplace_back(name, tensor);
    }
  }
  std::string complaint(const Case& subject) const {
    for (const auto& [name, copy] : copies_) {
      const OwnedTensor& now = *subject.find(name);
      if (copy.size_bytes() == 0 || std::memcmp(now.data(), copy.data(), copy.size_bytes()) == 0) {
        continue;
      }
      return fmt::format("{} was changed by forward; inputs are read-only", name);
    }
    return {};
  }

 private:
  std::vector<std::pair<std::string, OwnedTensor>> copies_;
};

// One call of forward with fenced buffers; `workspace` is reused if it has the right size.
RunResult call_forward(const Experts& experts, const Case& subject, const ForwardInput& input,
                       const RunOptions& options, std::optional<Poison> poison,
                       FencedBuffer& workspace) {
  if (options.before_call) options.before_call();
  RunResult result;
  const std::int64_t tokens = subject.tokens();
  const Shape output_shape{tokens, subject.spec.experts.hidden_size};
  const Shape routing_shape{tokens, subject.spec.router.top_k};
  const DType dtype = subject.output_dtype();
  const auto bytes = [](const Shape& shape, DType type) {
    return static_cast<std::size_t>(shape.elements() * bits(type) / 8);
  };
  try {
    const std::size_t needed = experts.workspace_bytes(tokens);
    constexpr std::size_t kAbsurd = std::size_t{1} << 34;
    if (needed > kAbsurd) {
      result.memory = fmt::format("workspace_bytes({}) is {}", tokens, needed);
      return result;
    }
    const Poison fill = poison.value_or(Poison::nan);
    const std::size_t lent = needed + options.spare_workspace;
    if (workspace.size() != lent || !workspace.exists()) {
      workspace = FencedBuffer(lent, fill);
    } else if (poison) {
      workspace.fill(fill);
    }
    const auto shift = [&](DType type) {
      return options.outputs_off_alignment ? static_cast<std::size_t>(bits(type) / 8) : 0;
    };
    const auto buffer = [&](DType type, const Shape& shape) {
      return FencedBuffer(bytes(shape, type) + shift(type), fill);
    };
    FencedBuffer output = buffer(dtype, output_shape);
    FencedBuffer ids = buffer(DType::i32, routing_shape);
    FencedBuffer weights = buffer(DType::f32, routing_shape);
    const bool with_ids = options.report == Report::ids || options.report == Report::both;
    const bool with_weights = options.report == Report::weights || options.report == Report::both;
    ForwardOutput out{{output.data() + shift(dtype), dtype, output_shape, {}}, {}, {}};
    if (with_ids) out.topk_ids = {ids.data() + shift(DType::i32), DType::i32, routing_shape, {}};
    if (with_weights) {
      out.topk_weights = {weights.data() + shift(DType::f32), DType::f32, routing_shape, {}};
    }
    const Unchanged unchanged(subject);
    experts.forward(input, out, {workspace.data(), lent});
    result.memory = unchanged.complaint(subject);
    const auto fence = [&](const FencedBuffer& buffer, std::string_view name) {
      if (result.memory.empty() && !buffer.intact()) {
        result.memory = fmt::format("memory beside {} was written ({} bytes were asked for)", name,
                                    buffer.size());
      }
    };
    fence(output, "output");
    fence(ids, "topk_ids");
    fence(weights, "topk_weights");
    fence(workspace, "the workspace");
    workspace.mend();
    const auto taken = [](const MutableTensorView& view) {
      return OwnedTensor::copy_of({view.data, view.dtype, view.shape, {}});
    };
    result.output = taken(out.output);
    if (with_ids) result.ids = taken(out.topk_ids);
    if (with_weights) result.weights = taken(out.topk_weights);
  } catch (...) {
    result.error = describe_exception();
  }
  return result;
}

}  // namespace

struct LoadedCase::Impl {
  Case subject;  // a copy: a faulty backend may write to its inputs
  RunOptions options;
  std::unique_ptr<Experts> experts;
  std::string error;
  FencedBuffer workspace;
};

LoadedCase::LoadedCase(const Backend& backend, const Case& subject, const RunOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->subject = subject;
  impl_->options = options;
  try {
    impl_->experts =
        load_for_host(backend, impl_->subject.spec, impl_->subject.weights(), options.load);
  } catch (...) {
    impl_->error = describe_exception();
  }
}

LoadedCase::~LoadedCase() = default;
LoadedCase::LoadedCase(LoadedCase&&) noexcept = default;

const Experts* LoadedCase::experts() const { return impl_->experts.get(); }

RunResult LoadedCase::run(std::optional<Poison> poison) {
  if (!impl_->experts) {
    RunResult result;
    result.error = impl_->error;
    result.threw_at_load = true;
    return result;
  }
  return call_forward(*impl_->experts, impl_->subject, impl_->subject.input(), impl_->options,
                      poison, impl_->workspace);
}

SharedCase::SharedCase(const Backend& backend, const MoeSpec& spec, const MoeWeights& weights,
                       const RunOptions& options)
    : options_(options) {
  try {
    experts_ = load_for_host(backend, spec, weights, options.load);
  } catch (...) {
    error_ = describe_exception();
  }
}

RunResult SharedCase::run(const Case& tokens, const ForwardInput& input) const {
  if (!experts_) {
    RunResult result;
    result.error = error_;
    result.threw_at_load = true;
    return result;
  }
  FencedBuffer workspace;
  return call_forward(*experts_, tokens, input, options_, options_.poison, workspace);
}

RunResult LoadedCase::run_rows(std::int64_t first, std::int64_t end) {
  // The weights are loaded; only the tokens change.
  Case whole = std::move(impl_->subject);
  impl_->subject = rows_of(whole, first, end);
  RunResult result = run(Poison::nan);
  impl_->subject = std::move(whole);
  return result;
}

RunResult run_loaded(const Experts& experts, const Case& subject, const RunOptions& options) {
  FencedBuffer workspace;
  return call_forward(experts, subject, subject.input(), options, options.poison, workspace);
}

RunResult run_case(const Backend& backend, const Case& subject, const RunOptions& options) {
  LoadedCase loaded(backend, subject, options);
  return loaded.run(options.poison);
}

Case rows_of(const Case& subject, std::int64_t first, std::int64_t end) {
  Case part = subject;
  for (auto& [name, tensor] : part.tensors) {
    if (!is_input(name)) continue;
    const std::int64_t columns = tensor.shape()[1];
    OwnedTensor rows(tensor.dtype(), {end - first, columns});
    const auto row_bytes = static_cast<std::size_t>(columns * bits(tensor.dtype()) / 8);
    if (rows.size_bytes() > 0) {
      std::memcpy(rows.data(), tensor.data() + static_cast<std::size_t>(first) * row_bytes,
                  rows.size_bytes());
    }
    tensor = std::move(rows);
  }
  return part;
}

}  // namespace sluice::auditing
