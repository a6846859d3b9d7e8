#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "tierod/core/site.h"
#include "tierod/patch/edit.h"

namespace tierod::internal {

/// See the selected part of an activation as vectors as wide as a direction, each of one row.
///
/// Of an activation with heads, [rows, heads, tokens, d] or [rows, tokens, heads, d], a vector is a
/// token's, heads side by side, where the direction is as wide as all selected heads together; it
/// is one head's where the direction is as wide as one. Spans that lie differently in the rows give
/// the rows different numbers of vectors.
class PartVectors {
 public:
  /// @throws InvalidArgument naming `site` where the part cannot be seen so.
  PartVectors(const at::Tensor& part, const Site& site, const patch::EditRows& rows,
              patch::Over over, std::int64_t width);

  /// Return the vectors [n, width], f32 or wider.
  const at::Tensor& all() const noexcept { return all_; }
  /// Return what a direction reads: the vectors, or, pooled, the mean of each row [rows, width].
  at::Tensor read() const;
  /// Return the mean over each row of numbers [m] of what is read, f64 on the CPU [rows].
  at::Tensor mean_of_read(const at::Tensor& numbers) const;
  /// The same of numbers [n] of all vectors.
  at::Tensor mean_of_all(const at::Tensor& numbers) const;
  /// Return the mean of the vectors of each row [rows, width].
  at::Tensor row_means() const;
  /// Return all numbers of each row side by side, in the part's own order, or, where rows have
  /// different numbers of vectors, their mean.
  at::Tensor whole_rows() const;
  /// Return numbers [rows of the batch] as one for each of `read` [m].
  at::Tensor of_read(const at::Tensor& by_row) const;
  /// Return the part with each vector changed by what stands for what was read of it,
  /// [m, width]. Where the change is 0 every bit stays.
  at::Tensor changed_by(const at::Tensor& change) const;

 private:
  at::Tensor part_, all_;
  std::vector<std::int64_t> folded_;  ///< shape of `all_` before it was flattened, [r, t, h, d]
  std::vector<std::int64_t> order_;   ///< of the part's axes, to get there
  at::Tensor row_;                    ///< int64 [n], number of the row of each vector
  std::int64_t rows_ = 0;
  bool pooled_ = false;
};

/// Return the sum over each row of the batch of a selected part, f64 [rows] on the CPU.
at::Tensor sum_of_rows(const at::Tensor& part, const patch::EditRows& rows);

/// Return the rows of an edit with what the callback at hand was given of them.
patch::EditRows with_part(const patch::EditRows& rows);

}  // namespace tierod::internal
