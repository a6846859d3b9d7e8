#include <algorithm>

#include "zoo/canvas_internal.h"

namespace tierod::zoo {

namespace {

std::int64_t floor_div(std::int64_t a, std::int64_t b) {
  const std::int64_t q = a / b;
  return q * b > a ? q - 1 : q;  // b > 0
}

/// Return the first pixel whose centre is at or after `place`.
std::int64_t first_pixel(std::int64_t place) {
  constexpr std::int64_t kUnit = Canvas::kUnit;
  return -floor_div(-(place - kUnit / 2), kUnit);
}

}  // namespace

void Canvas::span(std::int64_t y, std::int64_t x0, std::int64_t x1, const Colour& colour) {
  const std::int64_t begin = std::max<std::int64_t>(first_pixel(x0), 0);
  const std::int64_t end = std::min<std::int64_t>(first_pixel(x1), kWidth);
  if (begin >= end) return;
  Colour* row = pixels_.data() + y * kWidth;
  std::fill(row + begin, row + end, colour);
}

void Canvas::rectangle(Point low, Point high, const Colour& colour) {
  const std::int64_t begin = std::max<std::int64_t>(first_pixel(low.y), 0);
  const std::int64_t end = std::min<std::int64_t>(first_pixel(high.y), kHeight);
  for (std::int64_t y = begin; y < end; ++y) span(y, low.x, high.x, colour);
}

void Canvas::ring(Point centre, std::int64_t rx, std::int64_t ry, std::int64_t inner_rx,
                  std::int64_t inner_ry, const Colour& colour) {
  if (rx <= 0 || ry <= 0) return;
  const std::int64_t begin = std::max<std::int64_t>(first_pixel(centre.y - ry), 0);
  const std::int64_t end = std::min<std::int64_t>(first_pixel(centre.y + ry + 1), kHeight);
  const std::int64_t left = std::max<std::int64_t>(first_pixel(centre.x - rx), 0);
  const std::int64_t right = std::min<std::int64_t>(first_pixel(centre.x + rx + 1), kWidth);
  const auto inside = [](std::int64_t dx, std::int64_t dy, std::int64_t a, std::int64_t b) {
    return a > 0 && b > 0 && dx * dx * b * b + dy * dy * a * a <= a * a * b * b;
  };
  for (std::int64_t y = begin; y < end; ++y) {
    const std::int64_t dy = y * kUnit + kUnit / 2 - centre.y;
    for (std::int64_t x = left; x < right; ++x) {
      const std::int64_t dx = x * kUnit + kUnit / 2 - centre.x;
      if (inside(dx, dy, rx, ry) && !inside(dx, dy, inner_rx, inner_ry)) {
        pixels_[static_cast<std::size_t>(y * kWidth + x)] = colour;
      }
    }
  }
}

void Canvas::polygon(std::span<const Point> corners, const Colour& colour) {
  std::int64_t low = corners[0].y;
  std::int64_t high = corners[0].y;
  for (const Point& p : corners) {
    low = std::min(low, p.y);
    high = std::max(high, p.y);
  }
  const std::int64_t begin = std::max<std::int64_t>(first_pixel(low), 0);
  const std::int64_t end = std::min<std::int64_t>(first_pixel(high), kHeight);
  for (std::int64_t y = begin; y < end; ++y) {
    const std::int64_t line = y * kUnit + kUnit / 2;
    std::array<std::int64_t, 16> crossings{};
    std::size_t count = 0;
    for (std::size_t i = 0; i < corners.size(); ++i) {
      Point a = corners[i];
      Point b = corners[(i + 1) % corners.size()];
      if ((a.y <= line) == (b.y <= line)) continue;
      if (a.y > b.y) std::swap(a, b);
      crossings[count++] = a.x + floor_div((b.x - a.x) * (line - a.y), b.y - a.y);
    }
    std::sort(crossings.begin(), crossings.begin() + static_cast<std::ptrdiff_t>(count));
    for (std::size_t i = 0; i + 1 < count; i += 2) {
      span(y, crossings[i], crossings[i + 1], colour);
    }
  }
}

}  // namespace tierod::zoo
