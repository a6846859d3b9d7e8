"""Find the canonical ports of a decoder by its structure, and check them by running it.

No version and no class name is looked at. A layer's children are watched in one forward; the
attention's and the MLP's contributions are those two outputs whose sum with the layer's input is the
layer's output. Gemma's norms after attention and MLP, and parallel blocks, are found in the same way.
"""

from __future__ import annotations

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
    ids = (torch.arange(6, device=device) * 7 + 1) % size
    return (), {"input_ids": ids.unsqueeze(0)}


def _watch(
    module: nn.Module, paths: Sequence[str], example: tuple[Sequence[Any], Mapping[str, Any]]
) -> dict[str, _Seen]:
    """Run the module once and return what happened at each path."""
    seen: dict[str, _Seen] = {}
    handles = []

    def keep(path: str) -> Callable[..., None]:
        def hook(_m: nn.Module, args: Any, kwargs: Any, output: Any) -> None:
            def copy(v: Any) -> Any:
                if isinstance(v, Tensor):
                    return v.detach().clone()
                return tuple(copy(i) for i in v) if type(v) is tuple else v

            seen[path] = _Seen(len(seen), tuple(copy(a) for a in args),
                               {k: copy(v) for k, v in kwargs.items()}, copy(output))  # fmt: skip

        return hook

    # Inputs are copied before the module may write into them.
    before: dict[str, tuple[Any, Any]] = {}

    def keep_input(path: str) -> Callable[..., None]:
        def hook(_m: nn.Module, args: Any, kwargs: Any) -> None:
            before[path] = (
                tuple(a.detach().clone() if isinstance(a, Tensor) else a for a in args),
                {k: v.detach().clone() if isinstance(v, Tensor) else v for k, v in kwargs.items()},
            )

        return hook

    training = module.training
    try:
        module.eval()
        for path in paths:
            child = module.get_submodule(path)
            handles.append(child.register_forward_pre_hook(keep_input(path), with_kwargs=True))
            handles.append(child.register_forward_hook(keep(path), with_kwargs=True))
        args, kwargs = example
        with torch.no_grad(), _core.Suspend():
            module(*args, **kwargs)
    finally:
        for handle in handles:
            handle.remove()
        module.train(training)
    for path, (args_in, kwargs_in) in before.items():
        if path in seen:
            seen[path].args, seen[path].kwargs = args_in, kwargs_in
    return seen


def _close(a: Tensor, b: Tensor) -> bool:
    if a.shape != b.shape:
        return False
    scale = float(b.double().abs().max()) + 1e-12
    bound = {torch.bfloat16: 3e-2, torch.float16: 4e-3, torch.float64: 1e-10}.get(b.dtype, 1e-4)
    return float((a.double() - b.double()).abs().max()) <= bound * scale


def find_decoder(
    module: nn.Module,
    example: tuple[Sequence[Any], Mapping[str, Any]] | None,
    path: str | None,
) -> Decoder | None:
    """Return the decoder stack of `module` with its checked ports, or None if it has none."""
    stack = _stack(module, path)
    if stack is None:
        return None
    example = example or _example(module)
    if example is None:
        return None
    layers = module.get_submodule(stack)
    layer_paths = [f"{stack}.{name}" for name, _ in layers.named_children()]
    watched = list(layer_paths)
    for layer in layer_paths:
        for name, child in module.get_submodule(layer).named_children():
            watched.append(f"{layer}.{name}")
            watched += [f"{layer}.{name}.{n}" for n, _ in child.named_children()]
    seen = _watch(module, watched, example)
    ports: list[Port] = []
    missing: dict[str, str] = {}
    for i, layer in enumerate(layer_paths):
        if layer in seen:
            ports += _layer_ports(module, layer, i, seen, missing)
        else:
            missing[f"layers.{i}"] = "the layer did not run as a module in the example forward"
    if not ports:
        return None
    owner = stack.rpartition(".")[0]
    decoder = Decoder(owner, layer_paths, ports, missing)
    decoder.names = {port.name for port in ports}
    return decoder


def _layer_ports(
    module: nn.Module, layer: str, i: int, seen: dict[str, _Seen], missing: dict[str, str]
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
        if output is not None and output[1].shape == pre.shape:
            parts.append((p, s, output))
    pair = None
    for a, (_, _, first) in enumerate(parts):
        for b in range(a + 1, len(parts)):
            total = pre.double() + first[1].double() + parts[b][2][1].double()
            if _close(total.to(pre.dtype), out[1]):
                pair = (parts[a], parts[b])
    if pair is None:
        why = "no two children's outputs and resid_pre add up to resid_post"
        missing.update({name("attn_out"): why, name("mlp_out"): why, name("resid_mid"): why})
    else:
        (attn_path, _, attn), (mlp_path, _, mlp) = pair
        ports.append(Port(name("attn_out"), attn_path, "out", attn[0]))
        ports.append(Port(name("mlp_out"), mlp_path, "out", mlp[0]))
        middle = (pre.double() + attn[1].double()).to(pre.dtype)
        for p, s, _ in parts:
            given = _argument(s)
            if given is not None and _close(given, middle) and not _close(given, pre):
                reason = (
                    "the module reads a copy of the residual stream here, so an edit would miss "
                    f"the skip connection; edit '{name('attn_out')}', which adds to it"
                )
                ports.append(Port(name("resid_mid"), p, "in", 0, "hidden_states",
                                  read_only=reason))  # fmt: skip
                break
        else:
            missing[name("resid_mid")] = "no child is given resid_pre + attn_out (parallel block?)"
    ports += _attention_ports(module, layer, i, seen, missing, pre)
    return ports


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
            layout = "rthd" if normed.shape[1] == pre.shape[1] else "rhtd"
            ports.append(Port(name(port), f"{attention}.{port}_norm", layout=layout))
        elif plain is not None and width and plain.shape[-1] % width == 0:
            heads = plain.shape[-1] // width
            ports.append(Port(name(port), f"{attention}.{port}_proj", heads=heads, layout="rthd"))
        else:
            fused = output_of("c_attn")
            heads = getattr(owner, "num_heads", None)
            d = pre.shape[-1]
            if fused is not None and heads and fused.shape[-1] == 3 * d:
                start = "qkv".index(port) * d
                ports.append(Port(name(port), f"{attention}.c_attn", columns=(start, start + d),
                                  heads=heads, layout="rthd"))  # fmt: skip
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
