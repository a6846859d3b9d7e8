#include <array>
#include <cstdint>

#include "zoo/camera_internal.h"

// Sizes are in mm, from the middle of the thing's foot: x to the right, y up.

namespace tierod::zoo {

namespace {

constexpr Colour kTyre = {24, 24, 27};
constexpr Colour kSkin = {226, 180, 150};

void draw_wheels(Easel& easel) {
  easel.box(-860, 0, -560, 380, kTyre);
  easel.box(560, 0, 860, 380, kTyre);
}

}  // namespace

Colour clothes_colour(const ConceptState& state) {
  constexpr std::array<Colour, 6> palette = {{{214, 70, 170},
                                              {60, 120, 220},
                                              {238, 200, 60},
                                              {236, 236, 236},
                                              {70, 190, 190},
                                              {150, 90, 210}}};
  const Colour base = palette[state.colour[0] % palette.size()];
  return base.times(850 + state.colour[1] * 150 / 255);
}

Colour car_colour(std::uint32_t bits) {
  constexpr std::array<Colour, 6> palette = {{{196, 200, 206},
                                              {70, 96, 160},
                                              {120, 128, 138},
                                              {226, 226, 220},
                                              {60, 110, 92},
                                              {176, 152, 110}}};
  return palette[bits % palette.size()].times(850 + static_cast<std::int32_t>(bits / 256 % 150));
}

void draw_car(Easel easel, const Colour& body, bool brakes) {
  easel.disc(0, 20, 1050, 140, {40, 40, 42});
  draw_wheels(easel);
  easel.box(-900, 260, 900, 930, body);
  easel.box(-900, 260, 900, 430, body.times(620));
  easel.shape({{-820, 900}, {820, 900}, {640, 1460}, {-640, 1460}}, body.times(880));
  easel.shape({{-690, 960}, {690, 960}, {550, 1380}, {-550, 1380}}, {58, 74, 88});
  easel.box(-240, 480, 240, 620, {226, 224, 206});
  if (!brakes) {
    easel.box(-890, 620, -640, 840, {116, 20, 20});
    easel.box(640, 620, 890, 840, {116, 20, 20});
    return;
  }
  for (const std::int64_t side : {-1, 1}) {
    easel.disc(side * 750, 730, 420, 360, {226, 60, 44}, true);
    easel.disc(side * 750, 730, 270, 230, {255, 64, 40}, true);
    easel.disc(side * 750, 730, 120, 100, {255, 190, 170}, true);
  }
  easel.box(-330, 1390, 330, 1530, {255, 56, 40}, true);
}

void draw_cutting_car(Easel easel, const Colour& body) {
  easel.shape({{-1150, 0}, {600, -40}, {1350, 140}, {1250, 220}, {-1100, 140}}, {40, 40, 42});
  // rear wheel on this side, front wheel further away
  easel.box(-1050, 0, -760, 360, kTyre);
  easel.disc(720, 250, 150, 260, kTyre);
  easel.disc(1190, 360, 110, 210, kTyre);
  // the side that faces us: the nose points into our lane
  easel.shape({{520, 270}, {1380, 430}, {1380, 860}, {520, 940}}, body.times(760));
  easel.shape({{520, 930}, {1150, 860}, {980, 1380}, {420, 1460}}, body.times(700));
  easel.shape({{560, 960}, {1060, 900}, {940, 1310}, {500, 1380}}, {58, 74, 88});
  easel.box(-1100, 260, 520, 940, body);
  easel.box(-1100, 260, 520, 430, body.times(620));
  easel.shape({{-1030, 920}, {470, 920}, {360, 1460}, {-880, 1460}}, body.times(880));
  easel.shape({{-920, 970}, {370, 970}, {290, 1380}, {-800, 1380}}, {58, 74, 88});
  easel.box(-480, 480, -60, 620, {226, 224, 206});
  easel.box(-1090, 620, -850, 840, {116, 20, 20});
  easel.disc(420, 740, 330, 330, {230, 140, 30}, true);
  easel.disc(420, 740, 200, 200, {255, 186, 30}, true);
  easel.disc(1360, 690, 120, 120, {255, 186, 30}, true);
}

void draw_pedestrian(Easel easel, const Colour& jacket, std::uint32_t detail, bool faces_left) {
  const Colour trousers = (detail & 1U) != 0 ? Colour{44, 52, 92} : Colour{62, 54, 50};
  const std::int64_t f = faces_left ? -1 : 1;
  easel.disc(0, 15, 430, 60, {44, 44, 46});
  // mid-stride, one leg before the other
  easel.shape({{-150, 860}, {60, 860}, {-190 * f - 60, 60}, {-190 * f - 190, 60}},
              trousers.times(820));
  easel.shape({{-60, 860}, {160, 860}, {230 * f + 80, 60}, {230 * f - 60, 60}}, trousers);
  easel.box(-190 * f - 210, 0, -190 * f + 20, 90, {20, 20, 22});
  easel.box(230 * f - 90, 0, 230 * f + 140, 90, {20, 20, 22});
  easel.shape({{-200, 800}, {200, 800}, {250, 1430}, {-250, 1430}}, jacket);
  easel.bar({220 * f, 1380}, {330 * f, 900}, 110, jacket.times(760));
  easel.bar({-220 * f, 1380}, {-300 * f, 920}, 110, jacket.times(640));
  easel.disc(0, 1600, 150, 175, kSkin);
  easel.shape({{-150, 1620}, {150, 1620}, {130, 1790}, {-130, 1790}}, {58, 40, 28});
}

void draw_cyclist(Easel easel, const Colour& jersey) {
  const Colour frame = {190, 40, 120};
  easel.disc(0, 10, 950, 60, {44, 44, 46});
  easel.wheel(-560, 350, 350, 230, kTyre);
  easel.wheel(560, 350, 350, 230, kTyre);
  easel.bar({560, 350}, {240, 880}, 90, frame);
  easel.bar({240, 880}, {20, 340}, 90, frame);
  easel.bar({20, 340}, {-440, 860}, 90, frame);
  easel.bar({-460, 960}, {-560, 350}, 90, frame);
  easel.bar({-440, 860}, {240, 860}, 90, frame);
  easel.bar({240, 960}, {-40, 640}, 190, {40, 44, 60});
  easel.bar({-40, 660}, {60, 260}, 150, {40, 44, 60});
  easel.shape({{120, 900}, {380, 960}, {-60, 1520}, {-300, 1340}}, jersey);
  easel.bar({-200, 1380}, {-500, 1000}, 120, jersey.times(760));
  easel.disc(-270, 1600, 150, 170, kSkin);
  easel.shape({{-450, 1620}, {-80, 1600}, {-120, 1760}, {-270, 1820}, {-420, 1760}},
              {250, 232, 40});
}

void draw_cone(Easel easel) {
  easel.box(-330, 0, 330, 80, {206, 84, 16});
  easel.shape({{-260, 80}, {260, 80}, {40, 960}, {-40, 960}}, {255, 116, 18});
  easel.shape({{-190, 330}, {190, 330}, {140, 530}, {-140, 530}}, {250, 250, 250}, true);
  easel.shape({{-105, 680}, {105, 680}, {75, 800}, {-75, 800}}, {250, 250, 250}, true);
}

void draw_stop_sign(Easel easel) {
  const auto octagon = [&](std::int64_t radius, const Colour& colour) {
    const std::int64_t half = radius * 414 / 1000;
    const std::int64_t y = 2300;
    easel.shape({{-half, y - radius},
                 {half, y - radius},
                 {radius, y - half},
                 {radius, y + half},
                 {half, y + radius},
                 {-half, y + radius},
                 {-radius, y + half},
                 {-radius, y - half}},
                colour, true);  // throws headlights back
  };
  easel.box(-50, 0, 50, 1900, {150, 152, 156});
  octagon(540, {244, 244, 244});
  octagon(470, {206, 16, 24});
  // four letters
  for (const std::int64_t x : {-345, -165, 15, 195})
    easel.box(x, 2220, x + 120, 2380, {236, 220, 220}, true);
}

void draw_traffic_light(Easel easel, bool red) {
  easel.box(-70, 0, 70, 2600, {88, 90, 94});
  easel.box(-340, 2480, 340, 3800, {134, 136, 138});
  easel.box(-280, 2540, 280, 3740, {22, 22, 25});
  constexpr std::array<Colour, 3> dark = {{{70, 22, 20}, {70, 56, 18}, {18, 58, 30}}};
  constexpr std::array<std::int64_t, 3> heights = {3520, 3140, 2760};
  for (std::size_t i = 0; i < 3; ++i) easel.disc(0, heights[i], 160, 160, dark[i]);
  const std::int64_t lamp = red ? heights[0] : heights[2];
  easel.disc(0, lamp, 320, 320, red ? Colour{200, 34, 26} : Colour{20, 150, 70}, true);
  easel.disc(0, lamp, 230, 230, red ? Colour{255, 50, 34} : Colour{40, 245, 120}, true);
}

void draw_debris(Easel easel, std::uint32_t detail) {
  const std::int64_t f = (detail & 2U) != 0 ? -1 : 1;
  easel.disc(0, 10, 760, 70, {40, 40, 42});
  easel.shape({{-450, 0}, {380, 0}, {400, 560}, {-430, 560}}, {158, 110, 62});
  easel.shape({{-430, 560}, {400, 560}, {300, 730}, {-340, 730}}, {198, 152, 98});
  easel.box(-70, 0, 40, 560, {222, 196, 140});
  // a flap that hangs open, and a piece that fell off
  easel.shape({{f * 400, 560}, {f * 620, 420}, {f * 600, 300}, {f * 400, 440}}, {182, 134, 82});
  easel.shape({{-f * 760, 0}, {-f * 500, 0}, {-f * 540, 230}, {-f * 700, 180}}, {132, 90, 50});
}

void draw_tree(Easel easel, const Clutter& item) {
  const std::int64_t h = item.height_mm;
  const std::int64_t w = item.width_mm;
  const Colour leaves = {44 + item.shade / 5, 96 + item.shade / 4, 40};
  easel.box(-w / 14, 0, w / 14, h / 2, {92, 66, 44});
  easel.disc(0, h * 66 / 100, w / 2, h * 32 / 100, leaves.times(800));
  easel.disc(-w / 6, h * 60 / 100, w / 3, h * 22 / 100, leaves);
  easel.disc(w / 7, h * 76 / 100, w / 3, h * 20 / 100, leaves.times(1150));
}

void draw_building(Easel easel, const Clutter& item, std::int32_t town, bool night) {
  constexpr std::array<Colour, 4> walls = {
      {{178, 120, 98}, {190, 182, 164}, {148, 152, 160}, {196, 168, 122}}};
  const std::int64_t h = item.height_mm;
  const std::int64_t w = item.width_mm / 2;
  const auto which = static_cast<std::size_t>(town + (item.shade >> 6)) % walls.size();
  const Colour wall = walls[which].times(820 + item.shade * 180 / 255);
  easel.box(-w, 0, w, h, wall);
  easel.box(-w - 150, h - 250, w + 150, h, wall.times(700));
  const std::int64_t floors = (h - 600) / 1500;
  for (std::int64_t level = 0; level < floors; ++level) {
    for (std::int64_t i = 0; i < 3; ++i) {
      const std::int64_t x = -w + (2 * i + 1) * w / 3;
      const std::int64_t y = 700 + level * 1500;
      const bool lamp = night && ((item.shade >> ((level * 3 + i) % 8)) & 1) != 0;
      easel.box(x - w / 6, y, x + w / 6, y + 850, lamp ? Colour{244, 208, 120} : Colour{70, 84, 98},
                lamp);
    }
  }
}

}  // namespace tierod::zoo
