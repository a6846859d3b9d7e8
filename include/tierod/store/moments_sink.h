#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"
#include "tierod/hook/sink.h"
#include "tierod/stats/cross_moments.h"
#include "tierod/stats/moments.h"
#include "tierod/store/reader.h"
#include "tierod/store/sink.h"

namespace tierod {

/// Set up the moments of sites by fold.
struct TIEROD_API FoldMomentsOptions {
  std::int64_t folds = 5;
  /// Keep [d, d] instead of variances.
  bool covariance = true;
  /// A row's fold is drawn from its group (its sample where it has none) by this seed.
  std::uint64_t seed = 0;
};

/// Return the fold of a group: the same in every process and every order of the data.
TIEROD_API std::int64_t fold_of_group(std::int64_t group, std::int64_t folds, std::uint64_t seed);

/// Accumulate, for each site and fold, count, mean and covariance of the rows, and their
/// cross-covariance with labels: all that linear probes need, without a stored row.
class TIEROD_API FoldMoments {
 public:
  FoldMoments() : FoldMoments(FoldMomentsOptions{}) {}
  explicit FoldMoments(FoldMomentsOptions options);

  const FoldMomentsOptions& options() const noexcept { return options_; }
  /// Add rows [n, d] of a site with fold numbers int64 [n] and labels [n, concepts], NaN for
  /// missing (or undefined: no labels).
  void update(const std::string& site, const at::Tensor& rows, const at::Tensor& folds,
              const at::Tensor& labels = {});
  /// Add everything that `other` has seen.
  void merge(const FoldMoments& other);

  std::vector<std::string> sites() const;
  /// Return what one fold saw. @throws SiteError, OutOfRange.
  const Moments& moments(std::string_view site, std::int64_t fold) const;
  const CrossMoments& cross(std::string_view site, std::int64_t fold) const;
  /// Return what all folds but one saw (-1: all folds): what a probe of that fold is fitted on.
  Moments moments_without(std::string_view site, std::int64_t fold) const;
  CrossMoments cross_without(std::string_view site, std::int64_t fold) const;

 private:
  struct Entry {
    std::string site;
    std::vector<Moments> moments;
    std::vector<CrossMoments> cross;
  };
  const Entry& entry(std::string_view site) const;
  void check_fold(std::int64_t fold) const;
  FoldMomentsOptions options_;
  std::vector<Entry> entries_;
};

/// Accumulate moments by fold of what a session captures, keeping no row. It needs no store.
class TIEROD_API MomentsSink : public CaptureSink {
 public:
  explicit MomentsSink(FoldMomentsOptions options = {});
  ~MomentsSink() override;

  /// Say which samples come next; `labels` [samples, concepts] are optional, NaN for missing. A
  /// row's fold is that of its group, else of its scene, else of its sample.
  void begin_batch(BatchInfo info, const at::Tensor& labels = {});
  void take(const SinkItem& item) override;
  const FoldMoments& result() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Accumulate the same from a store: one pass over `sites` (empty: all) of a stream, with the
/// labels of `concepts` by sample.
TIEROD_API FoldMoments accumulate_moments(const ActivationReader& reader, std::string_view stream,
                                          const std::vector<std::string>& sites = {},
                                          const std::vector<std::string>& concepts = {},
                                          FoldMomentsOptions options = {});

}  // namespace tierod
