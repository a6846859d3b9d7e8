#include "tierod/store/labels.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <numeric>

#include "core/text_internal.h"
#include "store/hdf5/hdf5_internal.h"
#include "store/labels_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/site.h"

namespace tierod {

using internal::cat;

namespace {

constexpr const char* kSet = "store.set_labels";
constexpr const char* kGet = "store.get_labels";

void check_concept(std::string_view name, const char* where) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-' || c == '.';
  };
  if (!name.empty() && name.size() <= 128 && name.front() != '.' &&
      std::all_of(name.begin(), name.end(), fits)) {
    return;
  }
  throw InvalidArgument(cat("[", where,
                            "] expected a concept's name of 1 to 128 of A-Za-z0-9_-., "
                            "got '",
                            name, "'"));
}

std::string label_path(const std::string& store, std::string_view name) {
  return internal::store_path(store, cat("labels/", name, ".h5"));
}

/// Wait for other label writers; a writer of rows does not matter.
class LabelLock {
 public:
  explicit LabelLock(const std::string& store)
      : fd_(internal::open_file(kSet, internal::store_path(store, "labels/lock"),
                                O_RDWR | O_CREAT)) {
    while (::flock(fd_.get(), LOCK_EX) != 0) {
      if (errno != EINTR) internal::throw_errno(kSet, "lock", store, errno);
    }
  }

 private:
  internal::Fd fd_;
};

}  // namespace

std::uint8_t Labels::at(std::int64_t sample) const {
  const auto found = std::lower_bound(samples.begin(), samples.end(), sample);
  if (found == samples.end() || *found != sample) return kMissingLabel;
  return values[static_cast<std::size_t>(found - samples.begin())];
}

namespace internal {

std::vector<Labels> load_labels(const char* where, const std::string& path) {
  const Mapping file(where, path);
  const Seal seal = read_seal(where, file, path);
  for (const Extent& extent : seal.extents) check_extent(where, file, extent, path);
  return read_label_file(where, path);
}

void save_labels(const std::string& path, const std::vector<Labels>& versions) {
  const std::string temporary = cat(path, ".", ::getpid(), ".tmp");
  try {
    write_label_file(temporary, versions);
    const Fd fd = open_file(kSet, temporary, O_RDWR);
    seal_file(kSet, temporary, fd.get(), {}, 0);
    sync_file(kSet, fd.get(), temporary);
    rename_file(kSet, temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
  sync_folder(kSet, std::filesystem::path(path).parent_path().string());
}

}  // namespace internal

std::int64_t set_labels(const std::string& store, std::string_view concept_name,
                        std::vector<std::int64_t> samples, std::vector<std::uint8_t> values,
                        std::string_view note) {
  internal::require_store(kSet);
  check_concept(concept_name, kSet);
  if (samples.size() != values.size()) {
    throw InvalidArgument(cat("[", kSet, "] '", concept_name,
                              "': expected a value for each sample, "
                              "got ",
                              samples.size(), " samples and ", values.size(), " values"));
  }
  std::vector<std::size_t> order(samples.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return samples[a] < samples[b]; });
  Labels labels{.note = std::string(note)};
  for (const std::size_t i : order) {
    if (samples[i] < 0 || (!labels.samples.empty() && labels.samples.back() == samples[i])) {
      throw InvalidArgument(cat("[", kSet, "] '", concept_name, "': the sample ", samples[i],
                                samples[i] < 0 ? " is negative" : " stands twice"));
    }
    labels.samples.push_back(samples[i]);
    labels.values.push_back(values[i]);
  }
  internal::load_manifest(kSet, store);  // there must be a store
  std::error_code error;
  std::filesystem::create_directories(internal::store_path(store, "labels"), error);
  if (error) internal::throw_errno(kSet, "create the folder", store + "/labels", error.value());
  const LabelLock lock(store);
  const std::string path = label_path(store, concept_name);
  std::vector<Labels> versions;
  if (std::filesystem::exists(path)) versions = internal::load_labels(kSet, path);
  labels.version = static_cast<std::int64_t>(versions.size()) + 1;
  versions.push_back(std::move(labels));
  internal::save_labels(path, versions);
  return versions.back().version;
}

Labels get_labels(const std::string& store, std::string_view concept_name,
                  std::optional<std::int64_t> version) {
  internal::require_store(kGet);
  check_concept(concept_name, kGet);
  const std::string path = label_path(store, concept_name);
  if (!std::filesystem::exists(path)) {
    const std::vector<std::string> known = label_concepts(store);
    throw InvalidArgument(cat("[", kGet, "] the store has no labels of '", concept_name,
                              "'; it has those of ", internal::list_text(known)));
  }
  std::vector<Labels> versions = internal::load_labels(kGet, path);
  const std::int64_t wanted = version.value_or(static_cast<std::int64_t>(versions.size()));
  if (wanted < 1 || wanted > static_cast<std::int64_t>(versions.size())) {
    throw InvalidArgument(cat("[", kGet, "] '", concept_name, "' has versions 1 to ",
                              versions.size(), ", got ", wanted));
  }
  return std::move(versions[static_cast<std::size_t>(wanted) - 1]);
}

std::vector<std::string> label_concepts(const std::string& store) {
  std::vector<std::string> names;
  const std::string folder = internal::store_path(store, "labels");
  if (!std::filesystem::is_directory(folder)) return names;
  for (const auto& item : std::filesystem::directory_iterator(folder)) {
    if (item.path().extension() == ".h5") names.push_back(item.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace tierod
