// Bounds on what config.json may ask for: far above any model, far below what overflows a product
// of three of them.
#pragma once

#include <cstdint>

namespace sluice {

inline constexpr std::int64_t kMostLayers = 4096;
inline constexpr std::int64_t kMostHeads = 4096;
inline constexpr std::int64_t kMostWidth = std::int64_t{1} << 20;
// Layers times experts: ten times the largest models'.
inline constexpr std::int64_t kMostExpertMatrices = std::int64_t{1} << 18;
inline constexpr std::int64_t kMostIds = std::int64_t{1} << 24;
inline constexpr std::int64_t kMostPositions = std::int64_t{1} << 40;

}  // namespace sluice
