// Note [A file driver of our own]
//
// A disk that fills up while HDF5 writes leaves it with dirty metadata that it can never flush: the
// file cannot be closed, and the library tries again when the process ends. This driver, otherwise
// a plain pwrite, remembers the first error and from then on takes everything without writing. HDF5
// closes in peace, and the shard, which is thrown away in any case, reports the error by itself. It
// also tells where a chunk went: HDF5 1.10 itself walks through all chunks to find one.

#include <H5FDpublic.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "store/hdf5/handles_internal.h"

namespace tierod::internal::h5 {

namespace {

struct DriverFile {
  H5FD_t base;  // first: HDF5 sees this part
  int fd;
  haddr_t eoa;
  haddr_t eof;
  int error;
  haddr_t raw_address;  // of the last write of raw data
  size_t raw_size;
  haddr_t reserved;  // blocks are allocated up to here
};

constexpr haddr_t kReserve = haddr_t{32} << 20;
constexpr haddr_t kNever = HADDR_MAX;

// Allocate blocks ahead: the kernel then has less to do for each page that is written. A file
// system that cannot, or has not so much left, is no error here: a write will say so if need be.
void reserve(DriverFile& file, haddr_t end) {
  while (file.reserved < end) {
    if (::fallocate(file.fd, FALLOC_FL_KEEP_SIZE, static_cast<off_t>(file.reserved),
                    static_cast<off_t>(kReserve)) != 0) {
      file.reserved = kNever;
      return;
    }
    file.reserved += kReserve;
  }
}

DriverFile* self(H5FD_t* file) { return reinterpret_cast<DriverFile*>(file); }
const DriverFile* self(const H5FD_t* file) { return reinterpret_cast<const DriverFile*>(file); }

H5FD_t* driver_open(const char* name, unsigned flags, hid_t /*fapl*/, haddr_t /*max*/) {
  int mode = (flags & H5F_ACC_RDWR) != 0 ? O_RDWR : O_RDONLY;
  if ((flags & H5F_ACC_CREAT) != 0) mode |= O_CREAT;
  if ((flags & H5F_ACC_TRUNC) != 0) mode |= O_TRUNC;
  if ((flags & H5F_ACC_EXCL) != 0) mode |= O_EXCL;
  const int fd = ::open(name, mode | O_CLOEXEC, 0644);
  if (fd < 0) return nullptr;
  struct stat info{};
  if (::fstat(fd, &info) != 0) {
    ::close(fd);
    return nullptr;
  }
  auto* file = new DriverFile{};
  file->fd = fd;
  file->eof = static_cast<haddr_t>(info.st_size);
  return &file->base;
}

herr_t driver_close(H5FD_t* file) {
  const DriverFile& state = *self(file);
  // What was reserved and not used.
  if (state.reserved > 0 && state.error == 0) {
    static_cast<void>(::ftruncate(state.fd, static_cast<off_t>(state.eof)));
  }
  ::close(state.fd);
  delete self(file);
  return 0;
}

int driver_compare(const H5FD_t* a, const H5FD_t* b) {
  return self(a)->fd < self(b)->fd ? -1 : self(a)->fd > self(b)->fd ? 1 : 0;
}

herr_t driver_query(const H5FD_t* /*file*/, unsigned long* flags) {
  if (flags != nullptr) {
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA |
             H5FD_FEAT_AGGREGATE_SMALLDATA | H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;
  }
  return 0;
}

haddr_t driver_eoa(const H5FD_t* file, H5FD_mem_t /*type*/) { return self(file)->eoa; }

herr_t driver_set_eoa(H5FD_t* file, H5FD_mem_t /*type*/, haddr_t address) {
  self(file)->eoa = address;
  return 0;
}

haddr_t driver_eof(const H5FD_t* file, H5FD_mem_t /*type*/) { return self(file)->eof; }

herr_t driver_handle(H5FD_t* file, hid_t /*fapl*/, void** handle) {
  *handle = file;
  return 0;
}

herr_t driver_read(H5FD_t* file, H5FD_mem_t /*type*/, hid_t /*dxpl*/, haddr_t address, size_t size,
                   void* buffer) {
  auto* target = static_cast<char*>(buffer);
  while (size > 0) {
    const ssize_t got = ::pread(self(file)->fd, target, size, static_cast<off_t>(address));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -1;
    if (got == 0) {  // beyond the end: allocated, not yet written
      std::memset(target, 0, size);
      return 0;
    }
    target += got;
    address += static_cast<haddr_t>(got);
    size -= static_cast<size_t>(got);
  }
  return 0;
}

herr_t driver_write(H5FD_t* file, H5FD_mem_t type, hid_t /*dxpl*/, haddr_t address, size_t size,
                    const void* buffer) {
  DriverFile& state = *self(file);
  if (type == H5FD_MEM_DRAW) {
    state.raw_address = address;
    state.raw_size = size;
    reserve(state, address + size);
  }
  const auto* source = static_cast<const char*>(buffer);
  haddr_t at = address;
  size_t left = size;
  while (left > 0 && state.error == 0) {
    const ssize_t done = ::pwrite(state.fd, source, left, static_cast<off_t>(at));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) {
      state.error = errno;
      break;
    }
    source += done;
    at += static_cast<haddr_t>(done);
    left -= static_cast<size_t>(done);
  }
  state.eof = std::max<haddr_t>(state.eof, address + size);
  return 0;
}

herr_t driver_truncate(H5FD_t* file, hid_t /*dxpl*/, hbool_t /*closing*/) {
  DriverFile& state = *self(file);
  if (state.eoa == state.eof) return 0;
  if (state.error == 0 && ::ftruncate(state.fd, static_cast<off_t>(state.eoa)) != 0) {
    state.error = errno;
  }
  state.eof = state.eoa;
  return 0;
}

hid_t driver() {
  static const hid_t id = [] {
    H5FD_class_t c{};
    c.name = "tierod";
    c.maxaddr = (haddr_t{1} << 62) - 1;
    c.fc_degree = H5F_CLOSE_STRONG;
    c.open = driver_open;
    c.close = driver_close;
    c.cmp = driver_compare;
    c.query = driver_query;
    c.get_eoa = driver_eoa;
    c.set_eoa = driver_set_eoa;
    c.get_eof = driver_eof;
    c.get_handle = driver_handle;
    c.read = driver_read;
    c.write = driver_write;
    c.truncate = driver_truncate;
    const H5FD_mem_t map[] = H5FD_FLMAP_DICHOTOMY;
    std::copy(std::begin(map), std::end(map), std::begin(c.fl_map));
    return H5FDregister(&c);
  }();
  return id;
}

}  // namespace

Handle writing_access() {
  Handle access(H5Pcreate(H5P_FILE_ACCESS), H5Pclose);
  H5Pset_driver(access.get(), driver(), nullptr);
  H5Pset_libver_bounds(access.get(), H5F_LIBVER_V110, H5F_LIBVER_V110);
  // Chunks begin at page boundaries: the kernel need not read what it overwrites.
  H5Pset_alignment(access.get(), 65536, 4096);
  return access;
}

std::pair<std::int64_t, std::size_t> last_raw_write(hid_t file) {
  void* handle = nullptr;
  if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0 || handle == nullptr) return {-1, 0};
  const auto* state = static_cast<const DriverFile*>(handle);
  return {static_cast<std::int64_t>(state->raw_address), state->raw_size};
}

int driver_error(hid_t file) {
  void* handle = nullptr;
  if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0 || handle == nullptr) return EIO;
  return static_cast<DriverFile*>(handle)->error;
}

}  // namespace tierod::internal::h5
