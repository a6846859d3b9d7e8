#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "tierod/export.h"

namespace tierod {

/// Return one block of Philox4x32-10, the counter-based generator of Salmon et al., "Parallel
/// random numbers: as easy as 1, 2, 3" (SC 2011): four words that depend on counter and key alone.
TIEROD_API std::array<std::uint32_t, 4> philox4x32(const std::array<std::uint32_t, 4>& counter,
                                                   const std::array<std::uint32_t, 2>& key);

/// Draw random numbers that are a pure function of (seed, purpose, scene, sample, position): they
/// do not depend on batch size, order or threads, and two runs share them by sharing the key.
///
/// `purpose` keeps uses apart ("token", "action_noise", ...): the same seed never feeds two of
/// them.
class TIEROD_API CounterRandom {
 public:
  CounterRandom(std::uint64_t seed, std::string_view purpose);

  /// Return the four words at an address; `bits` is the first two. Where many numbers are drawn,
  /// one block serves two 64-bit draws.
  std::array<std::uint32_t, 4> block(std::uint64_t scene, std::uint32_t sample,
                                     std::uint32_t position) const;
  /// Return 64 random bits.
  std::uint64_t bits(std::uint64_t scene, std::uint32_t sample, std::uint32_t position) const;
  /// Return a uniform number in the open interval (0, 1), of 52 bits.
  double uniform(std::uint64_t scene, std::uint32_t sample, std::uint32_t position) const;
  /// Return a standard normal number (Box and Muller 1958, cosine branch).
  double normal(std::uint64_t scene, std::uint32_t sample, std::uint32_t position) const;
  /// Return a standard Gumbel number -log(-log u): the argmax of logits plus these samples from the
  /// softmax (Gumbel-max).
  double gumbel(std::uint64_t scene, std::uint32_t sample, std::uint32_t position) const;
  /// Return an integer in [0, bound) by a 64-bit multiply and shift (Lemire 2019); bias below
  /// 2^-32.
  /// @throws InvalidArgument if `bound` is 0.
  std::uint32_t below(std::uint32_t bound, std::uint64_t scene, std::uint32_t sample,
                      std::uint32_t position) const;

 private:
  std::array<std::uint32_t, 2> key_;
};

}  // namespace tierod
