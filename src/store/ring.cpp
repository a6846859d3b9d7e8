#include <algorithm>
#include <cstdlib>
#include <new>

#include "store/ring_internal.h"

namespace tierod::internal {

void Ring::Free::operator()(std::byte* p) const noexcept { std::free(p); }

Ring::Ring(std::size_t buffers, std::size_t bytes)
    : count_(buffers), bytes_((bytes + 4095) / 4096 * 4096) {
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(4096, count_ * bytes_)));
  if (!memory_) throw std::bad_alloc();
  idle_.reserve(count_);
  for (std::size_t i = count_; i > 0; --i) idle_.push_back(memory_.get() + (i - 1) * bytes_);
}

std::byte* Ring::take() {
  std::unique_lock lock(mutex_);
  if (idle_.empty() && !stopped_) ++waits_;
  given_.wait(lock, [&] { return !idle_.empty() || stopped_; });
  if (stopped_) return nullptr;
  std::byte* buffer = idle_.back();
  idle_.pop_back();
  peak_ = std::max(peak_, count_ - idle_.size());
  return buffer;
}

void Ring::give(std::byte* buffer) {
  {
    const std::lock_guard lock(mutex_);
    idle_.push_back(buffer);
  }
  given_.notify_one();
}

void Ring::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
  }
  given_.notify_all();
}

std::size_t Ring::peak() const {
  const std::lock_guard lock(mutex_);
  return peak_;
}

std::int64_t Ring::waits() const {
  const std::lock_guard lock(mutex_);
  return waits_;
}

}  // namespace tierod::internal
