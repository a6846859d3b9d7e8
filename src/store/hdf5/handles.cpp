#include <pthread.h>

#include <limits>
#include <new>
#include <optional>

#include "core/text_internal.h"
#include "store/hdf5/handles_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/event.h"

namespace tierod::internal::h5 {

namespace {
std::recursive_mutex& mutex() {
  static std::recursive_mutex* mutex = [] {
    // A fork while another thread is within HDF5 would leave the child without a way in.
    ::pthread_atfork([] { h5::mutex().lock(); }, [] { h5::mutex().unlock(); },
                     [] { new (&h5::mutex()) std::recursive_mutex; });
    return new std::recursive_mutex;  // threads may outlive statics
  }();
  return *mutex;
}
}  // namespace

Guard::Guard() : lock_(mutex()) {
  H5Eget_auto2(H5E_DEFAULT, &print_, &print_data_);
  H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr);
}

Guard::~Guard() { H5Eset_auto2(H5E_DEFAULT, print_, print_data_); }

void fail(const char* where, std::string_view what, const std::string& path) {
  std::string reason;
  const auto innermost = [](unsigned depth, const H5E_error2_t* error, void* text) -> herr_t {
    if (depth == 0 && error->desc != nullptr) *static_cast<std::string*>(text) = error->desc;
    return 0;
  };
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, innermost, &reason);
  throw IoError(cat("[", where, "] HDF5 cannot ", what, " '", path,
                    "': ", reason.empty() ? "no reason given" : reason));
}

Handle float_type(at::ScalarType dtype) {
  Handle type(H5Tcopy(H5T_IEEE_F32LE), H5Tclose);
  if (dtype == at::kHalf) {
    H5Tset_fields(type.get(), 15, 10, 5, 0, 10);
    H5Tset_size(type.get(), 2);
    H5Tset_ebias(type.get(), 15);
  } else if (dtype == at::kBFloat16) {
    H5Tset_fields(type.get(), 15, 7, 8, 0, 7);
    H5Tset_size(type.get(), 2);
    H5Tset_ebias(type.get(), 127);
  }
  return type;
}

hid_t row_type(std::size_t column) {
  switch (static_cast<RowColumn>(column)) {
    case RowColumn::sample:
    case RowColumn::scene:
    case RowColumn::group:
      return H5T_STD_I64LE;
    case RowColumn::branch:
      return H5T_STD_I16LE;
    case RowColumn::phase:
      return H5T_STD_I8LE;
    default:
      return H5T_STD_I32LE;
  }
}

namespace {
// Of variable length: h5py reads it as str, and it may be long.
Handle text_type() {
  Handle type(H5Tcopy(H5T_C_S1), H5Tclose);
  H5Tset_size(type.get(), H5T_VARIABLE);
  H5Tset_cset(type.get(), H5T_CSET_UTF8);
  return type;
}
}  // namespace

void write_text(hid_t object, const char* name, const std::string& text, const char* where,
                const std::string& path) {
  const Handle type = text_type();
  const Handle space(H5Screate(H5S_SCALAR), H5Sclose);
  const Handle attribute(
      H5Acreate2(object, name, type.get(), space.get(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose);
  const char* data = text.c_str();
  if (!attribute || H5Awrite(attribute.get(), type.get(), static_cast<const void*>(&data)) < 0) {
    fail(where, cat("write the attribute '", name, "' of"), path);
  }
}

std::string read_text(hid_t object, const char* name, const char* where, const std::string& path) {
  const Handle attribute(H5Aopen(object, name, H5P_DEFAULT), H5Aclose);
  const Handle stored(attribute ? H5Aget_type(attribute.get()) : -1, H5Tclose);
  const Handle type = text_type();
  char* data = nullptr;
  if (!stored || H5Tis_variable_str(stored.get()) <= 0 ||
      H5Aread(attribute.get(), type.get(), static_cast<void*>(&data)) < 0 || data == nullptr) {
    fail(where, cat("read the attribute '", name, "' of"), path);
  }
  std::string text(data);
  H5free_memory(data);
  return text;
}

void describe_site(hid_t dataset, const SiteColumn& site, const char* where,
                   const std::string& path) {
  const char* name = site.dtype == at::kFloat  ? "float32"
                     : site.dtype == at::kHalf ? "float16"
                                               : "bfloat16";
  write_text(dataset, "dtype", name, where, path);
}

void describe_row_column(hid_t dataset, std::size_t column,
                         const std::vector<std::string>& branches, const char* where,
                         const std::string& path) {
  if (static_cast<RowColumn>(column) == RowColumn::phase) {
    std::string names;
    for (int p = 0; p <= static_cast<int>(Phase::head); ++p) {
      names += cat(p > 0 ? "," : "", phase_name(static_cast<Phase>(p)));
    }
    write_text(dataset, "names", names, where, path);
  } else if (static_cast<RowColumn>(column) == RowColumn::branch) {
    std::string names;
    for (std::size_t i = 0; i < branches.size(); ++i) names += cat(i > 0 ? "," : "", branches[i]);
    write_text(dataset, "names", names, where, path);
  }
}

Handle open_for_reading(const char* where, const std::string& path) {
  Handle file(H5Fopen(path.c_str(), H5F_ACC_RDONLY, H5P_DEFAULT), H5Fclose);
  if (!file) fail(where, "open", path);
  return file;
}

}  // namespace tierod::internal::h5
