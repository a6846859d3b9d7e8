"""tierod: does what your driving model says actually steer it?

Capture and edit activations of PyTorch and C++ models, without ever being silently wrong.
"""

from __future__ import annotations

import os as _os
import sys as _sys

if _sys.getdlopenflags() & _os.RTLD_GLOBAL:
    raise ImportError(
        "[tierod] sys.getdlopenflags() has RTLD_GLOBAL set: symbols of libraries that several "
        "packages bring would clash and crash later; import tierod with the default flags, without RTLD_GLOBAL"
    )

import torch as _torch

from tierod import _core, patch, probe, stats, vla, zoo
from tierod._core import (
    Activation,
    BranchScope,
    CallbackPart,
    CounterRandom,
    Error,
    Event,
    HookAborted,
    Intervention,
    InvalidArgument,
    IoError,
    Moments,
    NumericalError,
    OutOfRange,
    PhaseScope,
    Site,
    SiteError,
    SitePattern,
    SiteTable,
    StateError,
    buffer_pool_idle_bytes,
    callback_part,
    run_completed,
    run_started,
    set_buffer_pool_limit,
    site_alias,
)
from tierod.cache import ActivationCache
from tierod.idioms import run_with_cache, run_with_hooks
from tierod.instrument import Instrumented, instrument, method_site, module_site
from tierod.point import hook_point
from tierod.session import ProcessSession, Session, suspend
from tierod.store import ActivationReader, ActivationWriter, MomentsSink, StoreSink

__version__ = _core.version()

# A dead hook call would be removed from compiled graphs, and the site with it.
_torch.fx.node.has_side_effect(_torch.ops.tierod.hook.default)

__all__ = [
    "Activation",
    "ActivationCache",
    "ActivationReader",
    "ActivationWriter",
    "BranchScope",
    "CallbackPart",
    "CounterRandom",
    "Error",
    "Event",
    "HookAborted",
    "Instrumented",
    "Intervention",
    "InvalidArgument",
    "IoError",
    "Moments",
    "MomentsSink",
    "NumericalError",
    "OutOfRange",
    "PhaseScope",
    "ProcessSession",
    "Session",
    "Site",
    "SiteError",
    "SitePattern",
    "SiteTable",
    "StateError",
    "StoreSink",
    "buffer_pool_idle_bytes",
    "callback_part",
    "hook_point",
    "instrument",
    "method_site",
    "module_site",
    "patch",
    "probe",
    "run_completed",
    "run_started",
    "run_with_cache",
    "run_with_hooks",
    "set_buffer_pool_limit",
    "site_alias",
    "stats",
    "suspend",
    "vla",
    "zoo",
]
