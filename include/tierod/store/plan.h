#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tierod/export.h"
#include "tierod/store/schema.h"

namespace tierod {

/// Say what one site will cost.
struct TIEROD_API PlanEntry {
  std::string stream;
  std::string site;  ///< empty: the stream's row table
  std::int64_t rows = 0;
  std::int64_t bytes = 0;
};

/// Say, before anything runs, what a capture will cost.
struct TIEROD_API StorePlan {
  std::vector<PlanEntry> entries{};
  std::int64_t total_bytes = 0;
  std::int64_t shards = 0;
  /// What the writer's ring needs at least: a buffer for each site that is being filled, and two.
  std::int64_t needed_memory_bytes = 0;
  std::int64_t memory_limit_bytes = 0;
  /// What is free where the store will be.
  std::int64_t free_bytes = 0;

  bool fits() const {
    return total_bytes <= free_bytes && needed_memory_bytes <= memory_limit_bytes;
  }
  /// Return a table for people: bytes by site, the sum, and what is free.
  std::string text() const;
  /// @throws IoError if the disk, InvalidArgument if the memory will not hold it; the message says
  ///         what would fit: fewer sites, spans instead of all tokens, a reduction, f16.
  void check() const;
};

/// Plan a capture of `rows` rows in each stream (by name) below the folder `path`, which need not
/// exist yet.
/// @throws InvalidArgument if a stream has no row count, or a count is negative.
TIEROD_API StorePlan plan_store(const std::string& path, const std::vector<StreamSpec>& streams,
                                const std::map<std::string, std::int64_t>& rows,
                                std::int64_t memory_bytes = std::int64_t{256} << 20,
                                std::int64_t shard_bytes = std::int64_t{256} << 20);

}  // namespace tierod
