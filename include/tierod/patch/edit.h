#pragma once

#include <ATen/core/Tensor.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tierod/core/selection.h"
#include "tierod/core/span.h"
#include "tierod/export.h"
#include "tierod/hook/callback.h"
#include "tierod/hook/session.h"
#include "tierod/probe/direction.h"
#include "tierod/probe/eraser.h"

namespace tierod::patch {

/// Say of which scenes the rows of a batch are.
struct TIEROD_API EditRows {
  std::vector<std::int64_t> scenes{};  ///< id of the scene of each row
  std::vector<std::size_t> numbers{};  ///< its place among the scenes of the run, of each row
  /// Spans of each row, as the session has them; empty where there are none.
  SpanTable spans{};
  /// Of the part of an activation at hand, where it is not one of all rows; for the room's own use.
  std::optional<CallbackPart> part{};
};

/// Change activations while a model drives. Derive from it, in C++ or Python, to try an operation
/// of your own: it takes part in paired runs as those of tierod do.
class TIEROD_API Edit {
 public:
  virtual ~Edit() = default;
  Edit() = default;
  Edit(const Edit&) = delete;
  Edit& operator=(const Edit&) = delete;

  virtual std::string name() const = 0;
  /// Set up the session of one batch. It sees the sites of the model; selections may name the spans
  /// of the base run.
  virtual void put_on(Session& session, const EditRows& rows) const = 0;
};

/// Say what a direction is a direction of.
enum class Over : std::uint8_t {
  each,          ///< every token on its own; heads side by side, or apart, as the direction is wide
  pooled,        ///< the mean over the tokens; what is written is added to each token
  concatenated,  ///< all selected numbers of a row, one after the other
};

/// Return the name of the enumerator.
TIEROD_API const char* over_name(Over over) noexcept;

/// Say where a direction acts.
struct TIEROD_API DirectionPlace {
  std::string site;  ///< a pattern
  probe::Direction direction;
  Selection selection{};
  Over over = Over::each;
  /// Written in place of the direction's own vector, [width], by the same amounts: what a matched
  /// control does. Undefined: nothing is put in its place.
  at::Tensor written{};
};

/// Move activations along directions: h + a w, with the amount a by the operation. All places of
/// one edit act in the same run, so that an edit can cover every site through which control reads.
class TIEROD_API DirectionEdit final : public Edit {
 public:
  /// Put every row at the position of the other class: a = t - r'(h - mean), with t the position of
  /// class 1 where `to_high` [scenes of the run] says so, else of class 0. It moves nothing beyond
  /// what the data hold.
  static DirectionEdit swap(std::vector<DirectionPlace> places, std::vector<std::uint8_t> to_high);
  /// Take away what is read: a = -r'(h - mean).
  static DirectionEdit ablate(std::vector<DirectionPlace> places);
  /// Add `dose` natural standard deviations: a = dose sd.
  static DirectionEdit add(std::vector<DirectionPlace> places, double dose);
  /// Put every row where another is: a = t - r'(h - mean), with t of each place and scene of the
  /// run, f64 [places, scenes]. With the positions of other scenes this is an interchange of the
  /// concept alone (Geiger et al. 2024, arXiv 2303.02536).
  /// @throws InvalidArgument on another shape; NumericalError if a target is not finite.
  static DirectionEdit to(std::vector<DirectionPlace> places, const at::Tensor& targets);

  /// Move every scene by an amount of its own, whatever its position: a = amounts [scenes].
  /// @throws InvalidArgument on another shape; NumericalError if an amount is not finite.
  static DirectionEdit shift(std::vector<DirectionPlace> places, const at::Tensor& amounts);

  DirectionEdit(DirectionEdit&& other) noexcept;
  std::string name() const override;
  /// @throws InvalidArgument at the site if the selected part does not fit the direction.
  void put_on(Session& session, const EditRows& rows) const override;
  /// Return what becomes of the selected part of a site of place `number`.
  /// @throws as `put_on`.
  at::Tensor moved(std::size_t number, const at::Tensor& part, const EditRows& rows,
                   const Site& site) const;
  /// Return the same operation along other directions.
  /// @throws InvalidArgument unless there is one for each place.
  DirectionEdit along(std::vector<DirectionPlace> places) const;
  const std::vector<DirectionPlace>& places() const noexcept { return places_; }

 private:
  enum class Operation : std::uint8_t { swap, ablate, add, to, shift };
  DirectionEdit(Operation operation, std::vector<DirectionPlace> places,
                std::vector<std::uint8_t> to_high, double dose, at::Tensor targets);
  void check_scenes(const EditRows& rows) const;

  Operation operation_;
  std::vector<DirectionPlace> places_;
  std::vector<std::uint8_t> to_high_;
  double dose_ = 0;
  at::Tensor targets_;
};

/// Put an intervention of the hook layer (zero, mean-ablation, rows of others) at some sites.
class TIEROD_API InterventionEdit final : public Edit {
 public:
  /// @throws InvalidArgument if there is no site.
  InterventionEdit(std::string name, std::vector<std::string> sites, Intervention intervention,
                   Selection selection = {});
  std::string name() const override { return name_; }
  void put_on(Session& session, const EditRows& rows) const override;

 private:
  std::string name_;
  std::vector<std::string> sites_;
  Intervention intervention_;
  Selection selection_;
};

/// Say where a concept is erased.
struct TIEROD_API ErasurePlace {
  std::string site;  ///< a pattern
  probe::Eraser eraser;
  Selection selection{};
  Over over = Over::each;
};

/// Erase a concept: h - left right (h - mean), at all places in the same run. Erased at every site
/// through which control reads, a concept cannot reach control along what the erasers see.
class TIEROD_API ErasureEdit final : public Edit {
 public:
  /// @throws InvalidArgument if there is no place.
  explicit ErasureEdit(std::vector<ErasurePlace> places);
  std::string name() const override { return "erase"; }
  /// @throws InvalidArgument at the site if the selected part does not fit the eraser.
  void put_on(Session& session, const EditRows& rows) const override;

 private:
  std::shared_ptr<const std::vector<ErasurePlace>> places_;
};

}  // namespace tierod::patch
