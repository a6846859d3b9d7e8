#include "tierod/hook/callback.h"

#include <algorithm>
#include <numeric>

#include "hook/region_internal.h"
#include "hook/session_state_internal.h"
#include "tierod/core/error.h"

namespace tierod {

CallbackPart callback_part() {
  const internal::ThreadState& thread = internal::thread_state();
  if (!thread.in_callback || thread.region == nullptr) {
    throw StateError(
        "[hook.callback_part] expected to be called within a callback of a session, on its thread");
  }
  const internal::Region& region = *thread.region;
  CallbackPart out{.rows = {}, .tokens_first = region.ragged};
  if (!region.ragged) {
    if (region.rows) return {.rows = *region.rows};
    out.rows.resize(static_cast<std::size_t>(thread.region_rows));
    std::iota(out.rows.begin(), out.rows.end(), std::int64_t{0});
    return out;
  }
  out.rows = region.pair_rows;
  // as many tokens in every row: they come as [rows, tokens, ...]
  if (region.rectangular())
    out.rows.erase(std::unique(out.rows.begin(), out.rows.end()), out.rows.end());
  return out;
}

}  // namespace tierod
