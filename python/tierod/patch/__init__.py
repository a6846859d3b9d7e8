"""Causal patching: what changes when an activation is replaced.

`sweep` patches a grid of layers x positions of a Hugging Face decoder, or of any `vla.BlockModel`, and
computes only what a patch can reach. `PairedRun` drives a `vla.Model` with and without an edit, all else
equal; `concept_effect` says what a concept does to control, with an interval.
"""

from tierod._core import (
    ConceptDirections,
    ConceptEffect,
    DirectionEdit,
    EditRows,
    Metric,
    Over,
    SweepPlan,
    SweepStrategy,
    Words,
    logit_difference,
)
from tierod.patch.decoder_blocks import DecoderBlocks, NotSequentialError
from tierod.patch.edits import Edit, ablate, add, direction_place, swap
from tierod.patch.runs import PairedRun, concept_directions, concept_effect
from tierod.patch.sweeps import Sweep, sweep

__all__ = [
    "ConceptDirections",
    "ConceptEffect",
    "DecoderBlocks",
    "DirectionEdit",
    "Edit",
    "EditRows",
    "Metric",
    "NotSequentialError",
    "Over",
    "PairedRun",
    "Sweep",
    "SweepPlan",
    "SweepStrategy",
    "Words",
    "ablate",
    "add",
    "concept_directions",
    "concept_effect",
    "direction_place",
    "logit_difference",
    "swap",
    "sweep",
]
