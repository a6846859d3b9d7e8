"""The idioms that people know: run_with_cache and run_with_hooks."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from tierod import _core
from tierod.cache import ActivationCache, Key, site_name
from tierod.instrument import Instrumented, StopForward, _instrument
from tierod.selection import Indices
from tierod.session import Edit, HookFunction

NamesFilter = str | Sequence[str] | re.Pattern[str] | Callable[[str], bool] | None


def _wrap(
    model: torch.nn.Module | Instrumented, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Instrumented:
    if isinstance(model, Instrumented):
        return model
    return _instrument(model, None, (args, kwargs), None, example_is_own=False)


def _chosen(model: Instrumented, names_filter: NamesFilter) -> list[str]:
    """Return the patterns or names that a filter means; a filter that means none is an error."""
    names = model.names()
    if names_filter is None:
        return model.default_names()
    if isinstance(names_filter, str):
        return [names_filter]
    if isinstance(names_filter, re.Pattern):
        chosen = [n for n in names if names_filter.search(n)]
    elif callable(names_filter):
        chosen = [n for n in names if names_filter(n)]
    else:
        return list(names_filter)
    if not chosen:
        raise _core.SiteError(
            f"[hook.run_with_cache] names_filter lets none of the model's {len(names)} sites "
            f"through, which are for example {names[:4]}"
        )
    return chosen


def run_with_cache(
    model: torch.nn.Module | Instrumented,
    *args: Any,
    names_filter: NamesFilter = None,
    pos_slice: Indices = None,
    stop_at_layer: int | None = None,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
    **kwargs: Any,
) -> tuple[Any, ActivationCache]:
    """Run `model(*args, **kwargs)` once and return (output, cache).

    Args:
        model: a module, or what `instrument` made of it (faster when called often).
        names_filter: a site or pattern, a list of them, a compiled regular expression, or a function
            of the name; default: every canonical port that the model offers, or every submodule's
            output for a model without canonical ports.
        pos_slice: tokens to keep: an index, a list or a slice of the token axis.
        stop_at_layer: do not run this layer and what follows; the output is then the residual
            stream that enters it [rows, tokens, width]. Negative counts from the end.
        device, dtype: where and as what the captures are kept.

    Raises:
        SiteError: if a name is unknown or never fired.
    """
    instrumented = _wrap(model, args, kwargs)
    names = _chosen(instrumented, names_filter)
    session = instrumented.session()
    if stop_at_layer is not None:
        session.stop_at_layer(stop_at_layer)
        wanted = names
        names = [n for pattern in wanted for n in session.reached(pattern)]
        if not names:
            raise _core.SiteError(
                f"[hook.run_with_cache] none of {wanted} fires before layer {stop_at_layer}, where "
                "stop_at_layer ends the run; ask for earlier sites, or stop later"
            )
    for name in names:
        session.capture(name, tokens=pos_slice, device=device, dtype=dtype)
    output: Any
    with session:
        try:
            output = instrumented.module(*args, **kwargs)
        except StopForward as stop:
            output = stop.residual
    return output, session.cache


def run_with_hooks(
    model: torch.nn.Module | Instrumented,
    *args: Any,
    fwd_hooks: Sequence[tuple[Key, HookFunction]] = (),
    interventions: Mapping[Key, Edit] | None = None,
    **kwargs: Any,
) -> Any:
    """Run `model(*args, **kwargs)` once with edits and return its output.

    Args:
        fwd_hooks: pairs (site or pattern, function (tensor, event) -> tensor or None).
        interventions: by site or pattern, an Intervention or such a function.

    Raises:
        SiteError: if a name is unknown or never fired.
    """
    instrumented = _wrap(model, args, kwargs)
    session = instrumented.session()
    for pattern, function in fwd_hooks:
        session.intervene(site_name(pattern), function)
    for pattern, edit in (interventions or {}).items():
        session.intervene(site_name(pattern), edit)
    with session:
        return instrumented.module(*args, **kwargs)
