#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/text_internal.h"
#include "store/bytes_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

std::string hex64(std::uint64_t value) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text(16, '0');
  for (std::size_t i = 0; i < 16; ++i) text[15 - i] = kHex[(value >> (4 * i)) & 15];
  return text;
}

bool parse_hex64(std::string_view text, std::uint64_t& value) noexcept {
  if (text.size() != 16) return false;
  value = 0;
  for (const char c : text) {
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (digit < 0) return false;
    value = (value << 4) | static_cast<std::uint64_t>(digit);
  }
  return true;
}

Fd& Fd::operator=(Fd&& other) noexcept {
  if (this != &other) {
    reset();
    fd_ = other.release();
  }
  return *this;
}

int Fd::release() noexcept { return std::exchange(fd_, -1); }

void Fd::reset() noexcept {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
}

void throw_errno(const char* where, const std::string& what, const std::string& path, int error) {
  const char* remedy = "";
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      remedy = "; the disk or quota is full: free space, or capture fewer sites or tokens";
      break;
    case EFBIG:
      remedy = "; the file size limit (ulimit -f) is reached: raise it, or use smaller shards";
      break;
    case EACCES:
    case EPERM:
    case EROFS:
      remedy = "; choose a folder that you may write, or change its permissions";
      break;
    case ENOENT:
      remedy = "; is the path right?";
      break;
    default:
      break;
  }
  throw IoError(
      cat("[", where, "] cannot ", what, " '", path, "': ", std::strerror(error), remedy));
}

Fd open_file(const char* where, const std::string& path, int flags, int mode) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd) {
    throw_errno(where, (flags & O_CREAT) != 0 ? "create" : "open", path, errno);
  }
  return fd;
}

std::int64_t file_size(const char* where, int fd, const std::string& path) {
  struct stat info{};
  if (::fstat(fd, &info) != 0) throw_errno(where, "examine", path, errno);
  if (!S_ISREG(info.st_mode)) {
    throw IoError(cat("[", where, "] expected a regular file at '", path, "'"));
  }
  return info.st_size;
}

void read_at(const char* where, int fd, const std::string& path, void* data, std::size_t size,
             std::int64_t offset) {
  auto* target = static_cast<char*>(data);
  while (size > 0) {
    const ssize_t got = ::pread(fd, target, size, offset);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_errno(where, "read", path, errno);
    if (got == 0) {
      throw IoError(cat("[", where, "] '", path, "' ends at byte ", offset, ", ", size,
                        " bytes before it should: it was truncated"));
    }
    target += got;
    size -= static_cast<std::size_t>(got);
    offset += got;
  }
}

void write_at(const char* where, int fd, const std::string& path, const void* data,
              std::size_t size, std::int64_t offset) {
  const auto* source = static_cast<const char*>(data);
  while (size > 0) {
    const ssize_t done = ::pwrite(fd, source, size, offset);
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) throw_errno(where, "write", path, errno);
    source += done;
    size -= static_cast<std::size_t>(done);
    offset += done;
  }
}

void sync_file(const char* where, int fd, const std::string& path) {
  while (::fsync(fd) != 0) {
    if (errno != EINTR) throw_errno(where, "flush to disk", path, errno);
  }
}

void sync_folder(const char* where, const std::string& path) {
  const Fd fd = open_file(where, path, O_RDONLY | O_DIRECTORY);
  sync_file(where, fd.get(), path);
}

void rename_file(const char* where, const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    throw_errno(where, cat("rename '", from, "' to"), to, errno);
  }
}

void replace_file(const char* where, const std::string& path, std::string_view text) {
  // Threads of one process may replace the same file: each needs a name of its own.
  static std::atomic<std::uint64_t> next = 0;
  const std::string temporary = cat(path, ".", ::getpid(), ".", next.fetch_add(1), ".tmp");
  try {
    const Fd fd = open_file(where, temporary, O_WRONLY | O_CREAT | O_TRUNC);
    write_at(where, fd.get(), temporary, text.data(), text.size(), 0);
    sync_file(where, fd.get(), temporary);
    sync_folder(where, std::filesystem::path(path).parent_path().string());
    rename_file(where, temporary, path);
  } catch (...) {
    ::unlink(temporary.c_str());
    throw;
  }
}

std::string read_file(const char* where, const std::string& path, std::int64_t limit) {
  const Fd fd = open_file(where, path, O_RDONLY);
  const std::int64_t size = file_size(where, fd.get(), path);
  if (size > limit) {
    throw IoError(cat("[", where, "] '", path, "' has ", size, " bytes, expected at most ", limit,
                      "; it is not a file of a store"));
  }
  std::string text(static_cast<std::size_t>(size), '\0');
  read_at(where, fd.get(), path, text.data(), text.size(), 0);
  return text;
}

Mapping::Mapping(const char* where, const std::string& path) {
  const Fd fd = open_file(where, path, O_RDONLY);
  size_ = file_size(where, fd.get(), path);
  if (size_ == 0) return;
  void* data = ::mmap(nullptr, static_cast<std::size_t>(size_), PROT_READ, MAP_SHARED, fd.get(), 0);
  if (data == MAP_FAILED) throw_errno(where, "map", path, errno);
  data_ = static_cast<const std::byte*>(data);
}

Mapping::Mapping(Mapping&& other) noexcept
    : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}

Mapping& Mapping::operator=(Mapping&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

Mapping::~Mapping() {
  if (data_ != nullptr) {
    ::munmap(const_cast<std::byte*>(data_), static_cast<std::size_t>(size_));
  }
}

}  // namespace tierod::internal
