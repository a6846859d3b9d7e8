#pragma once

#include <memory>
#include <mutex>
#include <unordered_map>
#include <vector>

#include "tierod/hook/activation_cache.h"

namespace tierod {

/// Share what does not change from one record of a capture to the next.
struct CaptureInfo {
  Selection selection;
  Reduce reduce = Reduce::none;
  When when = When::after;
  bool gradient = false;
};

/// Hold entries in a compact form: the hot path appends one of these a capture.
struct ActivationCache::Data {
  struct Record {
    Site site;
    Phase phase;
    std::uint16_t branch;
    std::int32_t step;
    std::int32_t call;
    std::shared_ptr<const CaptureInfo> info;
    at::Tensor tensor;
    c10::SmallVector<std::int64_t, 4> site_shape;
  };

  mutable std::mutex mutex;
  std::vector<Record> records;
  /// Indices of the records of each site name, and the names in order of first capture: made when
  /// somebody looks, for the first `indexed` records.
  std::unordered_map<std::string, std::vector<std::size_t>> by_name;
  std::vector<std::string> names;
  std::size_t indexed = 0;

  void append(Record&& record);
  /// Bring the index up to date; the caller holds the mutex.
  void index();
  Activation entry(const Record& record) const;
};

namespace internal {
/// Map branch names to small numbers, for the life of the process.
std::uint16_t branch_id(std::string_view branch);
std::string branch_text(std::uint16_t id);
}  // namespace internal

}  // namespace tierod
