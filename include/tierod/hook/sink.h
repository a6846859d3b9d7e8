#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "tierod/core/event.h"
#include "tierod/export.h"

namespace tierod {

/// Hand one captured value to a sink, as rows.
struct TIEROD_API SinkItem {
  const Event& event;
  /// The captured rows [n, width]; what a row holds besides the width (heads) is flattened into it.
  /// It may be the model's own memory: a sink copies what it keeps before it returns.
  const at::Tensor& rows;
  /// Batch row and token of each captured row. Where `paired` is false, the captured rows are all
  /// of `batch_rows` x `tokens`, tokens fastest; else the two lists run side by side. A token is
  /// its index along the token axis of this call, -1 where there is none (a mean, no such axis).
  const std::vector<std::int64_t>& batch_rows;
  const std::vector<std::int64_t>& tokens;
  bool paired = false;
  /// Absolute position of token 0 of this call; absent where it is unknown.
  std::optional<std::int64_t> position_offset{};
};

/// Receive what a session captures while the model runs, instead of the session's cache.
///
/// `take` is called on the thread that runs the model and may block: the model then waits. What it
/// throws stops the model's run and is thrown again when the session closes.
class TIEROD_API CaptureSink {
 public:
  CaptureSink() = default;
  CaptureSink(const CaptureSink&) = delete;
  CaptureSink& operator=(const CaptureSink&) = delete;
  virtual ~CaptureSink();

  virtual void take(const SinkItem& item) = 0;
};

}  // namespace tierod
