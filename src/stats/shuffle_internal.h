#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <utility>

#include "tierod/core/random.h"

namespace tierod::internal {

/// Map 64 random bits, given as two words, to [0, bound) by multiply and shift (Lemire 2019): the
/// bias is below bound / 2^64.
inline std::size_t scaled(std::uint32_t low, std::uint32_t high, std::size_t bound) {
  const std::uint64_t bits = (static_cast<std::uint64_t>(high) << 32) | low;
  return static_cast<std::size_t>((static_cast<unsigned __int128>(bits) * bound) >> 64);
}

/// Shuffle by Fisher and Yates (Durstenfeld 1964): the order is a pure function of (random,
/// replicate, stream).
template <typename T>
void shuffle(std::span<T> items, const CounterRandom& random, std::uint64_t replicate,
             std::uint32_t stream) {
  for (std::size_t left = items.size(); left > 1; --left) {
    const auto words = random.block(replicate, static_cast<std::uint32_t>(left), stream);
    std::swap(items[left - 1], items[scaled(words[0], words[1], left)]);
  }
}

}  // namespace tierod::internal
