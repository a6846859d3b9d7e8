#include <algorithm>
#include <filesystem>
#include <set>

#include "core/text_internal.h"
#include "store/hdf5/hdf5_internal.h"
#include "store/labels_internal.h"
#include "store/lock_internal.h"
#include "store/shard_view_internal.h"
#include "tierod/core/error.h"
#include "tierod/store/maintain.h"

namespace tierod {

using internal::cat;
using internal::Extent;

namespace {

constexpr const char* kWhere = "store.verify";

// Everything of one shard; throws what is wrong.
std::int64_t verify_shard(const std::string& store, const internal::ShardEntry& entry,
                          const internal::Manifest& manifest) {
  const internal::ShardView view(kWhere, store, entry, manifest, true);
  for (const Extent& extent : view.seal().extents) {
    if (extent.stream != internal::kNoStream) {
      internal::check_extent(kWhere, view.file(), extent, view.path());
    }
  }
  internal::parse_self_description(internal::read_description(kWhere, view.path()), kWhere,
                                   view.path());
  if (internal::read_alias(kWhere, view.path()) != entry.alias) {
    throw IoError(cat("[", kWhere, "] '", view.path(), "' calls itself otherwise than '",
                      entry.alias, "', by which index.h5 finds it"));
  }
  // HDF5's own index of the chunks must say what the seal says, or other readers see other rows.
  for (const Extent& chunk :
       internal::read_chunk_table(kWhere, view.path(), manifest, entry.rows)) {
    const bool table = (chunk.column & internal::kRowColumn) != 0;
    const auto column = static_cast<std::size_t>(chunk.column & ~internal::kRowColumn);
    const auto& place =
        table ? view.row_column(chunk.stream, column) : view.site(chunk.stream, column);
    const auto at = static_cast<std::size_t>(chunk.first_row / place.chunk_rows);
    if (place.offsets[at] != chunk.offset) {
      throw IoError(cat("[", kWhere, "] '", view.path(), "': HDF5 finds the chunk at row ",
                        chunk.first_row, " at byte ", chunk.offset, ", the seal at ",
                        place.offsets[at]));
    }
  }
  std::int64_t sum = 0;
  for (std::size_t s = 0; s < manifest.streams.size(); ++s) {
    const std::int64_t count =
        internal::count_nonfinite(kWhere, view, manifest.streams[s], s, entry.rows[s]);
    if (count != entry.nonfinite[s]) {
      throw IoError(cat("[", kWhere, "] '", view.path(), "': '", manifest.streams[s].name, "' has ",
                        count, " rows with NaN or Inf, the manifest says ", entry.nonfinite[s]));
    }
    sum += count;
  }
  return sum;
}

// An index is written last, when a writer closes: a crash, or a writer that makes none, leaves one
// that shows fewer rows than there are.
void verify_index(const std::string& store, const internal::Manifest& manifest,
                  VerifyReport& report) {
  const std::string path = internal::store_path(store, "index.h5");
  if (!std::filesystem::exists(path) || internal::is_locked(store)) return;
  try {
    if (internal::read_index_digest(kWhere, path) != internal::shards_digest(manifest)) {
      report.errors.push_back({"index.h5",
                               "it was made of other shards than the manifest names, so that HDF5 "
                               "readers see other rows; make it anew: build_index(), or `tierod "
                               "store recover`"});
    }
  } catch (const Error& error) {
    report.errors.push_back({"index.h5", error.message()});
  }
}

void look_for_others(const std::string& store, const internal::Manifest& manifest,
                     VerifyReport& report) {
  std::set<std::string> known = {internal::kManifest, internal::kLock, "index.h5", "labels",
                                 "quarantine"};
  for (const auto& shard : manifest.shards) known.insert(shard.file);
  const bool being_written = internal::is_locked(store);
  for (const auto& item : std::filesystem::directory_iterator(store)) {
    const std::string name = item.path().filename().string();
    if (known.contains(name) || being_written) continue;
    if (internal::is_unfinished_shard(name)) {
      report.errors.push_back({name,
                               "a shard that was never finished; run `tierod store recover`, "
                               "which says how many rows were lost"});
    } else if (internal::shard_number(name) >= 0) {
      report.errors.push_back(
          {name, "a shard that the manifest does not know; run `tierod store recover`"});
    } else {
      report.notes.push_back({name, "not a file of the store"});
    }
  }
}

}  // namespace

VerifyReport verify_store(const std::string& path, const Progress& progress) {
  internal::require_store(kWhere);
  VerifyReport report;
  internal::Manifest manifest;
  try {
    manifest = internal::load_manifest(kWhere, path);
  } catch (const Error& error) {
    report.errors.push_back({internal::kManifest, error.message()});
    return report;
  }
  const auto total = static_cast<std::int64_t>(manifest.shards.size());
  for (const internal::ShardEntry& shard : manifest.shards) {
    if (progress && !progress(report.shards, total, "verify")) {
      report.complete = false;
      return report;
    }
    try {
      report.nonfinite_rows += verify_shard(path, shard, manifest);
    } catch (const Error& error) {
      report.errors.push_back({shard.file, error.message()});
    }
    ++report.shards;
    report.bytes += shard.bytes;
    for (const std::int64_t rows : shard.rows) report.rows += rows;
  }
  for (const std::string& name : label_concepts(path)) {
    const std::string file = cat("labels/", name, ".h5");
    try {
      internal::load_labels(kWhere, internal::store_path(path, file));
    } catch (const Error& error) {
      report.errors.push_back({file, error.message()});
    }
  }
  verify_index(path, manifest, report);
  look_for_others(path, manifest, report);
  if (progress && !progress(total, total, "verify")) report.complete = false;
  return report;
}

StoreStat stat_store(const std::string& path) {
  constexpr const char* kStat = "store.stat";
  internal::require_store(kStat);
  const internal::Manifest manifest = internal::load_manifest(kStat, path);
  StoreStat stat{.format = internal::kFormat,
                 .streams = manifest.streams,
                 .shards = static_cast<std::int64_t>(manifest.shards.size()),
                 .concepts = label_concepts(path),
                 .provenance = manifest.provenance,
                 .being_written = internal::is_locked(path)};
  for (std::size_t s = 0; s < manifest.streams.size(); ++s) {
    stat.rows[manifest.streams[s].name] = manifest.rows_of(s);
  }
  for (const internal::ShardEntry& shard : manifest.shards) {
    stat.bytes += shard.bytes;
    for (const std::int64_t count : shard.nonfinite) stat.nonfinite_rows += count;
  }
  return stat;
}

}  // namespace tierod
