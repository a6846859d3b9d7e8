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
    /// The request's number, or kAdded plus an index into `added`.
    std::uint32_t info;
    at::Tensor tensor;
    /// Absent where it is the tensor's own shape.
    std::unique_ptr<const std::vector<std::int64_t>> site_shape;
  };

  mutable std::mutex mutex;
  std::vector<Record> records;
  /// What the records were captured with: by number of the session's request, and for entries that
  /// came by add().
  std::vector<std::shared_ptr<const CaptureInfo>> infos;
  std::vector<std::shared_ptr<const CaptureInfo>> added;
  static constexpr std::uint32_t kAdded = std::uint32_t{1} << 31;
  /// Indices of the records of each site name, and the names in order of first capture: made when
  /// somebody looks, for the first `indexed` records.
  std::unordered_map<std::string, std::vector<std::size_t>> by_name;
  std::vector<std::string> names;
  std::size_t indexed = 0;

  /// Add a record of the request number `record.info`, whose info is `info`.
  void append(Record&& record, const std::shared_ptr<const CaptureInfo>& info);
  /// Add a record without a request.
  void add(Record&& record, std::shared_ptr<const CaptureInfo> info);
  void push(Record&& record);
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
