#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "tierod/export.h"

namespace tierod::patch {

/// Say which two numbers of a head turn together.
enum class RotaryPairs : std::uint8_t {
  halves,       ///< i and i + width/2: Llama, Qwen, GPT-NeoX in Hugging Face's layout
  interleaved,  ///< 2i and 2i + 1: as the paper writes it, GPT-J
};

/// Return the inverse frequencies theta^(-2i / head_width), f64 [head_width / 2], in radians a
/// token (Su et al. 2021, 2104.09864, section 3.2.2).
/// @throws InvalidArgument unless head_width is even and >= 2, and theta > 0.
TIEROD_API at::Tensor rotary_frequencies(std::int64_t head_width, double theta = 10000);

/// Return cached keys as they would be had their tokens stood elsewhere. Rotary embedding turns a
/// key by its position (Su et al. 2021, 2104.09864, equation 34), and turns add up: a key moves by
/// the angle (to - from) * inverse frequency, whatever it is otherwise scaled by. Attention to it
/// from a query that moves along does not change.
///
/// Angles are computed in f64 and keys of half types turned in f32; tokens that stay keep their
/// bits. Numbers past 2 * frequencies (partial rotary) pass unchanged. Where a token has several
/// positions (time, height, width), this holds if all of them move by the same amount. Frequencies
/// that change with the length of the text have no such move. Differentiable in the keys.
///
/// @param keys            floating [..., tokens, head width]
/// @param from_positions  int64 [tokens], or [rows, tokens] with rows the first axis of the keys
/// @param to_positions    of the same shape
/// @param inverse_frequencies  floating [at most head width / 2], radians a token
/// @throws InvalidArgument on other shapes or dtypes; NumericalError if a frequency is not finite.
TIEROD_API at::Tensor rotate_keys(const at::Tensor& keys, const at::Tensor& from_positions,
                                  const at::Tensor& to_positions,
                                  const at::Tensor& inverse_frequencies,
                                  RotaryPairs pairs = RotaryPairs::halves);

}  // namespace tierod::patch
