"""What is installed on a module while sessions on it are open.

Hooks are counted here, once for all sessions: a second session on the same module must not make a
site fire twice. What is known of a run (phase, step, position) is kept by thread.
"""

from __future__ import annotations

import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import nn

from tierod import _core

_model_ids = itertools.count(1)
RUNS = ""  # no site has this name


@dataclass(frozen=True)
class SiteAddress:
    """Where a site lives in a module: which submodule, which side, which element."""

    site: _core.Site
    path: str
    side: str = "out"
    index: int | None = None
    key: str | None = None
    columns: tuple[int, int] | None = None
    heads: int = 0
    method: str | None = None
    read_only: str = ""


class _Installed:
    """One installed thing: how many sessions use it, and how it is taken away."""

    __slots__ = ("address", "remove", "users")

    def __init__(self, address: SiteAddress | None, remove: Callable[[], None]) -> None:
        self.users = 1
        self.address = address
        self.remove = remove


class Attachment:
    """The hooks on one root module, installed once however many sessions ask for them."""

    def __init__(self) -> None:
        self.model_id = next(_model_ids)
        self._lock = threading.RLock()
        self._installed: dict[str, _Installed] = {}
        self._runs = Runs(self.model_id)

    def use(self, module: nn.Module, addresses: Mapping[str, SiteAddress]) -> None:
        """Let the sites of these names fire; each needs a `drop`.

        Raises:
            SiteError: if an open session has a name for another place of this module.
        """
        with self._lock:
            for name in self._installed.keys() & addresses.keys():
                there, here = self._installed[name].address, addresses[name]
                if there is not None and there is not here and there != here:
                    raise _core.SiteError(
                        f"[hook.Session.open] '{name}' means {here.path!r} here, and "
                        f"{there.path!r} in another open session on this module; give one of the "
                        "two sites another name"
                    )
            for name, address in addresses.items():
                installed = self._installed.get(name)
                if installed is not None:
                    installed.users += 1
                else:
                    self._installed[name] = _Installed(address, self._install(module, address))

    def use_runs(self, module: nn.Module, owner_path: str) -> None:
        """Keep runs, phases, steps and positions of the decoder at `owner_path`; `drop([RUNS])`."""
        with self._lock:
            if RUNS in self._installed:
                self._installed[RUNS].users += 1
            else:
                remove = self._runs.install(module, owner_path)
                self._installed[RUNS] = _Installed(None, remove)

    def drop(self, names: Iterable[str]) -> None:
        """Take back what `use` and `use_runs` did, once for each name."""
        with self._lock:
            for name in names:
                installed = self._installed[name]
                installed.users -= 1
                if installed.users == 0:
                    del self._installed[name]
                    installed.remove()

    def forget_run(self) -> None:
        """Leave the scope of a run that this thread did not finish."""
        self._runs.leave()

    def _install(self, module: nn.Module, address: SiteAddress) -> Callable[[], None]:
        owner = _submodule(module, address.path)
        hook = _core.ModuleHook(
            address.site, self.model_id, address.index, address.key, address.columns, address.heads
        )
        if address.method is not None:
            return wrap_method(owner, address.method, partial(_call_wrapped, hook))
        handle: Any
        if address.side == "in":
            handle = owner.register_forward_pre_hook(hook.on_input, with_kwargs=True)
        else:
            handle = owner.register_forward_hook(hook.on_output)
        remove: Callable[[], None] = handle.remove
        return remove


_attachments: weakref.WeakKeyDictionary[nn.Module, dict[str | None, Attachment]] = (
    weakref.WeakKeyDictionary()
)
_attachments_lock = threading.Lock()


def attachment_of(module: nn.Module, runs_of: str | None) -> Attachment:
    """Return what all sessions on `module` share that count the runs of the same submodule."""
    with _attachments_lock:
        return _attachments.setdefault(module, {}).setdefault(runs_of, Attachment())


def _submodule(module: nn.Module, path: str) -> nn.Module:
    """Return what `get_submodule` returns, without its checks of every step."""
    here: nn.Module | None = module
    for name in path.split(".") if path else ():
        here = None if here is None else here._modules.get(name)
    return module.get_submodule(path) if here is None else here


def wrap_method(owner: Any, method: str, wrapper: Callable[..., Any]) -> Callable[[], None]:
    """Wrap a method on the instance; the returned function takes it back, and leaves in place what
    others have put on top."""
    original = getattr(owner, method)
    had = method in owner.__dict__
    wrapped = partial(wrapper, original)
    object.__setattr__(owner, method, wrapped)

    def undo() -> None:
        if owner.__dict__.get(method) is not wrapped:
            return
        if had:
            object.__setattr__(owner, method, original)
        else:
            object.__delattr__(owner, method)

    return undo


def _call_wrapped(
    hook: _core.ModuleHook, original: Callable[..., Any], *args: Any, **kwargs: Any
) -> Any:
    output = original(*args, **kwargs)
    edited = hook.on_output(None, args, output)
    return output if edited is None else edited


class _Place:
    """Where one run is. A forward that a callback makes under `suspend()` has a place of its own."""

    def __init__(self, depth: int) -> None:
        self.depth = depth
        self.scopes: list[Any] = []
        self.in_root = False
        self.generating = False
        self.step = -1

    def leave(self) -> None:
        while self.scopes:
            self.scopes.pop().__exit__(None, None, None)
        self.in_root = False


class Runs(threading.local):
    """Where the decoder's runs are, kept by thread: what events carry as phase and step."""

    def __init__(self, model_id: int) -> None:
        self._model_id = model_id
        self._places: list[_Place] = []

    def install(self, module: nn.Module, owner_path: str) -> Callable[[], None]:
        """Watch the decoder's forwards, and generation where the module generates."""
        owner = module.get_submodule(owner_path)
        undo: list[Callable[[], None]] = []
        if hasattr(module, "generate") and hasattr(module, "_update_model_kwargs_for_generation"):
            # Every generation strategy calls this once after each forward that gave a token, so
            # phases do not depend on lengths or on "the first call".
            undo.append(wrap_method(module, "generate", self._generate))
            undo.append(
                wrap_method(module, "_update_model_kwargs_for_generation", self._token_done)
            )
        if owner is not module:  # what runs after the decoder, such as lm_head, is in the phase too
            undo += [
                module.register_forward_pre_hook(self._root_begins, with_kwargs=True).remove,
                module.register_forward_hook(self._root_ends, always_call=True).remove,
            ]
        undo += [
            owner.register_forward_pre_hook(self._begins, with_kwargs=True).remove,
            owner.register_forward_hook(self._ends, always_call=True).remove,
        ]

        def remove() -> None:
            for take_back in reversed(undo):
                take_back()

        return remove

    def leave(self) -> None:
        """Forget a run that was interrupted at this depth of suspension, or deeper."""
        self._here().leave()

    def _here(self) -> _Place:
        depth = _core.suspend_depth()
        while self._places and self._places[-1].depth > depth:
            self._places.pop().leave()
        if not self._places or self._places[-1].depth < depth:
            self._places.append(_Place(depth))
        return self._places[-1]

    def _generate(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        place = self._here()
        place.generating, place.step = True, -1
        try:
            return original(*args, **kwargs)
        finally:
            place.generating = False

    def _token_done(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._here().step += 1
        return original(*args, **kwargs)

    def _root_begins(self, _root: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        place = self._here()
        place.leave()  # what is no Exception, such as Ctrl-C, skips _root_ends
        place.in_root = True
        _enter_scope(place, kwargs)

    def _root_ends(self, _root: nn.Module, _args: Any, _output: Any) -> None:
        self._here().leave()

    def _begins(self, _owner: nn.Module, _args: Any, kwargs: dict[str, Any]) -> None:
        place = self._here()
        if not place.in_root:
            place.leave()
        _enter_scope(place, kwargs)
        _core.run_started(self._model_id)

    def _ends(self, _owner: nn.Module, _args: Any, output: Any) -> None:
        if output is not None:  # None: the forward was left by an exception
            _core.run_completed(self._model_id)
        place = self._here()
        if place.scopes:
            place.scopes.pop().__exit__(None, None, None)


def _enter_scope(place: _Place, kwargs: dict[str, Any]) -> None:
    past: Any = kwargs.get("past_key_values")
    offset = int(past.get_seq_length()) if hasattr(past, "get_seq_length") else 0
    phase = "none"
    if place.generating:
        phase = "prefill" if place.step < 0 else "decode"
    scope = _core.PhaseScope(phase, place.step if phase == "decode" else -1, offset)
    scope.__enter__()
    place.scopes.append(scope)
