#include "tierod/patch/rotary.h"

#include <ATen/TensorOperators.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/where.h>

#include <cmath>

#include "core/text_internal.h"
#include "tierod/core/error.h"

namespace tierod::patch {

using internal::cat;

namespace {

constexpr auto* kWhere = "patch.rotate_keys";

std::string found(const at::Tensor& x) {
  return x.defined() ? cat(x.scalar_type(), " ", x.sizes()) : "none";
}

void check_keys(const at::Tensor& keys, const at::Tensor& frequencies) {
  if (!keys.defined() || keys.dim() < 2 || !keys.is_floating_point()) {
    throw InvalidArgument(cat("[", kWhere, "] expected floating keys [..., tokens, head width], ",
                              "got ", found(keys)));
  }
  const std::int64_t most = keys.size(-1) / 2;
  if (!frequencies.defined() || frequencies.dim() != 1 || !frequencies.is_floating_point() ||
      frequencies.size(0) < 1 || frequencies.size(0) > most) {
    throw InvalidArgument(cat("[", kWhere, "] expected floating inverse_frequencies [1 to ", most,
                              "], half the head width or less, got ", found(frequencies),
                              "; see rotary_frequencies"));
  }
  if (!frequencies.isfinite().all().item<bool>()) {
    throw NumericalError(cat("[", kWhere, "] expected finite inverse_frequencies"));
  }
}

// How far each token moves, in a shape that broadcasts to [..., tokens].
at::Tensor moves(const at::Tensor& keys, const at::Tensor& from, const at::Tensor& to) {
  const std::int64_t tokens = keys.size(-2);
  const auto fits = [&](const at::Tensor& positions) {
    if (!positions.defined() || positions.scalar_type() != at::kLong) return false;
    if (positions.dim() == 1) return positions.size(0) == tokens;
    return positions.dim() == 2 && keys.dim() >= 3 && positions.size(0) == keys.size(0) &&
           positions.size(1) == tokens;
  };
  if (!fits(from) || !fits(to) || from.dim() != to.dim()) {
    throw InvalidArgument(cat("[", kWhere, "] expected from_positions and to_positions int64 [",
                              tokens, "], or [rows, ", tokens,
                              "] with rows the first axis of the keys ", keys.sizes(), ", got ",
                              found(from), " and ", found(to)));
  }
  at::Tensor out = (to.to(keys.device()) - from.to(keys.device())).detach();
  if (out.dim() == 2) {
    while (out.dim() < keys.dim() - 1) out = out.unsqueeze(1);
  }
  return out;
}

}  // namespace

at::Tensor rotary_frequencies(std::int64_t head_width, double theta) {
  if (head_width < 2 || head_width % 2 != 0 || !(theta > 0) || !std::isfinite(theta)) {
    throw InvalidArgument(cat("[patch.rotary_frequencies] expected an even head_width >= 2 and ",
                              "theta > 0, got ", head_width, " and ", theta,
                              "; for partial rotary give the width that is turned"));
  }
  const at::Tensor even = at::arange(0, head_width, 2, at::TensorOptions().dtype(at::kDouble));
  return at::pow(theta, even.div(-static_cast<double>(head_width)));
}

at::Tensor rotate_keys(const at::Tensor& keys, const at::Tensor& from_positions,
                       const at::Tensor& to_positions, const at::Tensor& inverse_frequencies,
                       RotaryPairs pairs) {
  check_keys(keys, inverse_frequencies);
  const at::Tensor delta = moves(keys, from_positions, to_positions).unsqueeze(-1);
  const auto computed = keys.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  const at::Tensor angle =
      delta.to(at::kDouble) * inverse_frequencies.detach().to(keys.device(), at::kDouble);
  const at::Tensor cosine = angle.cos().to(computed);
  const at::Tensor sine = angle.sin().to(computed);

  const std::int64_t half = inverse_frequencies.size(0);
  const at::Tensor turning = keys.narrow(-1, 0, 2 * half).to(computed);
  const bool apart = pairs == RotaryPairs::halves;
  const at::Tensor first = apart ? turning.narrow(-1, 0, half) : turning.slice(-1, 0, 2 * half, 2);
  const at::Tensor second =
      apart ? turning.narrow(-1, half, half) : turning.slice(-1, 1, 2 * half, 2);
  const at::Tensor turned_first = first * cosine - second * sine;
  const at::Tensor turned_second = second * cosine + first * sine;
  at::Tensor turned = apart ? at::cat({turned_first, turned_second}, -1)
                            : at::stack({turned_first, turned_second}, -1).flatten(-2);
  turned = turned.to(keys.scalar_type());
  if (2 * half < keys.size(-1)) {
    turned = at::cat({turned, keys.narrow(-1, 2 * half, keys.size(-1) - 2 * half)}, -1);
  }
  // x * 1 - y * 0 is not x for infinities and -0
  return at::where(delta.eq(0), keys, turned);
}

}  // namespace tierod::patch
