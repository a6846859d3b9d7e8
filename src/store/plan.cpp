#include "tierod/store/plan.h"

#include <sys/statvfs.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "core/text_internal.h"
#include "store/manifest_internal.h"
#include "tierod/core/error.h"

namespace tierod {

using internal::cat;

namespace {

constexpr double kMostBytes = 3e16;  // of one stream; there may be 256

std::string size_text(std::int64_t bytes) {
  constexpr std::array<const char*, 5> kUnits = {"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) {
    value /= 1024;
    ++unit;
  }
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), unit == 0 ? "%.0f %s" : "%.2f %s", value, kUnits[unit]);
  return text.data();
}

std::int64_t free_bytes(std::filesystem::path path) {
  path = std::filesystem::absolute(path);
  while (!std::filesystem::exists(path) && path.has_parent_path() && path != path.parent_path()) {
    path = path.parent_path();
  }
  struct statvfs info{};
  if (::statvfs(path.c_str(), &info) != 0) {
    throw IoError(cat("[store.plan] cannot see how much is free in '", path.string(), "'"));
  }
  return static_cast<std::int64_t>(info.f_bavail) * static_cast<std::int64_t>(info.f_frsize);
}

}  // namespace

StorePlan plan_store(const std::string& path, const std::vector<StreamSpec>& streams,
                     const std::map<std::string, std::int64_t>& rows, std::int64_t memory_bytes,
                     std::int64_t shard_bytes) {
  internal::check_streams(streams, "store.plan");
  StorePlan plan{.memory_limit_bytes = memory_bytes, .free_bytes = free_bytes(path)};
  std::int64_t site_bytes = 0;
  std::int64_t padding = 0;  // the last chunk of each column of a shard is written whole
  std::int64_t buffer = internal::kChunkBytes;
  std::int64_t buffers = 2;
  for (const StreamSpec& stream : streams) {
    const auto found = rows.find(stream.name);
    if (found == rows.end() || found->second < 0) {
      throw InvalidArgument(cat("[store.plan] expected a number of rows >= 0 for the stream '",
                                stream.name, "'; give one for each stream"));
    }
    const std::int64_t n = found->second;
    double bytes = static_cast<double>(n) * static_cast<double>(row_table_bytes());
    for (const SiteColumn& site : stream.sites) {
      bytes += static_cast<double>(n) * static_cast<double>(site.row_bytes());
    }
    if (bytes > kMostBytes) {  // beyond int64, where a sum would be negative and seem to fit
      throw InvalidArgument(cat("[store.plan] ", n, " rows of the stream '", stream.name,
                                "' are more than any disk holds; is the number right?"));
    }
    plan.entries.push_back({stream.name, "", n, n * row_table_bytes()});
    padding += internal::kRowChunk * row_table_bytes();
    ++buffers;
    for (const SiteColumn& site : stream.sites) {
      plan.entries.push_back({stream.name, site.site, n, n * site.row_bytes()});
      site_bytes += n * site.row_bytes();
      padding += internal::chunk_bytes(site);
      buffer = std::max(buffer, (site.row_bytes() + 4095) / 4096 * 4096);
      ++buffers;
    }
  }
  for (const auto& [name, unused] : rows) {
    if (std::none_of(streams.begin(), streams.end(),
                     [&](const StreamSpec& s) { return s.name == name; })) {
      throw InvalidArgument(
          cat("[store.plan] rows are given for '", name, "', which is no stream"));
    }
  }
  plan.shards = std::max<std::int64_t>(1, (site_bytes + shard_bytes - 1) / shard_bytes);
  for (const PlanEntry& entry : plan.entries) plan.total_bytes += entry.bytes;
  plan.total_bytes += plan.shards * padding / 2;
  plan.needed_memory_bytes = buffers * buffer;
  return plan;
}

std::string StorePlan::text() const {
  std::string out =
      "stream            site                                          rows       size\n";
  for (const PlanEntry& entry : entries) {
    std::array<char, 256> line{};
    std::snprintf(line.data(), line.size(), "%-16s  %-38s %12lld %10s\n", entry.stream.c_str(),
                  entry.site.empty() ? "(row table)" : entry.site.c_str(),
                  static_cast<long long>(entry.rows), size_text(entry.bytes).c_str());
    out += line.data();
  }
  return out + cat("in all ", size_text(total_bytes), " in ", shards, " shards; ",
                   size_text(free_bytes), " are free; memory ", size_text(needed_memory_bytes),
                   " of ", size_text(memory_limit_bytes), "\n");
}

void StorePlan::check() const {
  if (needed_memory_bytes > memory_limit_bytes) {
    throw InvalidArgument(cat("[store.plan] the ring needs ", needed_memory_bytes,
                              " bytes of memory, the limit is ", memory_limit_bytes,
                              "; raise the limit or capture fewer sites"));
  }
  if (total_bytes <= free_bytes) return;
  std::vector<PlanEntry> largest = entries;
  std::sort(largest.begin(), largest.end(),
            [](const PlanEntry& a, const PlanEntry& b) { return a.bytes > b.bytes; });
  std::string names;
  for (std::size_t i = 0; i < std::min<std::size_t>(3, largest.size()); ++i) {
    names +=
        cat(i > 0 ? ", " : "", largest[i].stream, "/",
            largest[i].site.empty() ? "rows" : largest[i].site, " ", size_text(largest[i].bytes));
  }
  throw IoError(cat("[store.plan] the capture needs ", size_text(total_bytes), ", ",
                    size_text(free_bytes), " are free; largest: ", names, "; ",
                    static_cast<std::int64_t>(100.0 * static_cast<double>(free_bytes) /
                                              static_cast<double>(total_bytes)),
                    " % would fit: capture fewer sites, a span instead of all tokens, a reduction "
                    "(mean, last_token), f16, or moments, which keep no row"));
}

}  // namespace tierod
