#pragma once

#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

namespace tierod::internal {

/// Hold a fixed number of buffers of one size, allocated once. Taking one waits until there is one.
///
/// What was given back last is taken first, and a buffer that was never used only after a short
/// wait for one that was: with a fast disk the same few buffers go round and stay in the
/// processor's cache, and the rest of the memory is never touched.
class Ring {
 public:
  Ring(std::size_t buffers, std::size_t bytes);

  /// Wait for a buffer; nullptr once `stop` was called. `patient`: some are on their way back.
  std::byte* take(bool patient);
  void give(std::byte* buffer);
  /// Wake who waits, for good.
  void stop();

  std::size_t buffer_bytes() const noexcept { return bytes_; }
  std::size_t buffers() const noexcept { return count_; }
  std::size_t peak() const;
  std::int64_t waits() const;

 private:
  const std::size_t count_;
  const std::size_t bytes_;
  struct Free {
    void operator()(std::byte* p) const noexcept;
  };
  std::unique_ptr<std::byte[], Free> memory_;
  mutable std::mutex mutex_;
  std::condition_variable given_;
  std::vector<std::byte*> idle_;  // used before, the last one last
  std::size_t untouched_;         // buffers at the end that were never used
  std::size_t peak_ = 0;
  std::int64_t waits_ = 0;
  bool stopped_ = false;
};

}  // namespace tierod::internal
