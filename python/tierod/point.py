"""hook_point for models that are written in Python."""

from __future__ import annotations

import torch
from torch import Tensor

from tierod import _core


def hook_point(x: Tensor, site: str | _core.Site) -> Tensor:
    """Let open sessions see and edit the activation `x` at `site`; return what to go on with.

    While torch compiles, exports or traces, the op `tierod::hook` stays in the graph.

    Args:
        x: the activation, of any shape.
        site: the site's name, or a Site made once (faster, and it can declare a layout).
    """
    if torch.compiler.is_compiling():
        name = site if isinstance(site, str) else site.name
        traced: Tensor = torch.ops.tierod.hook(x, name)
        return traced
    return _core.hook_point(x, _core.Site(site) if isinstance(site, str) else site)
