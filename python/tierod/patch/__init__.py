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
    ErasureEdit,
    Mediation,
    Metric,
    Over,
    SweepPlan,
    SweepStrategy,
    Words,
    logit_difference,
    matched_directions,
    participation_ratio,
)
from tierod.patch.decoder_blocks import DecoderBlocks, NotSequentialError
from tierod.patch.edits import Edit, ablate, add, direction_place, erase, swap
from tierod.patch.runs import PairedRun, concept_directions, concept_effect, mediated_share
from tierod.patch.sweeps import Sweep, sweep

__all__ = [
    "ConceptDirections",
    "ConceptEffect",
    "DecoderBlocks",
    "DirectionEdit",
    "Edit",
    "EditRows",
    "ErasureEdit",
    "Mediation",
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
    "erase",
    "logit_difference",
    "matched_directions",
    "mediated_share",
    "participation_ratio",
    "swap",
    "sweep",
]
