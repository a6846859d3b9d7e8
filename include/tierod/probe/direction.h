#pragma once

#include <ATen/core/Tensor.h>

#include <string>

#include "tierod/export.h"

namespace tierod::probe {

/// Hold a direction of activation space with separate vectors to read and to write: the filter that
/// estimates a concept best is not the pattern along which the concept moves the activation (Haufe
/// et al. 2014). read' write = 1, so that adding `a write` moves what is read by exactly a.
class TIEROD_API Direction {
 public:
  /// Scale `write` so that read' write = 1.
  ///
  /// @param site     where it was fitted; may be empty
  /// @param read     r [d], floating: the position of h is r'(h - mean)
  /// @param write    w [d], a vector with r'w > 0
  /// @param mean     mu [d]
  /// @param sd       natural standard deviation of r'h, the unit of dose
  /// @param low, high  positions of the classes, for swaps: the Z-adjusted means of r'(h - mean)
  /// @throws InvalidArgument unless the vectors are floating, one-dimensional and of one length,
  ///         sd > 0, and low, high finite.
  /// @throws NumericalError if a value is not finite, or r'w is not clearly positive: reading
  ///         cannot see what is written.
  Direction(std::string site, const at::Tensor& read, const at::Tensor& write,
            const at::Tensor& mean, double sd, double low, double high);

  const std::string& site() const noexcept { return site_; }
  /// Return copies, f64 [d].
  at::Tensor read() const { return read_.clone(); }
  at::Tensor write() const { return write_.clone(); }
  at::Tensor mean() const { return mean_.clone(); }
  double sd() const noexcept { return sd_; }
  double low() const noexcept { return low_; }
  double high() const noexcept { return high_; }
  std::int64_t width() const { return read_.size(0); }

  /// Return the positions r'(h - mean) [n], f64, of rows [n, d].
  /// @throws InvalidArgument unless floating rows of this width.
  at::Tensor position(const at::Tensor& rows) const;

  /// Return rows moved to the position of the other class, h + w (t - r'(h - mean)), in their own
  /// dtype: `to_high` takes t = high, else low.
  /// @throws as `position`.
  at::Tensor swap(const at::Tensor& rows, bool to_high) const;
  /// Return rows with the position set to 0, h - w r'(h - mean).
  at::Tensor ablate(const at::Tensor& rows) const;
  /// Return rows moved by `dose` standard deviations, h + dose sd w.
  at::Tensor add(const at::Tensor& rows, double dose) const;

 private:
  at::Tensor move(const at::Tensor& rows, const at::Tensor& amount) const;

  std::string site_;
  at::Tensor read_, write_, mean_;
  double sd_, low_, high_;
};

}  // namespace tierod::probe
