"""What makes an effect evidence: the same procedure on labels that mean nothing, and on readers that surely
read."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from tierod import _core
from tierod._core import ConceptControls, ConceptDirections, Over
from tierod.cache import site_name
from tierod.patch.edits import selection_of
from tierod.patch.experiments import Functional, _groups
from tierod.patch.runs import PairedRun, functional_of
from tierod.probe import ProbeDataset
from tierod.progress import stoppable
from tierod.stats.arrays import binary, choice

Sites = str | Sequence[str] | Mapping[str, Mapping[str, Any]]


def _edit_sites(sites: Sites, over: str, selection: Mapping[str, Any]) -> list[_core._EditSite]:
    how = choice(Over, over, "fit_directions", "over", room="patch")
    if isinstance(sites, str):
        sites = [sites]
    chosen = sites if isinstance(sites, Mapping) else dict.fromkeys(sites, selection)
    return [
        _core._EditSite(site_name(s), selection_of(**{**selection, **own}), how)
        for s, own in chosen.items()
    ]


def fit_directions(
    data: ProbeDataset,
    concept: str,
    sites: Sites,
    *,
    over: str = "each",
    adjust_for: Sequence[str] | None = None,
    interactions: bool = True,
    folds: int = 20,
    seed: int = 0,
    **selection: Any,
) -> ConceptDirections:
    """Fit the residualised directions of a concept at all sites of an edit, with `folds` delete-group refits
    (`probe.residual_direction`).

    Args:
        data: has the rows of each site under the site's name.
        sites: names; or selections by name, where they differ between sites.
        over, selection: as in `direction_place`.

    Raises:
        InvalidArgument: as `probe.residual_direction`.
    """
    return _core._fit_directions(
        data.core, concept, _edit_sites(sites, over, selection),
        None if adjust_for is None else list(adjust_for), interactions, folds, seed,
    )  # fmt: skip


def concept_controls(
    run: PairedRun,
    labels: Any,
    groups: Any,
    data: ProbeDataset,
    concept: str,
    sites: Sites,
    functional: Functional = "mean_acceleration",
    *,
    over: str = "each",
    adjust_for: Sequence[str] | None = None,
    interactions: bool = True,
    folds: int = 20,
    total_folds: int = 10,
    wrong_functional: Functional | None = None,
    positive: tuple[str, ConceptDirections, Any, Functional] | None = None,
    sesoi: float | None = None,
    permuted: int = 20,
    matched: int = 20,
    shams: int = 40,
    readers: Sequence[float] = (1.5, 3),
    total: bool = True,
    seed: int = 0,
    progress: bool | Callable[[int, int, str], bool | None] = True,
    **selection: Any,
) -> ConceptControls:
    """Run every control of a concept at the same sites, selection, operation (swap) and dose: label-permuted
    refits, matched directions, unrelated concepts of like prevalence and AUROC, the plain direction, a wrong
    functional, a null site, a positive control, sham concepts and virtual readers.

    Sham concepts are labels drawn for each scene from others that are alike in everything else the data know:
    as many positives, together with the same others, and no meaning. They go through the very procedure, so
    that `sham.false_used` is how often it errs here. Virtual readers, worth 1.5 and 3 `sesoi` for a swap between
    the classes, take the place of what the model itself does with the concept, and with others that are encoded:
    `readers` is how well it finds what is there.

    Args:
        run: over test scenes; `labels` and `groups` are of these.
        data: other scenes, with rows at each site under its name and labels of all concepts.
        adjust_for: None: all other concepts and nuisances.
        positive: name, directions, labels [scenes of the run] and functional of a concept that surely drives
            control through the same selection.
        sesoi: smallest effect of interest; None: the functional's own.
        total: total effects too, once a sham.

    Raises:
        InvalidArgument: as the fits and runs do.
        StateError: stopped by `progress`.
    """
    measured = functional_of(functional)
    interest = measured.sesoi if sesoi is None else sesoi
    if interest is None:
        raise _core.InvalidArgument(
            f"[patch.concept_controls] expected sesoi, since {measured.name} has no default, got None"
        )
    name, directions, on, its = positive or (None, ConceptDirections(), [], measured)
    with stoppable("controls", progress) as report:
        return _core._concept_controls(
            run.core, binary(labels, "concept_controls"), _groups(groups, "concept_controls"), data.core,
            concept, _edit_sites(sites, over, selection),
            None if adjust_for is None else list(adjust_for), interactions, folds, total_folds,
            measured, None if wrong_functional is None else functional_of(wrong_functional), name,
            directions, np.asarray(on, np.uint8), functional_of(its), interest, permuted, matched,
            shams, list(readers), total, seed, report,
        )  # fmt: skip


def sham_labels(
    labels: Any, others: Any, units: Any, *, seed: int = 0, nearest: int = 20
) -> list[int]:
    """Draw labels that mean nothing: each row takes the label of one of another unit, drawn from the `nearest` in
    what goes along with it (Hamming distance over the columns of `others` [n, q]; ties in random order). Where
    every unit has a single label, units draw in place of rows.

    Raises:
        InvalidArgument: other lengths, or fewer than 2 units.
    """
    given = others.numpy() if isinstance(others, Tensor) else others
    columns = np.asarray(given if given is not None else [], np.uint8)
    return _core._sham_labels(
        binary(labels, "sham_labels"), columns, _groups(units, "sham_labels"), seed, nearest
    )
