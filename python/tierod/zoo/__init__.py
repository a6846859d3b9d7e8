"""The zoo: a generated world of driving scenes whose truth is known.

`Scenes` draws scenes, their pictures and their exact counterfactual twins from counters; a `Spec` says
which role each concept has; `law_actions` is what the specification makes of a scene and the stated
words, and `truthful_cot` what a truthful model says.
"""

from tierod._core import (
    DrivingModel,
    SceneConfig,
    Scenes,
    Spec,
    Trainer,
    TrainLog,
    TrainOptions,
    Truth,
    check_truth,
    cot_vocabulary,
    decode_cot,
    encode_cot,
    framing_names,
    language_tokens,
    law_actions,
    truthful_cot,
    zoo_concepts,
)
from tierod.zoo.pictures import contact_sheet, write_png

__all__ = [
    "DrivingModel",
    "SceneConfig",
    "Scenes",
    "Spec",
    "TrainLog",
    "TrainOptions",
    "Trainer",
    "Truth",
    "check_truth",
    "contact_sheet",
    "cot_vocabulary",
    "decode_cot",
    "encode_cot",
    "framing_names",
    "language_tokens",
    "law_actions",
    "truthful_cot",
    "write_png",
    "zoo_concepts",
]
