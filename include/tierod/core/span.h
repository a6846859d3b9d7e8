#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tierod {

/// Name the half-open range [begin, end) of absolute token positions in one row: "image 0", "cot",
/// a stated concept's word.
struct Span {
  std::string name;
  std::int64_t begin = 0;
  std::int64_t end = 0;

  bool operator==(const Span&) const = default;
};

/// Hold the spans of every row of a batch: `table[row]`. One entry serves all rows alike.
using SpanTable = std::vector<std::vector<Span>>;

}  // namespace tierod
