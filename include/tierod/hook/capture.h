#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "tierod/core/selection.h"
#include "tierod/export.h"

namespace tierod {

class CaptureSink;

/// Say what is kept of the selected part of an activation.
enum class Reduce : std::uint8_t {
  none,        ///< the selected part itself
  mean,        ///< the mean over the selected tokens, a row: [rows, width]
  last_token,  ///< the last of the selected tokens, a row: [rows, width]
  moments,     ///< count, mean and variance over all rows and tokens; no row is kept
  covariance,  ///< count, mean and covariance over all rows and tokens; no row is kept
};

/// Say which value of the event a capture sees.
enum class When : std::uint8_t {
  after,   ///< the value the model goes on with, after the edits of every session
  before,  ///< the raw value that the model computed
};

TIEROD_API const char* reduce_name(Reduce reduce) noexcept;
/// @throws InvalidArgument on a text that `reduce_name` does not print.
TIEROD_API Reduce reduce_from_name(std::string_view name);

/// Set up a capture.
struct TIEROD_API CaptureOptions {
  Selection selection{};
  Reduce reduce = Reduce::none;
  When when = When::after;
  /// Convert to this dtype; absent: keep the site's.
  std::optional<at::ScalarType> dtype{};
  /// Move to this device; absent: keep the site's.
  std::optional<c10::Device> device{};
  /// Copy, so that later in-place writes of the model do not show. `false` keeps a reference to the
  /// model's own memory where nothing forces a copy.
  bool copy = true;
  /// Capture the gradient that arrives at the site in backward instead of the activation.
  bool gradient = false;
  /// Keep the autograd graph of the captured value instead of detaching it (implies no copy of
  /// the storage unless `copy` asks for one).
  bool keep_graph = false;
  /// Hand the captured rows to this sink while the model runs, instead of keeping them in the
  /// cache.
  std::shared_ptr<CaptureSink> sink{};
};

}  // namespace tierod
