#include "stats/ranked_internal.h"
#include "stats/sample_internal.h"

namespace tierod::internal {

Ranked::Ranked(std::span<const double> scores, std::span<const std::uint8_t> labels)
    : order_(ascending_order(scores)),
      run_begin_(scores.size()),
      run_end_(scores.size()),
      labels_(labels.begin(), labels.end()) {
  for (std::size_t begin = 0; begin < order_.size();) {
    std::size_t end = begin + 1;
    while (end < order_.size() && scores[order_[end]] == scores[order_[begin]]) ++end;
    for (std::size_t at = begin; at < end; ++at) {
      run_begin_[at] = begin;
      run_end_[at] = end;
    }
    begin = end;
  }
}

std::vector<double> Ranked::placements() const {
  double all_ones = 0;
  for (const std::uint8_t label : labels_) all_ones += label;
  const double all_zeros = real(labels_.size()) - all_ones;
  std::vector<double> out(labels_.size());
  double ones = 0, zeros = 0;
  for (std::size_t begin = 0; begin < order_.size(); begin = run_end_[begin]) {
    double tied_ones = 0;
    for (std::size_t at = begin; at < run_end_[begin]; ++at) tied_ones += labels_[order_[at]];
    const double tied_zeros = real(run_end_[begin] - begin) - tied_ones;
    for (std::size_t at = begin; at < run_end_[begin]; ++at) {
      const std::size_t row = order_[at];
      out[row] = labels_[row] != 0 ? (zeros + tied_zeros / 2) / all_zeros
                                   : (all_ones - ones - tied_ones / 2) / all_ones;
    }
    ones += tied_ones;
    zeros += tied_zeros;
  }
  return out;
}

}  // namespace tierod::internal
