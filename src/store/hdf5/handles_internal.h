#pragma once

#include <H5Apublic.h>
#include <H5Dpublic.h>
#include <H5Epublic.h>
#include <H5Fpublic.h>
#include <H5Gpublic.h>
#include <H5Ipublic.h>
#include <H5Lpublic.h>
#include <H5Ppublic.h>
#include <H5Spublic.h>
#include <H5Tpublic.h>

#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>

#include "tierod/store/schema.h"

namespace tierod::internal::h5 {

/// Guard HDF5: one call of this process at a time, whether or not the library was built for
/// threads. While held, HDF5's own printing of errors is off on this thread.
class Guard {
 public:
  Guard();
  ~Guard();
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  std::unique_lock<std::recursive_mutex> lock_;
  H5E_auto2_t print_ = nullptr;
  void* print_data_ = nullptr;
};

/// Throw an IoError `[where] HDF5 cannot <what> '<path>': <HDF5's innermost message>`.
[[noreturn]] void fail(const char* where, std::string_view what, const std::string& path);

/// Own an identifier.
class Handle {
 public:
  using Close = herr_t (*)(hid_t);
  Handle() = default;
  Handle(hid_t id, Close close) : id_(id), close_(close) {}
  Handle(Handle&& other) noexcept : id_(std::exchange(other.id_, -1)), close_(other.close_) {}
  Handle& operator=(Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(close_, other.close_);
    return *this;
  }
  ~Handle() { reset(); }
  hid_t get() const noexcept { return id_; }
  explicit operator bool() const noexcept { return id_ >= 0; }
  bool reset() noexcept {
    const hid_t id = std::exchange(id_, -1);
    return id < 0 || close_(id) >= 0;
  }

 private:
  hid_t id_ = -1;
  Close close_ = nullptr;
};

/// Return the type of a site's values in a file: little-endian IEEE f32, f16, or bf16 (f32 without
/// its lower half).
Handle float_type(at::ScalarType dtype);
/// Return the type of a row column in a file.
hid_t row_type(std::size_t column);

void write_text(hid_t object, const char* name, const std::string& text, const char* where,
                const std::string& path);
std::string read_text(hid_t object, const char* name, const char* where, const std::string& path);
/// Attach what a data set holds.
void describe_site(hid_t dataset, const SiteColumn& site, const char* where,
                   const std::string& path);
void describe_row_column(hid_t dataset, std::size_t column,
                         const std::vector<std::string>& branches, const char* where,
                         const std::string& path);

/// Return property lists for reading and for writing with our own file driver (see driver.cpp).
Handle open_for_reading(const char* where, const std::string& path);
Handle writing_access();

/// Return where the last raw data went in a file written through our driver, and how many bytes.
std::pair<std::int64_t, std::size_t> last_raw_write(hid_t file);
/// Say what a file written through our driver met: 0, or the errno of the first failed write.
int driver_error(hid_t file);

}  // namespace tierod::internal::h5
