#include <algorithm>

#include "probe/covariance_internal.h"

namespace tierod::internal {

namespace {

double estimated(const at::Tensor& covariance, double rows, double trace) {
  const auto d = static_cast<double>(covariance.size(0));
  const auto squares = covariance.square().sum().item<double>();  // tr(S^2)
  const double above = (1 - 2 / d) * squares + trace * trace;
  const double below = (rows + 1 - 2 / d) * (squares - trace * trace / d);
  return below > 0 ? std::min(1.0, above / below) : 1.0;
}

}  // namespace

double shrink(at::Tensor& covariance, double rows, double asked) {
  const auto trace = covariance.diagonal().sum().item<double>();
  const double shrinkage = asked >= 0 ? asked : estimated(covariance, rows, trace);
  const double level = trace / static_cast<double>(covariance.size(0));
  covariance.mul_(1 - shrinkage).diagonal().add_(shrinkage * level);
  return shrinkage;
}

}  // namespace tierod::internal
