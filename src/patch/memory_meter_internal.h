#pragma once

#include <c10/util/ThreadLocalDebugInfo.h>

#include <cstdint>
#include <memory>

#include "tierod/export.h"

namespace tierod::internal {

/// Measure what PyTorch's allocators hand out on this thread while the meter lives: the present
/// amount, which may be negative, and its peak. A meter inside a meter hides from the outer one
/// what happens meanwhile, so meters do not nest.
class TIEROD_API MemoryMeter {
 public:
  MemoryMeter();
  ~MemoryMeter();
  MemoryMeter(const MemoryMeter&) = delete;
  MemoryMeter& operator=(const MemoryMeter&) = delete;

  std::int64_t current() const noexcept;
  std::int64_t peak() const noexcept;
  /// Let the peak start anew from what is held now.
  void restart() noexcept;

 private:
  struct Report;
  std::shared_ptr<Report> report_;
  std::unique_ptr<c10::DebugInfoGuard> guard_;
};

}  // namespace tierod::internal
