#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "tierod/core/selection.h"
#include "tierod/export.h"
#include "tierod/hook/activation_cache.h"

namespace tierod {

/// Describe an edit of an activation as data, which serialises to JSON.
///
/// There are three primitives, and the named constructors are built on them:
///
/// - `replace(source)`: the selected part becomes the source;
/// - `affine(...)`: h + W (t - a R'(h - mu)), with read vectors R [d, k], write vectors W [d, k],
///   target t [k] or [rows, k], scale a and centre mu [d];
/// - `gather_rows(permutation)`: row i of the selected part becomes that of row permutation[i].
///
/// The feature axis of `affine` is the tensor's last axis. Operands move to the site's device;
/// `affine` computes in f32 for f16 and bf16 activations and rounds once; the dtype of a
/// replacement must be the site's. Whatever is written is a fresh tensor: a donor is never aliased,
/// and where the change is exactly zero every bit stays.
class TIEROD_API Intervention {
 public:
  enum class Kind : std::uint8_t { replace, replace_by_event, affine, gather_rows };

  // --- primitives ---------------------------------------------------------------------------

  /// Replace the selected part by `source`, whose shape is that of the selected part or that of the
  /// whole tensor at the site (then the same part of it is taken).
  /// @throws NumericalError at construction if the source holds NaN or Inf, unless
  /// `allow_nonfinite`.
  static Intervention replace(const at::Tensor& source, bool allow_nonfinite = false);
  /// Replace the selected part by `source` broadcast over the leading axes: a scalar, or [d].
  static Intervention replace_broadcast(const at::Tensor& source, bool allow_nonfinite = false);
  /// Replace at every event by what `donors` holds for the same site and event.
  /// At the site it is a SiteError if the donors lack the event, an InvalidArgument if token
  /// lengths differ.
  static Intervention replace(const ActivationCache& donors, bool allow_nonfinite = false);

  struct Affine {
    at::Tensor read{};    ///< R [d, k] or [d]; undefined where a = 0
    at::Tensor write{};   ///< W [d, k] or [d]
    at::Tensor target{};  ///< t: scalar, [k] or [rows, k]; undefined: 0
    at::Tensor mean{};    ///< mu [d]; undefined: 0
    double scale = 1.0;   ///< a
  };
  /// At the site it is a NumericalError if a finite activation becomes NaN or infinite, as a large
  /// dose does in f16.
  /// @throws InvalidArgument if shapes do not fit, NumericalError on NaN or Inf.
  static Intervention affine(Affine affine);

  /// @throws InvalidArgument if an index is negative. The length is checked at the site.
  static Intervention gather_rows(std::vector<std::int64_t> permutation);

  // --- named constructors -------------------------------------------------------------------

  /// Set the selected part to zero.
  static Intervention zero();
  /// Set the selected part to `mean` [d].
  static Intervention mean_ablate(const at::Tensor& mean);
  /// Remove the component read by r and written by w: h - w r'(h - mu).
  /// @throws InvalidArgument unless r'w = 1 within 1e-3 (a filter used as pattern is a classic
  /// error:
  ///         Haufe et al. 2014).
  static Intervention ablate(const at::Tensor& read, const at::Tensor& write,
                             const at::Tensor& mean);
  /// Set the read component to `target` (scalar or one a row): h + w (t - r'h), with r'w = 1.
  static Intervention swap(const at::Tensor& read, const at::Tensor& write,
                           const at::Tensor& target);
  /// Add `dose` times the write vector: h + dose w. One natural unit of dose is the standard
  /// deviation of r'h.
  static Intervention add(const at::Tensor& write, double dose);
  /// Erase the k-dimensional part that R reads and W writes: h - W R'(h - mu), as an eraser of the
  /// LEACE family gives it (Belrose et al. 2306.03819, theorem 4.3).
  static Intervention erase(const at::Tensor& read, const at::Tensor& write,
                            const at::Tensor& mean);
  /// Take every row from another row of the batch.
  static Intervention resample(std::vector<std::int64_t> permutation) {
    return gather_rows(std::move(permutation));
  }
  /// Put back what a clean run had at the same events.
  static Intervention restore(const ActivationCache& clean) { return replace(clean); }

  Kind kind() const noexcept;

  /// Write as JSON. Tensors up to 4 KiB are inline (base64); larger ones are written as
  /// `<sha256>.bin` (raw little-endian bytes) into `tensor_dir` and referred to by that name.
  /// @throws InvalidArgument if a larger tensor meets no `tensor_dir`; IoError if writing fails.
  std::string to_json(const std::optional<std::string>& tensor_dir = std::nullopt) const;
  /// Read what `to_json` wrote.
  /// @throws InvalidArgument on malformed text, IoError if a tensor file is missing or its digest
  ///         differs.
  static Intervention from_json(const std::string& json,
                                const std::optional<std::string>& tensor_dir = std::nullopt);

  struct Impl;
  /// For the hook room's own use.
  const Impl& impl() const noexcept { return *impl_; }

 private:
  explicit Intervention(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  std::shared_ptr<const Impl> impl_;
};

}  // namespace tierod
