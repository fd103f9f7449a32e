#include "backends/cuda/weights/weight_bank.hpp"

#include <algorithm>
#include <bit>
#include <cstring>
#include <vector>

#include "backends/cuda/device/device.hpp"
#include "backends/cuda/device/error.hpp"
#include "backends/cuda/params.hpp"
#include "base/element.hpp"
#include "base/fail.hpp"
#include "formats/block_tensors.hpp"

namespace sluice::cuda {
namespace {

std::size_t bytes_of(const TensorView& tensor) {
  return static_cast<std::size_t>(tensor.shape.elements() * bits(tensor.dtype) / 8);
}

// Small tensors, wherever they live, as fp32 on the host.
std::vector<float> read_floats(const TensorView& tensor) {
  if (tensor.empty()) return {};
  std::vector<std::byte> raw(bytes_of(tensor));
  if (tensor.device.kind == DeviceKind::cpu) {
    std::memcpy(raw.data(), tensor.data, raw.size());
  } else {
    check(cudaMemcpy(raw.data(), tensor.data, raw.size(), cudaMemcpyDeviceToHost),
          "reading a bias");
  }
  std::vector<float> values(static_cast<std::size_t>(tensor.shape.elements()));
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = load_float(raw.data(), tensor.dtype, static_cast<std::int64_t>(i));
  }
  return values;
}

// Where the gate's and the up's rows begin in a fused matrix, and how far apart rows are.
struct FusedRows {
  std::int64_t gate, up, step;
};

FusedRows fused_rows(GateUpOrder order, std::int64_t width) {
  switch (order) {
    case GateUpOrder::gate_up:
      return {0, width, 1};
    case GateUpOrder::up_gate:
      return {width, 0, 1};
    case GateUpOrder::interleaved:
      break;
  }
  return {0, 1, 2};
}

bool any_on_device(const std::vector<BlockTensors>& blocks, const MoeWeights& weights) {
  const auto there = [](const TensorView& tensor) {
    return !tensor.empty() && tensor.device.kind == DeviceKind::cuda;
  };
  for (const TensorView* vector :
       {&weights.router_weight, &weights.router_bias, &weights.e_score_correction_bias,
        &weights.gate_up_bias, &weights.down_bias, &weights.shared_expert_gate}) {
    if (there(*vector)) return true;
  }
  return std::any_of(blocks.begin(), blocks.end(), [&](const BlockTensors& block) {
    return there(block.fused) || there(block.gate) || there(block.up) || there(block.down);
  });
}

// Copies each matrix to the device if it is not there, and packs it.
class Packer {
 public:
  Packer(int device, std::size_t largest_host_matrix) : bounce_(device, largest_host_matrix) {
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "cudaStreamCreate");
  }
  ~Packer() { cudaStreamDestroy(stream_); }
  Packer(const Packer&) = delete;
  Packer& operator=(const Packer&) = delete;

  void clear(std::byte* memory, std::size_t bytes) {
    check(cudaMemsetAsync(memory, 0, bytes, stream_), "clearing packed weights");
  }

  void pack(const ExpertSpec& spec, const BlockTensors& from, const BlockShape& shape,
            std::uint8_t* tiles1, std::uint8_t* tiles2) {
    PackRows job;
    job.rows = shape.width;
    job.columns = shape.hidden;
    job.tiles = tiles1;
    job.column_blocks = shape.columns1();
    job.interleaved = shape.gated;
    if (!shape.gated) {
      pack_from(from.fused ? from.fused : from.gate, job);
    } else if (from.fused) {
      const FusedRows rows = fused_rows(spec.gate_up_order, shape.width);
      const void* source = on_device(from.fused);
      job.source_step = rows.step;
      pack_part(source, rows.gate, 0, job);
      pack_part(source, rows.up, kGroupRows, job);
    } else {
      pack_from(from.gate, job);
      job.offset = kGroupRows;
      pack_from(from.up, job);
    }
    PackRows down;
    down.rows = shape.hidden;
    down.columns = shape.width;
    down.tiles = tiles2;
    down.column_blocks = shape.columns2();
    pack_from(from.down, down);
  }

  void copy(void* to, const void* from, std::size_t bytes) {
    if (bytes == 0) return;
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDefault, stream_),
          "copying weights to the device");
  }

  // All of it is there, and what it came from is not needed any more.
  void finish() { check(cudaStreamSynchronize(stream_), "packing weights"); }

 private:
  const void* on_device(const TensorView& matrix) {
    if (matrix.device.kind == DeviceKind::cuda) return matrix.data;
    copy(bounce_.data(), matrix.data, bytes_of(matrix));
    return bounce_.data();
  }
  void pack_part(const void* source, std::int64_t first_row, std::int64_t offset, PackRows job) {
    job.source = source;
    job.source_row = first_row;
    job.offset = offset;
    pack_rows(job, stream_);
  }
  void pack_from(const TensorView& matrix, PackRows job) {
    job.source = on_device(matrix);
    pack_rows(job, stream_);
  }

  DeviceBuffer bounce_;
  cudaStream_t stream_ = nullptr;
};

std::size_t largest_host_matrix(const std::vector<BlockTensors>& blocks) {
  std::size_t largest = 0;
  for (const BlockTensors& block : blocks) {
    for (const TensorView* matrix : {&block.fused, &block.gate, &block.up, &block.down}) {
      if (matrix->empty() || matrix->device.kind == DeviceKind::cuda) continue;
      largest = std::max(largest, bytes_of(*matrix));
    }
  }
  return largest;
}

// [local experts, 2, units]: gate, then up; padding is zero.
std::vector<float> unit_biases(const MoeSpec& spec, const MoeWeights& weights,
                               const BlockShape& shape, std::int64_t experts) {
  const std::vector<float> given = read_floats(weights.gate_up_bias);
  if (given.empty()) return {};
  const std::int64_t units = shape.units();
  const std::int64_t rows = shape.gated ? 2 * shape.width : shape.width;
  const FusedRows order =
      shape.gated ? fused_rows(spec.experts.gate_up_order, shape.width) : FusedRows{0, 0, 1};
  std::vector<float> biases(static_cast<std::size_t>(experts * 2 * units));
  for (std::int64_t e = 0; e < experts; ++e) {
    for (std::int64_t i = 0; i < shape.width; ++i) {
      const auto from = [&](std::int64_t first) {
        return given[static_cast<std::size_t>(e * rows + first + i * order.step)];
      };
      biases[static_cast<std::size_t>(e * 2 * units + i)] = from(order.gate);
      if (shape.gated) biases[static_cast<std::size_t>((e * 2 + 1) * units + i)] = from(order.up);
    }
  }
  return biases;
}

// Vectors of 4-byte elements, one after the other in one buffer.
class VectorBuffer {
 public:
  // Returns where in the buffer it begins, in words.
  template <typename T>
  std::size_t add(const std::vector<T>& values) {
    static_assert(sizeof(T) == 4);
    while (words_.size() % 64 != 0) words_.push_back(0);
    const std::size_t begin = words_.size();
    for (const T& value : values) words_.push_back(std::bit_cast<std::uint32_t>(value));
    return begin;
  }
  DeviceBuffer upload(int device, Packer& packer) const {
    const std::size_t bytes = words_.size() * 4;
    DeviceBuffer buffer(device, bytes);
    packer.copy(buffer.data(), words_.data(), bytes);
    return buffer;
  }

 private:
  std::vector<std::uint32_t> words_;
};

}  // namespace

WeightBank::WeightBank(const MoeSpec& spec, const MoeWeights& weights, int device) {
  const DeviceScope scope(device);
  const bool gated = is_gated(spec.experts.activation);
  routed = {spec.experts.hidden_size, local_width(spec), gated};
  shared = {spec.experts.hidden_size, local_shared_width(spec), gated};
  local_experts = static_cast<std::int64_t>(weights.down_proj.size());

  const auto bytes1 = static_cast<std::size_t>(routed.bytes1());
  const auto bytes2 = static_cast<std::size_t>(routed.bytes2());
  const auto count = static_cast<std::size_t>(local_experts);
  std::size_t total = count * (bytes1 + bytes2);
  const std::size_t shared_begin = total;
  if (shared.width > 0) total += static_cast<std::size_t>(shared.bytes1() + shared.bytes2());
  matrices_ = DeviceBuffer(device, total);
  auto* tiles = reinterpret_cast<std::uint8_t*>(matrices_.data());
  weights1 = tiles;
  weights2 = tiles + count * bytes1;
  shared1 = tiles + shared_begin;
  shared2 = shared1 + shared.bytes1();

  const std::vector<BlockTensors> blocks = block_tensors(spec, weights);
  // Whoever makes weights on the device has told nobody in which stream.
  if (any_on_device(blocks, weights)) {
    check(cudaDeviceSynchronize(), "waiting for weights that are made on the device");
  }
  Packer packer(device, largest_host_matrix(blocks));
  if (total > 0) packer.clear(matrices_.data(), total);
  for (std::size_t b = 0; b < blocks.size(); ++b) {
    const bool is_shared = b == count;
    packer.pack(
        spec.experts, blocks[b], is_shared ? shared : routed,
        is_shared ? tiles + shared_begin : tiles + b * bytes1,
        is_shared ? tiles + shared_begin + shared.bytes1() : tiles + count * bytes1 + b * bytes2);
  }

  std::vector<std::int32_t> map(static_cast<std::size_t>(spec.router.num_experts));
  for (std::size_t e = 0; e < map.size(); ++e) {
    map[e] = static_cast<std::int32_t>(sluice::local_expert(spec, static_cast<std::int64_t>(e)));
  }
  bool renumbers = false;  // most layers hold every expert under its own number
  for (std::size_t e = 0; e < map.size(); ++e) renumbers |= map[e] != static_cast<int>(e);
  if (!renumbers) map.clear();
  const std::vector<float> biases = unit_biases(spec, weights, routed, local_experts);
  // Ranks of tensor parallelism are summed: the first adds the bias, once.
  const std::vector<float> down =
      spec.layer.tp_rank == 0 ? read_floats(weights.down_bias) : std::vector<float>{};
  const std::vector<float> router = read_floats(weights.router_bias);
  const std::vector<float> correction = read_floats(weights.e_score_correction_bias);
  const std::vector<float> gate = read_floats(weights.shared_expert_gate);
  VectorBuffer vectors;
  const std::size_t at_map = vectors.add(map);
  const std::size_t at_biases = vectors.add(biases);
  const std::size_t at_down = vectors.add(down);
  const std::size_t at_router = vectors.add(router);
  const std::size_t at_correction = vectors.add(correction);
  const std::size_t at_gate = vectors.add(gate);
  vectors_ = vectors.upload(device, packer);
  if (renumbers) {
    local_expert = reinterpret_cast<const std::int32_t*>(vectors_.data() + at_map * 4);
  }
  const auto floats = [&](const std::vector<float>& values, std::size_t begin) {
    return values.empty() ? nullptr : reinterpret_cast<const float*>(vectors_.data() + begin * 4);
  };
  bias1 = floats(biases, at_biases);
  down_bias = floats(down, at_down);
  router_bias = floats(router, at_router);
  correction_bias = floats(correction, at_correction);
  shared_gate = floats(gate, at_gate);

  if (!weights.router_weight.empty()) {
    router_ = DeviceBuffer(device, bytes_of(weights.router_weight));
    packer.copy(router_.data(), weights.router_weight.data, router_.size());
    router_weight = router_.data();
    router_dtype = weights.router_weight.dtype;
  }
  packer.finish();
}

}  // namespace sluice::cuda
