#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "core/text_internal.h"
#include "store/lock_internal.h"
#include "store/manifest_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace {
constexpr std::array<char, 8> kMagic = {'t', 'i', 'e', 'r', 'o', 'd', 'L', '1'};
}  // namespace

struct WriterLock::Page {
  struct Slot {
    std::array<char, 80> name;
    std::atomic<std::int64_t> appended;
    std::atomic<std::int64_t> committed;
  };
  std::array<char, 8> magic;
  std::atomic<std::int64_t> pid;  // 0: nothing is open
  std::array<Slot, kSlots> slots;
};

WriterLock::WriterLock(const char* where, const std::string& store) {
  const std::string path = store_path(store, kLock);
  fd_ = open_file(where, path, O_RDWR | O_CREAT);
  // The kernel lets go of a flock when its process ends, however it ends.
  for (int tries = 0; ::flock(fd_.get(), LOCK_EX | LOCK_NB) != 0;) {
    if (errno == EINTR) continue;
    if (errno != EWOULDBLOCK) throw_errno(where, "lock", path, errno);
    // stat_store() looks by taking the lock for a moment
    if (++tries <= 5) {
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
      continue;
    }
    std::int64_t pid = 0;
    if (::pread(fd_.get(), &pid, sizeof pid, offsetof(Page, pid)) != sizeof pid) pid = 0;
    throw StateError(cat("[", where, "] the store '", store, "' has a writer already",
                         pid > 0 ? cat(" (process ", pid, ")") : "",
                         "; one writer a store: give each process its own and merge them"));
  }
  const std::int64_t size = file_size(where, fd_.get(), path);
  if (size != static_cast<std::int64_t>(sizeof(Page)) &&
      ::ftruncate(fd_.get(), sizeof(Page)) != 0) {
    throw_errno(where, "set the size of", path, errno);
  }
  // A page of a hole in the file, first touched when the disk is full, would end the process.
  if (const int error = ::posix_fallocate(fd_.get(), 0, sizeof(Page)); error != 0) {
    throw_errno(where, "allocate", path, error);
  }
  void* data = ::mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (data == MAP_FAILED) throw_errno(where, "map", path, errno);
  page_ = static_cast<Page*>(data);
  if (page_->magic == kMagic && page_->pid != 0) {
    for (const Page::Slot& slot : page_->slots) {
      const std::string name(slot.name.data(), ::strnlen(slot.name.data(), slot.name.size()));
      if (!name.empty()) left_[name] = {slot.appended, slot.committed};
    }
  }
}

WriterLock::~WriterLock() {
  if (page_ != nullptr) ::munmap(page_, sizeof(Page));
}

void WriterLock::name(std::size_t slot, std::string_view stream, std::int64_t committed) noexcept {
  Page::Slot& place = page_->slots[slot];
  place.name.fill('\0');
  std::copy_n(stream.begin(), std::min(stream.size(), place.name.size() - 1), place.name.begin());
  place.appended = committed;
  place.committed = committed;
  page_->magic = kMagic;
  page_->pid = ::getpid();
}

void WriterLock::set_appended(std::size_t slot, std::int64_t rows) noexcept {
  page_->slots[slot].appended.store(rows, std::memory_order_relaxed);
}

void WriterLock::set_committed(std::size_t slot, std::int64_t rows) noexcept {
  page_->slots[slot].committed.store(rows, std::memory_order_relaxed);
}

void WriterLock::finish() noexcept {
  for (Page::Slot& slot : page_->slots) slot.name.fill('\0');
  page_->magic = kMagic;
  page_->pid = 0;
}

bool is_locked(const std::string& store) noexcept {
  const Fd fd(::open(store_path(store, kLock).c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return false;
  return ::flock(fd.get(), LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
}

}  // namespace tierod::internal
