"""Experiments on paired runs: twins, paths, erasure, doses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from tierod import _core
from tierod._core import (
    AblationCheck,
    Completeness,
    ConceptDirections,
    DoseResponse,
    GuardReport,
    Interchange,
    JointErasure,
    Over,
    PathShares,
    Plausible,
    PositionEffects,
    Restoration,
)
from tierod.cache import Key, site_name
from tierod.patch.edits import _listed, _sites, selection_of
from tierod.patch.manifold import Manifold
from tierod.patch.runs import AnyEdit, PairedRun, Say, functional_of, words_of
from tierod.stats.arrays import binary, choice, identities
from tierod.vla import ControlFunctional

Functional = str | ControlFunctional


def _groups(groups: Any, where: str) -> Any:
    return np.asarray(identities(groups, where, "groups"), np.int64)


def twin_restoration(
    run: PairedRun,
    twin_by: str,
    labels: Any,
    groups: Any,
    sites: Key | Sequence[Key],
    functional: Functional = "mean_acceleration",
    *,
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
    **selection: Any,
) -> Restoration:
    """Patch activations between scenes and their exact twins, both ways, words held: is what the run with the
    concept holds at `sites` enough for its effect (`denoising`), and is the effect lost without it
    (`noising`)? Ratios of sums over the scenes (Heimersheim & Nanda 2024, 2404.15255). High denoising with low
    noising: other sites hold it too.

    Args:
        twin_by: the concept.
        labels, groups: of each scene of the run: whether it has the concept, and the independent unit.

    The others select as in `Session.capture`.

    Raises:
        InvalidArgument: other lengths or labels.
        StateError: the source has no twins.
        NumericalError: the twins have no effect at all.
    """
    return _core._twin_restoration(
        run.core, twin_by, binary(labels, "twin_restoration"), _groups(groups, "twin_restoration"),
        _sites(sites), selection_of(**selection), functional_of(functional), replicates, confidence,
        seed,
    )  # fmt: skip


def path_shares(
    run: PairedRun,
    twin_by: str,
    labels: Any,
    groups: Any,
    blocks: Mapping[str, Sequence[str] | str],
    functional: Functional = "mean_acceleration",
    *,
    sites: Sequence[Key] = (),
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> PathShares:
    """Split a concept's whole effect (exact twins, words regenerated) over the paths to the control head: the
    states at the tokens of each block, words held, and the words themselves (path patching: Goldowsky-Dill
    et al. 2023, 2304.05969).

    Args:
        twin_by, labels, groups: as in `twin_restoration`.
        blocks: names of spans by the block's name: {"vision": "image 0", "ego": "ego", ...}.
        sites: through which the head reads; none named: the model's head inputs.

    Raises:
        InvalidArgument: no head inputs, a block without spans, other lengths or labels.
        StateError, NumericalError: as `twin_restoration`.
    """
    named = [
        (name, [spans] if isinstance(spans, str) else list(spans)) for name, spans in blocks.items()
    ]
    return _core._path_shares(
        run.core, twin_by, binary(labels, "path_shares"), _groups(groups, "path_shares"), named,
        functional_of(functional), [site_name(s) for s in sites], replicates, confidence, seed,
    )  # fmt: skip


def interchange(
    run: PairedRun,
    twin_by: str,
    labels: Any,
    groups: Any,
    sources: Any,
    places: Any,
    functional: Functional = "mean_acceleration",
    *,
    words: Say = "held",
    replicates: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Interchange:
    """Give each scene the concept's position of another and compare control with the exact counterfactual: the
    scene itself where both agree in the concept, else its twin (Geiger et al. 2024, 2303.02536). `r2` is of
    m_int against m_cf; `r2_of_change` leaves out what scenes differ in anyway.

    Args:
        sources: [scenes of the run], number among the scenes of the run of the one to take from.
        places: `direction_place`s of the concept.

    Raises:
        InvalidArgument: other lengths, labels or sources.
        StateError: the source has no twins.
        NumericalError: the counterfactuals do not differ.
    """
    return _core._interchange(
        run.core, twin_by, binary(labels, "interchange"), _groups(groups, "interchange"),
        np.asarray(sources, np.int64), _listed(places), functional_of(functional), words_of(words),
        replicates, confidence, seed,
    )  # fmt: skip


def completeness(
    run: PairedRun,
    donors: Sequence[int],
    sites: Key | Sequence[Key],
    functionals: Sequence[Functional] = ("mean_acceleration", "lateral_offset"),
    *,
    fields: Sequence[str] = (),
    bound: float = 0.10,
    **selection: Any,
) -> Completeness:
    """Patch everything at a site from other scenes: where control does not become theirs, something goes past
    the site, and no null there means anything.

    Args:
        donors: ids of other scenes, one for each scene of the run.
        fields: inputs of the batch that enter by the site ("image"); none named: all. Where a donor's speed
            enters the trajectory past the control head, take functionals of the actions.
        bound: complete where mean |m(patched) - m(donor)| is at most this share of mean |m(donor) - m(base)|.

    Raises:
        InvalidArgument: other donors, unknown fields, no functional.
        NumericalError: the donors move no functional.
    """
    return _core._completeness(
        run.core, [int(i) for i in donors], _sites(sites), selection_of(**selection), list(fields),
        [functional_of(f) for f in functionals], bound,
    )  # fmt: skip


def position_effects(
    run: PairedRun,
    donor: _core._Donor,
    groups: Any,
    sites: Key | Sequence[Key],
    span: str = "cot",
    control: Sequence[str] = ("prompt", "image 0", "ego"),
    functional: Functional = "mean_acceleration",
    *,
    draws: int = 4,
    seed: int = 0,
) -> PositionEffects:
    """Patch keys and values (or any states) at the tokens of a span from a donor, and at as many neighbouring
    tokens elsewhere: do the positions of the words carry more than any positions do?

    Args:
        donor: `donor_of(scenes=...)`, since tokens before the words cannot know other words; where these are to
            differ too, `words=run.resampled_words().words`, which are as long as the scene's.
        control: spans, one behind the other, from which a window of as many tokens is drawn for each row.

    Raises:
        InvalidArgument: a row without such a span, or with one longer than its control spans; a donor that
            changes nothing at the control tokens.
    """
    return _core._position_effects(
        run.core, donor, _groups(groups, "position_effects"), _sites(sites), span, list(control),
        functional_of(functional), draws, seed,
    )  # fmt: skip


def joint_erasure(
    run: PairedRun,
    labels: Any,
    groups: Any,
    directions: ConceptDirections,
    functional: Functional = "mean_acceleration",
    *,
    words: Say = "held",
    confidence: float = 0.95,
) -> JointErasure:
    """Erase a concept at all places of `directions` in the same run and measure what control loses:
    theta = mean over scenes with the concept of (m - m_erased), less the same of those without. At every site
    through which control reads it says what no edit at one site can: that nothing else carries the concept.
    "Nothing was lost" counts only where `verify_ablation` passes.

    Raises:
        InvalidArgument: other lengths, a single class, fewer than 2 refits or groups.
    """
    return _core._joint_erasure(
        run.core, binary(labels, "joint_erasure"), _groups(groups, "joint_erasure"), directions,
        functional_of(functional), words_of(words), confidence,
    )  # fmt: skip


def verify_ablation(
    run: PairedRun,
    labels: Any,
    groups: Any,
    places: Any,
    others: Tensor | None = None,
    *,
    words: Say = "held",
    folds: int = 5,
    positive_units: int = 150,
    most: float = 0.60,
    most_upper: float = 0.65,
) -> list[AblationCheck]:
    """Refit probes on what ablation leaves, on scenes that took no part in fitting it, and on all numbers of the
    selected part. A place passes if a fresh probe reads an AUROC of at most `most` (upper bound `most_upper`)
    among scenes that are balanced within strata of what the others tell of the concept (propensity): erasure
    leaves them, and what they tell.

    Args:
        run: over held-out scenes.
        others: [scenes of the run, q] labels of what goes along with the concept.

    Raises:
        InvalidArgument, NumericalError: as `probe.verify_erasure`.
    """
    return _core._verify_ablation(
        run.core, binary(labels, "verify_ablation"), _groups(groups, "verify_ablation"),
        _listed(places), others, words_of(words), folds, positive_units, most, most_upper,
    )  # fmt: skip


def guard_place(
    site: Key, manifold: Manifold, *, over: str = "pooled", **selection: Any
) -> _core._GuardPlace:
    """Say where edited runs are held against natural activations: the edited site, or a later one, where what
    an edit started has spread. `manifold` is of the same rows: means over the tokens ("pooled"), or all
    numbers ("concatenated")."""
    how = choice(Over, over, "guard_place", "over", room="patch")
    return _core._GuardPlace(site_name(site), manifold.core, selection_of(**selection), how)


def guard_edit(
    run: PairedRun,
    edit: AnyEdit,
    words: Say,
    places: Sequence[_core._GuardPlace],
    *,
    limits: Plausible | None = None,
) -> GuardReport:
    """Drive with an edit and check where it goes: activations off the manifold, trajectories that no car could
    drive."""
    return _core._guard_edit(run.core, edit, words_of(words), list(places), limits or Plausible())


def dose_response(
    run: PairedRun,
    places: Any,
    functional: Functional = "mean_acceleration",
    *,
    doses: Sequence[float] = (-2, -1, -0.5, 0.5, 1, 2),
    words: Say = "held",
    guard: Sequence[_core._GuardPlace] = (),
    limits: Plausible | None = None,
    groups: Any = None,
    most_off: float = 0.10,
) -> DoseResponse:
    """Add doses along directions, in natural standard deviations, and test whether control answers in their
    order (Page 1963). A flag and not a gate.

    Args:
        guard: doses at which more than `most_off` of the scenes are off, or drive as no car could, do not
            count.
        groups: [scenes of the run], the independent unit, over which effects are averaged before the test;
            None: each scene.

    Raises:
        InvalidArgument: fewer than 3 doses, or one twice.
    """
    return _core._dose_response(
        run.core, _listed(places), functional_of(functional), [float(d) for d in doses],
        words_of(words), list(guard), limits or Plausible(),
        [] if groups is None else _groups(groups, "dose_response").tolist(), most_off,
    )  # fmt: skip
