#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/bincount.h>
#include <ATen/ops/where.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <numeric>

#include "core/tensor_internal.h"
#include "core/text_internal.h"
#include "patch/part_vectors_internal.h"
#include "tierod/core/error.h"

namespace tierod::internal {

namespace {

// Say which row of the batch each entry of a part's first axis is of.
std::vector<std::int64_t> rows_of_part(const patch::EditRows& rows) {
  if (rows.part) return rows.part->rows;
  std::vector<std::int64_t> all(rows.numbers.size());
  std::iota(all.begin(), all.end(), std::int64_t{0});
  return all;
}

}  // namespace

patch::EditRows with_part(const patch::EditRows& rows) {
  patch::EditRows out = rows;
  out.part = callback_part();
  return out;
}

at::Tensor sum_of_rows(const at::Tensor& part, const patch::EditRows& rows) {
  const std::vector<std::int64_t> of = rows_of_part(rows);
  if (part.dim() < 1 || part.size(0) != length(of.size())) {
    throw InvalidArgument(cat("[patch.Edit] expected a part of ", of.size(), " rows, got ",
                              part.sizes(), "; its first axis must be the rows"));
  }
  const at::Tensor sums = part.reshape({part.size(0), -1}).sum(1, false, at::kDouble).to(at::kCPU);
  return at::zeros({length(rows.numbers.size())}, at::kDouble).index_add(0, index_of(of), sums);
}

PartVectors::PartVectors(const at::Tensor& part, const Site& site, const patch::EditRows& rows,
                         patch::Over over, std::int64_t width)
    : part_(part), pooled_(over == patch::Over::pooled) {
  const auto refuse = [&](const char* why) {
    return InvalidArgument(cat("[patch.Edit] at '", site.name(), "' expected a part of width ",
                               width, " for ", rows.numbers.size(), " rows, ",
                               patch::over_name(over), ", got ", part.sizes(), why,
                               "; what acts there was made for another site or selection"));
  };
  rows_ = length(rows.numbers.size());
  const std::vector<std::int64_t> of = rows_of_part(rows);
  const bool tokens_first = rows.part && rows.part->tokens_first;
  const bool narrow = part.scalar_type() == at::kHalf || part.scalar_type() == at::kBFloat16;
  const at::Tensor h = narrow ? part.to(at::kFloat) : part;
  const std::string layout = site.layout().empty()
                                 ? default_layout(site.name(), static_cast<std::size_t>(part.dim()))
                                 : site.layout();
  const bool repeats = std::adjacent_find(of.begin(), of.end()) != of.end();
  if (repeats && over == patch::Over::concatenated) {
    throw refuse(", rows with different numbers of tokens");
  }
  const std::int64_t dims = h.dim();
  if (dims < 2 || layout.find('r', 1) != std::string::npos || h.size(0) != length(of.size())) {
    throw refuse("");
  }
  // the part's axes: rows (or pairs), tokens, heads, width
  std::vector<std::int64_t> order;
  order.reserve(static_cast<std::size_t>(dims));
  for (std::int64_t axis = 0; axis < dims; ++axis) order.push_back(axis);
  const bool has_heads = layout.find('h') != std::string::npos;
  if (has_heads && !tokens_first && dims == 4 && layout.find('h') < layout.find('t')) {
    std::swap(order[1], order[2]);
  }
  if (over == patch::Over::concatenated) {
    if (h.numel() != length(of.size()) * width) throw refuse("");
  } else if (h.size(-1) != width &&
             !(has_heads && dims >= 3 &&
               h.size(order[static_cast<std::size_t>(dims) - 2]) * h.size(-1) == width)) {
    throw refuse("");
  }
  const at::Tensor ordered = over == patch::Over::concatenated ? h : h.permute(order);
  order_ = over == patch::Over::concatenated ? std::vector<std::int64_t>() : order;
  folded_ = ordered.sizes().vec();
  all_ = ordered.reshape({-1, width});
  const std::int64_t each = all_.size(0) / std::max<std::int64_t>(h.size(0), 1);
  row_ = index_of(of).repeat_interleave(each).to(h.device());
}

at::Tensor PartVectors::read() const { return pooled_ ? row_means() : all_; }

at::Tensor PartVectors::whole_rows() const {
  const at::Tensor counts = at::bincount(row_, {}, rows_);
  const bool even = counts.eq(counts[0]).all().item<bool>();
  // the order of `concatenated`
  return even ? part_.to(all_.scalar_type()).reshape({rows_, -1}) : row_means();
}

at::Tensor PartVectors::row_means() const {
  const at::Tensor sums = at::zeros({rows_, all_.size(1)}, all_.options()).index_add(0, row_, all_);
  return sums / at::bincount(row_, {}, rows_).clamp_min(1).to(all_.scalar_type()).unsqueeze(1);
}

at::Tensor PartVectors::mean_of_read(const at::Tensor& numbers) const {
  return pooled_ ? numbers.to(at::kCPU, at::kDouble) : mean_of_all(numbers);
}

at::Tensor PartVectors::mean_of_all(const at::Tensor& numbers) const {
  const at::Tensor row = row_.to(at::kCPU);
  return at::zeros({rows_}, at::kDouble).index_add(0, row, numbers.to(at::kCPU, at::kDouble)) /
         at::bincount(row, {}, rows_).clamp_min(1);
}

at::Tensor PartVectors::of_read(const at::Tensor& by_row) const {
  const at::Tensor here = by_row.to(all_.options());
  return pooled_ ? here : here.index_select(0, row_);
}

at::Tensor PartVectors::changed_by(const at::Tensor& change) const {
  const at::Tensor each = pooled_ ? change.index_select(0, row_) : change;
  const auto fold = [&](const at::Tensor& flat) {
    at::Tensor out = flat.reshape(folded_);
    if (!order_.empty()) {
      std::vector<std::int64_t> back(order_.size());
      for (std::size_t i = 0; i < order_.size(); ++i) {
        back[static_cast<std::size_t>(order_[i])] = static_cast<std::int64_t>(i);
      }
      out = out.permute(back);
    }
    return out.reshape(part_.sizes());
  };
  const at::Tensor by = fold(each);
  // h + 0 would turn -0 into +0
  return at::where(by.eq(0), part_, fold(all_ + each).to(part_.scalar_type()));
}

}  // namespace tierod::internal
