#include <ATen/TensorOperators.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/full_like.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/where.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <optional>

#include "core/text_internal.h"
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

// Return the selected part as [rows, tokens, width], f32 or wider, the way `over` looks at it.
at::Tensor unfold(const at::Tensor& part, Over over, std::int64_t width, std::int64_t rows,
                  const std::string& site) {
  const bool narrow = part.scalar_type() == at::kHalf || part.scalar_type() == at::kBFloat16;
  at::Tensor h = narrow ? part.to(at::kFloat) : part;
  const bool has_rows = part.dim() >= 2 && part.size(0) == rows;
  if (has_rows && over == Over::concatenated) {
    h = h.reshape({rows, 1, -1});
  } else if (has_rows && h.dim() == 2) {
    h = h.unsqueeze(1);
  }
  if (!has_rows || h.dim() != 3 || h.size(2) != width) {
    throw InvalidArgument(cat("[patch.Edit] at '", site, "' expected a part of width ", width,
                              " for ", rows, " rows, ", over_name(over), ", got ", part.sizes(),
                              "; what acts there was made for another site or selection"));
  }
  return h;
}

// Return part + change in the part's own dtype. h + 0 would turn -0 into +0: where nothing changes,
// every bit stays.
at::Tensor moved_by(const at::Tensor& part, const at::Tensor& h, const at::Tensor& change) {
  const at::Tensor by = change.expand(h.sizes()).reshape(part.sizes());
  return at::where(by.eq(0), part, (h.reshape(part.sizes()) + by).to(part.scalar_type()));
}

// Return h with every row moved by `amount(positions)`; positions are [rows, tokens or 1].
template <typename Amount>
at::Tensor move(const at::Tensor& part, const DirectionPlace& place, std::int64_t rows,
                const std::string& site, const Amount& amount) {
  const std::int64_t width = place.direction.width();
  const at::Tensor h = unfold(part, place.over, width, rows, site);
  Operands o = operands_of(place.direction, h);
  if (place.written.defined()) {
    if (place.written.dim() != 1 || place.written.size(0) != width) {
      throw InvalidArgument(cat("[", kWhere, "] at '", site, "' expected a written vector [", width,
                                "], got ", place.written.sizes()));
    }
    o.write = place.written.to(h.options());
  }
  const at::Tensor read = place.over == Over::pooled ? h.mean(1, true) : h;
  const at::Tensor a = amount(at::matmul(read - o.mean, o.read));  // [rows, tokens or 1]
  return moved_by(part, h, a.unsqueeze(2) * o.write);
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
                             std::vector<std::uint8_t> to_high, double dose)
    : operation_(operation), places_(std::move(places)), to_high_(std::move(to_high)), dose_(dose) {
  if (places_.empty()) throw InvalidArgument(cat("[", kWhere, "] expected at least one place"));
}

DirectionEdit::DirectionEdit(DirectionEdit&& other) noexcept
    : operation_(other.operation_),
      places_(std::move(other.places_)),
      to_high_(std::move(other.to_high_)),
      dose_(other.dose_) {}

DirectionEdit DirectionEdit::swap(std::vector<DirectionPlace> places,
                                  std::vector<std::uint8_t> to_high) {
  if (std::any_of(to_high.begin(), to_high.end(), [](std::uint8_t t) { return t > 1; })) {
    throw InvalidArgument(
        cat("[", kWhere, ".swap] expected 0 or 1 for every scene, the class to go to"));
  }
  return {Operation::swap, std::move(places), std::move(to_high), 0};
}

DirectionEdit DirectionEdit::ablate(std::vector<DirectionPlace> places) {
  return {Operation::ablate, std::move(places), {}, 0};
}

DirectionEdit DirectionEdit::add(std::vector<DirectionPlace> places, double dose) {
  if (!std::isfinite(dose)) {
    throw InvalidArgument(cat("[", kWhere, ".add] expected a finite dose, got ", dose));
  }
  return {Operation::add, std::move(places), {}, dose};
}

std::string DirectionEdit::name() const {
  switch (operation_) {
    case Operation::swap:
      return "swap";
    case Operation::ablate:
      return "ablate";
    case Operation::add:
      return cat("add ", dose_, " sd");
  }
  return "?";
}

DirectionEdit DirectionEdit::along(std::vector<DirectionPlace> places) const {
  if (places.size() != places_.size()) {
    throw InvalidArgument(cat("[", kWhere, ".along] expected directions for ", places_.size(),
                              " places, got ", places.size()));
  }
  return {operation_, std::move(places), to_high_, dose_};
}

at::Tensor DirectionEdit::moved(std::size_t number, const at::Tensor& part, const EditRows& rows,
                                const std::string& site) const {
  const DirectionPlace& place = places_.at(number);
  const auto count = static_cast<std::int64_t>(rows.numbers.size());
  return move(part, place, count, site, [&](const at::Tensor& position) {
    if (operation_ == Operation::ablate) return position.neg();
    if (operation_ == Operation::add) {
      return at::full_like(position, dose_ * place.direction.sd());
    }
    at::Tensor target = at::empty({count, 1}, at::kDouble);
    auto* value = target.mutable_data_ptr<double>();
    for (const std::size_t scene : rows.numbers) {
      *value++ = to_high_[scene] != 0 ? place.direction.high() : place.direction.low();
    }
    return target.to(position.options()) - position;
  });
}

void DirectionEdit::put_on(Session& session, const EditRows& rows) const {
  if (operation_ == Operation::swap) {
    for (const std::size_t number : rows.numbers) {
      if (number < to_high_.size()) continue;
      throw InvalidArgument(cat("[", kWhere, ".swap] expected a class for every scene of the run, ",
                                "got ", to_high_.size(), " and scene number ", number));
    }
  }
  // the session may outlive this edit
  const auto self = std::make_shared<const DirectionEdit>(along(places_));
  for (std::size_t i = 0; i < places_.size(); ++i) {
    session.intervene(
        places_[i].site,
        [self, i, rows](const at::Tensor& part, const Event& event) -> std::optional<at::Tensor> {
          return self->moved(i, part, rows, event.site.name());
        },
        {.selection = places_[i].selection});
  }
}

ErasureEdit::ErasureEdit(std::vector<ErasurePlace> places)
    : places_(std::make_shared<const std::vector<ErasurePlace>>(std::move(places))) {
  if (places_->empty()) {
    throw InvalidArgument("[patch.ErasureEdit] expected at least one place");
  }
}

void ErasureEdit::put_on(Session& session, const EditRows& rows) const {
  const auto count = static_cast<std::int64_t>(rows.numbers.size());
  for (std::size_t i = 0; i < places_->size(); ++i) {
    const ErasurePlace& at_site = (*places_)[i];
    session.intervene(
        at_site.site,
        [places = places_, i, count](const at::Tensor& part,
                                     const Event& event) -> std::optional<at::Tensor> {
          const ErasurePlace& place = (*places)[i];
          const at::Tensor h =
              unfold(part, place.over, place.eraser.width(), count, event.site.name());
          const auto as = [&](const at::Tensor& x) { return x.to(h.options()); };
          const at::Tensor read = place.over == Over::pooled ? h.mean(1, true) : h;
          const at::Tensor score =
              at::matmul(read - as(place.eraser.mean()), as(place.eraser.right()).t());
          return moved_by(part, h, at::matmul(score, as(place.eraser.left()).t()).neg());
        },
        {.selection = at_site.selection});
  }
}

}  // namespace tierod::patch
