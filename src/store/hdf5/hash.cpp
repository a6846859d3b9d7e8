#define XXH_INLINE_ALL
#include <xxhash.h>

#include "store/bytes_internal.h"
#include "store/hdf5/hash_internal.h"
#include "tierod/store/schema.h"

namespace tierod {

bool has_store() noexcept { return true; }

namespace internal {

std::uint64_t hash64(const void* data, std::size_t size) noexcept {
#if defined(__x86_64__)
  static const bool avx2 = __builtin_cpu_supports("avx2") != 0;
  if (avx2) return hash64_avx2(data, size);
#endif
  return XXH3_64bits(data, size);
}

void require_store(const char* /*function*/) {}

}  // namespace internal

}  // namespace tierod
