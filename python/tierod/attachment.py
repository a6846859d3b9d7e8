"""What is installed on a module while sessions on it are open.

Hooks are counted here, once for all sessions: a second session on the same module must not make a
site fire twice. What is known of a run (phase, step, position) is kept by thread.
"""

from __future__ import annotations

import inspect
import itertools
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from tierod import _core

_model_ids = itertools.count(1)


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


class _ModuleHook:
    """The hook of one site on a module, made once and put on for each session anew.

    People open a session for a single forward, so this must cost little. `register_forward_hook`
    makes a handle and weak references each time; what it does to the module is to enter the hook in
    a dict under the handle's number, as is done here (tests compare the two).
    """

    __slots__ = ("_hook", "_hooks", "_input", "_number", "_path", "_with_kwargs")

    def __init__(self, address: SiteAddress, model_id: int) -> None:
        hook = _new_hook(address, model_id)
        self._input = address.side == "in"
        self._hook = hook.on_input if self._input else hook.on_output
        self._path = address.path.split(".") if address.path else []
        self._number = RemovableHandle(OrderedDict()).id
        self._hooks: dict[int, Any] = {}
        self._with_kwargs: dict[int, bool] = {}

    def put_on(self, root: nn.Module) -> None:
        # `get_submodule` checks every step of the path, which costs more.
        owner: nn.Module | None = root
        for name in self._path:
            owner = None if owner is None else owner._modules.get(name)
        if owner is None:
            raise _no_submodule(self._path)
        if self._input:
            self._hooks = owner._forward_pre_hooks
            self._with_kwargs = owner._forward_pre_hooks_with_kwargs
            self._with_kwargs[self._number] = True
        else:
            self._hooks = owner._forward_hooks
        self._hooks[self._number] = self._hook

    def take_off(self) -> None:
        self._hooks.pop(self._number, None)  # somebody may have cleared all hooks
        if self._input:
            self._with_kwargs.pop(self._number, None)


class _MethodHook:
    """The hook of one site on a wrapped method."""

    __slots__ = ("_address", "_hook", "_undo")

    def __init__(self, address: SiteAddress, model_id: int) -> None:
        self._address = address
        self._hook = _new_hook(address, model_id)
        self._undo: Callable[[], None] | None = None

    def put_on(self, root: nn.Module) -> None:
        path, method = self._address.path, self._address.method
        try:
            owner = root.get_submodule(path)
        except AttributeError:
            raise _no_submodule(path.split(".")) from None
        assert method is not None
        self._undo = wrap_method(owner, method, partial(_call_wrapped, self._hook))

    def take_off(self) -> None:
        if self._undo is not None:
            self._undo()
            self._undo = None


class _Entry:
    """A site's hook, and how many sessions use it now."""

    __slots__ = ("address", "hook", "users")

    def __init__(self, address: SiteAddress, model_id: int) -> None:
        self.address = address
        kind = _ModuleHook if address.method is None else _MethodHook
        self.hook: _ModuleHook | _MethodHook = kind(address, model_id)
        self.users = 0

    def means(self, address: SiteAddress) -> bool:
        return self.address is address or self.address == address


class Attachment:
    """The hooks on one root module, installed once however many sessions ask for them."""

    def __init__(self) -> None:
        self.model_id = next(_model_ids)
        self._lock = threading.RLock()
        self._entries: dict[str, _Entry] = {}  # those without users too: they serve again
        self._runs = Runs(self.model_id, {})
        self._runs_users = 0
        self._remove_runs: Callable[[], None] | None = None

    def use(self, module: nn.Module, addresses: Mapping[str, SiteAddress]) -> None:
        """Let the sites of these names fire; each needs a `drop`.

        Raises:
            SiteError: if an open session has a name for another place of this module, or the module
                has lost a submodule.
        """
        entries, done = self._entries, []
        with self._lock:
            try:
                for name, address in addresses.items():
                    entry = entries.get(name)
                    if entry is None or not entry.means(address):
                        if entry is not None and entry.users > 0:
                            raise _core.SiteError(
                                f"[hook.Session.open] '{name}' means {address.path!r} here, and "
                                f"{entry.address.path!r} in another open session on this module; "
                                "give one of the two sites another name"
                            )
                        entry = entries[name] = _Entry(address, self.model_id)
                    if entry.users == 0:
                        entry.hook.put_on(module)
                    entry.users += 1
                    done.append(name)
            except BaseException:
                self.drop(done)
                raise

    def drop(self, names: Iterable[str]) -> None:
        """Take back what `use` did, once for each name."""
        with self._lock:
            for name in names:
                entry = self._entries[name]
                entry.users -= 1
                if entry.users == 0:
                    entry.hook.take_off()

    def use_runs(self, module: nn.Module, owner_path: str) -> None:
        """Keep runs, phases, steps and positions of the decoder at `owner_path`; `drop_runs` ends it."""
        with self._lock:
            if self._runs_users == 0:
                self._remove_runs = self._runs.install(module, owner_path)
            self._runs_users += 1

    def drop_runs(self) -> None:
        """Take back what `use_runs` did, once."""
        with self._lock:
            self._runs_users -= 1
            if self._runs_users == 0 and self._remove_runs is not None:
                self._remove_runs()
                self._remove_runs = None

    def in_run(self) -> bool:
        """Tell whether this thread is in the middle of a run."""
        return self._runs.running()

    def runs_with_gradients(self) -> int:
        """Count the runs that this thread began with gradients enabled."""
        return self._runs.runs_with_gradients

    def forget_run(self) -> None:
        """Leave the scope of a run that this thread did not finish."""
        self._runs.leave()


def _new_hook(address: SiteAddress, model_id: int) -> _core.ModuleHook:
    return _core.ModuleHook(
        address.site, model_id, address.index, address.key, address.columns, address.heads
    )


def _no_submodule(path: list[str]) -> _core.SiteError:
    return _core.SiteError(
        f"[hook.Session.open] the module has no submodule '{'.'.join(path)}' any more; call "
        "instrument() again after changing a module"
    )


_attachments: weakref.WeakKeyDictionary[nn.Module, dict[str | None, Attachment]] = (
    weakref.WeakKeyDictionary()
)
_attachments_lock = threading.Lock()


def attachment_of(module: nn.Module, runs_of: str | None) -> Attachment:
    """Return what all sessions on `module` share that count the runs of the same submodule."""
    with _attachments_lock:
        return _attachments.setdefault(module, {}).setdefault(runs_of, Attachment())


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
