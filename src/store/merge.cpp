#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <map>
#include <optional>

#include "core/text_internal.h"
#include "store/bytes_internal.h"
#include "store/labels_internal.h"
#include "store/lock_internal.h"
#include "store/manifest_internal.h"
#include "tierod/core/error.h"
#include "tierod/store/maintain.h"

namespace tierod {

using internal::cat;
using internal::Manifest;
using internal::ShardEntry;
namespace fs = std::filesystem;

namespace {

constexpr const char* kWhere = "store.merge";

void check_fits(const Manifest& first, const Manifest& other, const std::string& a,
                const std::string& b) {
  if (first.streams != other.streams) {
    throw InvalidArgument(cat("[", kWhere, "] '", a, "' and '", b,
                              "' have different streams; only stores of the same sites, widths and "
                              "dtypes, in the same order, can be merged"));
  }
  if (first.provenance != other.provenance || first.configuration != other.configuration) {
    throw InvalidArgument(cat("[", kWhere, "] '", a, "' and '", b,
                              "' have different provenance or configuration; rows of different "
                              "models or settings do not belong together"));
  }
  const std::size_t common = std::min(first.branches.size(), other.branches.size());
  if (!std::equal(first.branches.begin(), first.branches.begin() + static_cast<long>(common),
                  other.branches.begin())) {
    throw InvalidArgument(cat("[", kWhere, "] '", a, "' and '", b, "' number their branches ",
                              internal::list_text(first.branches), " and ",
                              internal::list_text(other.branches),
                              "; name the branches in one order (ActivationWriter::branch) first"));
  }
}

// Newest labels of every source, joined by sample.
std::map<std::string, Labels> join_labels(const std::vector<std::string>& sources) {
  std::map<std::string, std::map<std::int64_t, std::uint8_t>> joined;
  for (const std::string& source : sources) {
    for (const std::string& name : label_concepts(source)) {
      const Labels labels = get_labels(source, name);
      auto& values = joined[name];
      for (std::size_t i = 0; i < labels.samples.size(); ++i) {
        const auto [found, fresh] = values.try_emplace(labels.samples[i], labels.values[i]);
        if (fresh || labels.values[i] == kMissingLabel) continue;
        if (found->second == kMissingLabel) found->second = labels.values[i];
        if (found->second != labels.values[i]) {
          throw InvalidArgument(cat("[", kWhere, "] the sample ", labels.samples[i], " is ",
                                    int{found->second}, " in '", name, "' of one store and ",
                                    int{labels.values[i]}, " in that of '", source,
                                    "'; correct the labels of one of them"));
        }
      }
    }
  }
  std::map<std::string, Labels> result;
  for (const auto& [name, values] : joined) {
    Labels& labels = result[name];
    labels.version = 1;
    labels.note = "merged";
    for (const auto& [sample, value] : values) {
      labels.samples.push_back(sample);
      labels.values.push_back(value);
    }
  }
  return result;
}

}  // namespace

MergeReport merge_stores(const std::vector<std::string>& sources, const std::string& target,
                         bool reference, const Progress& progress) {
  internal::require_store(kWhere);
  if (sources.empty())
    throw InvalidArgument(cat("[", kWhere, "] expected stores to merge, got none"));
  std::vector<Manifest> manifests;
  std::int64_t total = 0;
  for (const std::string& source : sources) {
    manifests.push_back(internal::load_manifest(kWhere, source));
    check_fits(manifests.front(), manifests.back(), sources.front(), source);
    total += static_cast<std::int64_t>(manifests.back().shards.size());
  }
  const std::map<std::string, Labels> labels = join_labels(sources);
  std::error_code error;
  if (fs::exists(target) && !fs::is_empty(target, error)) {
    throw StateError(cat("[", kWhere, "] '", target,
                         "' exists and is not empty; choose another "
                         "folder"));
  }
  fs::create_directories(target, error);
  if (error) internal::throw_errno(kWhere, "create the folder", target, error.value());
  internal::WriterLock lock(kWhere, target);

  MergeReport report;
  Manifest merged = manifests.front();
  merged.store_id = internal::random_id();
  merged.shards.clear();
  for (std::size_t m = 0; m < manifests.size(); ++m) {
    if (manifests[m].branches.size() > merged.branches.size())
      merged.branches = manifests[m].branches;
    for (ShardEntry entry : manifests[m].shards) {
      if (progress && !progress(report.shards, total, "merge")) {
        throw StateError(cat("[", kWhere, "] interrupted; remove '", target, "' and merge again"));
      }
      const fs::path source = fs::path(sources[m]) / entry.file;
      const std::string name = internal::shard_name(report.shards);
      if (reference) {
        if (!fs::exists(source)) {
          internal::throw_errno(kWhere, "refer to", source.string(), ENOENT);
        }
        entry.file = fs::relative(fs::canonical(source), fs::canonical(target)).string();
        ++report.referenced;
      } else {
        if (::link(source.c_str(), (fs::path(target) / name).c_str()) != 0) {
          if (errno == EXDEV || errno == EPERM || errno == EMLINK) {
            throw IoError(cat("[", kWhere, "] '", source.string(), "' cannot be linked into '",
                              target,
                              "' (another file system?); merge on the same one, or by "
                              "reference"));
          }
          internal::throw_errno(kWhere, "link", source.string(), errno);
        }
        entry.file = name;
        ++report.linked;
      }
      for (std::size_t s = 0; s < merged.streams.size(); ++s) {
        report.rows[merged.streams[s].name] += entry.rows[s];
      }
      merged.shards.push_back(std::move(entry));
      ++report.shards;
    }
  }
  internal::sync_folder(kWhere, target);
  internal::save_manifest(kWhere, target, merged);
  if (!labels.empty()) {
    fs::create_directories(internal::store_path(target, "labels"));
    for (const auto& [name, values] : labels) {
      internal::save_labels(internal::store_path(target, cat("labels/", name, ".h5")), {values});
    }
  }
  internal::build_index_of(target, merged);
  if (progress) progress(total, total, "merge");
  return report;
}

}  // namespace tierod
