#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace tierod::zoo {

struct Colour {
  std::int32_t r = 0, g = 0, b = 0;

  Colour times(std::int32_t per_mille) const {
    return {r * per_mille / 1000, g * per_mille / 1000, b * per_mille / 1000};
  }
  /// Mix with `other`, of which it takes so many per mille.
  Colour mixed(const Colour& other, std::int32_t per_mille) const {
    const std::int32_t rest = 1000 - per_mille;
    return {(r * rest + other.r * per_mille) / 1000, (g * rest + other.g * per_mille) / 1000,
            (b * rest + other.b * per_mille) / 1000};
  }
};

/// Place in 1/64 of a canvas pixel, x to the right and y down.
struct Point {
  std::int64_t x = 0, y = 0;
};

/// Fill shapes on a picture of twice the resolution of the camera's, whose 2 x 2 blocks are
/// averaged in the end. A pixel belongs to a shape when its centre does. Whole numbers only.
class Canvas {
 public:
  static constexpr std::int64_t kWidth = 192;
  static constexpr std::int64_t kHeight = 96;
  static constexpr std::int64_t kUnit = 64;

  Canvas() : pixels_(static_cast<std::size_t>(kWidth * kHeight)) {}

  const Colour& at(std::int64_t x, std::int64_t y) const {
    return pixels_[static_cast<std::size_t>(y * kWidth + x)];
  }
  /// Fill the pixels of row `y` whose centres lie in [x0, x1).
  void span(std::int64_t y, std::int64_t x0, std::int64_t x1, const Colour& colour);
  void rectangle(Point low, Point high, const Colour& colour);
  /// Fill between two ellipses of one centre; an inner radius of 0 fills all of it.
  void ring(Point centre, std::int64_t rx, std::int64_t ry, std::int64_t inner_rx,
            std::int64_t inner_ry, const Colour& colour);
  void ellipse(Point centre, std::int64_t rx, std::int64_t ry, const Colour& colour) {
    ring(centre, rx, ry, 0, 0, colour);
  }
  /// Fill a polygon of at most 16 corners, by the even-odd rule.
  void polygon(std::span<const Point> corners, const Colour& colour);

 private:
  std::vector<Colour> pixels_;
};

}  // namespace tierod::zoo
