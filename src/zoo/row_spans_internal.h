#pragma once

#include <ATen/core/Tensor.h>

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tierod/core/span.h"
#include "tierod/vla/rollout.h"
#include "tierod/zoo/concepts.h"
#include "zoo/network_internal.h"

namespace tierod::internal {

/// Number the spans of a row, in the order in which they can see each other: a span sees itself
/// and those of a lower rank. Concept c is kFirstConcept + c, of the rank of the words.
enum SpanId : std::size_t {
  kPromptSpan,
  kImageSpan,
  kEgoSpan,
  kCotStartSpan,
  kCotSpan,
  kDecisionSpan,
  kPostCotSpan,
  kActionSpan,
  kFirstConceptSpan,
  kSpans = kFirstConceptSpan + zoo::kConcepts,
};

/// Follow the spans of one row while its words come.
class RowSpans {
 public:
  struct Range {
    std::int64_t begin = 0;
    std::int64_t end = 0;
    bool holds(std::int64_t position) const { return position >= begin && position < end; }
  };

  RowSpans();
  /// Take the next word, which stands at the position after the last.
  void add(std::int64_t token);
  const Range& operator[](std::size_t span) const { return ranges_[span]; }
  bool done() const { return ranges_[kPostCotSpan].end > 0; }
  /// Return all spans that are not empty; waypoints begin at `action_begin`.
  std::vector<Span> table(std::int64_t action_begin) const;

 private:
  std::array<Range, kSpans> ranges_{};
  std::int64_t next_ = kPrefix;
  std::size_t concept_ = zoo::kConcepts;
  bool concluded_ = false;
};

/// Hide columns from readers, by the numbers of spans.
struct Cut {
  std::size_t columns;
  std::size_t readers;
  std::vector<bool> layers;
  std::vector<bool> heads;
};

/// @throws InvalidArgument on spans, layers or heads that there are not, and on columns that stand
///         behind their readers, who cannot see them anyway.
std::vector<Cut> resolve_knockouts(const std::vector<vla::Knockout>& knockouts, std::int64_t layers,
                                   std::int64_t heads);

/// Return what attention adds to its scores in each layer, [rows or 1, heads, queries, keys], for
/// tokens at `begin` on that see all before them; empty where no cut has such readers.
/// @throws InvalidArgument if a token would see nothing.
std::vector<at::Tensor> language_masks(const std::vector<Cut>& cuts,
                                       const std::vector<RowSpans>& rows, std::int64_t begin,
                                       std::int64_t tokens, std::int64_t layers,
                                       const at::TensorOptions& options);

/// Return `base` [rows, 1, 1, columns + 16] for each layer, with what the cuts hide from waypoints.
/// @throws InvalidArgument if a waypoint would see nothing.
std::vector<at::Tensor> action_masks(const std::vector<Cut>& cuts,
                                     const std::vector<RowSpans>& rows, const at::Tensor& base,
                                     std::int64_t layers);

}  // namespace tierod::internal
