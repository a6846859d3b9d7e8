#include "tierod/store/schema.h"

#include <algorithm>
#include <set>

#include "store/manifest_internal.h"
#include "tierod/core/site.h"

namespace tierod {

using internal::cat;

namespace {
constexpr std::array<const char*, kRowColumns> kNames = {
    "sample",      "scene", "group", "row",    "token_index", "token_id",
    "position_id", "phase", "step",  "branch", "call"};
constexpr std::array<std::int64_t, kRowColumns> kBytes = {8, 8, 8, 4, 4, 4, 4, 1, 4, 2, 4};
}  // namespace

const char* row_column_name(RowColumn column) noexcept {
  return kNames[static_cast<std::size_t>(column)];
}

RowColumn row_column_from_name(std::string_view name) {
  for (std::size_t i = 0; i < kRowColumns; ++i) {
    if (name == kNames[i]) return static_cast<RowColumn>(i);
  }
  throw InvalidArgument(
      cat("[store.rows] expected a column of ", internal::list_text(kNames), ", got '", name, "'"));
}

std::int64_t row_table_bytes() noexcept {
  std::int64_t sum = 0;
  for (const std::int64_t bytes : kBytes) sum += bytes;
  return sum;
}

namespace internal {

std::int64_t row_column_bytes(std::size_t column) noexcept { return kBytes[column]; }

std::int64_t rows_per_chunk(const SiteColumn& site) noexcept {
  std::int64_t rows = 1;
  while (rows * 2 * site.row_bytes() <= kChunkBytes) rows *= 2;
  return rows;
}

std::int64_t chunk_bytes(const SiteColumn& site) noexcept {
  return rows_per_chunk(site) * site.row_bytes();
}

const char* store_dtype_name(at::ScalarType dtype) noexcept {
  return dtype == at::kFloat ? "float32" : dtype == at::kHalf ? "float16" : "bfloat16";
}

at::ScalarType store_dtype_from_name(const std::string& name, std::string_view where) {
  for (const at::ScalarType dtype : {at::kFloat, at::kHalf, at::kBFloat16}) {
    if (name == store_dtype_name(dtype)) return dtype;
  }
  throw InvalidArgument(
      cat("[", where, "] expected dtype float32, float16 or bfloat16, got '", name, "'"));
}

void check_stream_name(std::string_view name, const char* where) {
  const auto fits = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '-';
  };
  if (!name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), fits)) return;
  throw InvalidArgument(
      cat("[", where, "] expected a stream name of 1 to 64 of A-Za-z0-9_-, got '", name, "'"));
}

void check_site_column(const SiteColumn& site, const char* where) {
  check_site_name(site.site);
  if (site.site.find('/') != std::string::npos || site.site == "." || site.site == "..") {
    throw InvalidArgument(cat("[", where, "] the site '", site.site,
                              "' cannot be stored: HDF5 reads '/' as a folder; declare a name"));
  }
  if (site.width < 1 || site.width > (std::int64_t{1} << 28)) {
    throw InvalidArgument(
        cat("[", where, "] '", site.site, "': expected a width from 1 to 2^28, got ", site.width));
  }
  if (site.dtype != at::kFloat && site.dtype != at::kHalf && site.dtype != at::kBFloat16) {
    throw InvalidArgument(cat("[", where, "] '", site.site,
                              "': expected dtype float32, float16 or bfloat16, got ", site.dtype));
  }
}

void check_streams(const std::vector<StreamSpec>& streams, const char* where) {
  if (streams.size() > 256) {
    throw InvalidArgument(cat("[", where, "] expected at most 256 streams, got ", streams.size()));
  }
  std::set<std::string_view> names;
  for (const StreamSpec& stream : streams) {
    check_stream_name(stream.name, where);
    if (!names.insert(stream.name).second) {
      throw InvalidArgument(cat("[", where, "] the stream '", stream.name, "' stands twice"));
    }
    if (stream.sites.size() > 0x7FFF) {
      throw InvalidArgument(cat("[", where, "] the stream '", stream.name, "' has ",
                                stream.sites.size(), " sites, expected at most 32767"));
    }
    std::set<std::string_view> sites;
    for (const SiteColumn& site : stream.sites) {
      check_site_column(site, where);
      if (!sites.insert(site.site).second) {
        throw InvalidArgument(
            cat("[", where, "] the stream '", stream.name, "' names '", site.site, "' twice"));
      }
    }
  }
}

Json streams_to_json(const std::vector<StreamSpec>& streams) {
  Json list = Json::array();
  for (const StreamSpec& stream : streams) {
    Json sites = Json::array();
    for (const SiteColumn& site : stream.sites) {
      sites.push_back(
          {{"site", site.site}, {"width", site.width}, {"dtype", store_dtype_name(site.dtype)}});
    }
    list.push_back({{"name", stream.name}, {"sites", std::move(sites)}});
  }
  return list;
}

std::vector<StreamSpec> streams_from_json(const Json& json, std::string_view where) {
  const std::string place(where);
  std::vector<StreamSpec> streams;
  if (!json.is_array()) throw InvalidArgument(cat("[", where, "] expected a list of streams"));
  for (const Json& item : json) {
    check_keys(item, {"name", "sites"}, where);
    StreamSpec stream{get_json<std::string>(item, "name", where)};
    const auto sites = item.find("sites");
    if (sites == item.end() || !sites->is_array()) {
      throw InvalidArgument(cat("[", where, "] expected a list of sites"));
    }
    for (const Json& site : *sites) {
      check_keys(site, {"site", "width", "dtype"}, where);
      stream.sites.push_back(
          {get_json<std::string>(site, "site", where), get_json<std::int64_t>(site, "width", where),
           store_dtype_from_name(get_json<std::string>(site, "dtype", where), where)});
    }
    streams.push_back(std::move(stream));
  }
  check_streams(streams, place.c_str());
  return streams;
}

}  // namespace internal

}  // namespace tierod
