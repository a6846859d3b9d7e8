#include <ATen/ops/full.h>

#include <algorithm>
#include <limits>

#include "core/text_internal.h"
#include "tierod/core/error.h"
#include "tierod/core/site.h"
#include "tierod/zoo/language.h"
#include "zoo/network_internal.h"
#include "zoo/row_spans_internal.h"

namespace tierod::internal {

namespace {

constexpr double kHidden = -std::numeric_limits<double>::infinity();

const std::vector<std::string>& span_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out = {"prompt", "image 0",  "ego",      "cot_start",
                                    "cot",    "decision", "post_cot", "action"};
    for (const auto& info : zoo::concept_infos()) out.push_back(cat("concept ", info.id));
    return out;
  }();
  return names;
}

std::size_t rank_of(std::size_t span) {
  return span >= kFirstConceptSpan || span == kDecisionSpan ? std::size_t{kCotSpan} : span;
}

template <typename... Args>
[[noreturn]] void refuse(const Args&... args) {
  throw InvalidArgument(cat("[zoo.DrivingModel.rollout] ", args...));
}

std::size_t span_of(const std::string& name, std::string_view field) {
  const auto& names = span_names();
  const auto found = std::find(names.begin(), names.end(), name);
  if (found != names.end()) return static_cast<std::size_t>(found - names.begin());
  refuse("expected the ", field, " of a knockout to be one of ", list_text(names, names.size()),
         ", got '", name, "'; nearest ", list_text(nearest_names(name, names)));
}

std::vector<bool> chosen(const std::vector<std::int64_t>& numbers, std::int64_t count,
                         std::string_view what) {
  std::vector<bool> out(static_cast<std::size_t>(count), numbers.empty());
  for (const std::int64_t number : numbers) {
    if (number < 0 || number >= count) {
      refuse("expected ", what, " of a knockout in [0, ", count, "), got ", number);
    }
    out[static_cast<std::size_t>(number)] = true;
  }
  return out;
}

/// Hide `columns` from query `query` of `mask` [rows, heads, queries, keys] in the chosen heads.
void hide(const at::Tensor& mask, std::int64_t row, std::int64_t query, const Cut& cut,
          RowSpans::Range columns) {
  const std::int64_t end = std::min(columns.end, mask.size(3));
  for (std::size_t head = 0; head < cut.heads.size(); ++head) {
    if (!cut.heads[head] || columns.begin >= end) continue;
    mask.select(0, row)
        .select(0, static_cast<std::int64_t>(head))
        .select(0, query)
        .narrow(0, columns.begin, end - columns.begin)
        .fill_(kHidden);
  }
}

void check_sight(const std::vector<at::Tensor>& masks) {
  for (const at::Tensor& mask : masks) {
    if (!mask.isneginf().all(-1).any().item<bool>()) continue;
    refuse(
        "expected knockouts that leave every token something to see, got ones that hide all of "
        "it; leave one of the spans visible");
  }
}

}  // namespace

RowSpans::RowSpans() {
  ranges_[kPromptSpan] = {0, kImageBegin};
  ranges_[kImageSpan] = {kImageBegin, kEgoBegin};
  ranges_[kEgoSpan] = {kEgoBegin, kCotStart};
  ranges_[kCotStartSpan] = {kCotStart, kPrefix};
  ranges_[kCotSpan] = {kPrefix, kPrefix};
}

void RowSpans::add(std::int64_t token) {
  const std::int64_t position = next_++;
  if (done() || token == zoo::kPad) return;
  if (token == zoo::kAct) {
    ranges_[kPostCotSpan] = {position, position + 1};
    return;
  }
  ranges_[kCotSpan].end = position + 1;
  const std::string& word = zoo::language_tokens()[static_cast<std::size_t>(token)];
  const std::int64_t first = zoo::concept_token(0);
  const auto concepts = static_cast<std::int64_t>(zoo::kConcepts);
  if (token >= first && token < first + concepts) {
    concept_ = static_cast<std::size_t>(token - first);
    Range& range = ranges_[kFirstConceptSpan + concept_];
    // named twice: the first one counts
    if (range.end > 0) {
      concept_ = zoo::kConcepts;
    } else {
      range = {position, position + 1};
    }
  } else if (word == "and" || word == "so" || word == "clear") {
    concept_ = zoo::kConcepts;
    concluded_ = concluded_ || word == "so";
  } else if (concluded_ && ranges_[kDecisionSpan].end == 0) {
    ranges_[kDecisionSpan] = {position, position + 1};
  } else if (concept_ < zoo::kConcepts) {
    ranges_[kFirstConceptSpan + concept_].end = position + 1;
  }
}

std::vector<Span> RowSpans::table(std::int64_t action_begin) const {
  std::vector<Span> out;
  for (std::size_t span = 0; span < kSpans; ++span) {
    Range range = ranges_[span];
    if (span == kActionSpan) range = {action_begin, action_begin + kWaypointTokens};
    if (range.end > range.begin) out.push_back({span_names()[span], range.begin, range.end});
  }
  return out;
}

std::vector<Cut> resolve_knockouts(const std::vector<vla::Knockout>& knockouts, std::int64_t layers,
                                   std::int64_t heads) {
  std::vector<Cut> out;
  for (const vla::Knockout& knockout : knockouts) {
    Cut cut = {.columns = span_of(knockout.columns, "columns"),
               .readers = span_of(knockout.readers, "readers"),
               .layers = chosen(knockout.layers, layers, "layers"),
               .heads = chosen(knockout.heads, heads, "heads")};
    if (rank_of(cut.columns) > rank_of(cut.readers)) {
      refuse("expected a knockout of columns that its readers can see, got columns '",
             knockout.columns, "', which stand behind '", knockout.readers,
             "'; a causal model does not see what comes later");
    }
    out.push_back(std::move(cut));
  }
  return out;
}

std::vector<at::Tensor> language_masks(const std::vector<Cut>& cuts,
                                       const std::vector<RowSpans>& rows, std::int64_t begin,
                                       std::int64_t tokens, std::int64_t layers,
                                       const at::TensorOptions& options) {
  const bool needed = std::any_of(cuts.begin(), cuts.end(),
                                  [](const Cut& cut) { return cut.readers != kActionSpan; });
  if (!needed) return {};
  const auto heads = static_cast<std::int64_t>(cuts.front().heads.size());
  const auto count = static_cast<std::int64_t>(rows.size());
  const at::Tensor causal = at::full({tokens, begin + tokens}, kHidden, options).triu(begin + 1);
  std::vector<at::Tensor> out;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    const at::Tensor mask = causal.expand({count, heads, tokens, begin + tokens}).contiguous();
    for (const Cut& cut : cuts) {
      if (cut.readers == kActionSpan || !cut.layers[static_cast<std::size_t>(layer)]) continue;
      for (std::int64_t row = 0; row < count; ++row) {
        const RowSpans& spans = rows[static_cast<std::size_t>(row)];
        for (std::int64_t query = 0; query < tokens; ++query) {
          if (spans[cut.readers].holds(begin + query)) {
            hide(mask, row, query, cut, spans[cut.columns]);
          }
        }
      }
    }
    out.push_back(mask);
  }
  check_sight(out);
  return out;
}

std::vector<at::Tensor> action_masks(const std::vector<Cut>& cuts,
                                     const std::vector<RowSpans>& rows, const at::Tensor& base,
                                     std::int64_t layers) {
  std::vector<at::Tensor> out;
  for (std::int64_t layer = 0; layer < layers; ++layer) {
    at::Tensor mask = base;
    for (const Cut& cut : cuts) {
      if (cut.readers != kActionSpan || !cut.layers[static_cast<std::size_t>(layer)]) continue;
      const auto heads = static_cast<std::int64_t>(cut.heads.size());
      if (mask.is_same(base)) {
        mask = base.expand({base.size(0), heads, 1, base.size(3)}).contiguous();
      }
      for (std::size_t row = 0; row < rows.size(); ++row) {
        RowSpans::Range columns = rows[row][cut.columns];
        if (cut.columns == kActionSpan) {
          columns = {base.size(3) - kWaypointTokens, base.size(3)};
        }
        hide(mask, static_cast<std::int64_t>(row), 0, cut, columns);
      }
    }
    out.push_back(mask);
  }
  check_sight(out);
  return out;
}

}  // namespace tierod::internal
