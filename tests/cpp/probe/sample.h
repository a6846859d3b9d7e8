#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include <cstddef>
#include <cstdint>
#include <vector>

#include "message_of.h"
#include "tierod/core/random.h"

namespace tierod::probe {

/// Draw [n, d] standard normal numbers, a pure function of (seed, stream).
inline at::Tensor normals(std::int64_t n, std::int64_t d, std::uint64_t seed) {
  const CounterRandom random(seed, "probe test");
  at::Tensor x = at::empty({n, d}, at::kDouble);
  double* p = x.mutable_data_ptr<double>();
  for (std::int64_t i = 0; i < n; ++i) {
    for (std::int64_t j = 0; j < d; ++j) {
      *p++ = random.normal(seed, static_cast<std::uint32_t>(i), static_cast<std::uint32_t>(j));
    }
  }
  return x;
}

/// Correlated columns of unequal scale, far from the origin, in which two concepts show.
struct World {
  at::Tensor x;                      // [n, d]
  std::vector<std::uint8_t> labels;  // [n, 2]
  std::vector<std::uint32_t> folds;  // [n]
  at::Tensor concept_of(std::size_t c) const {
    at::Tensor y = at::empty({x.size(0)}, at::kDouble);
    for (std::int64_t i = 0; i < x.size(0); ++i) {
      y[i].fill_(static_cast<double>(labels[static_cast<std::size_t>(i) * 2 + c]));
    }
    return y;
  }
};

inline World world(std::int64_t n = 120, std::int64_t d = 7, std::uint32_t folds = 3) {
  World w{normals(n, d, 1).matmul(normals(d, d, 2)).add(5), {}, {}};
  for (std::int64_t i = 0; i < n; ++i) {
    const auto first = static_cast<std::uint8_t>(i % 2),
               second = static_cast<std::uint8_t>(i % 5 == 0);
    w.labels.push_back(first);
    w.labels.push_back(second);
    w.folds.push_back(static_cast<std::uint32_t>(i / 4) % folds);
    w.x[i][0].add_(1.5 * first);
    w.x[i][3].add_(-2.0 * second);
  }
  return w;
}

}  // namespace tierod::probe
