#include "tierod/hook/sink.h"

#include <algorithm>
#include <numeric>

#include "core/text_internal.h"
#include "hook/sink_internal.h"
#include "tierod/core/error.h"

namespace tierod {

CaptureSink::~CaptureSink() = default;

namespace internal {

namespace {

using Indices = std::vector<std::int64_t>;

// Return the chosen indices of an axis; {`absent`} where there is no such axis.
Indices chosen(const std::optional<Indices>& indices, std::int64_t axis, const at::Tensor& x,
               std::int64_t absent) {
  if (indices) return *indices;
  if (axis < 0) return {absent};
  Indices all(static_cast<std::size_t>(x.size(axis)));
  std::iota(all.begin(), all.end(), std::int64_t{0});
  return all;
}

// Return the last token of each row of a ragged region.
Indices last_tokens(const Region& region) {
  Indices last;
  std::size_t end = 0;
  for (const std::int64_t count : region.pairs_in_row) {
    end += static_cast<std::size_t>(count);
    last.push_back(region.pair_tokens[end - 1]);
  }
  return last;
}

at::Tensor flatten(const at::Tensor& x, std::int64_t rows) {
  return x.reshape({rows, rows == 0 ? x.size(-1) : x.numel() / rows});
}

}  // namespace

void deliver(CaptureSink& sink, const Event& event, const at::Tensor& x, const Region& region,
             const at::Tensor& kept, Reduce reduce, std::optional<std::int64_t> position_offset,
             const std::string& where) {
  const Axes& axes = region.axes;
  if (axes.rows < 0 && axes.layout != "w" && axes.layout != "tw") {
    throw InvalidArgument(cat(where,
                              " a sink needs to know which axis holds the rows, but the "
                              "layout of ",
                              x.sizes(), " is '", axes.layout, "'; declare the site's layout"));
  }
  const Indices rows = chosen(region.rows, axes.rows, x, 0);
  const auto send = [&](const at::Tensor& flat, const Indices& batch_rows, const Indices& tokens,
                        bool paired) {
    sink.take({event, flat, batch_rows, tokens, paired, position_offset});
  };
  if (region.ragged && reduce == Reduce::none) {
    const auto count = static_cast<std::int64_t>(region.pair_rows.size());
    send(flatten(kept, count), region.pair_rows, region.pair_tokens, true);
    return;
  }
  if (reduce != Reduce::none) {
    // The token axis is gone; in a ragged region the rows came to the front.
    const std::int64_t axis = region.ragged || axes.rows < axes.tokens
                                  ? std::max<std::int64_t>(axes.rows, 0)
                                  : axes.rows - 1;
    const at::Tensor first = region.ragged || axes.rows < 0 ? kept : kept.movedim(axis, 0);
    const at::Tensor flat = flatten(first, static_cast<std::int64_t>(rows.size()));
    if (reduce == Reduce::mean) {
      send(flat, rows, {-1}, false);
    } else if (region.ragged) {
      send(flat, rows, last_tokens(region), true);
    } else {
      send(flat, rows, {chosen(region.tokens, axes.tokens, x, -1).back()}, false);
    }
    return;
  }
  const Indices tokens = chosen(region.tokens, axes.tokens, x, -1);
  at::Tensor ordered = kept;
  if (axes.rows >= 0 && axes.tokens >= 0) {
    ordered = kept.movedim({axes.rows, axes.tokens}, {0, 1});
  } else if (axes.rows > 0) {
    ordered = kept.movedim(axes.rows, 0);
  }
  send(flatten(ordered, static_cast<std::int64_t>(rows.size() * tokens.size())), rows, tokens,
       false);
}

}  // namespace internal

}  // namespace tierod
