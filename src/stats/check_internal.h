#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
inline constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

/// Convert a count to a real number.
inline double real(std::size_t n) { return static_cast<double>(n); }

/// Throw unless every value is finite, naming the first that is not. `where` is "stats.function".
inline void check_finite(std::span<const double> values, std::string_view where,
                         std::string_view name) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      throw NumericalError(cat("[", where, "] expected finite ", name, ", got ", values[i],
                               " at index ", i, "; drop the row, or find what made it"));
    }
  }
}

inline void check_not_empty(std::size_t size, std::string_view where, std::string_view name) {
  if (size == 0) throw InvalidArgument(cat("[", where, "] expected at least one of ", name));
}

inline void check_same_length(std::size_t got, std::size_t want, std::string_view where,
                              std::string_view name, std::string_view other) {
  if (got != want) {
    throw InvalidArgument(
        cat("[", where, "] expected as many ", name, " as ", other, " (", want, "), got ", got));
  }
}

inline void check_fraction(double value, std::string_view where, std::string_view name) {
  if (!(value > 0 && value < 1)) {
    throw InvalidArgument(cat("[", where, "] expected ", name, " inside (0, 1), got ", value));
  }
}

inline void check_at_least(std::size_t got, std::size_t least, std::string_view where,
                           std::string_view name, std::string_view remedy) {
  if (got < least) {
    throw InvalidArgument(
        cat("[", where, "] expected at least ", least, " ", name, ", got ", got, "; ", remedy));
  }
}

/// Throw unless labels are 0 or 1 and both occur. Return the number of ones.
inline std::size_t check_binary(std::span<const std::uint8_t> labels, std::string_view where) {
  std::size_t ones = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] > 1) {
      throw InvalidArgument(cat("[", where, "] expected labels 0 or 1, got ", int{labels[i]},
                                " at index ", i, "; drop rows whose label is missing"));
    }
    ones += labels[i];
  }
  if (ones == 0 || ones == labels.size()) {
    throw InvalidArgument(cat("[", where, "] expected both classes among ", labels.size(),
                              " labels, got only ", ones == 0 ? 0 : 1));
  }
  return ones;
}

/// Throw unless weights are finite and not negative; an empty list stands for ones.
inline void check_weights(std::span<const double> weights, std::size_t rows,
                          std::string_view where) {
  if (weights.empty()) return;
  check_same_length(weights.size(), rows, where, "weights", "values");
  check_finite(weights, where, "weights");
  for (std::size_t i = 0; i < weights.size(); ++i) {
    if (weights[i] < 0) {
      throw InvalidArgument(
          cat("[", where, "] expected weights >= 0, got ", weights[i], " at index ", i));
    }
  }
}

}  // namespace tierod::internal
