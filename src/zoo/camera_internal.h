#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>

#include "tierod/zoo/scene.h"
#include "zoo/canvas_internal.h"

namespace tierod::zoo {

/// Project the road onto the canvas: a pinhole 1.5 m above the lane's centre, of 69 degrees.
struct Camera {
  static constexpr std::int64_t kFocal = 140 * Canvas::kUnit;
  static constexpr std::int64_t kHorizon = 36 * Canvas::kUnit;
  static constexpr std::int64_t kHeight_mm = 1500;

  std::int64_t curvature_um = 0;

  /// Return how far the lane's centre lies to the left at a distance ahead.
  std::int64_t bend_mm(std::int64_t distance_mm) const {
    return curvature_um * distance_mm * distance_mm / 2000000000;
  }
  static std::int64_t column(std::int64_t left_mm, std::int64_t distance_mm) {
    return Canvas::kWidth / 2 * Canvas::kUnit - left_mm * kFocal / distance_mm;
  }
  static std::int64_t row(std::int64_t height_mm, std::int64_t distance_mm) {
    return kHorizon + (kHeight_mm - height_mm) * kFocal / distance_mm;
  }
};

/// Say how light and air change colours: fog mixes grey in with the distance, at night headlights
/// reach some way.
struct Air {
  Weather weather = Weather::clear;

  static constexpr Colour kFog = {186, 189, 192};

  Colour seen(const Colour& colour, std::int64_t distance_mm) const {
    if (weather == Weather::fog) {
      return colour.mixed(kFog,
                          static_cast<std::int32_t>(1000 * distance_mm / (distance_mm + 16000)));
    }
    if (weather == Weather::night) {
      return colour.times(static_cast<std::int32_t>(200 + 8400000 / (distance_mm + 8000)));
    }
    return colour;
  }
  /// The same for what shines itself.
  Colour shining(const Colour& colour, std::int64_t distance_mm) const {
    if (weather == Weather::fog) {
      return colour.mixed(kFog,
                          static_cast<std::int32_t>(400 * distance_mm / (distance_mm + 16000)));
    }
    return colour;
  }
};

/// Draw an upright thing in its own coordinates: mm to the right and up from where it stands.
class Easel {
 public:
  Easel(Canvas& canvas, const Air& air, const Camera& camera, std::int64_t lateral_mm,
        std::int64_t distance_mm)
      : canvas_(canvas),
        air_(air),
        distance_mm_(distance_mm),
        x0_(Camera::column(lateral_mm + camera.bend_mm(distance_mm), distance_mm)) {}

  Point at(std::int64_t right_mm, std::int64_t up_mm) const {
    return {x0_ + right_mm * Camera::kFocal / distance_mm_, Camera::row(up_mm, distance_mm_)};
  }
  void box(std::int64_t left, std::int64_t bottom, std::int64_t right, std::int64_t top,
           const Colour& colour, bool shines = false) {
    canvas_.rectangle(at(left, top), at(right, bottom), lit(colour, shines));
  }
  void disc(std::int64_t x, std::int64_t y, std::int64_t rx, std::int64_t ry, const Colour& colour,
            bool shines = false) {
    canvas_.ellipse(at(x, y), size(rx), size(ry), lit(colour, shines));
  }
  void wheel(std::int64_t x, std::int64_t y, std::int64_t outer, std::int64_t inner,
             const Colour& colour) {
    canvas_.ring(at(x, y), size(outer), size(outer), size(inner), size(inner), lit(colour, false));
  }
  void shape(std::initializer_list<Point> corners, const Colour& colour, bool shines = false) {
    std::array<Point, 16> places{};
    std::size_t count = 0;
    for (const Point& p : corners) places[count++] = at(p.x, p.y);
    canvas_.polygon({places.data(), count}, lit(colour, shines));
  }
  /// Draw a bar from one point to another, thicker in x where it stands and in y where it lies.
  void bar(Point from, Point to, std::int64_t thickness, const Colour& colour) {
    const std::int64_t dx = to.x > from.x ? to.x - from.x : from.x - to.x;
    const std::int64_t dy = to.y > from.y ? to.y - from.y : from.y - to.y;
    const std::int64_t h = thickness / 2;
    const Point off = dy >= dx ? Point{h, 0} : Point{0, h};
    shape({{from.x - off.x, from.y - off.y},
           {from.x + off.x, from.y + off.y},
           {to.x + off.x, to.y + off.y},
           {to.x - off.x, to.y - off.y}},
          colour);
  }

 private:
  std::int64_t size(std::int64_t mm) const { return mm * Camera::kFocal / distance_mm_; }
  Colour lit(const Colour& colour, bool shines) const {
    return shines ? air_.shining(colour, distance_mm_) : air_.seen(colour, distance_mm_);
  }

  Canvas& canvas_;
  const Air& air_;
  std::int64_t distance_mm_;
  std::int64_t x0_;
};

// What stands on and beside the road; shapes.cpp.
void draw_car(Easel easel, const Colour& body, bool brakes);
void draw_cutting_car(Easel easel, const Colour& body);
void draw_pedestrian(Easel easel, const Colour& jacket, std::uint32_t detail, bool faces_left);
void draw_cyclist(Easel easel, const Colour& jersey);
void draw_cone(Easel easel);
void draw_stop_sign(Easel easel);
void draw_traffic_light(Easel easel, bool red);
void draw_debris(Easel easel, std::uint32_t detail);
void draw_tree(Easel easel, const Clutter& item);
void draw_building(Easel easel, const Clutter& item, std::int32_t town, bool night);

/// Return a colour that clothes and cars are seen in; no red, which lights and signs have.
Colour clothes_colour(const ConceptState& state);
Colour car_colour(std::uint32_t bits);

}  // namespace tierod::zoo
