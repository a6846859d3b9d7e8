#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "message_of.h"
#include "tierod/core/random.h"

namespace tierod::stats {

/// Draw n standard normal numbers, a pure function of (seed, stream).
inline std::vector<double> normals(std::size_t n, std::uint64_t seed, std::uint32_t stream = 0) {
  const CounterRandom random(seed, "test");
  std::vector<double> out(n);
  for (std::size_t i = 0; i < n; ++i) {
    out[i] = random.normal(seed, static_cast<std::uint32_t>(i), stream);
  }
  return out;
}

/// Number rows 0, 0, ..., 1, 1, ...: `each` rows a group.
inline std::vector<std::int64_t> groups_of(std::size_t groups, std::size_t each) {
  std::vector<std::int64_t> out;
  for (std::size_t g = 0; g < groups; ++g) {
    out.insert(out.end(), each, static_cast<std::int64_t>(g));
  }
  return out;
}

/// Alternate 0 and 1.
inline std::vector<std::uint8_t> alternating(std::size_t n) {
  std::vector<std::uint8_t> out(n);
  for (std::size_t i = 0; i < n; ++i) out[i] = static_cast<std::uint8_t>(i % 2);
  return out;
}

}  // namespace tierod::stats
