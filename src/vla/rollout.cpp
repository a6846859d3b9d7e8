#include "tierod/vla/rollout.h"

#include <ATen/ops/cat.h>
#include <ATen/ops/constant_pad_nd.h>

#include <algorithm>
#include <cmath>
#include <string_view>
#include <utility>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::vla {

using internal::cat;

namespace {

template <typename... Args>
[[noreturn]] void refuse(const Args&... args) {
  throw InvalidArgument(cat(args...));
}

std::string shape_text(const at::Tensor& tensor) {
  return tensor.defined() ? cat(tensor.sizes()) : std::string("none");
}

void check_shape(const at::Tensor& tensor, const std::vector<std::int64_t>& shape,
                 std::string_view name, bool integers = false) {
  if (!tensor.defined() || tensor.sizes() != at::IntArrayRef(shape) ||
      (integers ? tensor.scalar_type() != at::kLong : !tensor.is_floating_point())) {
    refuse("[vla.Rollout.check] expected ", integers ? "int64 " : "floating ", name, " ",
           at::IntArrayRef(shape), ", got ", shape_text(tensor));
  }
}

void check_finite(const at::Tensor& tensor, std::string_view name) {
  const at::Tensor bad = tensor.detach().isfinite().logical_not().flatten(1).any(1);
  if (!bad.any().item<bool>()) return;
  throw NumericalError(cat("[vla.Rollout.check] expected finite ", name, ", got NaN or Inf in row ",
                           bad.nonzero()[0].item<std::int64_t>(),
                           "; the model itself produced it: look at its inputs and weights"));
}

}  // namespace

void RolloutOptions::check(std::int64_t scenes) const {
  constexpr std::string_view where = "[vla.RolloutOptions.check]";
  if (num_samples < 1) refuse(where, " expected num_samples >= 1, got ", num_samples);
  if (!(temperature >= 0) || !std::isfinite(temperature)) {
    refuse(where, " expected temperature >= 0, got ", temperature);
  }
  const std::int64_t rows = scenes * num_samples;
  if (cot_tokens) {
    const at::Tensor& t = *cot_tokens;
    if (!t.defined() || t.scalar_type() != at::kLong || t.dim() != 2 || t.size(0) != rows) {
      refuse(where, " expected cot_tokens int64 [", rows, ", length] (scenes x samples), got ",
             shape_text(t));
    }
    if (cot_length && *cot_length < t.size(1)) {
      // padding at the end is no content
      if (t.narrow(1, *cot_length, t.size(1) - *cot_length).ge(0).any().item<bool>()) {
        refuse(where, " expected cot_length no shorter than the given CoTs, got ", *cot_length,
               "; a CoT is cut by a Knockout of its span, never by deletion");
      }
    }
  }
  if (cot_length && *cot_length < 1) {
    refuse(where, " expected cot_length >= 1, got ", *cot_length);
  }
  if (noise) {
    const at::Tensor& n = *noise;
    if (!n.defined() || !n.is_floating_point() || n.dim() != 3 || n.size(0) != rows ||
        n.size(2) != 2) {
      refuse(where, " expected floating noise [", rows, ", waypoints, 2] (scenes x samples), got ",
             shape_text(n));
    }
  }
  for (const Knockout& knockout : knockouts) {
    if (knockout.columns.empty() || knockout.readers.empty()) {
      refuse(where, " expected the names of two spans in each knockout, got columns '",
             knockout.columns, "', readers '", knockout.readers, "'");
    }
  }
}

void Rollout::check() const {
  if (!(dt_s > 0)) refuse("[vla.Rollout.check] expected dt_s > 0 in seconds, got ", dt_s);
  if (!actions.defined() || actions.dim() != 3 || actions.size(0) < 1 || actions.size(1) < 1) {
    refuse("[vla.Rollout.check] expected actions [rows, waypoints, 2], got ", shape_text(actions));
  }
  const std::int64_t n = rows();
  check_shape(actions, {n, waypoints(), 2}, "actions");
  check_shape(trajectory, {n, waypoints(), 3}, "trajectory");
  check_shape(initial_speed, {n}, "initial_speed");
  check_shape(sample_index, {n}, "sample_index", true);
  check_shape(cot_lengths, {n}, "cot_lengths", true);
  if (num_samples < 1 || n % num_samples != 0) {
    refuse("[vla.Rollout.check] expected rows that num_samples divides, got ", n, " rows and ",
           num_samples, " samples");
  }
  if (!cot_tokens.defined() || cot_tokens.dim() != 2) {
    refuse("[vla.Rollout.check] expected cot_tokens [rows, length], got ", shape_text(cot_tokens));
  }
  check_shape(cot_tokens, {n, cot_tokens.size(1)}, "cot_tokens", true);
  if (std::cmp_not_equal(cot_text.size(), n)) {
    refuse("[vla.Rollout.check] expected a cot_text for each of ", n, " rows, got ",
           cot_text.size());
  }
  if (spans.size() > 1 && std::cmp_not_equal(spans.size(), n)) {
    refuse("[vla.Rollout.check] expected spans of every row, of one row for all, or none, got ",
           spans.size(), " for ", n, " rows");
  }
  check_finite(actions, "actions");
  check_finite(trajectory, "trajectory");
  check_finite(initial_speed.unsqueeze(1), "initial_speed");
}

Rollout concatenate_rollouts(const std::vector<Rollout>& parts) {
  if (parts.empty()) refuse("[vla.concatenate_rollouts] expected at least one rollout, got none");
  std::int64_t length = 0;
  bool spans = false;
  for (const Rollout& part : parts) {
    part.check();
    const Rollout& first = parts.front();
    if (part.num_samples != first.num_samples || part.dt_s != first.dt_s ||
        part.waypoints() != first.waypoints()) {
      refuse("[vla.concatenate_rollouts] expected rollouts of one kind, got num_samples ",
             first.num_samples, " and ", part.num_samples, ", dt_s ", first.dt_s, " and ",
             part.dt_s, ", waypoints ", first.waypoints(), " and ", part.waypoints());
    }
    length = std::max(length, part.cot_tokens.size(1));
    if (part.spans.empty() == spans && &part != &first) {
      refuse(
          "[vla.concatenate_rollouts] expected spans in all rollouts or in none, got both; give "
          "every rollout its spans");
    }
    spans = !part.spans.empty();
  }
  Rollout out = {.num_samples = parts.front().num_samples, .dt_s = parts.front().dt_s};
  const auto join = [&](auto&& of) {
    std::vector<at::Tensor> pieces;
    pieces.reserve(parts.size());
    for (const Rollout& part : parts) pieces.push_back(of(part));
    return at::cat(pieces);
  };
  out.cot_tokens = join([&](const Rollout& p) {
    return at::constant_pad_nd(p.cot_tokens, {0, length - p.cot_tokens.size(1)}, -1);
  });
  out.cot_lengths = join([](const Rollout& p) { return p.cot_lengths; });
  out.sample_index = join([](const Rollout& p) { return p.sample_index; });
  out.initial_speed = join([](const Rollout& p) { return p.initial_speed; });
  out.actions = join([](const Rollout& p) { return p.actions; });
  out.trajectory = join([](const Rollout& p) { return p.trajectory; });
  for (const Rollout& part : parts) {
    out.cot_text.insert(out.cot_text.end(), part.cot_text.begin(), part.cot_text.end());
    if (!spans) continue;
    for (std::int64_t row = 0; row < part.rows(); ++row) {
      out.spans.push_back(part.spans[part.spans.size() == 1 ? 0 : static_cast<std::size_t>(row)]);
    }
  }
  return out;
}

}  // namespace tierod::vla
