#pragma once

#include <sys/types.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "tierod/export.h"

namespace tierod::internal {

// TIEROD_API on what is internal: the room's tests call it through the library.

/// Return the XXH3 checksum of 64 bits (its unseeded form).
TIEROD_API std::uint64_t hash64(const void* data, std::size_t size) noexcept;
/// Take the same checksum of bytes that come in parts.
class TIEROD_API Hasher {
 public:
  Hasher() noexcept { reset(); }
  void reset() noexcept;
  void update(const void* data, std::size_t size) noexcept;
  std::uint64_t digest() const noexcept;

 private:
  // xxHash's own, whose header stays out of here
  alignas(64) [[maybe_unused]] std::array<std::byte, 576> state_;
};
/// Print and parse a checksum as 16 hexadecimal digits; parsing anything else gives false.
TIEROD_API std::string hex64(std::uint64_t value);
bool parse_hex64(std::string_view text, std::uint64_t& value) noexcept;

/// Throw a StateError unless this build has the store; `function` starts the message.
void require_store(const char* function);

/// Own a file descriptor.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.release()) {}
  Fd& operator=(Fd&& other) noexcept;
  ~Fd() { reset(); }
  int get() const noexcept { return fd_; }
  explicit operator bool() const noexcept { return fd_ >= 0; }
  int release() noexcept;
  void reset() noexcept;

 private:
  int fd_ = -1;
};

/// Throw an IoError `[where] cannot <what> '<path>': <errno text>` with a remedy where one is
/// known.
[[noreturn]] void throw_errno(const char* where, const std::string& what, const std::string& path,
                              int error);

Fd open_file(const char* where, const std::string& path, int flags, int mode = 0644);
std::int64_t file_size(const char* where, int fd, const std::string& path);
void read_at(const char* where, int fd, const std::string& path, void* data, std::size_t size,
             std::int64_t offset);
void write_at(const char* where, int fd, const std::string& path, const void* data,
              std::size_t size, std::int64_t offset);
void sync_file(const char* where, int fd, const std::string& path);
/// Make renames and new files in a folder durable.
void sync_folder(const char* where, const std::string& path);
void rename_file(const char* where, const std::string& from, const std::string& to);
/// Replace a file's contents so that a crash leaves the old or the new ones. The folder is synced
/// before the new name takes effect, so that renames before this one are durable before it is.
void replace_file(const char* where, const std::string& path, std::string_view text);
/// Read a whole file of at most `limit` bytes.
std::string read_file(const char* where, const std::string& path, std::int64_t limit);

/// Map a file for reading.
class TIEROD_API Mapping {
 public:
  Mapping() = default;
  Mapping(const char* where, const std::string& path);
  Mapping(Mapping&& other) noexcept;
  Mapping& operator=(Mapping&& other) noexcept;
  ~Mapping();
  const std::byte* data() const noexcept { return data_; }
  std::int64_t size() const noexcept { return size_; }

 private:
  const std::byte* data_ = nullptr;
  std::int64_t size_ = 0;
};

}  // namespace tierod::internal
