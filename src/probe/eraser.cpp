#include "tierod/probe/eraser.h"

#include <ATen/core/grad_mode.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_eigh.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/outer.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "probe/covariance_internal.h"
#include "probe/row_sums_internal.h"
#include "probe/rows_internal.h"
#include "stats/tensor_internal.h"
#include "tierod/core/error.h"

namespace tierod::probe {

using tierod::internal::cat;
using tierod::internal::checked_rows;
using tierod::internal::doubles_of;
using tierod::internal::index_of;
using tierod::internal::kBlockRows;
using tierod::internal::RowSums;

namespace {

std::string shape_text(const at::Tensor& x) {
  if (!x.defined()) return "an undefined tensor";
  return cat("shape ", x.sizes(), " of ", x.scalar_type());
}

std::vector<double> list_of(const at::Tensor& x) {
  const at::Tensor flat = x.contiguous();
  const auto* value = flat.const_data_ptr<double>();
  return {value, value + flat.numel()};
}

void add(std::vector<double>& to, const at::Tensor& x) {
  const at::Tensor flat = x.contiguous();
  const auto* value = flat.const_data_ptr<double>();
  for (double& element : to) element += *value++;
}

constexpr auto* kFinish = "probe.LeaceFitter.finish";

}  // namespace

at::Tensor Eraser::apply(const at::Tensor& rows) const {
  if (!rows.defined() || rows.dim() != 2 || rows.size(1) != width() ||
      !at::isFloatingType(rows.scalar_type())) {
    throw InvalidArgument(
        cat("[probe.Eraser.apply] expected floating rows [n, ", width(), "], got ",
            rows.defined() ? cat("shape ", rows.sizes(), " of ", rows.scalar_type())
                           : std::string("an undefined tensor"),
            "; flatten tokens into rows first"));
  }
  const auto device = rows.device();
  const at::Tensor centred = rows.to(at::kDouble).sub(mean_.to(device));
  const at::Tensor read = at::matmul(centred, right_.t().to(device));
  return rows.to(at::kDouble).sub(at::matmul(read, left_.t().to(device))).to(rows.scalar_type());
}

at::Tensor OracleEraser::apply(const at::Tensor& rows, const at::Tensor& z) const {
  const auto good = [](const at::Tensor& x, std::int64_t columns) {
    return x.defined() && x.dim() == 2 && x.size(1) == columns &&
           at::isFloatingType(x.scalar_type());
  };
  if (!good(rows, width()) || !good(z, mean_.size(0)) || rows.size(0) != z.size(0)) {
    throw InvalidArgument(cat("[probe.OracleEraser.apply] expected floating rows [n, ", width(),
                              "] and z [n, ", mean_.size(0), "], got ", shape_text(rows), " and ",
                              shape_text(z)));
  }
  const auto device = rows.device();
  const at::Tensor known = z.to(device, at::kDouble).sub(mean_.to(device));
  return rows.to(at::kDouble).sub(at::matmul(known, slope_.t().to(device))).to(rows.scalar_type());
}

struct LeaceFitter::State {
  Precision precision = Precision::automatic;
  std::vector<double> centre, z_centre;  // [d], [k]; empty before the first rows
  RowSums x;
  std::vector<double> cross;  // [k, d] sums of (z - c_z)(x - c_x)
  std::vector<double> total;  // [k]
  std::vector<double> gram;   // [k, k]

  void move_to(const State& other);
};

// Take x and z about the centres of `other`.
void LeaceFitter::State::move_to(const State& other) {
  const std::size_t d = centre.size(), k = z_centre.size();
  std::vector<double> dx(d), dz(k);
  for (std::size_t j = 0; j < d; ++j) dx[j] = centre[j] - other.centre[j];
  for (std::size_t a = 0; a < k; ++a) dz[a] = z_centre[a] - other.z_centre[a];
  for (std::size_t a = 0; a < k; ++a) {
    for (std::size_t j = 0; j < d; ++j) {
      cross[a * d + j] += dz[a] * x.first[j] + total[a] * dx[j] + x.rows * dz[a] * dx[j];
    }
    for (std::size_t b = 0; b < k; ++b) {
      gram[a * k + b] += dz[a] * total[b] + total[a] * dz[b] + x.rows * dz[a] * dz[b];
    }
  }
  for (std::size_t a = 0; a < k; ++a) total[a] += x.rows * dz[a];
  x.move(dx);
  centre = other.centre;
  z_centre = other.z_centre;
}

LeaceFitter::LeaceFitter(Precision precision) : state_(std::make_unique<State>()) {
  state_->precision = precision;
}
LeaceFitter::LeaceFitter(const LeaceFitter& other)
    : state_(std::make_unique<State>(*other.state_)) {}
LeaceFitter& LeaceFitter::operator=(const LeaceFitter& other) {
  if (this != &other) state_ = std::make_unique<State>(*other.state_);
  return *this;
}
LeaceFitter::LeaceFitter(LeaceFitter&& other) noexcept = default;
LeaceFitter& LeaceFitter::operator=(LeaceFitter&& other) noexcept = default;
LeaceFitter::~LeaceFitter() = default;

std::int64_t LeaceFitter::rows() const noexcept { return std::llround(state_->x.rows); }

void LeaceFitter::update(const at::Tensor& x, const at::Tensor& z) {
  constexpr auto* where = "probe.LeaceFitter.update";
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const at::Tensor rows = tierod::internal::checked_native_rows(x, where, "x");
  const at::Tensor concepts = checked_rows(z, where, "z");
  State& s = *state_;
  const std::int64_t n = rows.size(0), d = rows.size(1), k = concepts.size(1);
  if (n != concepts.size(0)) {
    throw InvalidArgument(
        cat("[", where, "] expected as many rows of z as of x (", n, "), got ", concepts.size(0)));
  }
  const auto width = static_cast<std::int64_t>(s.centre.size()),
             columns = static_cast<std::int64_t>(s.z_centre.size());
  if (width != 0 && (d != width || k != columns)) {
    throw InvalidArgument(cat("[", where, "] expected x of width ", width, " and z of width ",
                              columns, " as before, got ", d, " and ", k));
  }
  if (n == 0) return;
  if (width == 0) {
    const std::int64_t some = std::min(n, kBlockRows);
    s.centre =
        list_of(rows.narrow(0, 0, some).mean(0, false, at::kDouble).to(at::kFloat).to(at::kDouble));
    s.z_centre = list_of(concepts.narrow(0, 0, some).mean(0));
    s.x = RowSums(d);
    s.cross.resize(static_cast<std::size_t>(d * k));
    s.total.resize(static_cast<std::size_t>(k));
    s.gram.resize(static_cast<std::size_t>(k * k));
  }
  const bool single = s.precision == Precision::f32 ||
                      (s.precision == Precision::automatic && rows.scalar_type() != at::kDouble);
  const auto type = single ? at::kFloat : at::kDouble;
  tierod::internal::ShiftedRows shifted(rows, doubles_of(s.centre), type);
  const at::Tensor about = doubles_of(s.z_centre);
  for (std::int64_t begin = 0; begin < n; begin += kBlockRows) {
    const std::int64_t size = std::min(kBlockRows, n - begin);
    const at::Tensor block = shifted.range(begin, begin + size);
    s.x.add_products(block);
    // a row of ones above z' gives the sum of x
    const at::Tensor known = concepts.narrow(0, begin, size).sub(about);
    const at::Tensor above = at::ones({1, size}, known.options());
    const at::Tensor sums = at::mm(at::cat({above, known.t()}).to(type), block).to(at::kDouble);
    const auto* from = sums.const_data_ptr<double>();
    for (double& value : s.x.first) value += *from++;
    for (double& value : s.cross) value += *from++;
    s.x.rows += static_cast<double>(size);
    add(s.total, known.sum(0));
    add(s.gram, at::mm(known.t(), known));
  }
}

void LeaceFitter::merge(const LeaceFitter& other) {
  if (other.state_->centre.empty()) return;
  if (state_->centre.empty()) {
    const Precision precision = state_->precision;
    *this = other;
    state_->precision = precision;
    return;
  }
  if (state_->centre.size() != other.state_->centre.size() ||
      state_->z_centre.size() != other.state_->z_centre.size()) {
    throw InvalidArgument(cat("[probe.LeaceFitter.merge] expected x of width ",
                              state_->centre.size(), " and z of width ", state_->z_centre.size(),
                              ", got ", other.state_->centre.size(), " and ",
                              other.state_->z_centre.size()));
  }
  State from = *other.state_;
  from.move_to(*state_);
  state_->x.add(from.x);
  const auto sum = [](std::vector<double>& to, const std::vector<double>& x) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] += x[i];
  };
  sum(state_->cross, from.cross);
  sum(state_->total, from.total);
  sum(state_->gram, from.gram);
}

namespace {

void check(const LeaceOptions& options, std::int64_t columns) {
  if (!(options.shrinkage <= 1) || !(options.tolerance > 0 && options.tolerance < 1)) {
    throw InvalidArgument(cat("[", kFinish, "] expected shrinkage <= 1 and a tolerance inside ",
                              "(0, 1), got ", options.shrinkage, " and ", options.tolerance));
  }
  std::vector<bool> seen(static_cast<std::size_t>(columns));
  for (const std::int64_t c : options.columns) {
    if (c < 0 || c >= columns || seen[static_cast<std::size_t>(c)]) {
      throw InvalidArgument(cat("[", kFinish, "] expected distinct columns of z below ", columns,
                                ", got ", c, c >= 0 && c < columns ? " twice" : ""));
    }
    seen[static_cast<std::size_t>(c)] = true;
  }
}

}  // namespace

/// Hold what both erasers start from, of the chosen columns, f64.
struct LeaceMoments {
  std::int64_t rows = 0, width = 0, concepts = 0;
  at::Tensor mean, z_mean;  // [d], [k]
  at::Tensor cross;         // [d, k] covariance
  at::Tensor z_covariance;  // [k, k]
  at::Tensor sd;            // [k]
};

namespace {

LeaceMoments moments_of(const RowSums& x, const std::vector<double>& centre,
                        const std::vector<double>& z_centre, const std::vector<double>& cross,
                        const std::vector<double>& total, const std::vector<double>& gram,
                        const LeaceOptions& options) {
  const auto all = static_cast<std::int64_t>(z_centre.size());
  check(options, all);
  LeaceMoments out{.rows = std::llround(x.rows), .width = x.width()};
  std::vector<std::int64_t> columns = options.columns;
  if (columns.empty()) {
    for (std::int64_t c = 0; c < all; ++c) columns.push_back(c);
  }
  out.concepts = static_cast<std::int64_t>(columns.size());
  const double n = x.rows;
  const at::Tensor first = doubles_of(x.first), sum = doubles_of(total);
  const at::Tensor which = index_of(columns);
  out.mean = doubles_of(centre).add(first, 1 / n);
  out.z_mean = doubles_of(z_centre).add(sum, 1 / n).index_select(0, which);
  out.cross = doubles_of(cross)
                  .view({all, out.width})
                  .sub(at::outer(sum, first).div_(n))
                  .div_(n - 1)
                  .index_select(0, which)
                  .t()
                  .contiguous();
  out.z_covariance = doubles_of(gram)
                         .view({all, all})
                         .sub(at::outer(sum, sum).div_(n))
                         .div_(n - 1)
                         .index_select(0, which)
                         .index_select(1, which);
  out.sd = out.z_covariance.diagonal().clamp_min(0).sqrt();
  for (std::int64_t k = 0; k < out.concepts; ++k) {
    const double scale = std::max(1.0, std::abs(out.z_mean[k].item<double>()));
    if (!(out.sd[k].item<double>() > 1e-12 * scale)) {
      throw NumericalError(cat("[", kFinish, "] column ", columns[static_cast<std::size_t>(k)],
                               " of z is constant over ", out.rows,
                               " rows; there is nothing to erase"));
    }
  }
  return out;
}

}  // namespace

OracleEraser LeaceFitter::finish_oracle(const LeaceOptions& options) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  if (rows() < 2) {
    throw StateError(
        cat("[", kFinish, "] expected at least 2 rows, got ", rows(), "; call update() first"));
  }
  const State& s = *state_;
  const LeaceMoments m = moments_of(s.x, s.centre, s.z_centre, s.cross, s.total, s.gram, options);
  const at::Tensor correlation = m.z_covariance.div(m.sd.unsqueeze(1)).div_(m.sd.unsqueeze(0));
  const auto [values, vectors] = at::linalg_eigh(correlation);
  const at::Tensor kept = values.gt(options.tolerance).nonzero().flatten();
  const at::Tensor basis = vectors.index_select(1, kept), spectrum = values.index_select(0, kept);
  const at::Tensor inverse = at::mm(basis.div(spectrum), basis.t());
  OracleEraser out;
  out.mean_ = m.z_mean;
  out.slope_ = at::mm(m.cross.div(m.sd), inverse).div_(m.sd);
  out.report_ = {.rows = m.rows,
                 .rank = kept.numel(),
                 .condition = spectrum.max().item<double>() / spectrum.min().item<double>()};
  if (kept.numel() < m.concepts) {
    out.report_.note =
        cat("the ", m.concepts, " columns of z hold only ", kept.numel(), " independent ones");
  }
  return out;
}

Eraser LeaceFitter::finish(const LeaceOptions& options) const {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  if (rows() < 2) {
    throw StateError(
        cat("[", kFinish, "] expected at least 2 rows, got ", rows(), "; call update() first"));
  }
  const State& state = *state_;
  const LeaceMoments m = moments_of(state.x, state.centre, state.z_centre, state.cross, state.total,
                                    state.gram, options);
  const std::int64_t width = m.width, concepts = m.concepts;
  at::Tensor covariance =
      tierod::internal::scatter_of(state.x).div_(static_cast<double>(m.rows - 1));
  const at::Tensor cross = m.cross.div(m.sd);

  Eraser out;
  out.mean_ = m.mean;
  out.report_.rows = rows();
  out.report_.shrinkage =
      tierod::internal::shrink(covariance, static_cast<double>(rows()), options.shrinkage);

  // W = S^-1/2 and its pseudo-inverse S^1/2 within the rank of S
  const auto [values, vectors] = at::linalg_eigh(covariance);
  const auto top = values.max().item<double>();
  if (!(top > 0)) throw NumericalError(cat("[", kFinish, "] x is constant over ", rows(), " rows"));
  const at::Tensor kept = values.gt(top * static_cast<double>(width) * 1e-15).nonzero().flatten();
  const at::Tensor root = values.index_select(0, kept).sqrt();
  const at::Tensor basis = vectors.index_select(1, kept);  // [d, rank]
  out.report_.rank = kept.numel();
  out.report_.condition = std::pow(root.max().item<double>() / root.min().item<double>(), 2);

  const at::Tensor whitened = at::mm(basis.t(), cross).div_(root.unsqueeze(1));  // [rank, k]
  const auto [u, s, vh] = at::linalg_svd(whitened, false);
  const auto largest = s.max().item<double>();
  // of standardised labels: a correlation, so that rounding is 1e-16 of 1
  if (!(largest > 1e-12)) {
    throw NumericalError(
        cat("[", kFinish, "] z does not correlate with x; there is nothing to erase"));
  }
  const at::Tensor found = s.gt(options.tolerance * largest).nonzero().flatten();
  const at::Tensor directions = u.index_select(1, found);  // orthonormal [rank, k]
  out.left_ = at::mm(basis.mul(root), directions);
  out.right_ = at::mm(directions.t(), basis.div(root).t());
  if (found.numel() < concepts) {
    out.report_.note =
        cat("the ", concepts, " columns of z span only ", found.numel(), " dimensions of x");
  }
  if (rows() <= width) {
    out.report_.note += cat(out.report_.note.empty() ? "" : "; ", "only ", rows(), " rows for ",
                            width, " columns: verify the erasure on held-out groups");
  }
  return out;
}

}  // namespace tierod::probe
