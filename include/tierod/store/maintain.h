#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tierod/core/progress.h"
#include "tierod/export.h"
#include "tierod/store/reader.h"
#include "tierod/store/schema.h"

namespace tierod {

/// Sum up a store.
struct TIEROD_API StoreStat {
  std::string format{};
  std::vector<StreamSpec> streams{};
  std::map<std::string, std::int64_t> rows{};
  std::int64_t shards = 0;
  std::int64_t bytes = 0;
  std::int64_t nonfinite_rows = 0;
  std::vector<std::string> concepts{};
  std::map<std::string, std::string> provenance{};
  bool being_written = false;
};

/// Read the manifest alone.
TIEROD_API StoreStat stat_store(const std::string& path);

/// Say what is wrong with one file.
struct TIEROD_API StoreFinding {
  std::string file;
  std::string what;
};

/// Say what `verify_store` saw.
struct TIEROD_API VerifyReport {
  bool complete = true;  ///< false: the progress callback asked to stop
  std::int64_t shards = 0;
  std::int64_t rows = 0;
  std::int64_t bytes = 0;
  std::int64_t nonfinite_rows = 0;
  std::vector<StoreFinding> errors{};
  std::vector<StoreFinding> notes{};  ///< harmless: a file that is not the store's, ...

  bool ok() const { return complete && errors.empty(); }
};

/// Read everything and compare: checksums, HDF5's own index of the chunks, row counts, the count of
/// rows with NaN or Inf, and whether `index.h5` shows these shards. Damage is reported, not thrown.
TIEROD_API VerifyReport verify_store(const std::string& path, const Progress& progress = {});

/// Say what `recover_store` did.
struct TIEROD_API RecoverReport {
  std::int64_t shards_kept = 0;
  std::map<std::string, std::int64_t> rows_kept{};
  /// Rows that were appended and lost with the shard that was open, by stream.
  std::map<std::string, std::int64_t> rows_lost{};
  bool manifest_rebuilt = false;
  std::vector<StoreFinding> actions{};  ///< what was done to which file
};

/// Bring a store into a consistent state after a crash: remove the shard that was being written,
/// adopt finished shards that the manifest does not know, and rebuild a manifest that is missing or
/// damaged from the shards. A shard that is damaged or foreign is put aside in `quarantine/`, never
/// deleted.
/// @throws StateError if a writer has the store; IoError if nothing usable is there.
TIEROD_API RecoverReport recover_store(const std::string& path, const Progress& progress = {});

/// Say what `merge_stores` did.
struct TIEROD_API MergeReport {
  std::int64_t shards = 0;
  std::map<std::string, std::int64_t> rows{};
  std::int64_t linked = 0;      ///< shards that are hard links
  std::int64_t referenced = 0;  ///< shards that stay where they are, by relative path
};

/// Make one store of several that have the same streams and provenance, without copying a shard:
/// by hard link, or, across file systems and with `reference`, by a relative path.
/// @throws InvalidArgument if streams, provenance, branches or a sample's labels disagree;
/// StateError
///         if `target` exists.
TIEROD_API MergeReport merge_stores(const std::vector<std::string>& sources,
                                    const std::string& target, bool reference = false,
                                    const Progress& progress = {});

/// Write `index.h5`, a virtual data set over all shards, for any HDF5 reader. A missing shard reads
/// as NaN, its row tables as -1.
TIEROD_API void build_index(const std::string& path);

/// Say what to export.
struct TIEROD_API ExportOptions {
  std::optional<std::vector<std::string>> streams{};
  std::optional<std::vector<std::string>> sites{};
};

/// Write `<target>/<stream>/<site>.npy` and `<target>/<stream>/rows/<column>.npy`, block by block.
/// bf16, which NumPy lacks, becomes f32. Return the files, or fewer where `progress` asked to stop.
TIEROD_API std::vector<std::string> export_numpy(const ActivationReader& reader,
                                                 const std::string& target,
                                                 const ExportOptions& options = {},
                                                 const Progress& progress = {});

}  // namespace tierod
