// Compiled for AVX2 alone. It includes nothing that other files share inline functions with: the
// linker might keep those compiled here, and a processor without AVX2 would stop in them.
#if defined(__x86_64__)

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "store/hdf5/hash_internal.h"

namespace tierod::internal {

std::uint64_t hash64_avx2(const void* data, std::size_t size) noexcept {
  return XXH3_64bits(data, size);
}

void hash_update_avx2(void* state, const void* data, std::size_t size) noexcept {
  XXH3_64bits_update(static_cast<XXH3_state_t*>(state), data, size);
}

}  // namespace tierod::internal

#endif
