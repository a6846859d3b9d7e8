#pragma once

#include <algorithm>
#include <cstddef>
#include <exception>
#include <thread>
#include <vector>

namespace tierod::internal {

/// Call `work(begin, end)` for the ranges [0, step), [step, 2 step), ... of [0, total) on `threads`
/// threads. Ranges do not depend on the number of threads. The first exception comes out, after all
/// threads have ended.
template <typename Work>
void for_ranges(std::size_t total, std::size_t step, std::size_t threads, const Work& work) {
  const std::size_t ranges = (total + step - 1) / step;
  threads = std::clamp<std::size_t>(threads, 1, std::max<std::size_t>(ranges, 1));
  const auto run = [&](std::size_t first) {
    for (std::size_t r = first; r < ranges; r += threads) {
      work(r * step, std::min(total, (r + 1) * step));
    }
  };
  if (threads == 1) {
    run(0);
    return;
  }
  std::vector<std::exception_ptr> errors(threads);
  {
    std::vector<std::jthread> pool;
    pool.reserve(threads);
    for (std::size_t t = 0; t < threads; ++t) {
      pool.emplace_back([&, t] {
        try {
          run(t);
        } catch (...) {
          errors[t] = std::current_exception();
        }
      });
    }
  }
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
}

}  // namespace tierod::internal
