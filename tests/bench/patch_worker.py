"""Worker of the patch bench in Python: each contender fills a map layers x positions of one metric.

usage: patch_worker.py <data folder> <threads>

A contender returns the map [layers, positions] with NaN where it left cells out; it is timed as it is.
Whoever goes cell by cell does some cells only, and says how many.
"""

from __future__ import annotations

import importlib.metadata
import random
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from gpt2_shape import SHAPES, Plain, hooked_transformer, hugging_face, read_data, write_data
from harness.serve import serve
from torch import Tensor

FOLDER = Path(sys.argv[1])
RIGHT, WRONG = 3, 7
# cells of a map that contenders do that go cell by cell, and layers of those that go layer by layer
CELLS = {"sweep_4x128": 128, "sweep_12x512": 24}
LAYERS = {"sweep_4x128": 4, "sweep_12x512": 2}


@cache
def data(shape: str) -> tuple[dict[str, Tensor], Tensor, Tensor]:
    weights, tokens = read_data(shape, FOLDER)
    return weights, tokens[:1], tokens[1:]


@cache
def hf(shape: str) -> torch.nn.Module:
    return hugging_face(SHAPES[shape], data(shape)[0])


@cache
def pairs(shape: str) -> list[tuple[int, int]]:
    s = SHAPES[shape]
    all_pairs = [(layer, p) for layer in range(s.layers) for p in range(s.tokens)]
    return sorted(random.Random(0).sample(all_pairs, CELLS[shape]))


@cache
def layers(shape: str) -> list[int]:
    """Layers spread over the depth: by whole forwards each costs the same."""
    count, depth = LAYERS[shape], SHAPES[shape].layers
    return [round(i * (depth - 1) / (count - 1)) for i in range(count)]


def empty(shape: str) -> Tensor:
    return torch.full((SHAPES[shape].layers, SHAPES[shape].tokens), float("nan"))


def metric(logits: Tensor) -> Tensor:
    return logits[..., -1, RIGHT] - logits[..., -1, WRONG]


@torch.no_grad()
def residuals(model: Plain, tokens: Tensor) -> list[Tensor]:
    x, kept = model.wte[tokens] + model.wpe[: tokens.shape[1]], []
    for layer in model.layers:
        kept.append(x)
        x = layer(x)
    return kept


def batched(shape: str) -> Callable[[], Tensor]:
    """What a careful user writes: a whole forward for each layer, the positions as rows."""
    weights, base, source = data(shape)
    model = Plain(SHAPES[shape], weights).eval()
    size = SHAPES[shape].tokens
    index = torch.arange(size)

    @torch.no_grad()
    def run() -> Tensor:
        donor, out = residuals(model, source), empty(shape)
        for patched in layers(shape):
            x = model.wte[base.expand(size, size)] + model.wpe[:size]
            for i, layer in enumerate(model.layers):
                if i == patched:
                    x[index, index] = donor[i][0]
                x = layer(x)
            norm = torch.nn.functional.layer_norm(x, x.shape[-1:], model.lnf_w, model.lnf_b)
            out[patched] = metric(norm @ model.head_w)
        return out

    return run


@torch.no_grad()
def hf_residuals(shape: str) -> list[Tensor]:
    return list(hf(shape)(data(shape)[2], output_hidden_states=True).hidden_states[:-1])


def hf_hooks(shape: str) -> Callable[[], Tensor]:
    """A forward pre-hook and a whole forward for each cell."""
    model, base = hf(shape), data(shape)[1]

    @torch.no_grad()
    def run() -> Tensor:
        donor, out = hf_residuals(shape), empty(shape)
        for layer, p in pairs(shape):

            def hook(_module, args, kwargs, layer=layer, p=p):
                x = args[0].clone()
                x[:, p] = donor[layer][:, p]
                return (x, *args[1:]), kwargs

            handle = model.transformer.h[layer].register_forward_pre_hook(hook, with_kwargs=True)
            out[layer, p] = metric(model(base).logits)[0]
            handle.remove()
        return out

    return run


def nnsight(shape: str) -> Callable[[], Tensor]:
    from nnsight import NNsight

    model, base = NNsight(hf(shape)), data(shape)[1]

    @torch.no_grad()
    def run() -> Tensor:
        donor, out = hf_residuals(shape), empty(shape)
        for layer, p in pairs(shape):
            value = donor[layer][:, p]
            with model.trace(base):
                model.transformer.h[layer].input[:, p] = value
                logits = model.output.logits.save()
            out[layer, p] = metric(logits)[0]
        return out

    return run


def tl3(shape: str) -> Callable[[], Tensor]:
    """TransformerLens' own sweep."""
    import pandas as pd
    import tqdm
    from transformer_lens import patching

    # its bars go to stderr for each call
    tqdm.tqdm = patching.tqdm = lambda it, *_, **__: it
    weights, base, source = data(shape)
    model = hooked_transformer(SHAPES[shape], weights)
    s = SHAPES[shape]

    @torch.no_grad()
    def run() -> Tensor:
        _, kept = model.run_with_cache(source, names_filter=lambda n: n.endswith("hook_resid_pre"))

        def last(logits):
            return metric(logits)[0]

        if len(pairs(shape)) == s.layers * s.tokens:
            return patching.get_act_patch_resid_pre(model, base, kept, last)
        frame = pd.DataFrame(pairs(shape), columns=["layer", "pos"])
        values = patching.generic_activation_patch(
            model, base, kept, last, patching.layer_pos_patch_setter, "resid_pre", index_df=frame
        )
        out = empty(shape)
        for (layer, p), value in zip(pairs(shape), values, strict=True):
            out[layer, p] = value
        return out

    return run


def tierod_hf(shape: str) -> Callable[[], Tensor]:
    from tierod import patch

    model, base, source = hf(shape), data(shape)[1], data(shape)[2]

    def run() -> Tensor:
        found = patch.sweep(model, base, source, (RIGHT, WRONG), recheck=0, progress=False)
        return found.values[0, 0].float()

    return run


CONTENDERS = {
    f.__name__: f for f in (batched, hf_hooks, nnsight, tl3, tierod_hf)
}  # what each takes is a shape
SHARES = {"batched": LAYERS, "hf_hooks": CELLS, "nnsight": CELLS, "tl3": CELLS}


@cache
def contender(shape: str, label: str) -> Callable[[], Tensor]:
    return CONTENDERS[label](shape)


def share(shape: str, label: str) -> float:
    """Return which share of the map a contender does."""
    s = SHAPES[shape]
    if label == "batched":
        return LAYERS[shape] / s.layers
    return CELLS[shape] / (s.layers * s.tokens) if label in SHARES else 1.0


def expert_sweep() -> dict:
    """Count the language model's layer calls in a sweep over the expert of a zoo model and its inputs, and
    compare its time with that of whole runs."""
    import time

    import tierod
    from tierod import patch, vla, zoo

    model = zoo.DrivingModel.named("mixed")
    config = model.spec.scenes.to_dict() | {"scenes": 64, "seed": 3}
    scenes = zoo.Scenes(zoo.SceneConfig(**config))
    sites = [f"expert.layers.{i}.{port}" for i in range(3) for port in ("attn_out", "mlp_out")]
    sites += [f"vlm.cache.{i}.{kind}" for i in range(3) for kind in "kv"]

    def sweep(run):
        return patch.site_sweep(run, sites, None, "pedestrian", recheck=0, progress=False)

    class Counted(vla.StagedModel):
        """The model, with its thoughts counted. A session around the sweep would make it run as a whole."""

        thoughts = 0

        def describe(self):
            return model.describe()

        def batch_spec(self):
            return model.batch_spec()

        def think(self, batch, options=None):
            self.thoughts += 1
            return model.think(batch, options)

        def act(self, thought, knockouts=()):
            return model.act(thought, list(knockouts))

    def layer_calls() -> int:
        """Count those of one thought."""
        calls = 0

        def count(_hidden, _event):
            nonlocal calls
            calls += 1

        with tierod.Session() as session:
            session.intervene("vlm.layers.*.resid_pre", count)
            model.rollout(scenes.batch(list(range(64))))
        return calls

    def beside_donors(memory: int) -> int:
        """Return layer calls of a sweep beside those of base and donors."""
        counted = Counted()
        run = patch.PairedRun(counted, scenes, thought_memory=memory)
        _ = run.base
        before = counted.thoughts
        sweep(run)
        return (counted.thoughts - before - 1) * layer_calls()

    runs = {
        k: patch.PairedRun(model, scenes, thought_memory=m)
        for k, m in (("act", 1 << 30), ("whole", 0))
    }
    found, seconds = {}, {}
    for _ in range(3):
        for name, run in runs.items():
            _ = run.base
            start = time.process_time()
            found[name] = sweep(run)
            spent = time.process_time() - start
            seconds[name] = min(spent, seconds.get(name, spent))
    return {
        "lm_calls": beside_donors(1 << 30),
        "whole_lm_calls": beside_donors(0),
        "cells": len(sites),
        "equal": bool(torch.equal(found["act"].values, found["whole"].values)),
        "cpu_s": seconds,
    }


def prepare(shape: str, label: str) -> dict:
    if label == "expert":
        return expert_sweep()
    if label == "data":
        write_data(shape, FOLDER)
        return {}
    contender(shape, label)
    versions = {}
    for name in ("torch", "transformers", "transformer-lens", "nnsight"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {"versions": versions, "share": share(shape, label)}


def check(shape: str, label: str, file: str) -> dict:
    Path(file).write_bytes(contender(shape, label)().float().contiguous().numpy().tobytes())
    return {}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    serve(prepare, check, contender)
