"""Worker of the zoo bench.

usage: zoo_worker.py <threads>

The shape `scenes` draws and renders 2000 scenes on so many threads. Shapes that are names of models drive
through 256 scenes, with the most likely words:

- `rollout`: tierod, through its Python interface
- `plain`: the same network in plain PyTorch as it is first written: the words by a cache, then prefix and
  words again for the expert, 8 Euler steps
- `plain_same`: the same, with as many Euler steps as tierod has
- `products`: the convolutions and matrix products of tierod's rollout alone, with nothing between them
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from harness.serve import serve

from tierod import vla, zoo

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "python"))
from plain_zoo import HEAD, HEADS, KV_HEADS, LAYERS, PREFIX, WAYPOINTS, PlainZoo

SCENES, ROWS = 2000, 256


@cache
def scenes(threads: int) -> zoo.Scenes:
    source = zoo.Scenes(zoo.SceneConfig(scenes=SCENES))
    source.set_threads(threads)
    return source


@cache
def drive(name: str):
    model = zoo.DrivingModel.named(name)
    world = model.spec.scenes.to_dict() | {"scenes": ROWS}
    batch = zoo.Scenes(zoo.SceneConfig(**world)).batch(list(range(ROWS)))
    noise = torch.randn(ROWS, WAYPOINTS, 2, generator=torch.Generator().manual_seed(0))
    options = vla.RolloutOptions(temperature=0, noise=noise)
    plain = PlainZoo(f"{zoo.DrivingModel.folder()}/{name}.h5")
    return model, batch, noise, options, plain, model.spec.to_dict()["mask"]


def products(name: str) -> tuple[Callable[[], None], float]:
    """Return what does the products of a rollout, and how many operations (2 a multiplication) they are."""
    model, batch, _, options, _, _ = drive(name)
    words = model.rollout(batch, options).cot_tokens.shape[1]
    steps: list[tuple[Callable[..., object], tuple, dict]] = []
    flops = 0.0

    def add(call: Callable[..., object], arguments: tuple, operations: float, **keywords) -> None:
        nonlocal flops
        steps.append((call, arguments, keywords))
        flops += operations

    def matrix(rows: int, inputs: int, outputs: int) -> None:
        a, b = torch.randn(rows, inputs), torch.randn(inputs, outputs)
        add(torch.mm, (a, b), 2.0 * rows * inputs * outputs, out=torch.empty(rows, outputs))

    def attention(queries: int, keys: int) -> None:
        q, k = torch.randn(ROWS * HEADS, queries, HEAD), torch.randn(ROWS * HEADS, HEAD, keys)
        p, v = torch.randn(ROWS * HEADS, queries, keys), torch.randn(ROWS * HEADS, keys, HEAD)
        work = 2.0 * ROWS * HEADS * queries * keys * HEAD
        add(torch.bmm, (q, k), work, out=torch.empty(ROWS * HEADS, queries, keys))
        add(torch.bmm, (p, v), work, out=torch.empty(ROWS * HEADS, queries, HEAD))

    def block(tokens: int, keys: int, kv_heads: int) -> None:
        matrix(ROWS * tokens, 64, (HEADS + 2 * kv_heads) * HEAD)
        attention(tokens, keys)
        matrix(ROWS * tokens, 64, 64)
        matrix(ROWS * tokens, 64, 192)
        matrix(ROWS * tokens, 192, 64)

    high, wide = 48, 96
    for inputs, outputs in ((3, 16), (16, 32), (32, 64)):
        x = torch.randn(ROWS, inputs, high, wide).contiguous(memory_format=torch.channels_last)
        w = torch.randn(outputs, inputs, 3, 3).contiguous(memory_format=torch.channels_last)
        high, wide = high // 2, wide // 2
        work = 2.0 * ROWS * high * wide * 9 * inputs * outputs
        add(torch.conv2d, (x, w, None, 2, 1), work)
    block(72, 72, HEADS)
    matrix(ROWS * 18, 256, 64)
    for _ in range(LAYERS):
        block(PREFIX, PREFIX, KV_HEADS)
    for word in range(words):
        matrix(ROWS, 64, 38)
        for _ in range(LAYERS):
            block(1, PREFIX + word + 1, KV_HEADS)
    for _ in range(model.denoise_steps):
        for _ in range(LAYERS):
            block(WAYPOINTS, PREFIX + words + WAYPOINTS, KV_HEADS)

    def run() -> None:
        for work, arguments, keywords in steps:
            work(*arguments, **keywords)

    return run, flops


products = cache(products)


def prepare(shape: str, contender: str) -> dict:
    about: dict[str, object] = {"versions": {"torch": torch.__version__}}
    if shape != "scenes":
        model, batch, _, options, _, _ = drive(shape)
        about["words"] = model.rollout(batch, options).cot_tokens.shape[1]
        about["gflop"] = products(shape)[1] * 1e-9
    return about


def check(shape: str, contender: str, reference: str) -> dict:
    if shape == "scenes":
        ids = list(range(64))
        same = torch.equal(scenes(1).batch(ids)["image"], scenes(2).batch(ids)["image"])
        return {"difference": 0.0 if same else 1.0}
    model, batch, noise, options, plain, mask = drive(shape)
    got = model.rollout(batch, options)
    words, actions = plain.rollout(batch, noise, mask=mask, steps=model.denoise_steps)
    if not torch.equal(words, got.cot_tokens.clamp_min(0)):
        return {"difference": float("inf")}
    return {"difference": (actions - got.actions).abs().max().item()}


def call(shape: str, contender: str) -> Callable[[], object]:
    if shape == "scenes":
        source, ids = scenes(int(contender)), list(range(SCENES))
        return lambda: source.batch(ids)
    model, batch, noise, options, plain, mask = drive(shape)
    if contender == "rollout":
        return lambda: model.rollout(batch, options)
    if contender == "products":
        return products(shape)[0]
    steps = {"plain": 8, "plain_same": model.denoise_steps}[contender]
    return lambda: plain.rollout(batch, noise, mask=mask, steps=steps)


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[1]))
    with torch.no_grad():
        serve(prepare, check, call)
