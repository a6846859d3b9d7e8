"""What the store takes and gives: numbers of any library as tensors, and back."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from tierod import _core
from tierod._core import (
    SiteColumn,
    StreamSpec,
)

Path = str | os.PathLike[str]
Progress = Callable[[int, int, str], bool | None]
Streams = Sequence[StreamSpec] | Mapping[str, Mapping[str, tuple[int, torch.dtype]]]
Numbers = Sequence[int] | NDArray[Any] | Tensor
ROW_COLUMNS = (
    "sample", "scene", "group", "row", "token_index", "token_id", "position_id", "phase", "step",
    "branch", "call",
)  # fmt: skip
MIB = 1 << 20
MISSING = 255


def as_tensor(values: ArrayLike | Tensor) -> Tensor:
    return values if isinstance(values, Tensor) else torch.as_tensor(np.asarray(values))


def integers(values: ArrayLike | Tensor, what: str) -> Tensor:
    """Return integers as int64; a conversion that would round is refused."""
    tensor = as_tensor(values)
    if tensor.numel() and (tensor.is_floating_point() or tensor.is_complex()):
        raise _core.InvalidArgument(
            f"[store] expected integer {what}, got {tensor.dtype}; round them yourself if that is "
            "what you mean"
        )
    return tensor.to(torch.int64)


def optional_integers(values: Numbers | None, what: str) -> Tensor | None:
    return None if values is None else integers(values, what)


def row_numbers(rows: Numbers, count: int) -> Tensor:
    """Return row numbers; a bool mask means the rows where it is true, as in NumPy."""
    tensor = as_tensor(rows)
    if tensor.dtype != torch.bool:
        return integers(tensor, "row numbers")
    if tensor.shape != (count,):
        raise _core.InvalidArgument(
            f"[store.ActivationReader] expected a bool mask [{count}], got shape "
            f"{list(tensor.shape)}"
        )
    return tensor.nonzero().flatten()


def as_array(values: Tensor) -> NDArray[Any]:
    """Return NumPy's view; bf16, which NumPy lacks, becomes f32."""
    array: NDArray[Any] = (values.float() if values.dtype == torch.bfloat16 else values).numpy()
    return array


def stream_specs(streams: Streams) -> list[StreamSpec]:
    if not isinstance(streams, Mapping):
        return list(streams)
    return [
        StreamSpec(name, [SiteColumn(site, width, dtype) for site, (width, dtype) in sites.items()])
        for name, sites in streams.items()
    ]


def row_table(
    rows: Mapping[str, int | ArrayLike | Tensor],
) -> tuple[dict[str, Tensor], dict[str, int]]:
    columns: dict[str, Tensor] = {}
    fills: dict[str, int] = {}
    for name, value in rows.items():
        if isinstance(value, (int, np.integer)):
            fills[name] = int(value)
        else:
            columns[name] = integers(value, name)
    return columns, fills
