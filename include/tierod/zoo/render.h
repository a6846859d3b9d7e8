#pragma once

#include <cstdint>
#include <span>

#include "tierod/export.h"
#include "tierod/zoo/scene.h"

namespace tierod::zoo {

inline constexpr std::int64_t kImageHeight = 48;
inline constexpr std::int64_t kImageWidth = 96;
inline constexpr std::int64_t kImageBytes = 3 * kImageHeight * kImageWidth;

/// Draw the picture of the front camera: uint8 [3, 48, 96], planes of red, green and blue, rows
/// from the top. Only whole numbers are used, so that every machine draws the same bytes. Pictures
/// of twins differ in the pixels that the concept covers alone.
///
/// @param hidden  bit c set: concept c is not drawn; bit kConcepts: the stop line
/// @throws InvalidArgument unless `out` holds kImageBytes.
TIEROD_API void render(const Scene& scene, std::span<std::uint8_t> out, std::uint32_t hidden = 0);

}  // namespace tierod::zoo
