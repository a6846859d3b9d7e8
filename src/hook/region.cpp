#include <ATen/ops/arange.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/tensor.h>

#include <algorithm>

#include "core/text_internal.h"
#include "hook/region_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

using Indices = std::vector<std::int64_t>;

at::Tensor index_tensor(const Indices& indices, const at::Tensor& like) {
  return at::tensor(indices, at::TensorOptions().dtype(at::kLong)).to(like.device());
}

namespace {

bool contiguous(const Indices& indices) {
  for (std::size_t i = 1; i < indices.size(); ++i) {
    if (indices[i] != indices[i - 1] + 1) return false;
  }
  return !indices.empty();
}

std::int64_t need_axis(std::int64_t axis, const Axes& axes, const at::Tensor& x, const char* name,
                       const std::string& where) {
  if (axis < 0) {
    throw InvalidArgument(cat(
        where, " the selection asks for ", name, ", but the tensor ", x.sizes(), " with layout '",
        axes.layout, "' has no such axis; declare the site's layout, or leave ", name, " out"));
  }
  return axis;
}

Indices resolve_list(const Indices& indices, std::int64_t size, const std::string& where,
                     const char* axis) {
  Indices resolved;
  resolved.reserve(indices.size());
  for (const std::int64_t index : indices) {
    resolved.push_back(resolve_index(index, size, where, axis));
  }
  Indices sorted = resolved;
  std::sort(sorted.begin(), sorted.end());
  if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end()) {
    throw InvalidArgument(cat(where, " the selection names ", axis,
                              " twice, once from each end: ", list_text(indices), " of ", size));
  }
  return resolved;
}

// Return the absolute positions that the named spans cover in one row, ascending.
Indices span_positions(const std::vector<std::string>& names, const std::vector<Span>& spans,
                       std::int64_t row, const std::string& where) {
  Indices positions;
  for (const std::string& name : names) {
    bool found = false;
    for (const Span& span : spans) {
      if (span.name != name) continue;
      found = true;
      for (std::int64_t p = span.begin; p < span.end; ++p) positions.push_back(p);
    }
    if (!found) {
      std::vector<std::string> have;
      have.reserve(spans.size());
      for (const Span& span : spans) have.push_back(span.name);
      throw InvalidArgument(cat(where, " row ", row, " has no span '", name, "'; it has ",
                                list_text(have), "; select the rows that have it, or set_spans()"));
    }
  }
  std::sort(positions.begin(), positions.end());
  positions.erase(std::unique(positions.begin(), positions.end()), positions.end());
  return positions;
}

// Move rows, tokens and, where selected, heads to the front, so that index lists sit side by side.
at::Tensor pairs_first(const Region& region, const at::Tensor& x) {
  if (region.heads) {
    return x.movedim({region.axes.rows, region.axes.tokens, region.axes.heads}, {0, 1, 2});
  }
  return x.movedim({region.axes.rows, region.axes.tokens}, {0, 1});
}

c10::List<std::optional<at::Tensor>> pair_indices(const Region& region, const at::Tensor& x) {
  at::Tensor rows = index_tensor(region.pair_rows, x);
  at::Tensor tokens = index_tensor(region.pair_tokens, x);
  c10::List<std::optional<at::Tensor>> indices;
  if (region.heads) {
    indices.push_back(rows.unsqueeze(1));
    indices.push_back(tokens.unsqueeze(1));
    indices.push_back(index_tensor(*region.heads, x).unsqueeze(0));
  } else {
    indices.push_back(rows);
    indices.push_back(tokens);
  }
  return indices;
}

struct AxisChoice {
  std::int64_t axis;
  const Indices* indices;
};

std::vector<AxisChoice> choices(const Region& region) {
  std::vector<AxisChoice> chosen;
  if (region.rows) chosen.push_back({region.axes.rows, &*region.rows});
  if (region.tokens) chosen.push_back({region.axes.tokens, &*region.tokens});
  if (region.heads) chosen.push_back({region.axes.heads, &*region.heads});
  return chosen;
}

}  // namespace

Axes resolve_axes(const Site& site, const at::Tensor& x) {
  Axes axes;
  const auto ndim = static_cast<std::size_t>(x.dim());
  if (site.layout().empty()) {
    axes.layout = default_layout(site.name(), ndim);
  } else {
    if (site.layout().size() != ndim) {
      throw InvalidArgument(cat("[hook.visit] site '", site.name(), "' declares the layout '",
                                site.layout(), "', but the tensor has shape ", x.sizes(),
                                "; give the layout one letter an axis"));
    }
    axes.layout = site.layout();
  }
  const auto find = [&](char letter) {
    const std::size_t at = axes.layout.find(letter);
    return at == std::string::npos ? std::int64_t{-1} : static_cast<std::int64_t>(at);
  };
  axes.rows = find('r');
  axes.tokens = find('t');
  axes.heads = find('h');
  return axes;
}

bool Region::rectangular() const {
  return !ragged || std::adjacent_find(pairs_in_row.begin(), pairs_in_row.end(),
                                       std::not_equal_to<>()) == pairs_in_row.end();
}

Region resolve_region(const Selection& selection, const at::Tensor& x, const Site& site,
                      const SpanTable& spans, std::optional<std::int64_t> offset,
                      const std::string& where) {
  Region region;
  region.axes = resolve_axes(site, x);
  const Axes& axes = region.axes;
  if (selection.rows) {
    const std::int64_t axis = need_axis(axes.rows, axes, x, "rows", where);
    region.rows = resolve_list(*selection.rows, x.size(axis), where, "row");
  }
  if (selection.heads) {
    const std::int64_t axis = need_axis(axes.heads, axes, x, "heads", where);
    region.heads = resolve_list(*selection.heads, x.size(axis), where, "head");
  }
  const Tokens& tokens = selection.tokens;
  if (tokens.kind == Tokens::Kind::all) return region;

  const std::int64_t length = x.size(need_axis(axes.tokens, axes, x, "tokens", where));
  if (tokens.kind == Tokens::Kind::index) {
    region.tokens = resolve_list(tokens.values, length, where, "token");
    return region;
  }
  if (tokens.kind == Tokens::Kind::range) {
    const auto bound = [&](std::int64_t value) { return value < 0 ? value + length : value; };
    const std::int64_t begin = tokens.begin ? bound(*tokens.begin) : 0;
    const std::int64_t end = tokens.end ? bound(*tokens.end) : length;
    if (begin < 0 || end > length || begin >= end) {
      throw OutOfRange(cat(where, " the token range [", tokens.begin.value_or(0), ", ",
                           tokens.end ? std::to_string(*tokens.end) : "end",
                           ") does not lie within the ", length, " tokens here"));
    }
    region.tokens.emplace();
    for (std::int64_t t = begin; t < end; ++t) region.tokens->push_back(t);
    return region;
  }

  if (!offset) {
    throw StateError(cat(where,
                         " selects absolute positions, but the position of this call's first token "
                         "is unknown; give PhaseScope its position_offset, or select tokens"));
  }
  // Keep what lies in this call's window; the rest belongs to other calls.
  const auto window = [&](const Indices& positions) {
    Indices inside;
    for (const std::int64_t p : positions) {
      if (p >= *offset && p < *offset + length) inside.push_back(p - *offset);
    }
    return inside;
  };
  if (tokens.kind == Tokens::Kind::positions) {
    region.tokens = window(tokens.values);
    region.empty = region.tokens->empty();
    return region;
  }

  if (spans.empty()) {
    throw StateError(cat(where, " selects the spans ", list_text(tokens.names),
                         ", but the session has none; call set_spans() first"));
  }
  const std::int64_t row_count = x.size(need_axis(axes.rows, axes, x, "rows", where));
  if (spans.size() != 1 && static_cast<std::int64_t>(spans.size()) != row_count) {
    throw InvalidArgument(cat(where, " the session has spans for ", spans.size(),
                              " rows, the tensor has ", row_count,
                              "; set one entry for all rows, or one a row"));
  }
  Indices selected;
  if (region.rows) {
    selected = *region.rows;
  } else {
    for (std::int64_t r = 0; r < row_count; ++r) selected.push_back(r);
  }
  std::vector<Indices> by_row;
  by_row.reserve(selected.size());
  for (const std::int64_t row : selected) {
    const auto& row_spans = spans[spans.size() == 1 ? 0 : static_cast<std::size_t>(row)];
    by_row.push_back(window(span_positions(tokens.names, row_spans, row, where)));
  }
  region.empty = std::all_of(by_row.begin(), by_row.end(), [](const auto& t) { return t.empty(); });
  const bool equal =
      std::adjacent_find(by_row.begin(), by_row.end(), std::not_equal_to<>()) == by_row.end();
  if (equal) {
    region.tokens = by_row.empty() ? Indices() : by_row.front();
    return region;
  }
  region.ragged = true;
  for (std::size_t i = 0; i < selected.size(); ++i) {
    region.pairs_in_row.push_back(static_cast<std::int64_t>(by_row[i].size()));
    for (const std::int64_t token : by_row[i]) {
      region.pair_rows.push_back(selected[i]);
      region.pair_tokens.push_back(token);
    }
  }
  return region;
}

at::Tensor gather(const Region& region, const at::Tensor& x) {
  if (region.whole()) return x;
  if (region.ragged) {
    at::Tensor part = pairs_first(region, x).index(pair_indices(region, x));
    if (region.rectangular()) {
      const auto row_count = static_cast<std::int64_t>(region.pairs_in_row.size());
      part = part.unflatten(0, at::IntArrayRef({row_count, region.pairs_in_row.front()}));
    }
    return part;
  }
  at::Tensor part = x;
  for (const auto& [axis, indices] : choices(region)) {
    part = contiguous(*indices)
               ? part.narrow(axis, indices->front(), static_cast<std::int64_t>(indices->size()))
               : part.index_select(axis, index_tensor(*indices, x));
  }
  return part;
}

at::Tensor scatter(const Region& region, const at::Tensor& x, const at::Tensor& values) {
  // A contiguous result: x may be an expanded view, whose clone would still overlap itself.
  at::Tensor out = x.clone(at::MemoryFormat::Contiguous);
  if (region.ragged) {
    at::Tensor flat = values;
    if (region.rectangular()) flat = values.flatten(0, 1);
    pairs_first(region, out).index_put_(pair_indices(region, x), flat);
    return out;
  }
  const std::vector<AxisChoice> chosen = choices(region);
  const bool all_contiguous = std::all_of(
      chosen.begin(), chosen.end(), [](const AxisChoice& c) { return contiguous(*c.indices); });
  if (all_contiguous) {
    at::Tensor part = out;
    for (const auto& [axis, indices] : chosen) {
      part = part.narrow(axis, indices->front(), static_cast<std::int64_t>(indices->size()));
    }
    part.copy_(values);
    return out;
  }
  // Index lists of all axes, shaped so that they broadcast to the part's own shape: unlike lists on
  // some axes with slices between them, this never moves axes to the front.
  c10::List<std::optional<at::Tensor>> indices;
  for (std::int64_t axis = 0; axis < x.dim(); ++axis) {
    const auto found = std::find_if(chosen.begin(), chosen.end(),
                                    [&](const AxisChoice& c) { return c.axis == axis; });
    at::Tensor index =
        found != chosen.end()
            ? index_tensor(*found->indices, x)
            : at::arange(x.size(axis), at::TensorOptions().dtype(at::kLong).device(x.device()));
    std::vector<std::int64_t> shape(static_cast<std::size_t>(x.dim()), 1);
    shape[static_cast<std::size_t>(axis)] = index.size(0);
    indices.push_back(index.view(shape));
  }
  out.index_put_(indices, values);
  return out;
}

}  // namespace tierod::internal
