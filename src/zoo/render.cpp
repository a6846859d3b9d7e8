#include "tierod/zoo/render.h"

#include <algorithm>
#include <array>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "zoo/camera_internal.h"

namespace tierod::zoo {

namespace {

/// Draw 64 bits from a key and a counter (the output function of splitmix64).
std::uint64_t hashed(std::uint64_t key, std::uint64_t counter) {
  std::uint64_t z = key + (counter + 1) * 0x9E3779B97F4A7C15ULL;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
  return z ^ (z >> 31);
}

struct Sky {
  Colour top, horizon;
};

Sky sky_of(Weather weather) {
  switch (weather) {
    case Weather::clear:
      return {{92, 148, 222}, {196, 218, 240}};
    case Weather::overcast:
      return {{146, 152, 160}, {194, 197, 200}};
    case Weather::rain:
      return {{92, 98, 110}, {134, 140, 150}};
    case Weather::fog:
      return {{178, 181, 184}, Air::kFog};
    case Weather::night:
      break;
  }
  return {{8, 10, 24}, {30, 32, 52}};
}

class Picture {
 public:
  Picture(const Scene& scene, std::uint32_t hidden)
      : scene_(scene), hidden_(hidden), air_{scene.weather}, camera_{scene.curvature_um} {}

  void draw(std::span<std::uint8_t> out) {
    draw_sky();
    draw_ground();
    if (scene_.stop_line && ((hidden_ >> kConcepts) & 1U) == 0) draw_stop_line();
    draw_things();
    if (scene_.weather == Weather::rain) collect_streaks();
    develop(out);
  }

 private:
  bool shown(Concept c) const {
    return scene_[c].present && ((hidden_ >> static_cast<unsigned>(c)) & 1U) == 0;
  }

  void draw_sky() {
    const Sky sky = sky_of(scene_.weather);
    const std::int64_t rows = Camera::kHorizon / Canvas::kUnit;
    for (std::int64_t y = 0; y < rows; ++y) {
      const auto share = static_cast<std::int32_t>(1000 * y / rows);
      canvas_.span(y, 0, Canvas::kWidth * Canvas::kUnit, sky.top.mixed(sky.horizon, share));
    }
    if (scene_.weather == Weather::clear) {
      for (std::uint64_t i = 0; i < 3; ++i) {
        const std::uint64_t bits = hashed(scene_.key, 900 + i);
        const Point centre = {static_cast<std::int64_t>(bits % 192) * 64,
                              static_cast<std::int64_t>(4 + (bits >> 8) % 14) * 64};
        const auto size = static_cast<std::int64_t>(8 + (bits >> 16) % 10) * 64;
        canvas_.ellipse(centre, size, size / 4, {238, 242, 248});
        canvas_.ellipse({centre.x + size / 2, centre.y + size / 6}, size, size / 5,
                        {228, 234, 244});
      }
    }
    if (scene_.weather == Weather::night) {
      for (std::uint64_t i = 0; i < 14; ++i) {
        const std::uint64_t bits = hashed(scene_.key, 920 + i);
        const Point at = {static_cast<std::int64_t>(bits % 192) * 64,
                          static_cast<std::int64_t>((bits >> 8) % 28) * 64};
        canvas_.rectangle(at, {at.x + 64, at.y + 64}, {190, 190, 200});
      }
    }
  }

  void draw_ground() {
    const std::int64_t first = Camera::kHorizon / Canvas::kUnit;
    const std::int64_t all = Canvas::kWidth * Canvas::kUnit;
    for (std::int64_t y = first; y < Canvas::kHeight; ++y) {
      const std::int64_t below = y * Canvas::kUnit + Canvas::kUnit / 2 - Camera::kHorizon;
      const std::int64_t d =
          std::min<std::int64_t>(Camera::kFocal * Camera::kHeight_mm / below, 150000);
      const std::int64_t bend = camera_.bend_mm(d);
      const auto band = [&](std::int64_t from_left_mm, std::int64_t to_right_mm,
                            const Colour& colour) {
        canvas_.span(y, Camera::column(from_left_mm + bend, d),
                     Camera::column(to_right_mm + bend, d), air_.seen(colour, d));
      };
      const std::int32_t stripe = d / 4000 % 2 == 0 ? 1000 : 930;
      canvas_.span(y, 0, all, air_.seen(Colour{96, 122, 64}.times(stripe), d));
      band(5900, -2350, {128, 118, 96});
      band(5500, -1950, {86, 87, 92});
      // lines: the road's edges, and dashes between the lanes
      band(5350, 5200, {222, 222, 214});
      band(-1700, -1850, {222, 222, 214});
      if (d % 9000 < 4000) band(1825, 1675, {228, 228, 220});
    }
  }

  void draw_stop_line() {
    const std::int64_t near = 6700;
    const std::int64_t far = 7700;
    const auto place = [&](std::int64_t left_mm, std::int64_t d) {
      return Point{Camera::column(left_mm + camera_.bend_mm(d), d), Camera::row(0, d)};
    };
    const std::array<Point, 4> corners = {place(1600, near), place(-1600, near), place(-1600, far),
                                          place(1600, far)};
    canvas_.polygon(corners, air_.seen({240, 240, 236}, near));
  }

  Easel easel(std::int64_t lateral_mm, std::int64_t distance_mm) {
    return {canvas_, air_, camera_, lateral_mm, distance_mm};
  }
  Easel easel(const ConceptState& state) { return easel(state.lateral_mm, state.distance_mm); }

  void draw_concept(Concept which) {
    const ConceptState& state = scene_[which];
    switch (which) {
      case Concept::pedestrian:
        // walks towards the lane's centre
        return draw_pedestrian(easel(state), clothes_colour(state), state.detail,
                               state.side == Side::right);
      case Concept::red_light:
        return draw_traffic_light(easel(state), shown(which));
      case Concept::lead_braking:
        return draw_car(easel(state), car_colour(state.detail), shown(which));
      case Concept::cut_in:
        return draw_cutting_car(easel(state), car_colour(state.detail));
      case Concept::cyclist:
        return draw_cyclist(easel(state), clothes_colour(state));
      case Concept::cones:
        for (const std::int64_t behind : {3600, 1800, 0}) {
          draw_cone(easel(state.lateral_mm - behind / 12, state.distance_mm + behind));
        }
        return;
      case Concept::stop_sign:
        return draw_stop_sign(easel(state));
      case Concept::debris:
        return draw_debris(easel(state), state.detail);
    }
  }

  void draw_things() {
    struct Thing {
      std::int64_t distance_mm;
      std::int32_t what;  ///< concept, 100 + clutter, 200 for the neighbour
    };
    std::array<Thing, kConcepts + 7> things{};
    std::size_t count = 0;
    for (std::size_t i = 0; i < scene_.clutter.size(); ++i) {
      if (scene_.clutter[i].present) {
        things[count++] = {scene_.clutter[i].distance_mm, 100 + static_cast<std::int32_t>(i)};
      }
    }
    if (scene_.neighbour) things[count++] = {scene_.neighbour_mm, 200};
    for (std::size_t c = 0; c < kConcepts; ++c) {
      const auto which = static_cast<Concept>(c);
      const bool stands_in = (which == Concept::red_light && scene_.green_light) ||
                             (which == Concept::lead_braking && scene_.car_ahead);
      if (shown(which) || stands_in) {
        things[count++] = {scene_[which].distance_mm, static_cast<std::int32_t>(c)};
      }
    }
    const auto end = things.begin() + static_cast<std::ptrdiff_t>(count);
    std::sort(things.begin(), end, [](const Thing& a, const Thing& b) {
      return a.distance_mm != b.distance_mm ? a.distance_mm > b.distance_mm : a.what > b.what;
    });
    for (auto thing = things.begin(); thing != end; ++thing) {
      if (thing->what == 200) {
        draw_car(easel(3550, scene_.neighbour_mm),
                 car_colour(static_cast<std::uint32_t>(scene_.key)), false);
      } else if (thing->what >= 100) {
        const Clutter& item = scene_.clutter[static_cast<std::size_t>(thing->what - 100)];
        if (item.building) {
          draw_building(easel(item.lateral_mm, item.distance_mm), item, scene_.town,
                        scene_.weather == Weather::night);
        } else {
          draw_tree(easel(item.lateral_mm, item.distance_mm), item);
        }
      } else {
        draw_concept(static_cast<Concept>(thing->what));
      }
    }
  }

  void collect_streaks() {
    for (std::uint64_t i = 0; i < 46; ++i) {
      const std::uint64_t bits = hashed(scene_.key, 940 + i);
      const auto x = static_cast<std::int64_t>(bits % kImageWidth);
      const auto y = static_cast<std::int64_t>((bits >> 8) % kImageHeight);
      const auto length = static_cast<std::int64_t>(2 + (bits >> 16) % 3);
      for (std::int64_t k = 0; k < length && y + k < kImageHeight; ++k) {
        wet_[static_cast<std::size_t>((y + k) * kImageWidth + x)] = 26;
      }
    }
  }

  /// Average 2 x 2 blocks, apply exposure, tint, rain and the sensor's noise.
  void develop(std::span<std::uint8_t> out) const {
    constexpr std::array<std::int32_t, 5> exposure = {1000, 900, 830, 950, 1000};
    const std::int64_t light = static_cast<std::int64_t>(scene_.brightness_pm) *
                               exposure[static_cast<std::size_t>(scene_.weather)] / 1000;
    std::array<std::int64_t, 3> gain{};
    for (std::size_t c = 0; c < 3; ++c) gain[c] = light * scene_.tint_pm[c];
    constexpr std::int64_t kPlane = kImageHeight * kImageWidth;
    std::uint64_t bits = 0;
    for (std::int64_t i = 0; i < kPlane; ++i) {
      if (i % 8 == 0) bits = hashed(scene_.key, static_cast<std::uint64_t>(i / 8));
      const auto noise = static_cast<std::int64_t>((bits >> (8 * (i % 8))) & 255U) - 128;
      const std::int64_t x = 2 * (i % kImageWidth);
      const std::int64_t y = 2 * (i / kImageWidth);
      const Colour& a = canvas_.at(x, y);
      const Colour& b = canvas_.at(x + 1, y);
      const Colour& c = canvas_.at(x, y + 1);
      const Colour& d = canvas_.at(x + 1, y + 1);
      const std::array<std::int64_t, 3> sums = {a.r + b.r + c.r + d.r, a.g + b.g + c.g + d.g,
                                                a.b + b.b + c.b + d.b};
      const std::int64_t add = noise * 9 / 128 + wet_[static_cast<std::size_t>(i)];
      for (std::size_t k = 0; k < 3; ++k) {
        const std::int64_t value = sums[k] * gain[k] / 4000000 + add;
        out[static_cast<std::size_t>(static_cast<std::int64_t>(k) * kPlane + i)] =
            static_cast<std::uint8_t>(std::clamp<std::int64_t>(value, 0, 255));
      }
    }
  }

  const Scene& scene_;
  std::uint32_t hidden_;
  Air air_;
  Camera camera_;
  Canvas canvas_;
  std::array<std::uint8_t, static_cast<std::size_t>(kImageHeight* kImageWidth)> wet_{};
};

}  // namespace

void render(const Scene& scene, std::span<std::uint8_t> out, std::uint32_t hidden) {
  if (out.size() != static_cast<std::size_t>(kImageBytes)) {
    throw InvalidArgument(internal::cat("[zoo.render] expected ", kImageBytes, " bytes (3 x ",
                                        kImageHeight, " x ", kImageWidth, "), got ", out.size()));
  }
  Picture(scene, hidden).draw(out);
}

}  // namespace tierod::zoo
