"""What users bring (NumPy, torch, lists) as the arrays that the C++ side takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tierod import _core

ArrayLike = npt.ArrayLike | torch.Tensor


def _numpy(values: Any) -> npt.NDArray[Any]:
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        # NumPy has no bfloat16
        return np.asarray(values.double() if values.is_floating_point() else values)
    return np.asarray(values)


def numbers(values: ArrayLike | None, where: str, name: str) -> npt.NDArray[np.float64]:
    """Return one-dimensional f64; None is the empty array (equal weights)."""
    if values is None:
        return np.empty(0)
    return _checked(_as_real(values, where, name), 1, where, name)


def matrix(values: ArrayLike, where: str, name: str) -> npt.NDArray[np.float64]:
    """Return two-dimensional f64."""
    return _checked(_as_real(values, where, name), 2, where, name)


def _as_real(values: ArrayLike, where: str, name: str) -> npt.NDArray[np.float64]:
    array = _numpy(values)
    if array.dtype.kind not in "fiub":
        raise _core.InvalidArgument(
            f"[stats.{where}] expected real numbers as {name}, got dtype {array.dtype}"
        )
    return array.astype(np.float64)


def binary(values: ArrayLike, where: str, ndim: int = 1) -> npt.NDArray[np.uint8]:
    """Return labels 0 and 1 as bytes; anything else is an error, and never rounded."""
    array = _checked(_as_real(values, where, "labels"), ndim, where, "labels")
    bad = ~((array == 0) | (array == 1))
    if bad.any():
        index = np.argwhere(bad)[0]
        raise _core.InvalidArgument(
            f"[stats.{where}] expected labels 0 or 1, got {array[tuple(index)]:g} at index "
            f"{', '.join(map(str, index))}; drop rows whose label is missing"
        )
    return array.astype(np.uint8)


def identities(values: ArrayLike | None, where: str, name: str) -> npt.NDArray[np.int64]:
    """Return group or stratum names of any sortable type as integers; None is the empty array."""
    if values is None:
        return np.empty(0, np.int64)
    array = _checked(_numpy(values), 1, where, name)
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise _core.InvalidArgument(f"[stats.{where}] expected {name} without NaN; name each group")
    try:
        _, index = np.unique(array, return_inverse=True)
    except TypeError as error:
        raise _core.InvalidArgument(
            f"[stats.{where}] expected {name} of one sortable type, got dtype {array.dtype}: {error}"
        ) from None
    return index.astype(np.int64)


def tensor(values: ArrayLike) -> torch.Tensor:
    """Return a tensor; a tensor as it is, on its device and in its dtype."""
    return values if isinstance(values, torch.Tensor) else torch.as_tensor(_numpy(values))


def _checked(array: npt.NDArray[Any], ndim: int, where: str, name: str) -> npt.NDArray[Any]:
    if array.ndim != ndim:
        raise _core.InvalidArgument(
            f"[stats.{where}] expected {ndim}-dimensional {name}, got shape {list(array.shape)}"
        )
    return array


def choice(kind: Any, value: str, where: str, name: str, room: str = "stats") -> Any:
    """Return the member of a C++ enumeration called `value`."""
    members = kind.__members__
    if value not in members:
        raise _core.InvalidArgument(
            f"[{room}.{where}] expected {name} as one of {', '.join(members)}, got {value!r}"
        )
    return members[value]
