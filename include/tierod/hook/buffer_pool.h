#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "tierod/export.h"

namespace tierod {

/// Copy `x` into a contiguous tensor whose memory comes from tierod's pool of CPU buffers, without
/// autograd history. Fresh pages cost about 30 times the copy itself (page faults), so buffers go
/// back to the pool when the last tensor that uses them is gone. Small and non-CPU tensors use
/// torch's own allocator. The result is a normal tensor even under inference mode.
TIEROD_API at::Tensor pooled_copy(const at::Tensor& x);

/// Return the bytes of idle buffers that the pool holds for reuse.
TIEROD_API std::int64_t buffer_pool_idle_bytes();

/// Set how many bytes of idle buffers the pool may keep (default 512 MiB) and free what is over it;
/// 0 turns pooling off.
/// @throws InvalidArgument if negative.
TIEROD_API void set_buffer_pool_limit(std::int64_t bytes);

}  // namespace tierod
