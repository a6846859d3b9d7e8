#include <c10/core/Allocator.h>

#include <algorithm>

#include "patch/memory_meter_internal.h"

namespace tierod::internal {

// The allocators report every block with its size, negative when it is freed, to what is put where
// PyTorch's profiler would be. So a meter sees C++ and Python models alike, on every device.
struct MemoryMeter::Report final : c10::MemoryReportingInfoBase {
  void reportMemoryUsage(void* /*ptr*/, std::int64_t bytes, std::size_t /*total_allocated*/,
                         std::size_t /*total_reserved*/, c10::Device /*device*/) override {
    current += bytes;
    peak = std::max(peak, current);
  }
  bool memoryProfilingEnabled() const override { return true; }

  std::int64_t current = 0;
  std::int64_t peak = 0;
};

MemoryMeter::MemoryMeter()
    : report_(std::make_shared<Report>()),
      guard_(std::make_unique<c10::DebugInfoGuard>(c10::DebugInfoKind::PROFILER_STATE, report_)) {}

MemoryMeter::~MemoryMeter() = default;

std::int64_t MemoryMeter::current() const noexcept { return report_->current; }
std::int64_t MemoryMeter::peak() const noexcept { return report_->peak; }
void MemoryMeter::restart() noexcept { report_->peak = report_->current; }

}  // namespace tierod::internal
