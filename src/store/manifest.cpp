#include <algorithm>
#include <charconv>
#include <filesystem>
#include <memory>
#include <random>
#include <set>

#include "store/bytes_internal.h"
#include "store/manifest_internal.h"
#include "tierod/core/site.h"
#include "tierod/core/version.h"

namespace tierod::internal {

namespace {

// The first line holds the checksum of all that follows, so that no edit goes unnoticed.
constexpr std::string_view kHead = R"({"xxh3": ")";
constexpr std::string_view kMiddle = "\", \"manifest\":\n";
constexpr std::string_view kTail = "}\n";

Json description(const Manifest& manifest) {
  return {{"format", kFormat},
          {"tool_version", version()},
          {"store_id", hex64(manifest.store_id)},
          {"provenance", manifest.provenance},
          {"configuration", manifest.configuration},
          {"branches", manifest.branches},
          {"streams", streams_to_json(manifest.streams)}};
}

void check_format(const Json& json, const char* where, const std::string& path) {
  const auto found = json.is_object() ? json.find("format") : json.end();
  const std::string format = json.is_object() && found != json.end() && found->is_string()
                                 ? found->get<std::string>()
                                 : "";
  if (format == kFormat) return;
  if (format.starts_with("tierod-store/")) {
    throw IoError(cat("[", where, "] '", path, "' has format '", format, "', this tierod reads '",
                      kFormat, "'; read it with a newer tierod"));
  }
  throw IoError(cat("[", where, "] '", path, "' is no manifest of a tierod store"));
}

Manifest description_from_json(const Json& json, const char* where) {
  Manifest manifest;
  if (!parse_hex64(get_json<std::string>(json, "store_id", where), manifest.store_id)) {
    throw InvalidArgument(cat("[", where, "] 'store_id' is no 64-bit number"));
  }
  manifest.provenance = get_json<std::map<std::string, std::string>>(json, "provenance", where);
  manifest.configuration = get_json<std::string>(json, "configuration", where);
  manifest.branches = get_json<std::vector<std::string>>(json, "branches", where);
  manifest.streams = streams_from_json(json.at("streams"), where);
  return manifest;
}

std::vector<std::int64_t> counts(const Json& json, const char* key, std::size_t streams,
                                 const char* where) {
  auto list = get_json<std::vector<std::int64_t>>(json, key, where);
  if (list.size() != streams ||
      std::any_of(list.begin(), list.end(), [](std::int64_t n) { return n < 0; })) {
    throw InvalidArgument(cat("[", where, "] '", key, "' of a shard has ", list.size(),
                              " entries or a negative one, expected one for each of ", streams,
                              " streams"));
  }
  return list;
}

ShardEntry entry_from_json(const Json& json, std::size_t streams, const char* where) {
  check_keys(json, {"file", "bytes", "digest", "rows", "nonfinite", "alias"}, where);
  ShardEntry entry;
  entry.file = get_json<std::string>(json, "file", where);
  entry.bytes = get_json<std::int64_t>(json, "bytes", where);
  entry.alias = get_json<std::string>(json, "alias", where);
  if (entry.file.empty() || entry.file.find('\0') != std::string::npos || entry.alias.empty() ||
      entry.alias.find_first_of(std::string_view("\0/", 2)) != std::string::npos ||
      entry.bytes <= 0 || entry.bytes > kMaxShardBytes ||
      !parse_hex64(get_json<std::string>(json, "digest", where), entry.digest)) {
    throw InvalidArgument(cat("[", where, "] a shard's entry is malformed"));
  }
  entry.rows = counts(json, "rows", streams, where);
  entry.nonfinite = counts(json, "nonfinite", streams, where);
  for (const std::int64_t rows : entry.rows) {
    if (rows <= entry.bytes / row_table_bytes()) continue;
    throw InvalidArgument(cat("[", where, "] '", entry.file, "' cannot hold ", rows, " rows in ",
                              entry.bytes, " bytes"));
  }
  return entry;
}

}  // namespace

std::int64_t Manifest::rows_of(std::size_t stream) const {
  std::int64_t sum = 0;
  for (const ShardEntry& shard : shards) sum += shard.rows[stream];
  return sum;
}

std::size_t Manifest::stream_number(std::string_view name, const char* where) const {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    if (streams[i].name == name) return i;
    names.push_back(streams[i].name);
  }
  throw SiteError(
      cat("[", where, "] the store has no stream '", name, "'; it has ", list_text(names)));
}

std::size_t site_number(const StreamSpec& stream, std::string_view site, const char* where) {
  std::vector<std::string> names;
  for (std::size_t i = 0; i < stream.sites.size(); ++i) {
    if (stream.sites[i].site == site) return i;
    names.push_back(stream.sites[i].site);
  }
  const auto near = nearest_names(site, names);
  throw SiteError(cat("[", where, "] the stream '", stream.name, "' has no site '", site, "'; ",
                      near.empty() ? cat("it has ", list_text(names, 6))
                                   : cat("nearest names: ", list_text(near))));
}

std::string entry_text(const ShardEntry& entry) {
  return Json{{"file", entry.file}, {"bytes", entry.bytes},         {"digest", hex64(entry.digest)},
              {"rows", entry.rows}, {"nonfinite", entry.nonfinite}, {"alias", entry.alias}}
      .dump();
}

std::string manifest_text(const Manifest& manifest, const std::string& entries) {
  std::string body = description(manifest).dump();
  body.pop_back();  // the closing brace: the shards come last
  body += ",\n\"shards\": [\n";
  body += entries;
  body += "]}";
  const std::string rest = cat(kMiddle, body, kTail);
  return cat(kHead, hex64(hash64(rest.data(), rest.size())), rest);
}

namespace {

std::string entries_text(const Manifest& manifest) {
  std::string entries;
  for (const ShardEntry& entry : manifest.shards) {
    if (!entries.empty()) entries += ",\n";
    entries += entry_text(entry);
  }
  return entries;
}

}  // namespace

std::string manifest_text(const Manifest& manifest) {
  return manifest_text(manifest, entries_text(manifest));
}

std::string shards_digest(const Manifest& manifest) {
  const std::string entries = entries_text(manifest);
  return hex64(hash64(entries.data(), entries.size()));
}

Manifest parse_manifest(const std::string& text, const char* where, const std::string& path) {
  const std::string_view view = text;
  const std::size_t head = kHead.size() + 16;
  std::uint64_t want = 0;
  if (!view.starts_with(kHead) || view.size() < head + kMiddle.size() + kTail.size() ||
      !view.substr(head).starts_with(kMiddle) || !view.ends_with(kTail) ||
      !parse_hex64(view.substr(kHead.size(), 16), want)) {
    throw IoError(
        cat("[", where, "] '", path,
            "' is not a whole manifest of a tierod store; `tierod store recover` rebuilds "
            "it from the shards"));
  }
  const std::string_view rest = view.substr(head);
  const bool intact = hash64(rest.data(), rest.size()) == want;
  const std::string_view body =
      rest.substr(kMiddle.size(), rest.size() - kMiddle.size() - kTail.size());
  try {
    const Json json = Json::parse(body);
    check_format(json, where, path);
    if (intact) {
      check_keys(json,
                 {"format", "tool_version", "store_id", "provenance", "configuration", "branches",
                  "streams", "shards"},
                 where);
      Manifest manifest = description_from_json(json, where);
      for (const Json& entry : json.at("shards")) {
        manifest.shards.push_back(entry_from_json(entry, manifest.streams.size(), where));
      }
      return manifest;
    }
  } catch (const IoError&) {
    throw;
  } catch (const std::exception& error) {
    if (intact) {
      throw IoError(cat("[", where, "] '", path, "' cannot be understood: ", error.what()));
    }
  }
  throw IoError(cat("[", where, "] '", path,
                    "' was edited or damaged: its checksum does not hold; `tierod store recover` "
                    "rebuilds it from the shards"));
}

Manifest load_manifest(const char* where, const std::string& store) {
  const std::string path = store_path(store, kManifest);
  if (!std::filesystem::exists(path)) {
    throw IoError(cat("[", where, "] there is no manifest in '", store,
                      "'; is it a store? If its manifest was lost, run `tierod store recover`"));
  }
  return parse_manifest(read_file(where, path, kMaxManifestBytes), where, path);
}

void save_manifest(const char* where, const std::string& store, const Manifest& manifest) {
  replace_file(where, store_path(store, kManifest), manifest_text(manifest));
  sync_folder(where, store);
}

std::string self_description(const Manifest& manifest) { return description(manifest).dump(); }

Manifest parse_self_description(const std::string& text, const char* where,
                                const std::string& path) {
  try {
    const Json json = Json::parse(text);
    check_format(json, where, path);
    return description_from_json(json, where);
  } catch (const IoError&) {
    throw;
  } catch (const std::exception& error) {
    throw IoError(cat("[", where, "] '", path, "' does not describe itself: ", error.what()));
  }
}

std::string store_path(const std::string& store, std::string_view file) {
  return (std::filesystem::path(store) / file).string();
}

std::string shard_name(std::int64_t number) {
  std::string digits = std::to_string(number);
  if (digits.size() < 6) digits.insert(0, 6 - digits.size(), '0');
  return digits + ".h5";
}

std::int64_t shard_number(std::string_view file) noexcept {
  if (!file.ends_with(".h5") || file.size() < 9 || file.size() > 18) return -1;
  std::int64_t number = -1;
  const char* begin = std::to_address(file.begin());
  const char* end = begin + file.size() - 3;
  const auto [at, error] = std::from_chars(begin, end, number);
  return error == std::errc() && at == end && number >= 0 ? number : -1;
}

std::string shard_alias(std::uint64_t store_id, std::int64_t number) {
  return cat("shard-", hex64(store_id), "-", number);
}

bool is_unfinished_shard(std::string_view file) noexcept {
  constexpr std::string_view kEnd = ".tmp";
  return file.ends_with(kEnd) && shard_number(file.substr(0, file.size() - kEnd.size())) >= 0;
}

bool is_temporary(std::string_view file) noexcept {
  return is_unfinished_shard(file) ||
         (file.ends_with(".tmp") &&
          (file.starts_with("manifest.json.") || file.starts_with("index.h5.")));
}

std::uint64_t random_id() {
  std::random_device device;  // the operating system's randomness: a name, not a sample
  return (static_cast<std::uint64_t>(device()) << 32) | device();
}

}  // namespace tierod::internal
