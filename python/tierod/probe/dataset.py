"""Activations at sites with labels, groups and all that keeps evidence honest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tierod import _core
from tierod._core import NuisanceKind, Splits
from tierod.probe.labels import array_of, encode, identities

if TYPE_CHECKING:
    from tierod.store import ActivationReader


def _rows(values: Any) -> Tensor:
    if isinstance(values, Tensor):
        return values
    array = array_of(values)
    return torch.as_tensor(array if array.flags.writeable else array.copy())


class ProbeDataset:
    """Hold, for the same n rows, activations at sites, labels of concepts, groups and nuisances.

    A *group* is the independent unit (scene). Higher *levels* (route, town) hold whole groups.
    *Twins* are rows that differ in one thing only: they stay together whatever their groups. The
    *units* of a level are its members joined by twins; folds, splits and intervals work on units.

    Args:
        groups: the group of each row [n], of any sortable type.
        sites: for each site activations [n, d], NumPy or torch, of any floating dtype.
        concepts: for each concept labels [n]: two classes of any sortable type, the second of which
            is 1; NaN, None, or 255 among integers, are unknown.
        targets: for each real target (acceleration, distance) values [n] in any unit; NaN or None is
            unknown. `evaluate_targets` takes them.
        nuisances: for each nuisance values [n]: numbers enter as they are, `("binned", values)` or
            `("binned", values, bins)` cut at quantiles, `("categorical", values)` and anything that
            is no number a column a value.
        levels: levels above the groups, from low to high.
        twins: rows of one name are joined; NaN, None or -1 is a row without twin.
        strata: permuted labels move only within strata, which hold whole groups.
        types: the recurring type that control labels are keyed on (token id, road type); without it
            the combination of all nuisances' cells.

    Raises:
        InvalidArgument: lengths differ, a label has not two classes, a target is constant, a level or
            stratum parts a group.
        NumericalError: an activation, target or nuisance is not finite; site and row are named.
    """

    def __init__(
        self,
        groups: Any,
        *,
        sites: Mapping[str, Any] | None = None,
        concepts: Mapping[str, Any] | None = None,
        targets: Mapping[str, Any] | None = None,
        nuisances: Mapping[str, Any] | None = None,
        levels: Mapping[str, Any] | None = None,
        twins: Any = None,
        strata: Any = None,
        types: Any = None,
    ) -> None:
        self.core = _core.ProbeDataset(identities(groups, "ProbeDataset", "groups"))
        self.classes: dict[str, npt.NDArray[Any]] = {}
        for name, values in (levels or {}).items():
            self.add_level(name, values)
        for name, values in (nuisances or {}).items():
            self.add_nuisance(name, values)
        for name, values in (concepts or {}).items():
            self.add_concept(name, values)
        for name, values in (targets or {}).items():
            self.add_target(name, values)
        if twins is not None:
            self.set_twins(twins)
        if strata is not None:
            self.set_strata(strata)
        if types is not None:
            self.set_types(types)
        for name, values in (sites or {}).items():
            self.add_site(name, values)

    @classmethod
    def _of(cls, core: _core.ProbeDataset, classes: dict[str, npt.NDArray[Any]]) -> Self:
        out = cls.__new__(cls)
        out.core, out.classes = core, classes
        return out

    @classmethod
    def from_store(
        cls,
        reader: ActivationReader,
        stream: str,
        *,
        sites: Sequence[str] | None = None,
        concepts: Sequence[str] = (),
        rows: Any = None,
    ) -> Self:
        """Read rows of a stream; sites are loaded one at a time when they are used.

        Groups are the scenes of the row table (the samples, where there is none), and the level
        "store_group" its groups. Labels are those that `set_labels` gave to samples.
        """
        index = None if rows is None else _rows(rows).to(torch.int64)
        core = _core.ProbeDataset._from_store(
            reader.core, stream, list(sites or []), list(concepts), index
        )
        return cls._of(core, {name: np.array([0, 1]) for name in concepts})

    def add_site(self, name: str, rows: Any) -> None:
        """Add activations [n, d]; a tensor is not copied."""
        self.core.add_site(name, _rows(rows))

    def add_concept(self, name: str, labels: Any) -> None:
        """Add labels [n] of two classes; the second in ascending order is 1."""
        encoded, classes = encode(labels, "ProbeDataset", f"the concept {name}")
        self.core.add_concept(name, encoded)
        self.classes[name] = classes

    def add_target(self, name: str, values: Any) -> None:
        """Add a real target [n] in any unit; NaN or None is unknown."""
        array = array_of(values)
        try:
            numbers = array.astype(np.float64)
        except (TypeError, ValueError) as error:
            raise _core.InvalidArgument(
                f"[probe.ProbeDataset.add_target] expected numbers of {name}, got {array.dtype}; "
                "classes are concepts"
            ) from error
        self.core.add_target(name, numbers)

    def add_nuisance(self, name: str, values: Any, *, bins: int = 4) -> None:
        """Add a nuisance: values [n], or ("binned" | "categorical", values[, bins])."""
        kind = None
        if isinstance(values, tuple):
            kind, values, *more = values
            bins = more[0] if more else bins
        array = array_of(values)
        if kind is None:
            kind = "numeric" if array.dtype.kind in "fiu" else "categorical"
        if kind not in NuisanceKind.__members__:
            raise _core.InvalidArgument(
                f"[probe.ProbeDataset.add_nuisance] expected the kind of {name} as one of "
                f"{', '.join(NuisanceKind.__members__)}, got {kind!r}"
            )
        if kind == "categorical":
            array = identities(array, "ProbeDataset", f"the nuisance {name}")
        self.core.add_nuisance(name, array.astype(np.float64), NuisanceKind.__members__[kind], bins)

    def set_types(self, types: Any) -> None:
        """Set the recurring type [n] that control labels are keyed on (token id, road type)."""
        self.core.set_types(identities(types, "ProbeDataset", "types"))

    def set_twins(self, twins: Any) -> None:
        """Join rows of one name [n]; NaN, None or -1 is a row without twin."""
        self.core.set_twins(identities(twins, "ProbeDataset", "twins", missing=True))

    def set_strata(self, strata: Any) -> None:
        """Let permuted labels move only within strata [n], which hold whole groups."""
        self.core.set_strata(identities(strata, "ProbeDataset", "strata"))

    def add_level(self, name: str, ids: Any) -> None:
        """Add a level [n] above those there (route, town); it holds whole members of the one below."""
        self.core.add_level(name, identities(ids, "ProbeDataset", f"level {name}"))

    @property
    def sites(self) -> list[str]:
        return self.core.sites

    @property
    def concepts(self) -> list[str]:
        return self.core.concepts

    @property
    def targets(self) -> list[str]:
        return self.core.targets

    @property
    def levels(self) -> list[str]:
        return self.core.levels

    @property
    def groups(self) -> npt.NDArray[np.int64]:
        """The group [n] of each row, as a number."""
        return self.core.groups

    def __len__(self) -> int:
        return self.core.rows

    def site(self, name: str) -> Tensor:
        """Return the activations [n, d] of a site."""
        return self.core.site(name)

    def labels(self, concept: str) -> npt.NDArray[np.uint8]:
        """Return the labels [n] of a concept as 0, 1 or 255 (unknown)."""
        return self.core.labels(concept)

    def target(self, name: str) -> npt.NDArray[np.float64]:
        """Return the values [n] of a real target; NaN is unknown."""
        return self.core.target(name)

    def units(self, level: str = "group") -> npt.NDArray[np.int64]:
        """Return the unit [n] of each row: members of the level joined by twins."""
        return self.core.units(level)

    def folds(
        self, folds: int = 5, *, seed: int = 0, level: str = "group"
    ) -> npt.NDArray[np.int64]:
        """Return the fold [n] of each row: whole units, positives of each concept spread evenly."""
        return self.core.folds(folds, seed, level)

    def split(
        self, a: float = 0.5, b: float = 0.2, c: float = 0.3, *, seed: int = 0,
        least_units: int = 40, least_test_units: int = 12,
    ) -> Splits:  # fmt: skip
        """Split into A, B and C by the highest level with `least_units` units."""
        return self.core.split(a, b, c, seed, least_units, least_test_units)

    def check_split(self, of_row: Any) -> None:
        """Refuse a split made elsewhere, 0, 1, 2 or "A", "B", "C" a row, that parts a group or twins."""
        array = array_of(of_row)
        if array.dtype.kind in "UO":
            array = np.array(["ABC".find(str(x)) % 256 for x in array])
        self.core.check_split(array.astype(np.uint8))

    def subset(self, rows: Any, which: str | None = None) -> Self:
        """Return the dataset of some rows: numbers [m], a mask [n], or a split and "A", "B" or "C"."""
        if isinstance(rows, Splits):
            if which not in ("A", "B", "C"):
                raise _core.InvalidArgument(
                    f"[probe.ProbeDataset.subset] expected 'A', 'B' or 'C' of a split, got {which!r}"
                )
            rows = rows.of_row == "ABC".index(which)
        array = array_of(rows)
        if array.dtype.kind == "b":
            array = np.flatnonzero(array)
        core = self.core.subset(torch.as_tensor(array.astype(np.int64)))
        return self._of(core, dict(self.classes))

    def __repr__(self) -> str:
        return (
            f"ProbeDataset({len(self)} rows, {len(self.sites)} sites, concepts {self.concepts}, "
            f"targets {self.targets}, "
            f"levels {self.levels})"
        )
