"""Models by name: what every command and every notebook opens a driving model with.

| name | model |
|---|---|
| `zoo:NAME`, or a bare `NAME` | one of the zoo's models that ship |
| `file:PATH` | a model of the zoo in a file |
| `metadrive-ppo` | MetaDrive's PPO driving expert, real weights (`tierod.adapters.metadrive_ppo`) |
| `py:MODULE:FACTORY` | what FACTORY() of MODULE returns |
| `PREFIX:REST` | what another package registers as PREFIX in the entry point group `tierod.models` |

A factory returns (model, scenes, concepts): a `vla.Model`, a `vla.SceneSource`, and the ids of the concepts
to ask about. That of an entry point is called with REST.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any, NamedTuple

from tierod import vla, zoo
from tierod._core import InvalidArgument, nearest_names
from tierod.adapters import metadrive_ppo

ENTRY_POINTS = "tierod.models"
BUILT_IN = ("zoo", "file", "py", "metadrive-ppo")


class OpenModel(NamedTuple):
    """A model with the scenes to run it on, and the ids of the concepts to ask about."""

    model: vla.Model
    scenes: vla.SceneSource
    concepts: list[str]


def open_model(name: str, *, scenes: int = 1000, seed: int = 0) -> OpenModel:
    """Open a model by its name (see the module).

    Args:
        scenes: number of scenes to draw, of models whose scenes are drawn (zoo, file, metadrive-ppo).
        seed: of those scenes.

    Raises:
        InvalidArgument: if the name is none, or a factory returns something else than a model, its
            scenes and its concepts.
        IoError: if a file cannot be read or trusted, or weights cannot be fetched.
    """
    if name == "metadrive-ppo":
        return OpenModel(*metadrive_ppo.make(scenes, seed))
    kind, _, rest = name.partition(":")
    if not rest:
        kind, rest = "zoo", name.removeprefix("zoo:")
    if kind in ("zoo", "file"):
        return _of_zoo(open_zoo_model(name), scenes, seed)
    if kind == "py":
        return _checked(name, _python_factory(name, rest)())
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name == kind:
            return _checked(name, entry.load()(rest))
    known = [*BUILT_IN, *(e.name for e in entry_points(group=ENTRY_POINTS))]
    raise InvalidArgument(
        f"[models.open_model] expected a name that begins with one of {', '.join(known)}, got '{name}'; "
        f"nearest {', '.join(nearest_names(kind, known))}; other packages register theirs in the entry "
        f"point group '{ENTRY_POINTS}'"
    )


def open_zoo_model(name: str) -> zoo.DrivingModel:
    """Open a model of the zoo: `zoo:NAME`, a bare `NAME`, or `file:PATH`.

    Raises:
        InvalidArgument: if there is no such model.
        IoError: if its file cannot be read or trusted.
    """
    if name.startswith("file:"):
        return zoo.DrivingModel.load(name.removeprefix("file:"))
    if name.endswith(".h5"):
        raise InvalidArgument(
            f"[models.open_zoo_model] expected a model of the zoo, got '{name}'; a file is 'file:{name}'"
        )
    return zoo.DrivingModel.named(name.removeprefix("zoo:"))


def _of_zoo(model: zoo.DrivingModel, scenes: int, seed: int) -> OpenModel:
    world = model.spec.scenes.to_dict() | {"scenes": scenes, "seed": seed}
    source = zoo.Scenes(zoo.SceneConfig(**world))
    return OpenModel(model, source, source.concepts())


def _python_factory(name: str, rest: str) -> Any:
    module, _, factory = rest.partition(":")
    if not factory:
        raise InvalidArgument(
            f"[models.open_model] expected py:MODULE:FACTORY, got '{name}'; for example "
            "py:my_package.models:make"
        )
    try:
        return getattr(importlib.import_module(module), factory)
    except (ImportError, AttributeError) as error:
        raise InvalidArgument(
            f"[models.open_model] expected a factory '{factory}' in the module '{module}', got {error}; "
            "run from where it can be imported, or install it"
        ) from error


def _checked(name: str, made: object) -> OpenModel:
    if isinstance(made, Sequence) and len(made) == 3:
        model, scenes, concepts = made
        if isinstance(model, vla.Model) and isinstance(scenes, vla.SceneSource):
            return OpenModel(model, scenes, [str(c) for c in concepts])
    raise InvalidArgument(
        f"[models.open_model] expected (vla.Model, vla.SceneSource, concepts) from the factory of '{name}', "
        f"got {[type(part).__name__ for part in made] if isinstance(made, Sequence) else type(made).__name__}"
    )


__all__ = ["ENTRY_POINTS", "OpenModel", "open_model", "open_zoo_model"]
