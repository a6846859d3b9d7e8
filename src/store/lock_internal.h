#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "store/bytes_internal.h"

namespace tierod::internal {

/// Hold the only writer's lock on a store, and count in it, in memory shared with the kernel, what
/// was appended and what was committed: after a kill, `recover` knows how many rows were lost.
class WriterLock {
 public:
  /// @throws StateError if a living process has it.
  WriterLock(const char* where, const std::string& store);
  ~WriterLock();
  WriterLock(const WriterLock&) = delete;
  WriterLock& operator=(const WriterLock&) = delete;

  /// Give a stream a place for its counts, at `slot` < kSlots.
  void name(std::size_t slot, std::string_view stream, std::int64_t committed) noexcept;
  void set_appended(std::size_t slot, std::int64_t rows) noexcept;
  void set_committed(std::size_t slot, std::int64_t rows) noexcept;
  /// Say that nothing is open any more.
  void finish() noexcept;

  struct Counts {
    std::int64_t appended = 0;
    std::int64_t committed = 0;
  };
  /// Return what a writer that did not finish left behind; empty if it finished.
  const std::map<std::string, Counts>& left_behind() const noexcept { return left_; }

  static constexpr std::size_t kSlots = 256;

 private:
  struct Page;
  Fd fd_;
  Page* page_ = nullptr;
  std::map<std::string, Counts> left_;
};

/// Tell whether a living process has the lock.
bool is_locked(const std::string& store) noexcept;

}  // namespace tierod::internal
