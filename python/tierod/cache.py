"""A dict-like face of captured activations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from tierod import _core

Key = str | tuple[str, int] | tuple[str, int, str]


def site_name(key: Key) -> str:
    """Return the site that a key means: a full name, or ("resid_post", 5[, tower])."""
    return key if isinstance(key, str) else _core.site_alias(*key)


class ActivationCache(Mapping[Key, Tensor]):
    """Captured activations by site: `cache["layers.5.resid_post"]`, `cache["resid_post", 5]`.

    A site that fired several times has one entry an event: narrow with `at(name, step=3)`, take them
    all with `find(name)`, or join prefill and decode steps with `concat_tokens(name)`.
    """

    def __init__(self, core: _core.ActivationCache | None = None) -> None:
        self.core = _core.ActivationCache() if core is None else core

    def _filter(self, **f: Any) -> tuple[Any, ...]:
        return tuple(f[k] for k in ("phase", "step", "branch", "call", "when", "gradient"))

    def __getitem__(self, key: Key) -> Tensor:
        try:
            return self.at(key)
        except _core.SiteError as error:
            # Mapping's contract is a KeyError; Python prints its text in quotes.
            raise CacheKeyError(str(error)) from None

    def at(
        self,
        key: Key,
        *,
        phase: str | None = None,
        step: int | None = None,
        branch: str | None = None,
        call: int | None = None,
        when: str | None = None,
        gradient: bool | None = None,
    ) -> Tensor:
        """Return the only tensor of a site that the filter lets through.

        Raises:
            SiteError: if there is none or several; the message lists the events.
        """
        return self.core._at(site_name(key), phase, step, branch, call, when, gradient)

    def find(
        self,
        key: Key,
        *,
        phase: str | None = None,
        step: int | None = None,
        branch: str | None = None,
        call: int | None = None,
        when: str | None = None,
        gradient: bool | None = None,
    ) -> list[_core.Activation]:
        """Return all entries of a site that the filter lets through, in order of capture."""
        return self.core._find(site_name(key), phase, step, branch, call, when, gradient)

    def concat_tokens(
        self,
        key: Key,
        *,
        phase: str | None = None,
        step: int | None = None,
        branch: str | None = None,
        call: int | None = None,
        when: str | None = None,
        gradient: bool | None = None,
    ) -> Tensor:
        """Join a site's entries along the token axis: the prefill and every decode step."""
        return self.core._concat_tokens(site_name(key), phase, step, branch, call, when, gradient)

    def entries(self) -> list[_core.Activation]:
        """Return every entry, in order of capture."""
        return self.core.entries()

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> ActivationCache:
        """Return a cache whose tensors are on `device` and in `dtype`."""
        return ActivationCache(
            self.core.to(None if device is None else torch.device(device), dtype)
        )

    def __iter__(self) -> Iterator[Key]:
        return iter(self.core.sites())

    def __len__(self) -> int:
        return len(self.core.sites())

    def __contains__(self, key: object) -> bool:
        if not isinstance(key, (str, tuple)):
            return False
        try:
            return len(self.find(key)) > 0
        except _core.SiteError:
            return False

    def __repr__(self) -> str:
        return f"ActivationCache({len(self)} sites, {len(self.core)} entries)"


class CacheKeyError(_core.SiteError, KeyError):
    """A key that a cache does not hold, or holds several times."""

    def __str__(self) -> str:
        return str(self.args[0])
