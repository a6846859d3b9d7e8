"""Any two classes as the 0, 1 and 255 (unknown) that the C++ side takes."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tierod import _core

UNKNOWN = 255


def array_of(values: Any) -> npt.NDArray[Any]:
    """Return NumPy's view of an array, tensor, list or series; bf16 becomes f32."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        return np.asarray(values.float() if values.dtype == torch.bfloat16 else values)
    return np.asarray(values)


def unknown_of(array: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return where a label is missing: NaN, None, or the 255 of integers."""
    if array.dtype.kind == "f":
        return np.asarray(np.isnan(array), bool)
    if array.dtype.kind in "iu":
        return np.asarray(array == UNKNOWN, bool)
    if array.dtype.kind == "O":
        return np.array([x is None or bool(x != x) for x in array.ravel()]).reshape(array.shape)
    return np.zeros(array.shape, bool)


def encode(values: Any, where: str, name: str) -> tuple[npt.NDArray[np.uint8], npt.NDArray[Any]]:
    """Return labels [n] as 0, 1 or 255, and the two classes in ascending order; the second is 1."""
    array = array_of(values)
    if array.ndim != 1:
        raise _core.InvalidArgument(
            f"[probe.{where}] expected labels [n] of {name}, got shape {list(array.shape)}"
        )
    unknown = unknown_of(array)
    classes, index = np.unique(array[~unknown], return_inverse=True)
    if len(classes) != 2:
        raise _core.InvalidArgument(
            f"[probe.{where}] expected two classes of {name}, got {len(classes)}: "
            f"{[str(c) for c in classes[:6]]}; probe one class against the rest"
        )
    labels = np.full(len(array), UNKNOWN, np.uint8)
    labels[~unknown] = index
    return labels, classes


def identities(
    values: Any, where: str, name: str, *, missing: bool = False
) -> npt.NDArray[np.int64]:
    """Return names of any sortable type as integers; with `missing`, NaN, None and -1 become -1."""
    array = array_of(values)
    if array.ndim != 1:
        raise _core.InvalidArgument(
            f"[probe.{where}] expected {name} [n], got shape {list(array.shape)}"
        )
    if array.dtype.kind in "iub":
        return array.astype(np.int64)
    unknown = unknown_of(array)
    if missing and array.dtype.kind in "fO":
        # -1 says "none" in integers; a NaN elsewhere in the column must not turn it into a name
        unknown |= np.array(
            [isinstance(x, Real) and float(x) == -1 for x in array.tolist()], dtype=np.bool_
        )
    if unknown.any() and not missing:
        raise _core.InvalidArgument(
            f"[probe.{where}] expected {name} without missing values, got one in row "
            f"{int(np.argmax(unknown))}"
        )
    out = np.full(len(array), -1, np.int64)
    _, out[~unknown] = np.unique(array[~unknown], return_inverse=True)
    return out
