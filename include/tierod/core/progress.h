#pragma once

#include <cstdint>
#include <functional>
#include <string_view>

namespace tierod {

/// Report progress of long work: `done` of `total` units of the task `what`. Returning false asks
/// the work to stop; it then keeps what is done and says that it is incomplete.
using Progress = std::function<bool(std::int64_t done, std::int64_t total, std::string_view what)>;

}  // namespace tierod
