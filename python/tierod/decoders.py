"""Find the canonical ports of a decoder by its structure, and check them by running it.

No version and no class name is looked at. A layer's children are watched in one forward; the
attention's and the MLP's contributions are those two outputs whose sum with the layer's input is the
layer's output. Gemma's norms after attention and MLP, and parallel blocks, are found in the same way.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tierod import _core


@dataclass(frozen=True)
class Port:
    """A canonical site and where it lives."""

    name: str
    path: str
    side: str = "out"
    index: int | None = None
    key: str | None = None
    columns: tuple[int, int] | None = None
    heads: int = 0
    layout: str = ""
    read_only: str = ""

    @property
    def layer(self) -> int:
        """The number in `layers.<i>.<port>`."""
        return int(self.name.split(".")[1])


@dataclass
class Decoder:
    """A stack of decoder layers inside of a module."""

    owner_path: str
    layer_paths: list[str]
    ports: list[Port]
    missing: dict[str, str]
    names: set[str] = field(default_factory=set)


@dataclass
class _Seen:
    """What one module was given and gave back."""

    order: int
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    output: Any
    calls: int = 1


def _tensor(value: Any) -> tuple[int | None, Tensor] | None:
    """Return (element, tensor) of an output: the tensor itself, or a tuple's first element."""
    if isinstance(value, Tensor):
        return None, value
    if isinstance(value, tuple) and value and isinstance(value[0], Tensor):
        return 0, value[0]
    return None


def _argument(seen: _Seen) -> Tensor | None:
    for value in (*seen.args, *seen.kwargs.values()):
        if isinstance(value, Tensor):
            return value
    return None


def _stack(module: nn.Module, path: str | None) -> str | None:
    """Return the path of the longest list of equal layers whose children have attention."""
    if path is not None:
        try:
            if isinstance(module.get_submodule(path), nn.ModuleList):
                return path
        except AttributeError:
            pass
        raise _core.SiteError(
            f"[hook.instrument] expected decoder = path of a ModuleList, got {path!r}"
        )
    best, length = None, 0
    for name, child in module.named_modules():
        if not isinstance(child, nn.ModuleList) or len(child) <= length:
            continue
        kinds = {type(layer) for layer in child}
        attends = all(any("attn" in n or "attention" in n for n, _ in c.named_children())
                      for c in child)  # fmt: skip
        if len(kinds) == 1 and attends:
            best, length = name, len(child)
    return best


def _example(module: nn.Module) -> tuple[Sequence[Any], Mapping[str, Any]] | None:
    config = getattr(module, "config", None)
    size = getattr(config, "vocab_size", None)
    if not isinstance(size, int) or size < 2:
        return None
    device = next(module.parameters()).device
    # as many tokens as no attention has heads
    heads = {v for k, v in vars(config).items() if "heads" in k and isinstance(v, int)}
    tokens = next(n for n in range(5, 1000) if n not in heads)
    ids = (torch.arange(tokens, device=device) * 7 + 1) % size
    return (), {"input_ids": ids.unsqueeze(0)}


class _Untouched:
    """Put a module back as it was: modes, attributes and buffers of every submodule, and the random
    state."""

    def __init__(self, module: nn.Module) -> None:
        self._attributes = [(m, dict(m.__dict__)) for m in module.modules()]
        self._buffers = [
            (m, name, buffer, buffer.clone())
            for m in module.modules()
            for name, buffer in m._buffers.items()
            if buffer is not None
        ]
        gpus = {t.get_device() for t in module.parameters() if t.is_cuda}
        self._random = torch.random.fork_rng(devices=sorted(gpus))

    def __enter__(self) -> None:
        self._random.__enter__()

    def __exit__(self, *error: object) -> None:
        for m, before in self._attributes:
            for name in m.__dict__.keys() - before.keys():
                object.__delattr__(m, name)
            for name, value in before.items():
                if m.__dict__.get(name) is not value:
                    object.__setattr__(m, name, value)
        for m, name, buffer, value in self._buffers:
            if m._buffers.get(name) is not buffer:
                m._buffers[name] = buffer
            if not torch.equal(buffer, value):
                buffer.copy_(value)
        self._random.__exit__(None, None, None)


def _isolated(value: Any) -> Any:
    """Return a copy that a forward may change: a cache of keys and values grows in it."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if type(value) in (list, tuple):
        return type(value)(_isolated(v) for v in value)
    if type(value) is dict:
        return {k: _isolated(v) for k, v in value.items()}
    return copy.deepcopy(value)


def _watch(
    module: nn.Module,
    paths: Sequence[str],
    example: tuple[Sequence[Any], Mapping[str, Any]],
    disturbed: str = "",
) -> dict[str, _Seen]:
    """Run the module once on a copy of the example and return what happened at each path.

    The output of every layer's child called `disturbed` is changed by as much as it is large in the
    residual stream.
    """
    seen: dict[str, _Seen] = {}
    handles = []

    def snapshot(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.detach().clone()
        return tuple(snapshot(v) for v in value) if type(value) is tuple else value

    # Inputs are copied before the module may write into them.
    before: dict[str, tuple[Any, Any]] = {}

    def keep_input(path: str) -> Callable[..., None]:
        def hook(_m: nn.Module, args: Any, kwargs: Any) -> None:
            before[path] = (snapshot(args), {k: snapshot(v) for k, v in kwargs.items()})

        return hook

    def keep(path: str) -> Callable[..., None]:
        def hook(_m: nn.Module, _args: Any, output: Any) -> None:
            calls = seen[path].calls if path in seen else 0
            args, kwargs = before[path]
            seen[path] = _Seen(len(seen), args, kwargs, snapshot(output), calls + 1)

        return hook

    args, kwargs = _isolated(tuple(example[0])), _isolated(dict(example[1]))
    with _Untouched(module):
        try:
            module.eval()
            for path in paths:
                child = module.get_submodule(path)
                if disturbed and path.endswith(f".{disturbed}"):
                    handles.append(child.register_forward_hook(_disturb))
                handles.append(child.register_forward_pre_hook(keep_input(path), with_kwargs=True))
                handles.append(child.register_forward_hook(keep(path)))
            with torch.no_grad(), _core.Suspend():
                module(*args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
    return seen


def _disturb(_module: nn.Module, args: Any, output: Any) -> Any:
    found = _tensor(output)
    if found is None:
        return None
    index, value = found
    size = max([float(a.abs().max()) for a in args if isinstance(a, Tensor)] + [1.0])
    signs = torch.ones_like(value)
    signs[..., ::2] = -1
    changed = value + size * signs
    return changed if index is None else (changed, *output[1:])


_ROUNDING = {torch.bfloat16: 2.0**-7, torch.float16: 2.0**-10, torch.float64: 1e-13}


def _adds_up(total: Tensor, *terms: Tensor) -> bool:
    """Tell whether `total` is the sum of `terms` to rounding, element by element. A bound for the
    whole tensor would let one massive activation hide every other element."""
    if any(term.shape != total.shape for term in terms):
        return False
    wide = [term.double() for term in terms]
    bound = _ROUNDING.get(total.dtype, 1e-5) * sum(term.abs() for term in wide)
    return bool(((total.double() - sum(wide)).abs() <= bound + 1e-30).all())


def find_decoder(
    module: nn.Module,
    example: tuple[Sequence[Any], Mapping[str, Any]] | None,
    path: str | None,
    example_is_own: bool = True,
) -> tuple[Decoder | None, dict[str, str]]:
    """Return the decoder stack of `module` with its checked ports, or None, and what is missing.

    An example that is the user's own is taken before token ids that tierod makes up; that of a run
    is taken only where tierod can make up none.
    """
    stack = _stack(module, path)
    if stack is None:
        return None, {}
    if any(p.is_meta for p in module.parameters()):
        return None, {"layers": "the parameters are on the meta device, so that no check can run"}
    made_up = _example(module)
    examples = [example, made_up] if example_is_own else [made_up, example]
    layers = module.get_submodule(stack)
    layer_paths = [f"{stack}.{name}" for name, _ in layers.named_children()]
    watched = list(layer_paths)
    for layer in layer_paths:
        for name, child in module.get_submodule(layer).named_children():
            watched.append(f"{layer}.{name}")
            watched += [f"{layer}.{name}.{n}" for n, _ in child.named_children()]
    why = "no example of a forward is known; give instrument() one (example=)"
    for candidate in examples:
        if candidate is None:
            continue
        try:
            seen = _watch(module, watched, candidate)
            break
        except Exception as error:
            if candidate is example and example_is_own:
                raise
            why = f"the check's forward failed: {type(error).__name__}: {error}; give an example="
    else:
        return None, {"layers": why}
    ports: list[Port] = []
    missing: dict[str, str] = {}
    chosen = candidate
    disturb = functools.cache(lambda child: _watch(module, watched, chosen, child))
    for i, layer in enumerate(layer_paths):
        if layer in seen:
            ports += _layer_ports(module, layer, i, seen, missing, disturb)
        else:
            missing[f"layers.{i}"] = "the layer did not run as a module in the example forward"
    if not ports:
        return None, missing
    owner = stack.rpartition(".")[0]
    decoder = Decoder(owner, layer_paths, ports, missing)
    decoder.names = {port.name for port in ports}
    return decoder, missing


def _layer_ports(
    module: nn.Module,
    layer: str,
    i: int,
    seen: dict[str, _Seen],
    missing: dict[str, str],
    disturb: Callable[[str], dict[str, _Seen]],
) -> list[Port]:
    """Return the ports of one layer; note in `missing` what it does not offer and why."""
    here = seen[layer]
    out = _tensor(here.output)
    pre = here.args[0] if here.args and isinstance(here.args[0], Tensor) else None
    key = "hidden_states" if isinstance(here.kwargs.get("hidden_states"), Tensor) else None
    pre = here.kwargs["hidden_states"] if pre is None and key else pre
    if out is None or pre is None or out[1].shape != pre.shape:
        missing[f"layers.{i}"] = "the layer does not map a residual stream onto one of equal shape"
        return []

    def name(port: str) -> str:
        return f"layers.{i}.{port}"

    ports = [
        Port(name("resid_pre"), layer, "in", 0, "hidden_states"),
        Port(name("resid_post"), layer, "out", out[0]),
    ]
    prefix = layer + "."
    children = {
        p: s for p, s in seen.items() if p.startswith(prefix) and "." not in p[len(prefix) :]
    }
    parts = []
    for p, s in sorted(children.items(), key=lambda item: item[1].order):
        output = _tensor(s.output)
        if output is not None and output[1].shape == pre.shape and s.calls == 1:
            parts.append((p, s, output))
    fits = [
        (first, second)
        for n, first in enumerate(parts)
        for second in parts[n + 1 :]
        if _adds_up(out[1], pre, first[2][1], second[2][1])
    ]
    if len(fits) > 1:
        # Rounding can hide a small difference, not a large one: disturb each child in its turn.
        fits = [fit for fit in fits if all(
            _still_adds_up(disturb(child[0][len(prefix):]), layer, fit) for child in fit)]  # fmt: skip
    # Of what adds the same values, as a dropout at rest does, the last adds them in training too.
    pair = fits[-1] if fits else None
    if pair is not None and any(
        not torch.equal(p[2][1], q[2][1]) for fit in fits for p, q in zip(fit, pair, strict=True)
    ):
        why = "several pairs of children add up to resid_post - resid_pre: ambiguous"
        missing.update({name("attn_out"): why, name("mlp_out"): why, name("resid_mid"): why})
        return ports + _attention_ports(module, layer, i, seen, missing, pre)
    if pair is None:
        why = "no two children's outputs and resid_pre add up to resid_post"
        missing.update({name("attn_out"): why, name("mlp_out"): why, name("resid_mid"): why})
    else:
        (attn_path, _, attn), (mlp_path, _, mlp) = pair
        ports.append(Port(name("attn_out"), attn_path, "out", attn[0]))
        ports.append(Port(name("mlp_out"), mlp_path, "out", mlp[0]))
        for p, s, _ in parts:
            given = _argument(s)
            if given is not None and not torch.equal(given, pre) and _adds_up(given, pre, attn[1]):
                reason = (
                    "the module reads a copy of the residual stream here, so an edit would miss "
                    f"the skip connection; edit '{name('attn_out')}', which adds to it"
                )
                ports.append(Port(name("resid_mid"), p, "in", 0, "hidden_states",
                                  read_only=reason))  # fmt: skip
                break
        else:
            missing[name("resid_mid")] = (
                "no child is given resid_pre + attn_out, as in parallel blocks"
            )
    ports += _attention_ports(module, layer, i, seen, missing, pre)
    return ports


def _still_adds_up(seen: dict[str, _Seen], layer: str, fit: tuple[Any, Any]) -> bool:
    here = seen[layer]
    pre = here.args[0] if here.args else here.kwargs["hidden_states"]
    out, first, second = (_tensor(seen[p].output) for p in (layer, fit[0][0], fit[1][0]))
    assert out is not None
    assert first is not None
    assert second is not None
    return _adds_up(out[1], pre, first[1], second[1])


def _attention_ports(
    module: nn.Module,
    layer: str,
    i: int,
    seen: dict[str, _Seen],
    missing: dict[str, str],
    pre: Tensor,
) -> list[Port]:
    attention = next(
        (f"{layer}.{n}" for n, _ in module.get_submodule(layer).named_children()
         if "attn" in n or ("attention" in n and "norm" not in n)), "",
    )  # fmt: skip
    ports: list[Port] = []

    def name(port: str) -> str:
        return f"layers.{i}.{port}"

    def output_of(child: str) -> Tensor | None:
        found = seen.get(f"{attention}.{child}")
        tensor = _tensor(found.output) if found else None
        return tensor[1] if tensor else None

    owner = module.get_submodule(attention)
    width = getattr(owner, "head_dim", None)
    for port in ("q", "k", "v"):
        normed = output_of(f"{port}_norm")
        plain = output_of(f"{port}_proj")
        if normed is not None and normed.dim() == 4 and plain is not None:
            # The norm may see [rows, tokens, heads, d] or [rows, heads, tokens, d].
            tokens, heads = pre.shape[1], plain.shape[-1] // normed.shape[-1]
            if tokens == heads:
                missing[name(port)] = (
                    "the example has as many tokens as heads, which leaves the order of the axes "
                    "open; give an example= of another length"
                )
                continue
            layout = "rthd" if normed.shape[1] == tokens else "rhtd"
            ports.append(Port(name(port), f"{attention}.{port}_norm", layout=layout))
        elif plain is not None and width and plain.shape[-1] % width == 0:
            heads = plain.shape[-1] // width
            ports.append(Port(name(port), f"{attention}.{port}_proj", heads=heads, layout="rthd"))
        else:
            fused = output_of("c_attn")
            count = getattr(owner, "num_heads", None)
            d = pre.shape[-1]
            if fused is not None and count and fused.shape[-1] == 3 * d:
                start = "qkv".index(port) * d
                ports.append(Port(name(port), f"{attention}.c_attn", columns=(start, start + d),
                                  heads=count, layout="rthd"))  # fmt: skip
            else:
                missing[name(port)] = "no projection of a known form inside of the attention"
    record = seen.get(attention)
    weights = record.output[1] if record and isinstance(record.output, tuple) and len(
        record.output) > 1 else None  # fmt: skip
    if isinstance(weights, Tensor) and weights.dim() == 4:
        ports.append(Port(name("pattern"), attention, "out", 1, layout="rhts",
                          read_only="the weights are returned after they were used; edit q, k or v"))  # fmt: skip
    else:
        missing[name("pattern")] = (
            "the attention returns no weights; load the model with attn_implementation='eager'"
        )
    return ports
