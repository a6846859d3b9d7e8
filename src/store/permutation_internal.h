#pragma once

#include <array>
#include <cstdint>

#include "tierod/export.h"

namespace tierod::internal {

/// Permute [0, n) without storing the order: a Feistel network of six rounds on the next even
/// number of bits, walked until it lands inside (Black & Rogaway 2002, "Ciphers with arbitrary
/// finite domains", cycle walking). Any position of any epoch can be computed alone.
class TIEROD_API Permutation {
 public:
  Permutation() = default;
  Permutation(std::uint64_t n, std::uint64_t seed, std::uint64_t epoch);
  std::uint64_t operator()(std::uint64_t position) const noexcept;
  std::uint64_t size() const noexcept { return n_; }

 private:
  static constexpr std::size_t kRounds = 6;
  std::uint64_t n_ = 0;
  int half_bits_ = 0;
  std::uint64_t mask_ = 0;
  std::array<std::uint64_t, kRounds> keys_{};
};

}  // namespace tierod::internal
