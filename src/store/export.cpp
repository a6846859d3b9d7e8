#include <fcntl.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "core/text_internal.h"
#include "store/bytes_internal.h"
#include "store/reader_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/site.h"
#include "tierod/store/maintain.h"

namespace tierod {

using internal::cat;
namespace fs = std::filesystem;

namespace {

constexpr const char* kWhere = "store.export_numpy";
constexpr std::int64_t kBlockBytes = 8 << 20;

/// Write one .npy file (format 1.0) block by block.
class NpyFile {
 public:
  NpyFile(std::string path, const char* type, std::int64_t rows, std::int64_t width)
      : path_(std::move(path)),
        fd_(internal::open_file(kWhere, path_, O_WRONLY | O_CREAT | O_TRUNC)) {
    std::string header = cat("{'descr': '", type, "', 'fortran_order': False, 'shape': (", rows,
                             width > 0 ? cat(", ", width) : std::string(","), "), }");
    // Magic, version and length take 10 bytes; the data begins at a multiple of 64.
    header.resize((10 + header.size() + 1 + 63) / 64 * 64 - 10 - 1, ' ');
    header += '\n';
    std::string start("\x93NUMPY\x01\x00", 8);
    start += static_cast<char>(header.size() & 0xFF);
    start += static_cast<char>(header.size() >> 8);
    put((start + header).data(), start.size() + header.size());
  }
  void put(const void* data, std::size_t size) {
    internal::write_at(kWhere, fd_.get(), path_, data, size, at_);
    at_ += static_cast<std::int64_t>(size);
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  internal::Fd fd_;
  std::int64_t at_ = 0;
};

void export_site(const ActivationReader& reader, const std::string& folder,
                 const StreamSpec& stream, const SiteColumn& site,
                 std::vector<std::string>& files) {
  const std::int64_t rows = reader.row_count(stream.name);
  NpyFile file(cat(folder, "/", site.site, ".npy"), site.dtype == at::kHalf ? "<f2" : "<f4", rows,
               site.width);
  const std::int64_t block = std::max<std::int64_t>(1, kBlockBytes / site.row_bytes());
  for (std::int64_t begin = 0; begin < rows; begin += block) {
    at::Tensor values = reader.read(stream.name, site.site, begin, std::min(rows, begin + block));
    if (site.dtype == at::kBFloat16) values = values.to(at::kFloat);
    file.put(values.const_data_ptr(), values.nbytes());
  }
  files.push_back(file.path());
}

}  // namespace

std::vector<std::string> export_numpy(const ActivationReader& reader, const std::string& target,
                                      const ExportOptions& options, const Progress& progress) {
  const std::vector<StreamSpec> streams = reader.streams();
  std::set<std::string> known_streams, known_sites;
  for (const StreamSpec& stream : streams) {
    known_streams.insert(stream.name);
    for (const SiteColumn& site : stream.sites) known_sites.insert(site.site);
  }
  const auto check = [](const auto& wanted, const std::set<std::string>& known, const char* what) {
    if (!wanted) return;
    for (const std::string& name : *wanted) {
      if (known.contains(name)) continue;
      throw SiteError(cat("[", kWhere, "] the store has no ", what, " '", name,
                          "'; nearest names: ",
                          internal::list_text(nearest_names(
                              name, std::vector<std::string>(known.begin(), known.end())))));
    }
  };
  check(options.streams, known_streams, "stream");
  check(options.sites, known_sites, "site");
  const auto wanted = [](const auto& list, const std::string& name) {
    return !list || std::find(list->begin(), list->end(), name) != list->end();
  };
  std::int64_t total = 0;
  for (const StreamSpec& stream : streams) {
    if (!wanted(options.streams, stream.name)) continue;
    total += static_cast<std::int64_t>(kRowColumns);
    for (const SiteColumn& site : stream.sites) total += wanted(options.sites, site.site) ? 1 : 0;
  }
  std::vector<std::string> files;
  const auto go_on = [&] {
    return !progress || progress(static_cast<std::int64_t>(files.size()), total, "export");
  };
  for (const StreamSpec& stream : streams) {
    if (!wanted(options.streams, stream.name)) continue;
    const std::string folder = cat(target, "/", stream.name);
    std::error_code error;
    fs::create_directories(folder + "/rows", error);
    if (error) internal::throw_errno(kWhere, "create the folder", folder, error.value());
    for (std::size_t c = 0; c < kRowColumns; ++c) {
      if (!go_on()) return files;
      const auto column = static_cast<RowColumn>(c);
      const at::Tensor values = reader.column(stream.name, column);
      NpyFile file(cat(folder, "/rows/", row_column_name(column), ".npy"), "<i8", values.size(0),
                   0);
      file.put(values.const_data_ptr(), values.nbytes());
      files.push_back(file.path());
    }
    for (const SiteColumn& site : stream.sites) {
      if (!wanted(options.sites, site.site)) continue;
      if (!go_on()) return files;
      export_site(reader, folder, stream, site, files);
    }
  }
  if (progress) progress(total, total, "export");
  return files;
}

}  // namespace tierod
