#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <new>

#include "store/ring_internal.h"

namespace tierod::internal {

namespace {
constexpr std::size_t kHugePage = std::size_t{2} << 20;
// Longer than a chunk takes into the page cache, too short for a model to notice.
constexpr std::chrono::microseconds kPatience{1000};
}  // namespace

void Ring::Free::operator()(std::byte* p) const noexcept { std::free(p); }

Ring::Ring(std::size_t buffers, std::size_t bytes)
    : count_(buffers), bytes_((bytes + 4095) / 4096 * 4096), untouched_(buffers) {
  const std::size_t size = (count_ * bytes_ + kHugePage - 1) / kHugePage * kHugePage;
  memory_.reset(static_cast<std::byte*>(std::aligned_alloc(kHugePage, size)));
  if (!memory_) throw std::bad_alloc();
  // A page fault for every 4 KiB would cost as much as the copy.
  ::madvise(memory_.get(), size, MADV_HUGEPAGE);
  idle_.reserve(count_);
}

std::byte* Ring::take(bool patient) {
  std::unique_lock lock(mutex_);
  const auto ready = [&] { return !idle_.empty() || stopped_; };
  if (!ready() && untouched_ > 0 && patient) given_.wait_for(lock, kPatience, ready);
  if (!ready()) {
    if (untouched_ > 0) {
      std::byte* buffer = memory_.get() + (count_ - untouched_) * bytes_;
      --untouched_;
      peak_ = std::max(peak_, count_ - idle_.size() - untouched_);
      return buffer;
    }
    ++waits_;
    given_.wait(lock, ready);
  }
  if (stopped_) return nullptr;
  std::byte* buffer = idle_.back();
  idle_.pop_back();
  peak_ = std::max(peak_, count_ - idle_.size() - untouched_);
  return buffer;
}

void Ring::give(std::byte* buffer) {
  {
    const std::scoped_lock lock(mutex_);
    idle_.push_back(buffer);
  }
  given_.notify_one();
}

void Ring::stop() {
  {
    const std::scoped_lock lock(mutex_);
    stopped_ = true;
  }
  given_.notify_all();
}

std::size_t Ring::peak() const {
  const std::scoped_lock lock(mutex_);
  return peak_;
}

std::int64_t Ring::waits() const {
  const std::scoped_lock lock(mutex_);
  return waits_;
}

}  // namespace tierod::internal
