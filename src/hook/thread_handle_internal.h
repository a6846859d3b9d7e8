#pragma once

#include <atomic>
#include <memory>

#include "tierod/export.h"

namespace tierod::internal {

struct ThreadState;

/// Point to a thread's state for as long as the thread lives. Autograd's own threads reach the
/// sessions of the thread that called backward() through it.
struct ThreadHandle {
  explicit ThreadHandle(ThreadState* thread) : state(thread) {}
  std::atomic<ThreadState*> state;
};

/// Return the caller's handle.
TIEROD_API std::shared_ptr<ThreadHandle> thread_handle();

/// Give libtierod a function that returns the handle which autograd handed on from the thread that
/// called backward(), or nothing. Only Python can pass something of its own through autograd, so
/// the bindings set this.
using InheritedHandle = std::shared_ptr<ThreadHandle> (*)();
TIEROD_API void set_inherited_handle(InheritedHandle function);

}  // namespace tierod::internal
