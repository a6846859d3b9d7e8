"""Worker of the zoo bench.

usage: zoo_worker.py <threads>

The shape `scenes` draws and renders 2000 scenes on so many threads.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache

import torch
from harness.serve import serve

from tierod import zoo

SCENES = 2000


@cache
def scenes(threads: int) -> zoo.Scenes:
    source = zoo.Scenes(zoo.SceneConfig(scenes=SCENES))
    source.set_threads(threads)
    return source


def prepare(shape: str, contender: str) -> dict:
    return {"versions": {"torch": torch.__version__}}


def check(shape: str, contender: str, reference: str) -> dict:
    ids = list(range(64))
    same = torch.equal(scenes(1).batch(ids)["image"], scenes(2).batch(ids)["image"])
    return {"difference": 0.0 if same else 1.0}


def call(shape: str, contender: str) -> Callable[[], object]:
    source, ids = scenes(int(contender)), list(range(SCENES))
    return lambda: source.batch(ids)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    serve(prepare, check, call)
