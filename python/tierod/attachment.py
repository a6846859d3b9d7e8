"""What is installed on a module while sessions on it are open.

Hooks are counted here, once for all sessions: a second session on the same module must not make a
site fire twice. What is known of a run (phase, step, position) is kept by thread.
"""

from __future__ import annotations

import inspect
import itertools
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
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
        self._runs = Runs(self.model_id, {})

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
            done: list[str] = []
            try:
                for name, address in addresses.items():
                    installed = self._installed.get(name)
                    if installed is not None:
                        installed.users += 1
                    else:
                        self._installed[name] = _Installed(address, self._install(module, address))
                    done.append(name)
            except BaseException:
                self.drop(done)
                raise

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

    def in_run(self) -> bool:
        """Tell whether this thread is in the middle of a run."""
        return self._runs.running()

    def runs_with_gradients(self) -> int:
        """Count the runs that this thread began with gradients enabled."""
        return self._runs.runs_with_gradients

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
    """Return a submodule. `get_submodule` checks every step of the path, which costs more."""
    here: nn.Module | None = module
    for name in path.split(".") if path else ():
        here = None if here is None else here._modules.get(name)
    if here is None:
        raise _core.SiteError(
            f"[hook.Session.open] the module has no submodule '{path}' any more; call instrument() "
            "again after changing a module"
        )
    return here


class _Dispatcher:
    """Stands on an instance in a method's place and calls the wrappers around it, the last one
    outermost. They come and go in any order."""

    def __init__(self, owner: Any, method: str) -> None:
        self.original = getattr(owner, method)
        self.had = owner.__dict__.get(method)
        self.wrappers: dict[int, Callable[..., Any]] = {}

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        call = self.original
        for wrapper in self.wrappers.values():
            call = partial(wrapper, call)
        return call(*args, **kwargs)

    def __reduce_ex__(self, _protocol: Any) -> Any:
        raise _core.StateError(OPEN_SESSION)

    def take_back(self, owner: Any, method: str, key: int) -> None:
        del self.wrappers[key]
        # What others have put on top stays, and so does what it calls.
        if self.wrappers or owner.__dict__.get(method) is not self:
            return
        if self.had is not None:
            object.__setattr__(owner, method, self.had)
        else:
            object.__delattr__(owner, method)


OPEN_SESSION = (
    "[hook.Session] a module cannot be copied or saved while a session on it is open; close the "
    "session first"
)
_wrapper_keys = itertools.count()


def wrap_method(owner: Any, method: str, wrapper: Callable[..., Any]) -> Callable[[], None]:
    """Call `wrapper(original, *args, **kwargs)` in the place of a method of this instance; the
    returned function takes it back."""
    dispatcher = owner.__dict__.get(method)
    if not isinstance(dispatcher, _Dispatcher):
        dispatcher = _Dispatcher(owner, method)
        object.__setattr__(owner, method, dispatcher)
    key = next(_wrapper_keys)
    dispatcher.wrappers[key] = wrapper
    return partial(dispatcher.take_back, owner, method, key)


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
        self.generating = 0  # id of the module that generates
        self.step = -1

    def leave(self) -> None:
        while self.scopes:
            self.scopes.pop().__exit__(None, None, None)
        self.in_root = False


class Runs(threading.local):
    """Where the decoder's runs are, kept by thread: what events carry as phase and step."""

    def __init__(self, model_id: int, find_past: dict[int, Any]) -> None:
        # called anew on each thread that comes by; find_past is one object for all of them
        self._model_id = model_id
        self._find_past = find_past
        self._places: list[_Place] = []
        self.runs_with_gradients = 0

    def install(self, module: nn.Module, owner_path: str) -> Callable[[], None]:
        """Watch the decoder's forwards, and generation where some module generates."""
        owner = module.get_submodule(owner_path)
        self._find_past.update({id(m): _past_finder(m) for m in (module, owner)})
        undo: list[Callable[[], None]] = []
        for part in module.modules():  # a wrapper may hand generate() on to what it holds
            kind = type(part)
            if hasattr(kind, "generate") and hasattr(kind, "_update_model_kwargs_for_generation"):
                undo += self._install_generation(part)
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

    def _install_generation(self, part: nn.Module) -> list[Callable[[], None]]:
        # Every generation strategy calls the second one once after each forward that gave a token,
        # so phases do not depend on lengths or on "the first call".
        undo = [
            wrap_method(part, "generate", partial(self._generate, id(part))),
            wrap_method(part, "_update_model_kwargs_for_generation", self._token_done),
        ]
        if hasattr(type(part), "_valid_auto_compile_criteria"):
            # transformers would compile the decode steps, and Python hooks be silent in them.
            undo.append(wrap_method(part, "_valid_auto_compile_criteria", _never))
        return undo

    def __reduce_ex__(self, _protocol: Any) -> Any:
        raise _core.StateError(OPEN_SESSION)

    def running(self) -> bool:
        """Tell whether this thread is in the middle of a run."""
        return bool(self._here().scopes)

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

    def _generate(self, part: int, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        place = self._here()
        outer = place.generating, place.step
        # Assisted generation may draft with the same model: those events are of a branch.
        nested = place.generating == part
        branch: Any = _core.BranchScope("nested generate") if nested else nullcontext()
        place.generating, place.step = part, -1
        try:
            with branch:
                return original(*args, **kwargs)
        finally:
            place.generating, place.step = outer

    def _token_done(self, original: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._here().step += 1
        return original(*args, **kwargs)

    def _root_begins(self, root: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        place = self._here()
        place.leave()  # what is no Exception, such as Ctrl-C, skips _root_ends
        place.in_root = True
        _enter_scope(place, self._find_past[id(root)](args, kwargs))

    def _root_ends(self, _root: nn.Module, _args: Any, _output: Any) -> None:
        self._here().leave()

    def _begins(self, owner: nn.Module, args: Any, kwargs: dict[str, Any]) -> None:
        place = self._here()
        if not place.in_root:
            place.leave()
        _enter_scope(place, self._find_past[id(owner)](args, kwargs))
        self.runs_with_gradients += torch.is_grad_enabled()
        _core.run_started(self._model_id)

    def _ends(self, _owner: nn.Module, _args: Any, output: Any) -> None:
        if output is not None:  # None: the forward was left by an exception
            _core.run_completed(self._model_id)
        place = self._here()
        if place.scopes:
            place.scopes.pop().__exit__(None, None, None)


def _never(_original: Callable[..., Any], *_args: Any, **_kwargs: Any) -> bool:
    return False


def _past_finder(module: nn.Module) -> Callable[[tuple[Any, ...], dict[str, Any]], Any]:
    """Return a function that finds `past_key_values` among the arguments of a forward."""
    try:
        names = list(inspect.signature(module.forward).parameters)
    except (TypeError, ValueError):
        names = []
    at = names.index("past_key_values") if "past_key_values" in names else None

    def find(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        past = kwargs.get("past_key_values")
        return args[at] if past is None and at is not None and len(args) > at else past

    return find


def _tokens_in(past: Any) -> int:
    """Return how many tokens a cache of keys and values holds; -1 where it does not say."""
    if past is None:
        return 0
    try:
        if hasattr(past, "get_seq_length"):
            return int(past.get_seq_length())
        return int(past[0][0].shape[-2])
    except (AttributeError, IndexError, KeyError, TypeError):
        return -1


def _enter_scope(place: _Place, past: Any) -> None:
    phase = "none"
    if place.generating:
        phase = "prefill" if place.step < 0 else "decode"
    step = place.step if phase == "decode" else -1
    scope = _core.PhaseScope(phase, step, _tokens_in(past))
    scope.__enter__()
    place.scopes.append(scope)
