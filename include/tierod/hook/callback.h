#pragma once

#include <cstdint>
#include <vector>

#include "tierod/export.h"

namespace tierod {

/// Say which part of an activation a callback was given.
struct TIEROD_API CallbackPart {
  /// Row of the batch of each entry of the part's first axis.
  std::vector<std::int64_t> rows{};
  /// Spans lie differently in the rows: tokens, or tokens of all rows, come before the other axes.
  bool tokens_first = false;
};

/// Return what the callback at hand, on this thread, was given.
/// @throws StateError outside of a callback.
TIEROD_API CallbackPart callback_part();

}  // namespace tierod
