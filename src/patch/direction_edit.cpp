#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/matmul.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/part_vectors_internal.h"
#include "tierod/core/error.h"
#include "tierod/patch/edit.h"

namespace tierod::patch {

using internal::cat;

namespace {

constexpr auto* kWhere = "patch.DirectionEdit";

/// Hold a direction in the dtype and on the device of what it moves.
struct Operands {
  at::Tensor read, write, mean;  // [d]
};

Operands operands_of(const probe::Direction& direction, const at::Tensor& like) {
  const auto as = [&](const at::Tensor& x) { return x.to(like.options()); };
  return {as(direction.read()), as(direction.write()), as(direction.mean())};
}

using internal::PartVectors;

// Return the part with every vector moved by `amount(positions [m], vectors)`.
template <typename Amount>
at::Tensor move(const at::Tensor& part, const DirectionPlace& place, const EditRows& rows,
                const Site& site, const Amount& amount) {
  const std::int64_t width = place.direction.width();
  const PartVectors vectors(part, site, rows, place.over, width);
  Operands o = operands_of(place.direction, vectors.all());
  if (place.written.defined()) {
    if (place.written.dim() != 1 || place.written.size(0) != width) {
      throw InvalidArgument(cat("[", kWhere, "] at '", site.name(), "' expected a written vector [",
                                width, "], got ", place.written.sizes()));
    }
    o.write = place.written.to(vectors.all().options());
  }
  const at::Tensor a = amount(at::matmul(vectors.read() - o.mean, o.read), vectors);
  return vectors.changed_by(a.unsqueeze(1) * o.write);
}

}  // namespace

const char* over_name(Over over) noexcept {
  switch (over) {
    case Over::each:
      return "each token";
    case Over::pooled:
      return "pooled";
    case Over::concatenated:
      return "concatenated";
  }
  return "?";
}

DirectionEdit::DirectionEdit(Operation operation, std::vector<DirectionPlace> places,
                             std::vector<std::uint8_t> to_high, double dose, at::Tensor targets)
    : operation_(operation),
      places_(std::move(places)),
      to_high_(std::move(to_high)),
      dose_(dose),
      targets_(std::move(targets)) {
  if (places_.empty()) throw InvalidArgument(cat("[", kWhere, "] expected at least one place"));
}

DirectionEdit::DirectionEdit(DirectionEdit&& other) noexcept
    : operation_(other.operation_),
      places_(std::move(other.places_)),
      to_high_(std::move(other.to_high_)),
      dose_(other.dose_),
      targets_(std::move(other.targets_)) {}

DirectionEdit DirectionEdit::swap(std::vector<DirectionPlace> places,
                                  std::vector<std::uint8_t> to_high) {
  if (std::any_of(to_high.begin(), to_high.end(), [](std::uint8_t t) { return t > 1; })) {
    throw InvalidArgument(
        cat("[", kWhere, ".swap] expected 0 or 1 for every scene, the class to go to"));
  }
  return {Operation::swap, std::move(places), std::move(to_high), 0, {}};
}

DirectionEdit DirectionEdit::ablate(std::vector<DirectionPlace> places) {
  return {Operation::ablate, std::move(places), {}, 0, {}};
}

DirectionEdit DirectionEdit::add(std::vector<DirectionPlace> places, double dose) {
  if (!std::isfinite(dose)) {
    throw InvalidArgument(cat("[", kWhere, ".add] expected a finite dose, got ", dose));
  }
  return {Operation::add, std::move(places), {}, dose, {}};
}

DirectionEdit DirectionEdit::to(std::vector<DirectionPlace> places, const at::Tensor& targets) {
  if (!targets.defined() || targets.dim() != 2 ||
      targets.size(0) != internal::length(places.size())) {
    throw InvalidArgument(cat("[", kWhere, ".to] expected targets [", places.size(),
                              " places, scenes], got ",
                              targets.defined() ? cat(targets.sizes()) : "none"));
  }
  const at::Tensor kept = targets.to(at::kCPU, at::kDouble).contiguous();
  if (!kept.isfinite().all().item<bool>()) {
    throw NumericalError(cat("[", kWhere, ".to] expected finite targets"));
  }
  return {Operation::to, std::move(places), {}, 0, kept};
}

DirectionEdit DirectionEdit::shift(std::vector<DirectionPlace> places, const at::Tensor& amounts) {
  if (!amounts.defined() || amounts.dim() != 1) {
    throw InvalidArgument(cat("[", kWhere, ".shift] expected amounts [scenes], got ",
                              amounts.defined() ? cat(amounts.sizes()) : "none"));
  }
  const auto count = internal::length(places.size());
  DirectionEdit out = to(std::move(places), amounts.unsqueeze(0).expand({count, amounts.size(0)}));
  out.operation_ = Operation::shift;
  return out;
}

std::string DirectionEdit::name() const {
  switch (operation_) {
    case Operation::swap:
      return "swap";
    case Operation::ablate:
      return "ablate";
    case Operation::add:
      return cat("add ", dose_, " sd");
    case Operation::to:
      return "interchange";
    case Operation::shift:
      return "shift";
  }
  return "?";
}

DirectionEdit DirectionEdit::along(std::vector<DirectionPlace> places) const {
  if (places.size() != places_.size()) {
    throw InvalidArgument(cat("[", kWhere, ".along] expected directions for ", places_.size(),
                              " places, got ", places.size()));
  }
  return {operation_, std::move(places), to_high_, dose_, targets_};
}

at::Tensor DirectionEdit::moved(std::size_t number, const at::Tensor& part, const EditRows& rows,
                                const Site& site) const {
  const DirectionPlace& place = places_.at(number);
  return move(part, place, rows, site, [&](const at::Tensor& position, const PartVectors& vectors) {
    if (operation_ == Operation::ablate) return position.neg();
    if (operation_ == Operation::add) {
      return at::full_like(position, dose_ * place.direction.sd());
    }
    at::Tensor target = at::empty({internal::length(rows.numbers.size())}, at::kDouble);
    auto* value = target.mutable_data_ptr<double>();
    const double* of_scene = operation_ != Operation::swap
                                 ? targets_.const_data_ptr<double>() +
                                       static_cast<std::int64_t>(number) * targets_.size(1)
                                 : nullptr;
    for (const std::size_t scene : rows.numbers) {
      if (of_scene != nullptr) {
        *value++ = of_scene[scene];
      } else {
        *value++ = to_high_[scene] != 0 ? place.direction.high() : place.direction.low();
      }
    }
    const at::Tensor goal = vectors.of_read(target);
    return operation_ == Operation::shift ? goal : goal - position;
  });
}

void DirectionEdit::check_scenes(const EditRows& rows) const {
  const bool swaps = operation_ == Operation::swap;
  if (!swaps && operation_ != Operation::to && operation_ != Operation::shift) return;
  const std::size_t have = swaps ? to_high_.size() : static_cast<std::size_t>(targets_.size(1));
  for (const std::size_t number : rows.numbers) {
    if (number < have) continue;
    throw InvalidArgument(
        cat("[", kWhere, swaps ? ".swap] expected a class" : ".to] expected a target",
            " for every scene of the run, got ", have, " and scene number ", number));
  }
}

void DirectionEdit::put_on(Session& session, const EditRows& rows) const {
  check_scenes(rows);
  // the session may outlive this edit
  const auto self = std::make_shared<const DirectionEdit>(along(places_));
  for (std::size_t i = 0; i < places_.size(); ++i) {
    session.intervene(
        places_[i].site,
        [self, i, rows](const at::Tensor& part, const Event& event) -> std::optional<at::Tensor> {
          return self->moved(i, part, internal::with_part(rows), event.site);
        },
        {.selection = places_[i].selection, .ragged = true});
  }
}

ErasureEdit::ErasureEdit(std::vector<ErasurePlace> places)
    : places_(std::make_shared<const std::vector<ErasurePlace>>(std::move(places))) {
  if (places_->empty()) {
    throw InvalidArgument("[patch.ErasureEdit] expected at least one place");
  }
}

void ErasureEdit::put_on(Session& session, const EditRows& rows) const {
  for (std::size_t i = 0; i < places_->size(); ++i) {
    const ErasurePlace& at_site = (*places_)[i];
    session.intervene(
        at_site.site,
        [places = places_, i, rows](const at::Tensor& part,
                                    const Event& event) -> std::optional<at::Tensor> {
          const ErasurePlace& place = (*places)[i];
          const PartVectors vectors(part, event.site, internal::with_part(rows), place.over,
                                    place.eraser.width());
          const auto as = [&](const at::Tensor& x) { return x.to(vectors.all().options()); };
          const at::Tensor score =
              at::matmul(vectors.read() - as(place.eraser.mean()), as(place.eraser.right()).t());
          return vectors.changed_by(at::matmul(score, as(place.eraser.left()).t()).neg());
        },
        {.selection = at_site.selection, .ragged = true});
  }
}

InterventionEdit::InterventionEdit(std::string name, std::vector<std::string> sites,
                                   Intervention intervention, Selection selection)
    : name_(std::move(name)),
      sites_(std::move(sites)),
      intervention_(std::move(intervention)),
      selection_(std::move(selection)) {
  if (sites_.empty()) {
    throw InvalidArgument(
        cat("[patch.InterventionEdit] expected at least one site for '", name_, "'"));
  }
}

void InterventionEdit::put_on(Session& session, const EditRows& /*rows*/) const {
  for (const std::string& site : sites_) {
    session.intervene(site, intervention_, {.selection = selection_});
  }
}

}  // namespace tierod::patch
