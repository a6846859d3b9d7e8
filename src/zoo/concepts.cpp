#include "tierod/zoo/concepts.h"

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/site.h"

namespace tierod::zoo {

using internal::cat;
using internal::list_text;

// Note [Where concepts stand]
// Objects must not hide each other, or no model could state all of them: what is near is small and
// close to the middle (pedestrian) or low (cones, debris), what is large is far (the car ahead) or
// outside (lights and signs). Signs and cones stand on the right and cars cut in from the left, as
// in right-hand traffic. The nearest distances keep every object inside of the picture.
const std::array<ConceptInfo, kConcepts>& concept_infos() {
  static const std::array<ConceptInfo, kConcepts> infos = {{
      {"pedestrian", "pedestrian", "brake", 6000, 13000, 700, 1300, true, false, true, .20, -2.0,
       0},
      {"red_light", "red light", "brake", 9000, 19000, 3100, 4000, true, false, true, .20, -1.8, 0},
      {"lead_braking", "brake lights", "slow", 11000, 22000, 0, 200, false, true, false, .20, -1.5,
       0},
      {"cut_in", "cut-in", "slow", 8000, 15000, 2000, 2400, true, false, false, .15, -1.2, 0},
      {"cyclist", "cyclist", "steer left", 7000, 14000, 2500, 3000, false, false, true, .15, -.6,
       .0015},
      {"cones", "cones", "steer left", 6000, 12000, 1500, 1900, false, false, true, .15, -.8,
       .0015},
      {"stop_sign", "stop sign", "brake", 8000, 15000, 3200, 4000, false, false, true, .20, -1.5,
       0},
      {"debris", "debris", "slow", 6000, 11000, 0, 500, false, true, false, .12, -1.0, 0},
  }};
  return infos;
}

std::vector<std::string> zoo_concepts() {
  std::vector<std::string> ids;
  for (const ConceptInfo& info : concept_infos()) ids.emplace_back(info.id);
  return ids;
}

std::size_t feature_index(std::string_view id, std::string_view where) {
  const auto& infos = concept_infos();
  for (std::size_t c = 0; c < kConcepts; ++c) {
    if (infos[c].id == id) return c;
  }
  if (id == kStopLine) return kConcepts;
  std::vector<std::string> known = zoo_concepts();
  known.emplace_back(kStopLine);
  throw InvalidArgument(cat("[", where, "] expected a concept, one of ", list_text(known),
                            ", got '", id, "'; nearest ", list_text(nearest_names(id, known))));
}

}  // namespace tierod::zoo
