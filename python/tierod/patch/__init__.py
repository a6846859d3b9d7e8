"""Causal patching: what changes when an activation is replaced by that of another run.

`sweep` patches a grid of layers x positions of a Hugging Face decoder, or of any `vla.BlockModel`, and
computes only what a patch can reach.
"""

from tierod._core import Metric, SweepPlan, SweepStrategy, logit_difference
from tierod.patch.decoder_blocks import DecoderBlocks, NotSequentialError
from tierod.patch.sweeps import Sweep, sweep

__all__ = [
    "DecoderBlocks",
    "Metric",
    "NotSequentialError",
    "Sweep",
    "SweepPlan",
    "SweepStrategy",
    "logit_difference",
    "sweep",
]
