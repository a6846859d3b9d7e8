"""Keys of a cache at other positions."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from tierod import _core
from tierod._core import RotaryPairs
from tierod.stats.arrays import choice


def rotary_frequencies(head_width: int, theta: float = 10000.0) -> Tensor:
    """Return the inverse frequencies theta^(-2i / head_width), f64 [head_width / 2], in radians a token
    (Su et al. 2021, 2104.09864, section 3.2.2). Models with scaled frequencies have their own: in Hugging
    Face's, `model.rotary_emb.inv_freq`.

    Raises:
        InvalidArgument: an odd width, theta <= 0.
    """
    return _core._rotary_frequencies(head_width, theta)


def rotate_keys(
    keys: Tensor,
    from_positions: Tensor,
    to_positions: Tensor,
    inverse_frequencies: Tensor,
    *,
    pairs: Literal["halves", "interleaved"] = "halves",
) -> Tensor:
    """Return cached keys as they would be had their tokens stood elsewhere. Rotary embedding turns a key by
    its position (Su et al. 2021, 2104.09864, equation 34), and turns add up: a key moves by the angle
    (to - from) * inverse frequency. Attention to it from a query that moves along does not change.

    Angles are computed in f64 and keys of half types turned in f32; tokens that stay keep their bits. Numbers
    past 2 * frequencies (partial rotary) pass unchanged. Where a token has several positions (time, height,
    width), this holds if all of them move by the same amount. Frequencies that change with the length of the
    text have no such move. Differentiable in the keys.

    Args:
        keys: floating [..., tokens, head width].
        from_positions, to_positions: int64 [tokens], or [rows, tokens] with rows the first axis of the keys.
        inverse_frequencies: floating [at most head width / 2], radians a token.
        pairs: "halves" turns i with i + width / 2 (Llama, Qwen and GPT-NeoX in Hugging Face's layout),
            "interleaved" 2i with 2i + 1 (the paper, GPT-J).

    Raises:
        InvalidArgument: other shapes or dtypes.
        NumericalError: a frequency that is not finite.
    """
    return _core._rotate_keys(
        keys,
        from_positions,
        to_positions,
        inverse_frequencies,
        choice(RotaryPairs, pairs, "rotate_keys", "pairs", room="patch"),
    )
