#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "core/json_internal.h"
#include "tierod/store/schema.h"

namespace tierod::internal {

inline constexpr const char* kFormat = "tierod-store/1";
inline constexpr const char* kManifest = "manifest.json";
inline constexpr const char* kLock = "lock";
inline constexpr std::int64_t kMaxManifestBytes = std::int64_t{1} << 30;
/// No sum over the shards of a manifest of that size can overflow.
inline constexpr std::int64_t kMaxShardBytes = std::int64_t{1} << 38;
/// Chunks are 256 to 768 KiB where a row allows it: larger single writes were erratic.
inline constexpr std::int64_t kChunkBytes = 768 << 10;
/// Rows of a chunk of the row table.
inline constexpr std::int64_t kRowChunk = 8192;

/// Return the bytes of an entry of a row column: 8, 4, 2 or 1.
std::int64_t row_column_bytes(std::size_t column) noexcept;

/// Return how many rows of a site make a chunk: the largest power of two within kChunkBytes.
std::int64_t rows_per_chunk(const SiteColumn& site) noexcept;
std::int64_t chunk_bytes(const SiteColumn& site) noexcept;

/// Return "float32", "float16", "bfloat16".
const char* store_dtype_name(at::ScalarType dtype) noexcept;
/// @throws InvalidArgument whose message starts with `where`.
at::ScalarType store_dtype_from_name(const std::string& name, std::string_view where);

/// Throw InvalidArgument unless streams have names of [A-Za-z0-9_-]{1,64}, and sites names, widths
/// and dtypes that can be stored.
void check_stream_name(std::string_view name, const char* where);
void check_site_column(const SiteColumn& site, const char* where);
void check_streams(const std::vector<StreamSpec>& streams, const char* where);

Json streams_to_json(const std::vector<StreamSpec>& streams);
std::vector<StreamSpec> streams_from_json(const Json& json, std::string_view where);

struct ShardEntry {
  std::string file;  ///< relative to the store's folder
  std::int64_t bytes = 0;
  std::uint64_t digest = 0;
  std::vector<std::int64_t> rows;       ///< by stream
  std::vector<std::int64_t> nonfinite;  ///< (row, site) pairs, by stream
  /// The shard's own name for its contents, see write_index().
  std::string alias{};

  bool operator==(const ShardEntry&) const = default;
};

/// Hold what manifest.json says.
struct Manifest {
  std::uint64_t store_id = 0;
  std::map<std::string, std::string> provenance;
  std::string configuration = "{}";
  std::vector<std::string> branches{""};
  std::vector<StreamSpec> streams;
  std::vector<ShardEntry> shards;

  std::int64_t rows_of(std::size_t stream) const;
  /// Return the number of the stream called `name`. @throws SiteError with the nearest names.
  std::size_t stream_number(std::string_view name, const char* where) const;
};

/// Return the number of a site in a stream. @throws SiteError with the nearest names.
std::size_t site_number(const StreamSpec& stream, std::string_view site, const char* where);

/// Write entries as text once, so that a manifest of many shards is cheap to write again.
std::string entry_text(const ShardEntry& entry);
/// Join a manifest; `entries` are `entry_text`s of its shards, comma-separated.
std::string manifest_text(const Manifest& manifest, const std::string& entries);
std::string manifest_text(const Manifest& manifest);

/// Return the checksum of the shards' entries: what an index was made of.
std::string shards_digest(const Manifest& manifest);

/// Parse what `manifest_text` wrote.
/// @throws IoError if it is no manifest, of a newer version, or not what its checksum says.
Manifest parse_manifest(const std::string& text, const char* where, const std::string& path);
TIEROD_API Manifest load_manifest(const char* where, const std::string& store);
TIEROD_API void save_manifest(const char* where, const std::string& store,
                              const Manifest& manifest);

/// What every shard says of itself, as JSON: the manifest without its shards.
std::string self_description(const Manifest& manifest);
Manifest parse_self_description(const std::string& text, const char* where,
                                const std::string& path);

/// Draw the id of a new store.
std::uint64_t random_id();

/// Write index.h5 of a store; see build_index().
void build_index_of(const std::string& store, const Manifest& manifest);

/// Return `<store>/<file>`.
std::string store_path(const std::string& store, std::string_view file);
/// Return the file name of shard `number`.
std::string shard_name(std::int64_t number);
/// Return the number in a shard's name, -1 if it is none.
std::int64_t shard_number(std::string_view file) noexcept;
/// Return the alias that a store gives to its shard `number`.
std::string shard_alias(std::uint64_t store_id, std::int64_t number);
/// Tell whether this is the name of a shard that is being written.
bool is_unfinished_shard(std::string_view file) noexcept;
/// Tell whether the store gives this name to files that it renames when they are complete.
bool is_temporary(std::string_view file) noexcept;

}  // namespace tierod::internal
