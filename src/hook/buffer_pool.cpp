#include "tierod/hook/buffer_pool.h"

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod {

namespace {

constexpr std::size_t kPooledFrom =
    std::size_t{64} * 1024;  // below this malloc reuses its own pages
constexpr std::size_t kGranule = std::size_t{64} * 1024;

class BufferPool {
 public:
  static BufferPool& instance() {
    static auto* pool = new BufferPool;  // tensors may outlive static destruction
    return *pool;
  }

  void* take(std::size_t bytes) {
    const std::size_t size = rounded(bytes);
    {
      const std::scoped_lock lock(mutex_);
      const auto found = idle_.find(size);
      if (found != idle_.end() && !found->second.empty()) {
        void* data = found->second.back();
        found->second.pop_back();
        idle_bytes_ -= size;
        return data;
      }
    }
    void* data = std::aligned_alloc(4096, size);
    if (data == nullptr) throw std::bad_alloc();
    return data;
  }

  void give(void* data, std::size_t bytes) noexcept {
    const std::size_t size = rounded(bytes);
    {
      const std::scoped_lock lock(mutex_);
      if (idle_bytes_ + size <= limit_) {
        try {
          idle_[size].push_back(data);
          idle_bytes_ += size;
          return;
        } catch (...) {
          // No memory to remember the buffer: free it below.
        }
      }
    }
    std::free(data);
  }

  std::size_t idle_bytes() {
    const std::scoped_lock lock(mutex_);
    return idle_bytes_;
  }

  void set_limit(std::size_t bytes) {
    const std::scoped_lock lock(mutex_);
    limit_ = bytes;
    for (auto& [size, buffers] : idle_) {
      while (idle_bytes_ > limit_ && !buffers.empty()) {
        std::free(buffers.back());
        buffers.pop_back();
        idle_bytes_ -= size;
      }
    }
  }

 private:
  static std::size_t rounded(std::size_t bytes) {
    return (bytes + kGranule - 1) / kGranule * kGranule;
  }

  std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> idle_;
  std::size_t idle_bytes_ = 0;
  std::size_t limit_ = std::size_t{512} << 20;
};

bool plain_bytes(const at::Tensor& x) {
  return x.layout() == at::kStrided && x.is_cpu() && x.is_contiguous() && !x.is_conj() &&
         !x.is_neg() && !x.is_quantized() && x.numel() > 0 && x.has_storage();
}

}  // namespace

at::Tensor pooled_copy(const at::Tensor& x) {
  const c10::InferenceMode normal(false);
  const at::NoGradGuard no_grad;
  const auto bytes = static_cast<std::size_t>(x.numel()) * x.element_size();
  const bool pooled = x.is_cpu() && x.layout() == at::kStrided && !x.is_quantized() &&
                      !x.is_meta() && bytes >= kPooledFrom;
  at::Tensor copy;
  if (pooled) {
    void* data = BufferPool::instance().take(bytes);
    copy = at::from_blob(
        data, x.sizes(), [bytes](void* p) { BufferPool::instance().give(p, bytes); },
        x.options().requires_grad(false));
  } else {
    copy = at::empty_like(x, x.options().requires_grad(false), at::MemoryFormat::Contiguous);
  }
  if (!plain_bytes(x)) return copy.copy_(x.detach());
  // memcpy streams past the cache for large blocks, where the element-wise kernel reads each target
  // line before it writes it.
  const auto* source = static_cast<const char*>(x.const_data_ptr());
  auto* target = static_cast<char*>(copy.mutable_data_ptr());
  at::parallel_for(0, static_cast<std::int64_t>(bytes), std::int64_t{1} << 20,
                   [&](std::int64_t begin, std::int64_t end) {
                     std::memcpy(target + begin, source + begin,
                                 static_cast<std::size_t>(end - begin));
                   });
  return copy;
}

std::int64_t buffer_pool_idle_bytes() {
  return static_cast<std::int64_t>(BufferPool::instance().idle_bytes());
}

void set_buffer_pool_limit(std::int64_t bytes) {
  if (bytes < 0) {
    throw InvalidArgument(internal::cat(
        "[hook.set_buffer_pool_limit] expected bytes >= 0 (0 turns pooling off), got ", bytes));
  }
  BufferPool::instance().set_limit(static_cast<std::size_t>(bytes));
}

}  // namespace tierod
