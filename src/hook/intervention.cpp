#include "tierod/hook/intervention.h"

#include <ATen/ops/dot.h>
#include <ATen/ops/isfinite.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/scalar_tensor.h>
#include <ATen/ops/where.h>
#include <c10/core/impl/LocalDispatchKeySet.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/text_internal.h"
#include "hook/intervention_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;

namespace {

at::Tensor need_floating(const at::Tensor& x, const char* where, const char* name) {
  if (!x.defined() || !at::isFloatingType(x.scalar_type())) {
    throw InvalidArgument(
        cat("[hook.Intervention.", where, "] expected a floating tensor as ", name, ", got ",
            x.defined() ? c10::toString(x.scalar_type()) : "an undefined tensor"));
  }
  return x;
}

// Own the operand: a later in-place change of the caller's tensor must not change the edit.
at::Tensor own(const at::Tensor& x) { return x.detach().clone(at::MemoryFormat::Contiguous); }

at::Tensor as_columns(const at::Tensor& x, const char* where, const char* name) {
  if (x.dim() != 1 && x.dim() != 2) {
    throw InvalidArgument(cat("[hook.Intervention.", where, "] expected ", name,
                              " of shape [d] or [d, k], got ", x.sizes()));
  }
  return x.dim() == 1 ? x.unsqueeze(1) : x;
}

void check_biorthogonal(const at::Tensor& read, const at::Tensor& write, const char* where) {
  need_floating(read, where, "read");
  need_floating(write, where, "write");
  if (read.dim() != 1 || !read.sizes().equals(write.sizes())) {
    throw InvalidArgument(cat("[hook.Intervention.", where,
                              "] expected read and write vectors of one shape [d], got ",
                              read.sizes(), " and ", write.sizes()));
  }
  const auto product =
      at::dot(read.detach().to(at::kCPU, at::kDouble), write.detach().to(at::kCPU, at::kDouble))
          .item<double>();
  if (!(std::abs(product - 1.0) <= 1e-3)) {
    throw InvalidArgument(cat("[hook.Intervention.", where, "] expected r'w = 1, got ", product,
                              "; scale the write vector (pattern) by 1 / r'w, and do not use a "
                              "filter as a pattern"));
  }
}

}  // namespace

namespace internal {

void check_finite(const at::Tensor& x, const std::string& where, const char* what) {
  if (at::isfinite(x.detach()).all().item<bool>()) return;
  throw NumericalError(cat(
      where, " ", what, " holds NaN or infinite values; pass allow_nonfinite if they are meant"));
}

void check_replacement(const at::Tensor& values, const at::Tensor& part, const std::string& where,
                       const char* what) {
  if (!values.sizes().equals(part.sizes())) {
    throw InvalidArgument(
        cat(where, " expected ", what, " of shape ", part.sizes(), ", got ", values.sizes()));
  }
  if (values.scalar_type() != part.scalar_type()) {
    throw InvalidArgument(cat(where, " expected ", what, " of dtype ", part.scalar_type(), ", got ",
                              values.scalar_type(), "; convert it with .to(...)"));
  }
}

namespace {

double largest_of(at::ScalarType dtype) {
  switch (dtype) {
    case at::kHalf:
      return std::numeric_limits<at::Half>::max();
    case at::kBFloat16:
      return std::numeric_limits<at::BFloat16>::max();
    case at::kFloat:
      return std::numeric_limits<float>::max();
    default:
      return std::numeric_limits<double>::max();
  }
}

/// A dose that is too large for the dtype gives Inf, and the model goes on with it without a word.
void check_stays_finite(const at::Tensor& before, const at::Tensor& after,
                        const std::string& where) {
  const at::Tensor finite = at::isfinite(after.detach());
  if (finite.all().item<bool>()) return;
  if (!at::isfinite(before.detach()).logical_and(finite.logical_not()).any().item<bool>()) return;
  throw NumericalError(cat(where, " the edit makes finite values NaN or infinite: in ",
                           after.scalar_type(), " the largest is ", largest_of(after.scalar_type()),
                           ". Make the dose smaller, or run the model in a wider dtype; if the "
                           "activation itself holds NaN or Inf, select the tokens without them"));
}

void check_token_lengths(std::int64_t donor, std::int64_t here, const std::string& where) {
  if (donor == here) return;
  throw InvalidArgument(cat(where, " the donor has ", donor, " tokens and this run ", here,
                            "; clean and corrupted inputs must have equal token lengths, or every "
                            "position after the difference means something else"));
}

// Return the donor's values for the region: the donor is either the part itself or the whole.
at::Tensor donor_part(const at::Tensor& donor, const at::Tensor& x, const Region& region,
                      const at::Tensor& part, const std::string& where) {
  at::Tensor source = donor.to(x.device());
  if (source.sizes().equals(part.sizes())) return source;
  if (source.sizes().equals(x.sizes())) return gather(region, source);
  const std::int64_t axis = region.axes.tokens;
  if (axis >= 0 && source.dim() == x.dim()) {
    check_token_lengths(source.size(axis), x.size(axis), where);
  }
  throw InvalidArgument(cat(where, " expected a replacement of shape ", part.sizes(),
                            " (the selected part) or ", x.sizes(), " (the whole tensor), got ",
                            source.sizes()));
}

at::Tensor replace_by_event(const Intervention::Impl& impl, const at::Tensor& x,
                            const Region& region, const Selection& selection,
                            const at::Tensor& part, const Event& event, bool gradient,
                            const std::string& where) {
  EventFilter filter;
  filter.phase = event.phase;
  filter.step = event.step;
  filter.branch = event.branch;
  filter.call = event.call;
  filter.gradient = gradient;
  if (!impl.donors.contains(event.site.name())) {
    const auto names = impl.donors.sites();
    throw SiteError(cat(where, " the donors hold no '", event.site.name(),
                        "'; nearest names: ", list_text(nearest_names(event.site.name(), names))));
  }
  const std::vector<Activation> found = impl.donors.find(event.site.name(), filter);
  if (found.size() != 1) {
    throw SiteError(cat(where, " the donors hold ", found.size(), " entries for ", event.text(),
                        "; expected exactly one: capture the same phases and steps in the donor "
                        "run, or restrict the selection"));
  }
  const Activation& donor = found.front();
  if (donor.reduce != Reduce::none) {
    throw InvalidArgument(cat(where, " the donor was captured with reduction ",
                              reduce_name(donor.reduce), "; capture it unreduced"));
  }
  const auto axis = region.axes.tokens;
  if (axis >= 0 && donor.site_shape.size() == static_cast<std::size_t>(x.dim())) {
    check_token_lengths(donor.site_shape[static_cast<std::size_t>(axis)], x.size(axis), where);
  }
  const Selection& had = donor.selection;
  const bool same_part =
      had.rows == selection.rows && had.tokens == selection.tokens && had.heads == selection.heads;
  if (!had.whole_tensor() && !same_part) {
    // Shapes may agree all the same: token 1 would silently be put where token 3 was.
    throw InvalidArgument(
        cat(where, " the donor holds the selection ", had.to_json(), ", but the edit selects ",
            selection.to_json(),
            "; capture the donor whole or with the edit's rows, tokens and heads, "
            "or give its tensor to replace()"));
  }
  return donor_part(donor.tensor, x, region, part, where);
}

at::Tensor apply_affine(const Intervention::Affine& affine, const at::Tensor& part,
                        const Region& region, const std::string& where) {
  const at::ScalarType dtype = part.scalar_type();
  const bool low = dtype == at::kHalf || dtype == at::kBFloat16;
  const at::ScalarType compute = low ? at::kFloat : dtype;
  const auto operand = [&](const at::Tensor& t) { return t.to(part.device(), compute); };
  const at::Tensor h = part.to(compute);
  const at::Tensor write = operand(affine.write);
  if (h.dim() == 0 || h.size(-1) != write.size(0)) {
    throw InvalidArgument(cat(where, " expected activations of width ", write.size(0),
                              " on the last axis, got shape ", part.sizes(),
                              "; the direction was made for another site"));
  }
  at::Tensor score;  // t - a R'(h - mu), [..., k]
  if (affine.target.defined()) {
    at::Tensor target = operand(affine.target);
    if (target.dim() == 2) {
      if (region.axes.rows != 0 || target.size(0) != h.size(0) || !region.rectangular()) {
        throw InvalidArgument(cat(where, " expected targets for ", h.size(0),
                                  " selected rows, got ", target.sizes()));
      }
      std::vector<std::int64_t> shape(static_cast<std::size_t>(h.dim()), 1);
      shape.front() = target.size(0);
      shape.back() = target.size(1);
      target = target.view(shape);
    }
    score = target;
  } else {
    score = at::scalar_tensor(0.0, h.options());
  }
  if (affine.scale != 0.0) {
    const at::Tensor centred = affine.mean.defined() ? h.sub(operand(affine.mean)) : h;
    score = score.sub(at::matmul(centred, operand(affine.read)), affine.scale);
  }
  if (score.dim() == 0) score = score.expand({write.size(1)});
  const at::Tensor change = at::matmul(score, write.t());
  // h + 0 would turn -0 into +0: where nothing changes, every bit stays.
  return at::where(change.eq(0), part, h.add(change).to(dtype));
}

}  // namespace

at::Tensor apply(const Intervention& intervention, const at::Tensor& x, const Region& region,
                 const Selection& selection, const Event& event, bool gradient,
                 const std::string& where) {
  // Under autocast a product of f32 operands would be rounded to bf16 on the way.
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  if (region.empty) return x;
  const Intervention::Impl& impl = intervention.impl();
  const at::Tensor part = gather(region, x);
  at::Tensor values;
  switch (impl.kind) {
    case Intervention::Kind::replace: {
      const at::Tensor source = impl.source.to(x.device());
      if (!impl.broadcast) {
        values = donor_part(source, x, region, part, where);
      } else if (source.dim() == 0 || (part.dim() > 0 && source.size(0) == part.size(-1))) {
        // A broadcast vector is a statistic, kept in f64 as a rule: round it to the site's dtype.
        values = source.to(x.scalar_type()).expand(part.sizes());
      } else {
        throw InvalidArgument(cat(where, " expected activations of width ", source.size(0),
                                  " on the last axis, got shape ", part.sizes()));
      }
      check_replacement(values, part, where, "a replacement");
      // Finite when it was given, and perhaps not in the site's dtype.
      if (impl.broadcast && !impl.allow_nonfinite) check_stays_finite(source, values, where);
      break;
    }
    case Intervention::Kind::replace_by_event:
      values = replace_by_event(impl, x, region, selection, part, event, gradient, where);
      check_replacement(values, part, where, "a donor");
      if (!impl.allow_nonfinite) check_finite(values, where, "the donor");
      break;
    case Intervention::Kind::affine:
      values = apply_affine(impl.affine, part, region, where);
      check_stays_finite(part, values, where);
      break;
    case Intervention::Kind::gather_rows: {
      const std::int64_t axis = region.axes.rows;
      if (axis < 0) {
        throw InvalidArgument(cat(where, " gather_rows needs a row axis, but the layout is '",
                                  region.axes.layout, "'"));
      }
      if (region.ragged) {
        throw InvalidArgument(cat(where,
                                  " gather_rows cannot use spans that lie differently in different "
                                  "rows; select tokens or positions"));
      }
      const auto rows = x.size(axis);
      if (static_cast<std::int64_t>(impl.permutation.size()) != rows) {
        throw InvalidArgument(cat(where, " expected a permutation of ", rows, " rows, got ",
                                  impl.permutation.size(), " indices"));
      }
      for (const std::int64_t row : impl.permutation) resolve_index(row, rows, where, "row");
      values = gather(region, x.index_select(axis, index_tensor(impl.permutation, x)));
      break;
    }
  }
  if (region.whole()) {
    // Fresh memory always: the model may write into what it is given, and a donor must not change.
    return values.is_alias_of(x) || impl.kind == Intervention::Kind::replace ||
                   impl.kind == Intervention::Kind::replace_by_event
               ? values.clone(at::MemoryFormat::Contiguous)
               : values;
  }
  return scatter(region, x, values);
}

}  // namespace internal

Intervention Intervention::replace(const at::Tensor& source, bool allow_nonfinite) {
  need_floating(source, "replace", "source");
  if (!allow_nonfinite) internal::check_finite(source, "[hook.Intervention.replace]", "the source");
  Impl impl{.kind = Kind::replace};
  impl.source = own(source);
  impl.allow_nonfinite = allow_nonfinite;
  return Intervention(std::make_shared<const Impl>(std::move(impl)));
}

Intervention Intervention::replace_broadcast(const at::Tensor& source, bool allow_nonfinite) {
  need_floating(source, "replace_broadcast", "source");
  if (source.dim() > 1) {
    throw InvalidArgument(
        cat("[hook.Intervention.replace_broadcast] expected a scalar or a vector "
            "[d], got shape ",
            source.sizes(), "; use replace() for a whole part"));
  }
  if (!allow_nonfinite) {
    internal::check_finite(source, "[hook.Intervention.replace_broadcast]", "the source");
  }
  Impl impl{.kind = Kind::replace};
  impl.source = own(source);
  impl.broadcast = true;
  impl.allow_nonfinite = allow_nonfinite;
  return Intervention(std::make_shared<const Impl>(std::move(impl)));
}

Intervention Intervention::replace(const ActivationCache& donors, bool allow_nonfinite) {
  if (donors.empty()) {
    throw InvalidArgument(
        "[hook.Intervention.replace] the cache of donors is empty; capture the donor run first");
  }
  Impl impl{.kind = Kind::replace_by_event};
  // Own the list of entries: the session that made it may go on filling its cache.
  impl.donors = donors.filtered([](const Activation&) { return true; });
  impl.allow_nonfinite = allow_nonfinite;
  return Intervention(std::make_shared<const Impl>(std::move(impl)));
}

Intervention Intervention::affine(Affine affine) {
  const char* where = "affine";
  need_floating(affine.write, where, "write");
  affine.write = own(as_columns(affine.write, where, "write"));
  const std::int64_t d = affine.write.size(0);
  const std::int64_t k = affine.write.size(1);
  if (!std::isfinite(affine.scale)) {
    throw NumericalError(
        cat("[hook.Intervention.affine] expected a finite scale, got ", affine.scale));
  }
  if (affine.scale != 0.0) {
    need_floating(affine.read, where, "read (it may be left out only with scale = 0)");
    affine.read = own(as_columns(affine.read, where, "read"));
    if (!affine.read.sizes().equals(affine.write.sizes())) {
      throw InvalidArgument(cat("[hook.Intervention.affine] expected read of shape ",
                                affine.write.sizes(), " as write, got ", affine.read.sizes()));
    }
  } else {
    affine.read = at::Tensor();
    affine.mean = at::Tensor();
  }
  if (affine.mean.defined()) {
    need_floating(affine.mean, where, "mean");
    if (affine.mean.dim() != 1 || affine.mean.size(0) != d) {
      throw InvalidArgument(cat("[hook.Intervention.affine] expected mean of shape [", d, "], got ",
                                affine.mean.sizes()));
    }
    affine.mean = own(affine.mean);
  }
  if (affine.target.defined()) {
    need_floating(affine.target, where, "target");
    const auto& t = affine.target;
    const bool fits =
        t.dim() == 0 || (t.dim() == 1 && t.size(0) == k) || (t.dim() == 2 && t.size(1) == k);
    if (!fits) {
      throw InvalidArgument(cat("[hook.Intervention.affine] expected target as a scalar, [", k,
                                "] or [rows, ", k, "], got ", t.sizes()));
    }
    affine.target = own(t);
  }
  for (const auto& [operand, name] :
       {std::pair{&affine.read, "read"}, std::pair{&affine.write, "write"},
        std::pair{&affine.target, "target"}, std::pair{&affine.mean, "mean"}}) {
    if (operand->defined()) {
      internal::check_finite(*operand, "[hook.Intervention.affine]", name);
    }
  }
  Impl impl{.kind = Kind::affine};
  impl.affine = std::move(affine);
  return Intervention(std::make_shared<const Impl>(std::move(impl)));
}

Intervention Intervention::gather_rows(std::vector<std::int64_t> permutation) {
  if (permutation.empty() ||
      std::any_of(permutation.begin(), permutation.end(), [](auto i) { return i < 0; })) {
    throw InvalidArgument(
        cat("[hook.Intervention.gather_rows] expected row indices >= 0, one for "
            "each row of the batch, got ",
            internal::list_text(permutation)));
  }
  Impl impl{.kind = Kind::gather_rows};
  impl.permutation = std::move(permutation);
  return Intervention(std::make_shared<const Impl>(std::move(impl)));
}

Intervention Intervention::zero() {
  return replace_broadcast(at::scalar_tensor(0.0, at::TensorOptions().dtype(at::kDouble)));
}

Intervention Intervention::mean_ablate(const at::Tensor& mean) {
  if (!mean.defined() || mean.dim() != 1) {
    throw InvalidArgument(cat("[hook.Intervention.mean_ablate] expected the mean as [d], got ",
                              mean.defined() ? cat("shape ", mean.sizes()) : "nothing"));
  }
  return replace_broadcast(mean);
}

Intervention Intervention::ablate(const at::Tensor& read, const at::Tensor& write,
                                  const at::Tensor& mean) {
  check_biorthogonal(read, write, "ablate");
  return affine({.read = read, .write = write, .target = {}, .mean = mean, .scale = 1.0});
}

Intervention Intervention::swap(const at::Tensor& read, const at::Tensor& write,
                                const at::Tensor& target) {
  check_biorthogonal(read, write, "swap");
  // One number a row is what callers have; the primitive wants [rows, k].
  const at::Tensor columns =
      target.defined() && target.dim() == 1 && target.size(0) != 1 ? target.unsqueeze(1) : target;
  return affine({.read = read, .write = write, .target = columns, .mean = {}, .scale = 1.0});
}

Intervention Intervention::add(const at::Tensor& write, double dose) {
  return affine({.read = {},
                 .write = write,
                 .target = at::scalar_tensor(dose, at::TensorOptions().dtype(at::kDouble)),
                 .mean = {},
                 .scale = 0.0});
}

Intervention Intervention::erase(const at::Tensor& read, const at::Tensor& write,
                                 const at::Tensor& mean) {
  return affine({.read = read, .write = write, .target = {}, .mean = mean, .scale = 1.0});
}

Intervention::Kind Intervention::kind() const noexcept { return impl_->kind; }

}  // namespace tierod
