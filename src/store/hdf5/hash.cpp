#define XXH_INLINE_ALL
#include <xxhash.h>

#include <new>

#include "store/bytes_internal.h"
#include "store/hdf5/hash_internal.h"
#include "tierod/store/schema.h"

namespace tierod {

bool has_store() noexcept { return true; }

namespace internal {

namespace {
#if defined(__x86_64__)
bool has_avx2() noexcept {
  static const bool avx2 = __builtin_cpu_supports("avx2") != 0;
  return avx2;
}
#endif
}  // namespace

std::uint64_t hash64(const void* data, std::size_t size) noexcept {
#if defined(__x86_64__)
  if (has_avx2()) return hash64_avx2(data, size);
#endif
  return XXH3_64bits(data, size);
}

static_assert(sizeof(XXH3_state_t) <= sizeof(Hasher) && alignof(XXH3_state_t) <= alignof(Hasher));

void Hasher::reset() noexcept { XXH3_64bits_reset(new (state_.data()) XXH3_state_t); }

void Hasher::update(const void* data, std::size_t size) noexcept {
#if defined(__x86_64__)
  if (has_avx2()) {
    hash_update_avx2(state_.data(), data, size);
    return;
  }
#endif
  XXH3_64bits_update(reinterpret_cast<XXH3_state_t*>(state_.data()), data, size);
}

std::uint64_t Hasher::digest() const noexcept {
  return XXH3_64bits_digest(reinterpret_cast<const XXH3_state_t*>(state_.data()));
}

void require_store(const char* /*function*/) {}

}  // namespace internal

}  // namespace tierod
