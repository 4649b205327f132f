"""Name -> object, imported when it is first asked for.

A registry lists what exists without importing it, so that ``layerscope --help`` stays fast and
an optional dependency is needed only by whoever uses it. Outside packages add entries through the
entry-point group named after the registry, for example ``layerscope.formats``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module, metadata
from typing import Any

from layerscope.errors import UnknownName


class Registry(Mapping[str, Any]):
    """Lazily imported objects by name.

    Parameters
    ----------
    kind : str
        Singular noun used in messages, e.g. ``"format"``; the entry-point group is
        ``layerscope.<kind>s``.
    targets : mapping of str to str
        Name to ``"package.module:attribute"``.
    """

    def __init__(self, kind: str, targets: Mapping[str, str]):
        self.kind = kind
        self._targets = dict(targets)

    @cached_property
    def _all(self) -> dict[str, str]:
        outside = metadata.entry_points(group=f"layerscope.{self.kind}s")
        return {e.name: e.value for e in outside} | self._targets

    def __getitem__(self, name: str) -> Any:
        if name not in self._all:
            raise UnknownName.of(self.kind, name, self._all)
        module, _, attribute = self._all[name].partition(":")
        return getattr(import_module(module), attribute)

    def __contains__(self, name: object) -> bool:
        return name in self._all

    def __iter__(self) -> Iterator[str]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)
