"""Pictures for people: sheets of scenes, written as PNG without further packages."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from tierod._core import InvalidArgument


def contact_sheet(
    images: torch.Tensor | Sequence[torch.Tensor], *, columns: int = 5, scale: int = 4, gap: int = 4
) -> NDArray[np.uint8]:
    """Put pictures uint8 [3, height, width] into rows of `columns`, each pixel `scale` wide.

    Returns uint8 [rows, columns, 3] of the whole sheet, black in between.

    Raises InvalidArgument unless there is a picture, and all are of one size.
    """
    pictures = [np.asarray(image) for image in images]
    shapes = {picture.shape for picture in pictures}
    if (
        len(shapes) != 1
        or any(p.dtype != np.uint8 for p in pictures)
        or len(next(iter(shapes))) != 3
    ):
        raise InvalidArgument(
            "[zoo.contact_sheet] expected at least one picture uint8 [3, height, width], all of one size, "
            f"got {len(pictures)} of the shapes {sorted(shapes)}"
        )
    if min(columns, scale) < 1 or gap < 0:
        raise InvalidArgument(
            f"[zoo.contact_sheet] expected columns and scale >= 1 and gap >= 0, got {columns}, {scale}, {gap}"
        )
    _, height, width = pictures[0].shape
    high, wide = height * scale + gap, width * scale + gap
    rows = -(-len(pictures) // columns)
    sheet = np.zeros((rows * high - gap, min(columns, len(pictures)) * wide - gap, 3), np.uint8)
    for i, picture in enumerate(pictures):
        y, x = i // columns * high, i % columns * wide
        large = picture.transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
        sheet[y : y + height * scale, x : x + width * scale] = large
    return sheet


def write_png(path: str | os.PathLike[str], image: NDArray[np.uint8]) -> None:
    """Write uint8 [height, width, 3] as a PNG file (ISO/IEC 15948).

    Raises InvalidArgument on another shape or type.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InvalidArgument(
            f"[zoo.write_png] expected uint8 [height, width, 3], got {image.dtype} {list(image.shape)}"
        )
    height, width, _ = image.shape

    def chunk(kind: bytes, data: bytes) -> bytes:
        check = struct.pack(">I", zlib.crc32(kind + data))
        return struct.pack(">I", len(data)) + kind + data + check

    # every row is preceded by its filter; 0 is none
    rows = np.concatenate([np.zeros((height, 1), np.uint8), image.reshape(height, -1)], 1)
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.write(chunk(b"IHDR", header))
        file.write(chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)))
        file.write(chunk(b"IEND", b""))
