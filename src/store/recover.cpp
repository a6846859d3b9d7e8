#include <algorithm>
#include <filesystem>
#include <map>
#include <optional>
#include <set>

#include "core/text_internal.h"
#include "store/hdf5/hdf5_internal.h"
#include "store/lock_internal.h"
#include "store/shard_view_internal.h"
#include "tierod/core/error.h"
#include "tierod/store/maintain.h"

namespace tierod {

using internal::cat;
using internal::Extent;
using internal::Manifest;
using internal::ShardEntry;
namespace fs = std::filesystem;

namespace {

constexpr const char* kWhere = "store.recover";

struct Found {
  ShardEntry entry;
  Manifest description;
};

// Check every byte of a shard and return what the manifest should say of it.
Found examine(const std::string& store, const std::string& file) {
  const std::string path = internal::store_path(store, file);
  Found found;
  {
    const internal::Mapping mapping(kWhere, path);
    const internal::Seal seal = internal::read_seal(kWhere, mapping, path);
    for (const Extent& extent : seal.extents) {
      internal::check_extent(kWhere, mapping, extent, path);
    }
    found.description =
        internal::parse_self_description(internal::read_description(kWhere, path), kWhere, path);
    found.entry = {.file = file,
                   .bytes = mapping.size(),
                   .digest = seal.digest,
                   .alias = internal::read_alias(kWhere, path)};
    const auto& streams = found.description.streams;
    found.entry.rows.assign(streams.size(), 0);
    found.entry.nonfinite.assign(streams.size(), 0);
    for (const Extent& extent : seal.extents) {
      if (extent.stream == internal::kNoStream) continue;
      if (extent.stream >= streams.size() || extent.first_row < 0 ||
          extent.first_row > seal.table_bytes) {
        throw IoError(cat("[", kWhere, "] '", path, "' has a chunk of a stream it does not know"));
      }
      std::int64_t& rows = found.entry.rows[extent.stream];
      rows = std::max(rows, extent.first_row + extent.rows);
    }
  }
  const internal::ShardView view(kWhere, store, found.entry, found.description, true);
  for (std::size_t s = 0; s < found.entry.rows.size(); ++s) {
    found.entry.nonfinite[s] = internal::count_nonfinite(kWhere, view, found.description.streams[s],
                                                         s, found.entry.rows[s]);
  }
  return found;
}

void put_aside(const std::string& store, const std::string& file, RecoverReport& report,
               const std::string& why) {
  const fs::path folder = fs::path(store) / "quarantine";
  std::error_code error;
  fs::create_directories(folder, error);
  fs::path target = folder / file;
  for (int i = 1; fs::exists(target); ++i) target = folder / cat(file, ".", i);
  fs::rename(fs::path(store) / file, target, error);
  if (error) internal::throw_errno(kWhere, "put aside", file, error.value());
  report.actions.push_back({file, "put aside in quarantine/: " + why});
}

// Two descriptions fit if one has what the other has and perhaps more, at the end.
bool extends(const Manifest& more, const Manifest& less) {
  if (more.streams.size() < less.streams.size() || more.branches.size() < less.branches.size()) {
    return false;
  }
  if (!std::equal(less.branches.begin(), less.branches.end(), more.branches.begin())) return false;
  for (std::size_t s = 0; s < less.streams.size(); ++s) {
    const auto& a = less.streams[s];
    const auto& b = more.streams[s];
    if (a.name != b.name || a.sites.size() > b.sites.size() ||
        !std::equal(a.sites.begin(), a.sites.end(), b.sites.begin())) {
      return false;
    }
  }
  return more.provenance == less.provenance;
}

void set_streams(ShardEntry& entry, std::size_t streams) {
  entry.rows.resize(streams, 0);
  entry.nonfinite.resize(streams, 0);
}

std::vector<std::string> shard_files(const std::string& store) {
  std::vector<std::string> files;
  for (const auto& item : fs::directory_iterator(store)) {
    const std::string name = item.path().filename().string();
    if (internal::shard_number(name) >= 0) files.push_back(name);
  }
  std::sort(files.begin(), files.end(), [](const std::string& a, const std::string& b) {
    return internal::shard_number(a) < internal::shard_number(b);
  });
  return files;
}

// The description that most shards agree with, of the store that most of them come from.
std::optional<Manifest> common_description(const std::map<std::string, Found>& found) {
  std::optional<Manifest> best;
  std::size_t most = 0;
  for (const auto& [file, candidate] : found) {
    std::size_t agree = 0;
    for (const auto& [other, that] : found) {
      if (extends(candidate.description, that.description)) ++agree;
    }
    if (agree > most) {
      most = agree;
      best = candidate.description;
    }
  }
  return best;
}

}  // namespace

RecoverReport recover_store(const std::string& path, const Progress& progress) {
  internal::require_store(kWhere);
  if (!fs::is_directory(path)) {
    throw IoError(cat("[", kWhere, "] there is no folder '", path, "'; is the path right?"));
  }
  internal::WriterLock lock(kWhere, path);
  RecoverReport report;
  for (const auto& [stream, counts] : lock.left_behind()) {
    report.rows_lost[stream] = counts.appended;  // less what is kept, below
  }

  std::optional<Manifest> manifest;
  std::string damage;
  try {
    manifest = internal::load_manifest(kWhere, path);
  } catch (const IoError& error) {
    damage = error.what();
    if (damage.find("newer tierod") != std::string::npos) throw;
  }

  std::vector<std::string> unfinished;
  for (const auto& item : fs::directory_iterator(path)) {
    const std::string name = item.path().filename().string();
    if (internal::is_temporary(name)) unfinished.push_back(name);
  }
  const std::vector<std::string> files = shard_files(path);
  std::map<std::string, Found> found;
  std::map<std::string, std::string> bad;
  std::int64_t done = 0;
  for (const std::string& file : files) {
    if (progress && !progress(done++, static_cast<std::int64_t>(files.size()), "recover")) {
      throw StateError(cat("[", kWhere, "] interrupted; nothing was changed"));
    }
    try {
      found[file] = examine(path, file);
    } catch (const Error& error) {
      bad[file] = error.message();
    }
  }
  std::vector<ShardEntry> elsewhere;  // of a merge by reference: they stay where they are
  if (manifest) {
    for (const ShardEntry& entry : manifest->shards) {
      if (internal::shard_number(entry.file) < 0) elsewhere.push_back(entry);
    }
  } else {
    manifest = common_description(found);
    report.manifest_rebuilt = true;
    if (!manifest) {
      throw IoError(cat("[", kWhere, "] nothing in '", path,
                        "' can be recovered: no usable shard, "
                        "and ",
                        damage));
    }
  }

  for (const auto& [file, why] : bad) put_aside(path, file, report, why);
  for (auto it = found.begin(); it != found.end();) {
    const auto known =
        std::find_if(manifest->shards.begin(), manifest->shards.end(),
                     [&](const ShardEntry& entry) { return entry.file == it->first; });
    const bool listed = known != manifest->shards.end();
    std::string why;
    if (listed && known->digest != it->second.entry.digest) {
      why = "another shard than the one that the manifest knows";
    } else if (!extends(*manifest, it->second.description) &&
               !extends(it->second.description, *manifest)) {
      why = "it has other streams or another provenance than the store";
    } else if (!listed && !report.manifest_rebuilt &&
               it->second.description.store_id != manifest->store_id) {
      why = "it comes from another store";
    }
    if (!why.empty()) {
      put_aside(path, it->first, report, why);
      it = found.erase(it);
      continue;
    }
    if (extends(it->second.description, *manifest)) {
      manifest->streams = it->second.description.streams;
      manifest->branches = it->second.description.branches;
    }
    if (!listed && !report.manifest_rebuilt) {
      report.actions.push_back({it->first, "a finished shard, adopted into the manifest"});
    }
    ++it;
  }
  for (const ShardEntry& entry : manifest->shards) {
    if (internal::shard_number(entry.file) >= 0 && !found.contains(entry.file) &&
        !bad.contains(entry.file)) {
      report.actions.push_back({entry.file, "missing; its rows are gone from the manifest"});
    }
  }

  manifest->shards = std::move(elsewhere);
  std::vector<const Found*> ordered;
  ordered.reserve(found.size());
  for (const auto& [file, shard] : found) ordered.push_back(&shard);
  std::sort(ordered.begin(), ordered.end(), [](const Found* a, const Found* b) {
    return internal::shard_number(a->entry.file) < internal::shard_number(b->entry.file);
  });
  for (const Found* shard : ordered) manifest->shards.push_back(shard->entry);
  for (ShardEntry& entry : manifest->shards) set_streams(entry, manifest->streams.size());
  internal::save_manifest(kWhere, path, *manifest);
  for (const std::string& name : unfinished) {
    fs::remove(fs::path(path) / name);
    report.actions.push_back({name, "removed: it was never finished"});
  }
  internal::build_index_of(path, *manifest);

  report.shards_kept = static_cast<std::int64_t>(manifest->shards.size());
  for (std::size_t s = 0; s < manifest->streams.size(); ++s) {
    const std::string& name = manifest->streams[s].name;
    report.rows_kept[name] = manifest->rows_of(s);
    const auto lost = report.rows_lost.find(name);
    if (lost != report.rows_lost.end()) {
      lost->second = std::max<std::int64_t>(0, lost->second - report.rows_kept[name]);
    }
  }
  lock.finish();
  if (progress) {
    progress(static_cast<std::int64_t>(files.size()), static_cast<std::int64_t>(files.size()),
             "recover");
  }
  return report;
}

}  // namespace tierod
