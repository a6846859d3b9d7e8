#include <algorithm>
#include <array>
#include <cstring>

#include "core/text_internal.h"
#include "store/seal_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace {

constexpr std::array<char, 8> kMagic = {'t', 'i', 'e', 'r', 'o', 'd', 'S', '1'};
constexpr std::int64_t kPiece =
    1 << 20;  // of what is not rows, so that it is read in bounded parts

struct Footer {
  std::array<char, 8> magic = kMagic;
  std::uint64_t table_offset = 0;
  std::uint64_t count = 0;
  std::uint64_t table_hash = 0;
  std::uint64_t store_id = 0;
  std::uint64_t reserved = 0;
  std::uint64_t hash = 0;  // of the fields above
};
static_assert(sizeof(Footer) == 56);

std::uint64_t footer_hash(const Footer& footer) { return hash64(&footer, offsetof(Footer, hash)); }

}  // namespace

std::uint64_t seal_file(const char* where, const std::string& path, int fd,
                        std::vector<Extent> extents, std::uint64_t store_id) {
  const std::int64_t size = file_size(where, fd, path);
  std::sort(extents.begin(), extents.end(),
            [](const Extent& a, const Extent& b) { return a.offset < b.offset; });
  std::vector<Extent> table;
  table.reserve(extents.size() * 2);
  std::vector<char> buffer;
  std::int64_t at = 0;
  const auto cover_until = [&](std::int64_t end) {
    while (at < end) {
      const std::int64_t length = std::min(kPiece, end - at);
      buffer.resize(static_cast<std::size_t>(length));
      read_at(where, fd, path, buffer.data(), buffer.size(), at);
      table.push_back(
          {.offset = at, .length = length, .hash = hash64(buffer.data(), buffer.size())});
      at += length;
    }
  };
  for (const Extent& extent : extents) {
    cover_until(extent.offset);
    table.push_back(extent);
    at = extent.offset + extent.length;
  }
  cover_until(size);
  Footer footer{.table_offset = static_cast<std::uint64_t>(size),
                .count = table.size(),
                .table_hash = hash64(table.data(), table.size() * sizeof(Extent)),
                .store_id = store_id};
  footer.hash = footer_hash(footer);
  std::vector<char> tail(table.size() * sizeof(Extent) + sizeof(Footer));
  std::memcpy(tail.data(), table.data(), table.size() * sizeof(Extent));
  std::memcpy(tail.data() + table.size() * sizeof(Extent), &footer, sizeof(Footer));
  write_at(where, fd, path, tail.data(), tail.size(), size);
  return footer.hash;
}

Seal read_seal(const char* where, const Mapping& file, const std::string& path) {
  const auto fail = [&](const auto&... text) -> IoError {
    return IoError(cat("[", where, "] '", path, "' ", text...,
                       "; run `tierod store verify`, then `tierod store recover`"));
  };
  const std::int64_t size = file.size();
  if (size == 0) throw fail("is empty");
  if (size < static_cast<std::int64_t>(sizeof(Footer))) {
    throw fail("has ", size, " bytes: it was truncated or is no shard of a store");
  }
  Footer footer;
  std::memcpy(&footer, file.data() + size - sizeof(Footer), sizeof(Footer));
  if (footer.magic != kMagic) {
    if (std::equal(kMagic.begin(), kMagic.end() - 1, footer.magic.begin())) {
      throw IoError(cat("[", where, "] '", path, "' has a seal of version '", footer.magic.back(),
                        "', this tierod reads version '", kMagic.back(),
                        "'; read it with a newer tierod"));
    }
    throw fail("does not end with a seal: it was truncated or is no shard of a store");
  }
  if (footer.hash != footer_hash(footer)) throw fail("has a damaged footer");
  const auto body = static_cast<std::uint64_t>(size) - sizeof(Footer);
  if (footer.count > body / sizeof(Extent) || footer.table_offset > body ||
      footer.table_offset + footer.count * sizeof(Extent) != body) {
    throw fail("has a seal that does not fit its ", size, " bytes");
  }
  Seal seal{.store_id = footer.store_id,
            .digest = footer.hash,
            .table_bytes = static_cast<std::int64_t>(footer.table_offset)};
  const std::size_t table_bytes = footer.count * sizeof(Extent);
  const std::byte* table = file.data() + footer.table_offset;
  if (hash64(table, table_bytes) != footer.table_hash)
    throw fail("has a damaged table of checksums");
  seal.extents.resize(footer.count);
  if (table_bytes > 0) std::memcpy(seal.extents.data(), table, table_bytes);
  std::int64_t at = 0;
  for (const Extent& extent : seal.extents) {
    if (extent.offset != at || extent.length <= 0 || extent.length > seal.table_bytes - at) {
      throw fail("has a table of checksums with a gap or overlap at byte ", at);
    }
    at += extent.length;
  }
  if (at != seal.table_bytes) throw fail("has bytes from ", at, " that no checksum covers");
  return seal;
}

void check_extent(const char* where, const Mapping& file, const Extent& extent,
                  const std::string& path) {
  const std::uint64_t got =
      hash64(file.data() + extent.offset, static_cast<std::size_t>(extent.length));
  if (got == extent.hash) return;
  throw IoError(
      cat("[", where, "] '", path, "' is damaged: bytes ", extent.offset, " to ",
          extent.offset + extent.length, " have checksum ", hex64(got), ", expected ",
          hex64(extent.hash),
          "; run `tierod store verify` for the extent of the damage and restore the file"));
}

}  // namespace tierod::internal
