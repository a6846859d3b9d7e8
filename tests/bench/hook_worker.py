"""Worker of the hook bench in Python: each contender runs a model and keeps every block's output.

usage: hook_worker.py <data folder> <threads>

A contender is a function that returns (logits, [block outputs]) and is timed as it is. It is built
from what its own environment offers, so this file runs in the project's and in the peers'.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import sys
from collections.abc import Callable, Mapping
from functools import cache, partial
from pathlib import Path

import torch
from gpt2_shape import SHAPES, Plain, hooked_transformer, hugging_face, read_data, write_data
from harness.serve import Toggled, serve
from torch import Tensor
from torch.utils.hooks import RemovableHandle

FOLDER = Path(sys.argv[1])
Result = tuple[Tensor, list[Tensor] | Mapping[str, Tensor]]
Call = Callable[[], object]


@cache
def data(shape: str) -> tuple[dict[str, Tensor], Tensor]:
    return read_data(shape, FOLDER)


def first(output: object) -> Tensor:
    """Return the tensor of a block's output: transformers 4 returns tuples, 5 tensors."""
    return output[0] if isinstance(output, tuple) else output


# Models are shared between contenders only where nobody leaves anything on them.
@cache
def hf(shape: str, who: str = "") -> torch.nn.Module:
    return hugging_face(SHAPES[shape], data(shape)[0])


@cache
def plain(shape: str, who: str = "") -> torch.nn.Module:
    return Plain(SHAPES[shape], data(shape)[0]).eval()


@cache
def lens(shape: str) -> torch.nn.Module:
    return hooked_transformer(SHAPES[shape], data(shape)[0])


def block_names(shape: str, prefix: str = "transformer.h") -> list[str]:
    return [f"{prefix}.{i}" for i in range(SHAPES[shape].layers)]


# --- bare forwards


def plain_bare(shape: str) -> Call:
    model, tokens = plain(shape), data(shape)[1]
    return lambda: (model(tokens), [])


def hf_bare(shape: str) -> Call:
    model, tokens = hf(shape), data(shape)[1]
    return lambda: (model(tokens).logits, [])


def tl3_bare(shape: str) -> Call:
    model, tokens = lens(shape), data(shape)[1]
    return lambda: (model(tokens), [])


# --- plain PyTorch


class PlainHooks:
    """Plain forward hooks that come and go; what they keep is in `kept`."""

    def __init__(self, model: torch.nn.Module, names: list[str], clone: bool) -> None:
        self.kept: dict[str, Tensor] = {}
        self._handles: list[RemovableHandle] = []
        self._hooks = [(model.get_submodule(name), self._hook(name, clone)) for name in names]

    def _hook(self, name: str, clone: bool) -> Callable[..., None]:
        kept = self.kept

        def hook(_module, _inputs, output):
            value = first(output).detach()
            kept[name] = value.clone() if clone else value

        return hook

    def put_on(self) -> None:
        self._handles = [module.register_forward_hook(hook) for module, hook in self._hooks]

    def take_off(self) -> None:
        for handle in self._handles:
            handle.remove()


def _hooked(model: torch.nn.Module, tokens: Tensor, names: list[str], clone: bool) -> Call:
    hooks = PlainHooks(model, names, clone)

    def run() -> Result:
        hooks.kept.clear()
        output = model(tokens)
        return getattr(output, "logits", output), hooks.kept

    return Toggled(run, hooks.put_on, hooks.take_off)


def hf_hook(shape: str, clone: bool) -> Call:
    return _hooked(hf(shape), data(shape)[1], block_names(shape), clone)


def plain_hook(shape: str, clone: bool) -> Call:
    return _hooked(plain(shape), data(shape)[1], block_names(shape, "layers"), clone)


def hf_trace_dict(shape: str) -> Call:
    """Hooks that come and go with every call, and detached clones: the TraceDict idiom."""
    model, tokens, names = hf(shape), data(shape)[1], block_names(shape)

    def run() -> Result:
        kept: dict[str, Tensor] = {}
        with contextlib.ExitStack() as stack:
            modules = dict(model.named_modules())
            for name in names:

                def hook(_module, _inputs, output, name=name):
                    kept[name] = first(output).detach().clone()

                stack.callback(modules[name].register_forward_hook(hook).remove)
            logits = model(tokens).logits
        return logits, kept

    return run


# --- peers


def tl3_cache(shape: str) -> Call:
    model, tokens = lens(shape), data(shape)[1]

    def run() -> Result:
        logits, kept = model.run_with_cache(
            tokens, names_filter=lambda name: name.endswith("hook_resid_post")
        )
        return logits, kept

    return run


@cache
def bridge(shape: str) -> torch.nn.Module:
    from transformer_lens.model_bridge.sources._bridge_builder import build_bridge_from_module

    model = hugging_face(SHAPES[shape], data(shape)[0], attention="eager")
    return build_bridge_from_module(
        model, "GPT2LMHeadModel", hf_config=model.config, device="cpu", dtype=torch.float32
    )


def tl4_bare(shape: str) -> Call:
    model, tokens = bridge(shape), data(shape)[1]
    return lambda: (model(tokens), [])


def tl4_cache(shape: str) -> Call:
    model, tokens = bridge(shape), data(shape)[1]
    names = {f"blocks.{i}.hook_out" for i in range(SHAPES[shape].layers)}

    def run() -> Result:
        logits, kept = model.run_with_cache(tokens, names_filter=lambda name: name in names)
        return logits, [kept[f"blocks.{i}.hook_out"] for i in range(len(names))]

    return run


def nnsight_trace(shape: str) -> Call:
    from nnsight import NNsight

    model, tokens = NNsight(hf(shape, "nnsight")), data(shape)[1]

    def run() -> Result:
        kept = []
        with model.trace(tokens):
            for block in model.transformer.h:
                kept.append(block.output.save())
            logits = model.output.logits.save()
        return logits, [first(value) for value in kept]

    return run


def pyvene_lambda(shape: str) -> Call:
    import pyvene

    tokens, kept = data(shape)[1], {}

    def keep(base: Tensor, _source: object, index: int) -> Tensor:
        kept[index] = base.detach().clone()
        return base

    sites = [
        {"component": f"transformer.h[{i}].output", "intervention": partial(keep, index=i)}
        for i in range(SHAPES[shape].layers)
    ]
    # pyvene takes functions by their type, and a partial is not of it.
    for site in sites:
        call = site["intervention"]
        site["intervention"] = lambda base, source, call=call: call(base, source)
    model = pyvene.IntervenableModel(sites, model=hf(shape, "pyvene"))

    def run() -> Result:
        kept.clear()
        _, output = model(base={"input_ids": tokens}, unit_locations=None)
        logits = output.logits if output is not None else torch.empty(0)
        return logits, [first(kept[i]) for i in range(len(sites))]

    return run


def tdhook_cache(shape: str) -> Call:
    from tdhook.latent.activation_caching import ActivationCaching
    from tensordict import TensorDict

    tokens, names = data(shape)[1], block_names(shape)
    caching = ActivationCaching(r"transformer\.h\.\d+$")
    context = caching.prepare(hf(shape, "tdhook"), in_keys=["input_ids"], out_keys=["logits"])
    hooked = context.__enter__()  # the hooks stay, as those of the other contenders do

    def run() -> Result:
        result = hooked(TensorDict({"input_ids": tokens}, batch_size=[tokens.shape[0]]))
        kept = result["cache"]
        return first(result["logits"]), [first(kept[name]) for name in names]

    return run


# --- tierod


def _tierod_open(model: torch.nn.Module, tokens: Tensor, pattern: str) -> Call:
    """One session over many forwards: the cost of the hooks alone, as the plain hooks show it."""
    import tierod

    instrumented = tierod.instrument(model)
    session = None

    def put_on() -> None:
        nonlocal session
        session = instrumented.session()
        session.capture(pattern, copy=False)
        session.open()

    def run() -> Result:
        session.cache.core.clear()
        output = model(tokens)
        return getattr(output, "logits", output), session.cache

    return Toggled(run, put_on, lambda: session.close())


def tierod_open(shape: str) -> Call:
    return _tierod_open(hf(shape), data(shape)[1], "**.resid_post")


def tierod_plain_open(shape: str) -> Call:
    return _tierod_open(plain(shape), data(shape)[1], "@layers.*:out")


def tierod_session(shape: str) -> Call:
    """A session for each forward, as a user writes it."""
    import tierod

    model, tokens = hf(shape), data(shape)[1]
    instrumented = tierod.instrument(model)

    def run() -> Result:
        with instrumented.session() as session:
            session.capture("**.resid_post", copy=False)
            logits = model(tokens).logits
        return logits, session.cache

    return run


# --- sessions of 200 modules that do nothing


class Chain(torch.nn.Module):
    """200 modules in a row that hand their input on."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.ModuleList(torch.nn.Identity() for _ in range(200))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


CHAIN_NAMES = [f"layers.{i}" for i in range(200)]


def chain_bare(_shape: str) -> Call:
    return partial(Chain(), torch.zeros(1, 1, 8))


def hooks_steady(_shape: str) -> Call:
    return _hooked(Chain(), torch.zeros(1, 1, 8), CHAIN_NAMES, clone=False)


def hooks_fresh(_shape: str) -> Call:
    hooks = _hooked(Chain(), torch.zeros(1, 1, 8), CHAIN_NAMES, clone=False)
    return partial(hooks)  # put on and off within the time


def tierod_steady(_shape: str) -> Call:
    return _tierod_open(Chain(), torch.zeros(1, 1, 8), "@layers.*:out")


def tierod_fresh(_shape: str) -> Call:
    import tierod

    model, x = Chain(), torch.zeros(1, 1, 8)
    instrumented = tierod.instrument(model)

    def run() -> None:
        with instrumented.session() as session:
            session.capture("@layers.*:out", copy=False)
            model(x)

    return run


# --- limits


def matmul(_shape: str) -> Call:
    """The machine's rate on a matrix product large enough to show it: 1024^3."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    out = torch.empty(1024, 1024)
    return lambda: torch.mm(a, b, out=out)


def products(shape: str) -> Call:
    """The model's products with its weights alone, which come from memory anew in each forward."""
    weights, tokens = data(shape)
    rows, width = tokens.numel(), SHAPES[shape].width
    inputs = {size: torch.randn(rows, size) for size in (width, SHAPES[shape].mlp)}
    pairs = [(w, weights[key[:-1] + "b"]) for key, w in weights.items()
             if key.endswith((".qkv.w", ".proj.w", ".fc.w", ".out.w"))]  # fmt: skip
    head = weights["head.w"]

    def run() -> None:
        for w, b in pairs:
            torch.addmm(b, inputs[w.shape[0]], w)
        torch.mm(inputs[width], head)

    return run


CONTENDERS: dict[str, Callable[[str], Call]] = {
    "plain_bare": plain_bare,
    "hf_bare": hf_bare,
    "hf_hook": partial(hf_hook, clone=False),
    "hf_hook_clone": partial(hf_hook, clone=True),
    "hf_trace_dict": hf_trace_dict,
    "plain_hook": partial(plain_hook, clone=False),
    "tl3_bare": tl3_bare,
    "tl3_cache": tl3_cache,
    "tl4_bare": tl4_bare,
    "tl4_cache": tl4_cache,
    "nnsight_trace": nnsight_trace,
    "pyvene_lambda": pyvene_lambda,
    "tdhook_cache": tdhook_cache,
    "tierod_open": tierod_open,
    "tierod_session": tierod_session,
    "tierod_plain_open": tierod_plain_open,
    "chain_bare": chain_bare,
    "hooks_steady": hooks_steady,
    "hooks_fresh": hooks_fresh,
    "tierod_steady": tierod_steady,
    "tierod_fresh": tierod_fresh,
    "matmul": matmul,
    "products": products,
}
DISTRIBUTIONS = ("torch", "transformers", "transformer-lens", "nnsight", "pyvene", "tdhook")


@cache
def call(shape: str, label: str) -> Call:
    return CONTENDERS[label](shape)


def versions() -> dict[str, str]:
    found = {}
    for name in DISTRIBUTIONS:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def prepare(shape: str, label: str) -> dict:
    """Build the contender and run it once; `data` draws the weights all others read."""
    if label == "data":
        write_data(shape, FOLDER)
    else:
        call(shape, label)()
    about = {"versions": versions(), "threads": torch.get_num_threads()}
    return about | ({"flops": SHAPES[shape].flops()} if shape in SHAPES else {})


def check(shape: str, label: str, file: str) -> dict:
    """Write logits and captures, one after the other, as raw float32."""
    logits, kept = call(shape, label)()
    kept = kept if isinstance(kept, list) else list(kept.values())
    with open(file, "wb") as out:
        for value in (logits, *kept):
            out.write(value.detach().float().contiguous().numpy().tobytes())
    return {"captures": len(kept), "logits": logits.numel()}


if __name__ == "__main__":
    torch.set_num_threads(int(sys.argv[2]))
    # Some libraries print while they are imported; only answers may use the real stdout.
    with torch.no_grad():
        serve(prepare, check, call)
    os._exit(0)  # no peer's clean-up at exit is worth waiting for
