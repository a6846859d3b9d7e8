#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/export.h"

namespace tierod {

/// Describe one site of a stream: [n_rows, width] in f32, f16 or bf16.
struct TIEROD_API SiteColumn {
  std::string site;
  std::int64_t width = 0;
  at::ScalarType dtype = at::kFloat;

  bool operator==(const SiteColumn&) const = default;
  std::int64_t row_bytes() const { return width * (dtype == at::kFloat ? 4 : 2); }
};

/// Describe a stream: the set of sites that share one row table.
struct TIEROD_API StreamSpec {
  std::string name;
  std::vector<SiteColumn> sites{};

  bool operator==(const StreamSpec&) const = default;
};

/// Name the columns of a row table. A value that is not known is -1.
enum class RowColumn : std::uint8_t {
  sample,       ///< what labels are attached to
  scene,        ///< the scene of the sample
  group,        ///< what folds keep together (route, town)
  row,          ///< row of the batch
  token_index,  ///< index along the token axis of the call
  token_id,     ///< id in the vocabulary
  position_id,  ///< absolute position in the sequence
  phase,        ///< the number of a `Phase`
  step,         ///< decode or denoise step
  branch,       ///< number of a branch's name; see `ActivationReader::branches`
  call,         ///< count of firings with the same address
};
inline constexpr std::size_t kRowColumns = 11;

/// Return "sample", "scene", ... "call".
TIEROD_API const char* row_column_name(RowColumn column) noexcept;
/// @throws InvalidArgument on a text that `row_column_name` does not print.
TIEROD_API RowColumn row_column_from_name(std::string_view name);

/// Hold the row table of `count` rows: a list a column, or one value for all rows.
struct TIEROD_API Rows {
  std::int64_t count = 0;
  /// Empty: `fill` holds for every row.
  std::array<std::vector<std::int64_t>, kRowColumns> values{};
  std::array<std::int64_t, kRowColumns> fill{-1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1};

  std::vector<std::int64_t>& operator[](RowColumn column) {
    return values[static_cast<std::size_t>(column)];
  }
  const std::vector<std::int64_t>& operator[](RowColumn column) const {
    return values[static_cast<std::size_t>(column)];
  }
  void set_all(RowColumn column, std::int64_t value) {
    fill[static_cast<std::size_t>(column)] = value;
  }
};

/// Return the bytes of one row of a row table on disk.
TIEROD_API std::int64_t row_table_bytes() noexcept;

/// Tell whether this build has the store (`-DTIEROD_STORE=ON`). Without it every function of the
/// room that needs files throws a StateError.
TIEROD_API bool has_store() noexcept;

}  // namespace tierod
