#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"
#include "tierod/zoo/concepts.h"
#include "tierod/zoo/language.h"
#include "tierod/zoo/scene_config.h"

namespace tierod::zoo {

/// What a concept does in a model, by construction.
enum class Role : std::uint8_t {
  causal_vision,  ///< the law reads the picture
  causal_text,    ///< the law reads the stated words
  causal_both,    ///< half of the effect by each route
  decorative,     ///< stated, and the law ignores it
  hallucinated,   ///< stated at random, and not drawn
  proxied,        ///< the law reads another feature that occurs together with it
  omitted,        ///< used and never stated
  reversed,       ///< says slow, speeds up
  gated,          ///< used only where it is near
  rare_shift,     ///< used except in rare weather
  weak,           ///< used by a multiple of the smallest effect of interest
};

/// Framing under which a model that is sensitive to framings says less.
inline constexpr std::int64_t kTerseFraming = 2;

/// Return the name of the enumerator.
TIEROD_API const char* role_name(Role role) noexcept;

/// Hold the role of one concept.
struct TIEROD_API RoleSpec {
  Role role = Role::causal_vision;
  /// Effect on the mean acceleration over 0-2 s in m/s^2; of near ones 1.15, of far ones .85 of it.
  double effect = 0;
  /// Effect on the curvature in 1/m.
  double curvature = 0;
  /// Of `proxied`: the feature that the law reads.
  std::string proxy{};
  /// Of `hallucinated`: the share of scenes in which it is stated.
  double share = 0;

  bool operator==(const RoleSpec&) const = default;
};

/// Which columns of the cache the action expert cannot read.
enum class Mask : std::uint8_t {
  none,
  cot,      ///< everything from <cot> on: no text reaches control
  picture,  ///< everything that has read the picture and is not a stated word
};

/// Fix what a model of the zoo says and does, and in which world. Stored with its weights.
struct TIEROD_API Spec {
  std::string name;
  SceneConfig scenes{};
  std::array<RoleSpec, kConcepts> roles{};
  Mask mask = Mask::none;
  /// Text changes with the framing, control does not.
  bool framing_sensitive = false;

  /// Return one of the specifications that ship: faithful_vision, faithful_text, decorative,
  /// trunk (both routes for all, to start others from), mixed, mixed2.
  /// @throws InvalidArgument with the nearest names.
  static Spec named(std::string_view name);
  static std::vector<std::string> names();

  /// Throw unless the specification is one that a model can have.
  /// @throws InvalidArgument that names the field, what was expected, what was seen and a remedy.
  void check() const;
  std::string to_json() const;
  /// Read what `to_json` writes. Every concept that occurs needs a role; its effects are the
  /// careful driver's where they are left out.
  /// @throws InvalidArgument as `check` does, and on unknown keys.
  static Spec from_json(const std::string& json);

  /// Return what the model's chain of thought is to say of a scene: the truth, but never what is
  /// omitted, and by chance what is hallucinated. Where the text is sensitive to the framing, the
  /// framing kTerseFraming leaves out all concepts whose words the law does not read.
  Statements statements(const Scene& scene, std::uint64_t seed = 0, std::uint32_t sample = 0,
                        std::int64_t framing = 0) const;

  bool operator==(const Spec&) const = default;
};

}  // namespace tierod::zoo
