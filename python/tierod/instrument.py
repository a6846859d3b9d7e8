"""Sessions on PyTorch modules that tierod does not own.

`instrument(module)` says where sites are; it changes nothing. When a session opens, forward hooks
are put on for the sites that it asks for, and taken off when it closes.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor, nn

from tierod import _core
from tierod.attachment import Attachment, SiteAddress, attachment_of
from tierod.decoders import Decoder, find_decoder
from tierod.session import _SessionMethods


class StopForward(BaseException):
    """Ends a forward at a layer. Not an Exception: models must not swallow it."""

    def __init__(self, residual: Tensor) -> None:
        super().__init__("forward stopped at a layer")
        self.residual = residual


def module_site(
    name: str,
    path: str,
    *,
    side: str = "out",
    index: int | None = None,
    key: str | None = None,
    layout: str = "",
) -> SiteAddress:
    """Declare a site on a submodule.

    Args:
        name: the site's name.
        path: dotted path of the submodule; "" is the module itself.
        side: "out" for the forward's output, "in" for an argument.
        index: element of a tuple output, or position of the argument (default: the first).
        key: key of a ModelOutput or dict output, or name of a keyword argument.
        layout: the tensor's axes, one letter an axis (see Site).
    """
    if side not in ("in", "out"):
        raise _core.InvalidArgument(
            f"[hook.module_site] expected side = 'in' or 'out', got {side!r}"
        )
    return SiteAddress(_core.Site(name, layout), path, side, index, key)


def method_site(
    name: str, path: str, method: str, *, index: int | None = None, layout: str = ""
) -> SiteAddress:
    """Declare a site on the result of a method that is no module forward, such as a sampler's
    `.sample`: it is wrapped on the instance while a session is open."""
    return SiteAddress(_core.Site(name, layout), path, "out", index, None, method=method)


# Types whose modules are compiled only if they hold something that says so.
_EAGER_TYPES: weakref.WeakSet[type] = weakref.WeakSet()


def _refuse_compiled(module: nn.Module) -> None:
    # On each opening over every module, and so by hand: named_modules() costs three times as much.
    seen, stack, eager = {id(module)}, [module], set(_EAGER_TYPES)
    while stack:
        part = stack.pop()
        own = part.__dict__
        if (
            "forward" in own
            or own.get("_compiled_call_impl") is not None
            or type(part) not in eager
        ) and (what := _how_compiled(part)):
            path = next(path for path, child in module.named_modules() if child is part)
            raise _core.StateError(
                f"[hook.instrument] the module '{path or type(part).__name__}' is {what}: Python "
                "hooks would be silent there; instrument the original eager module"
            )
        if type(part) not in eager:
            eager.add(type(part))
            _EAGER_TYPES.add(type(part))
        for child in part._modules.values():
            if child is not None and id(child) not in seen:
                seen.add(id(child))
                stack.append(child)


def _how_compiled(module: nn.Module) -> str:
    """Say in what way a module runs past Python hooks; empty if it does not."""
    forward = module.__dict__.get("forward")
    if (
        isinstance(module, torch._dynamo.eval_frame.OptimizedModule)
        or getattr(module, "_compiled_call_impl", None) is not None
    ):
        return "compiled by torch.compile"
    if hasattr(forward, "_torchdynamo_orig_callable"):
        return "one whose forward is compiled by torch.compile"
    if isinstance(module, torch.jit.ScriptModule):
        return "a TorchScript module"
    if getattr(forward, "__module__", "") == "torch.cuda.graphs":
        return "replayed from a CUDA graph"
    return ""


@dataclass
class Instrumented:
    """A module and its sites. Make one with `instrument`."""

    _module: weakref.ref[nn.Module]
    addresses: dict[str, SiteAddress]
    table: _core.SiteTable
    decoder: Decoder | None
    missing: dict[str, str] = field(default_factory=dict)
    _matches: dict[str, dict[str, SiteAddress]] = field(default_factory=dict, repr=False)

    @property
    def module(self) -> nn.Module:
        module = self._module()
        if module is None:
            raise _core.StateError(
                "[hook.Instrumented] the module was freed; keep a reference to it while you use it"
            )
        return module

    def names(self) -> list[str]:
        """Return the names of all sites."""
        return list(self.addresses)

    def default_names(self) -> list[str]:
        """Return the canonical ports, or every submodule's output where there are none."""
        ports = [n for n in self.addresses if not n.startswith("@")]
        return ports or [n for n in self.addresses if n.endswith(":out")]

    def matching(self, pattern: str) -> Mapping[str, SiteAddress]:
        """Return the sites that a pattern means, by name.

        Raises:
            SiteError: if it means none; the nearest names are listed.
        """
        found = self._matches.get(pattern)
        if found is None:
            found = {name: self.addresses[name] for name in self.table.match(pattern)}
            if len(self._matches) >= 256:  # of a caller who makes up ever new patterns
                self._matches.clear()
            self._matches[pattern] = found
        return found

    def session(self) -> ModuleSession:
        """Return a session on this module."""
        return ModuleSession(self)

    def process_session(self) -> ModuleProcessSession:
        """Return a session that every thread sees, on this module."""
        return ModuleProcessSession(self)

    def __repr__(self) -> str:
        ports = len([n for n in self.addresses if not n.startswith("@")])
        text = f"Instrumented({type(self.module).__name__}, {ports} canonical sites)"
        return text + "".join(f"\n  no {port}: {why}" for port, why in self.missing.items())


def instrument(
    module: nn.Module,
    sites: Sequence[SiteAddress] | Mapping[str, str] | None = None,
    *,
    example: tuple[Sequence[Any], Mapping[str, Any]] | None = None,
    decoder: str | None = None,
) -> Instrumented:
    """Find the sites of a module, without changing it.

    Every submodule has the raw sites `@path:in` (its first argument) and `@path:out`. A decoder of
    the Llama, GPT-2, Qwen or Gemma kind also has the canonical ports `layers.<i>.resid_pre`, ...:
    they are found by structure and checked by a forward in which resid_pre + attn_out + mlp_out must
    add up to resid_post. The forward runs on copies of the example, in eval mode, and leaves buffers,
    attributes and the random state as they were; forward hooks of your own see it. What is not
    offered is listed, with the reason, in `.missing`.

    Args:
        module: any eager torch.nn.Module.
        sites: further sites (`module_site`, `method_site`), or a mapping from name to module path.
        example: (args, kwargs) of a forward for that check; default: a few token ids.
        decoder: path of the ModuleList of layers, where the module has several.

    Raises:
        StateError: if the module is compiled or replayed, so that hooks would be silent.
        SiteError: if a path does not exist.
    """
    return _instrument(module, sites, example, decoder, example_is_own=True)


def _instrument(
    module: nn.Module,
    sites: Sequence[SiteAddress] | Mapping[str, str] | None,
    example: tuple[Sequence[Any], Mapping[str, Any]] | None,
    decoder: str | None,
    *,
    example_is_own: bool,
) -> Instrumented:
    if not isinstance(module, nn.Module):
        raise _core.InvalidArgument(
            f"[hook.instrument] expected a torch.nn.Module, got {type(module).__name__}"
        )
    _refuse_compiled(module)
    paths = [path for path, _ in module.named_modules()]
    addresses: dict[str, SiteAddress] = {}
    found, missing = find_decoder(module, example, decoder, example_is_own)
    if found is not None:
        for port in found.ports:
            site = _core.Site(port.name, port.layout)
            addresses[port.name] = SiteAddress(
                site, port.path, port.side, port.index, port.key, port.columns, port.heads,
                None, port.read_only,
            )  # fmt: skip
    for path in paths:
        for side in ("in", "out"):
            name = f"@{path}:{side}"
            try:
                addresses[name] = SiteAddress(_core.Site(name), path, side)
            except _core.InvalidArgument:
                continue  # a module name that no site name can hold; declare a site for it
    if isinstance(sites, Mapping):
        sites = [module_site(name, path) for name, path in sites.items()]
    for address in sites or ():
        if address.path not in paths:
            near = _core.nearest_names(address.path, paths)
            raise _core.SiteError(
                f"[hook.instrument] '{address.site.name}': the module has no submodule "
                f"'{address.path}'; nearest names: {near}"
            )
        owner = module.get_submodule(address.path)
        if address.method is not None and not callable(getattr(owner, address.method, None)):
            raise _core.SiteError(
                f"[hook.instrument] '{address.site.name}': '{address.path}' "
                f"({type(owner).__name__}) has no method '{address.method}'"
            )
        addresses[address.site.name] = address
    # A decoder's layers fire once in each run of the decoder; of the rest nothing is known.
    table = _core.SiteTable(
        [
            (a.site, 1, 1 if found is not None and not name.startswith("@") and name in found.names
             else -1, a.read_only)
            for name, a in addresses.items()
        ]
    )  # fmt: skip
    return Instrumented(weakref.ref(module), addresses, table, found, missing)


class _ModuleSessionMethods(_SessionMethods):
    """Install what a session needs while it is open."""

    _on: Instrumented
    _attachment: Attachment
    _patterns: list[str]
    _installed: dict[str, None]  # names in order of installation
    _watches_runs: bool
    _stop_layer: int | None
    _stop: Any
    _thread: int
    _within_run: bool
    _graded_before: int

    def _bind(self, on: Instrumented) -> None:
        self._on = on
        self._attachment = attachment_of(
            on.module, None if on.decoder is None else on.decoder.owner_path
        )
        self._patterns = []
        self._installed = {}
        self._watches_runs = False
        self._stop_layer = None
        self._stop = None
        self._thread = 0
        self._within_run = False
        self._graded_before = 0
        # Another model may have sites of the same names.
        _core.Session._see_only_model(self._core(), self._attachment.model_id)

    def stop_at_layer(self, layer: int) -> None:
        """Stop every forward where layer `layer` would begin, by raising StopForward."""
        decoder = self._on.decoder
        if decoder is None:
            raise _core.InvalidArgument(
                "[hook.stop_at_layer] the module has no stack of decoder layers that tierod knows; "
                "use hooks on '@path:in' instead"
            )
        count = len(decoder.layer_paths)
        if not -count <= layer < count:
            raise _core.OutOfRange(
                f"[hook.stop_at_layer] expected a layer from {-count} to {count - 1}, got {layer}"
            )
        self._stop_layer = layer % count

    def reached(self, pattern: str) -> list[str]:
        """Return the sites of `pattern` that fire before the layer of stop_at_layer()."""
        names = list(self._on.matching(pattern))
        decoder, stop = self._on.decoder, self._stop_layer
        if decoder is None or stop is None:
            return names
        late = {p.name for p in decoder.ports if p.layer >= stop} - {f"layers.{stop}.resid_pre"}
        return [name for name in names if name not in late]

    def _before_change(self, pattern: str) -> None:
        self._on.matching(pattern)

    def _after_change(self, pattern: str) -> None:
        self._patterns.append(pattern)
        if self._core().is_open:
            self._install(pattern)

    def _install(self, pattern: str) -> None:
        sites, installed = self._on.matching(pattern), self._installed
        if installed:
            sites = {name: sites[name] for name in sites if name not in installed}
        self._attachment.use(self._on.module, sites)
        installed.update(dict.fromkeys(sites))

    def open(self) -> None:
        module, decoder = self._on.module, self._on.decoder
        _refuse_compiled(module)
        _core.Session._open(self._core())
        self._thread = threading.get_ident()
        self._within_run = self._attachment.in_run()
        self._graded_before = self._attachment.runs_with_gradients()
        try:
            if decoder is not None:
                self._attachment.use_runs(module, decoder.owner_path)
                self._watches_runs = True
            for pattern in self._patterns:
                self._install(pattern)
            if decoder is not None and self._stop_layer is not None:
                # Last, so that what is captured at the layer's input still fires.
                layer = module.get_submodule(decoder.layer_paths[self._stop_layer])
                process = isinstance(self, _core.ProcessSession)
                here = (None if process else self._thread, _core.suspend_depth())
                self._stop = layer.register_forward_pre_hook(partial(_stop, here), with_kwargs=True)
        except BaseException:
            self._remove()
            _core.Session._abort(self._core())
            raise

    def _remove(self) -> None:
        if self._stop is not None:
            self._stop.remove()
            self._stop = None
        self._drop()
        if not self._within_run:  # what goes on around this session is not its to end
            self._attachment.forget_run()

    def _drop(self) -> None:
        self._attachment.drop(self._installed)
        self._installed = {}
        if self._watches_runs:
            self._watches_runs = False
            self._attachment.drop_runs()

    def close(self) -> None:
        if not self._core().is_open:
            raise _core.StateError("[hook.Session.close] the session is not open")
        process = isinstance(self, _core.ProcessSession)
        if not process and self._thread != threading.get_ident():
            raise _core.StateError(
                "[hook.Session.close] the session was opened on another thread; close it there, or "
                "use a process_session()"
            )
        self._remove()
        if self._on._module() is None:
            _core.Session._abort(self._core())
            raise _core.StateError(
                "[hook.Session.close] the module was freed while the session was open; keep a "
                "reference to it"
            )
        _core.Session._close(self._core())
        self._check_recomputed()

    def _check_recomputed(self) -> None:
        """Refuse an edit whose backward, still to come, would recompute the unedited model."""
        module, core = self._on.module, self._core()
        graded = self._attachment.runs_with_gradients() > self._graded_before
        if not module.training or not graded or _core.Session._edit_count(core) == 0:
            return
        if not any(getattr(m, "gradient_checkpointing", False) is True for m in module.modules()):
            return
        if _core.Session._recomputations(core) == 0:
            raise _core.StateError(
                "[hook.Session.close] the module checkpoints its layers, and backward has not run: it "
                "would recompute the unedited model. Run backward() before the session closes, or "
                "the forward under torch.no_grad()"
            )

    def __del__(self) -> None:
        # Never closed: the hooks must not stay.
        if getattr(self, "_installed", None) or getattr(self, "_watches_runs", False):
            self._drop()

    def abort(self) -> None:
        self._remove()
        _core.Session._abort(self._core())

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)

    def __enter__(self) -> Self:
        self.open()
        return self


def _stop(
    here: tuple[int | None, int],
    _module: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> None:
    thread, depth = here
    if thread not in (None, threading.get_ident()) or _core.suspend_depth() != depth:
        return  # a forward that the session does not see
    raise StopForward(args[0] if args else kwargs["hidden_states"])


class ModuleSession(_ModuleSessionMethods, _core.Session):
    """A session on an instrumented module; see Session."""

    def __init__(self, on: Instrumented) -> None:
        _core.Session.__init__(self, on.table)
        self._bind(on)


class ModuleProcessSession(_ModuleSessionMethods, _core.ProcessSession):
    """A session that every thread sees, on an instrumented module; see ProcessSession."""

    def __init__(self, on: Instrumented) -> None:
        _core.ProcessSession.__init__(self, on.table)
        self._bind(on)
