#include "tierod/core/random.h"

#include <cmath>
#include <numbers>

#include "tierod/core/error.h"

namespace tierod {

namespace {

constexpr std::uint32_t kMultiplier0 = 0xD2511F53U;
constexpr std::uint32_t kMultiplier1 = 0xCD9E8D57U;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9U;
constexpr std::uint32_t kWeyl1 = 0xBB67AE85U;

// FNV-1a, then the finaliser of splitmix64: spreads (seed, purpose) over the 64 bits of the key.
std::uint64_t mix_key(std::uint64_t seed, std::string_view purpose) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : purpose) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3ULL;
  }
  const auto finalise = [](std::uint64_t z) {
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  };
  return finalise(finalise(seed + 0x9E3779B97F4A7C15ULL) ^ hash);
}

// The middle of the 2^52 equal cells of (0, 1): never 0 and never 1, so that log() is finite.
double open_unit(std::uint32_t high, std::uint32_t low) {
  const std::uint64_t bits = ((static_cast<std::uint64_t>(high) << 32) | low) >> 12;
  return (static_cast<double>(bits) + 0.5) * 0x1.0p-52;
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32(const std::array<std::uint32_t, 4>& counter,
                                        const std::array<std::uint32_t, 2>& key) {
  std::array<std::uint32_t, 4> c = counter;
  std::array<std::uint32_t, 2> k = key;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = static_cast<std::uint64_t>(kMultiplier0) * c[0];
    const std::uint64_t product1 = static_cast<std::uint64_t>(kMultiplier1) * c[2];
    c = {static_cast<std::uint32_t>(product1 >> 32) ^ c[1] ^ k[0],
         static_cast<std::uint32_t>(product1),
         static_cast<std::uint32_t>(product0 >> 32) ^ c[3] ^ k[1],
         static_cast<std::uint32_t>(product0)};
    k[0] += kWeyl0;
    k[1] += kWeyl1;
  }
  return c;
}

CounterRandom::CounterRandom(std::uint64_t seed, std::string_view purpose) {
  const std::uint64_t key = mix_key(seed, purpose);
  key_ = {static_cast<std::uint32_t>(key), static_cast<std::uint32_t>(key >> 32)};
}

std::array<std::uint32_t, 4> CounterRandom::block(std::uint64_t scene, std::uint32_t sample,
                                                  std::uint32_t position) const {
  return philox4x32({static_cast<std::uint32_t>(scene), static_cast<std::uint32_t>(scene >> 32),
                     sample, position},
                    key_);
}

std::uint64_t CounterRandom::bits(std::uint64_t scene, std::uint32_t sample,
                                  std::uint32_t position) const {
  const auto words = block(scene, sample, position);
  return (static_cast<std::uint64_t>(words[1]) << 32) | words[0];
}

double CounterRandom::uniform(std::uint64_t scene, std::uint32_t sample,
                              std::uint32_t position) const {
  const auto words = block(scene, sample, position);
  return open_unit(words[1], words[0]);
}

double CounterRandom::normal(std::uint64_t scene, std::uint32_t sample,
                             std::uint32_t position) const {
  const auto words = block(scene, sample, position);
  const double radius = std::sqrt(-2.0 * std::log(open_unit(words[1], words[0])));
  return radius * std::cos(2.0 * std::numbers::pi * open_unit(words[3], words[2]));
}

double CounterRandom::gumbel(std::uint64_t scene, std::uint32_t sample,
                             std::uint32_t position) const {
  return -std::log(-std::log(uniform(scene, sample, position)));
}

std::uint32_t CounterRandom::below(std::uint32_t bound, std::uint64_t scene, std::uint32_t sample,
                                   std::uint32_t position) const {
  if (bound == 0) {
    throw InvalidArgument("[core.CounterRandom.below] expected bound >= 1, got 0");
  }
  // A 64-bit multiply has a bias below 2^-32 for 32-bit bounds: far under what any draw count that
  // fits the counters could show, and free of a rejection loop that would need more counters.
  const std::uint64_t random = bits(scene, sample, position);
  return static_cast<std::uint32_t>(
      (static_cast<unsigned __int128>(random) * static_cast<unsigned __int128>(bound)) >> 64);
}

}  // namespace tierod
