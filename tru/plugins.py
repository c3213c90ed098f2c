"""Backbones and unlearners by name: those of this package, and those that other packages bring.

A package offers one by an entry point, in its ``pyproject.toml``::

    [project.entry-points."tru.backbones"]
    freedom = "tru_freedom:Freedom"

and once it is installed, ``model.name: freedom`` works in every process. Where there is no entry point, a dotted path
does the same: ``model.name: my_package.my_module:MyBackbone``. Nothing is imported before it is needed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Any, TypeVar

from tru.errors import TruError
from tru.params import Params

OWN = "tru"
"""This distribution. Its members stand in a table, since the metadata of a checkout may be older than its code."""
# Names are written into tags, reports and certificates; these are of a form that all of them take.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.+-]{0,99}")
_PATH = re.compile(r"(?=.{3,200}$)[A-Za-z_][A-Za-z0-9_.]*:[A-Za-z_][A-Za-z0-9_.]*")

P = TypeVar("P", bound=Params)


@dataclass(frozen=True)
class Plugin:
    """A member of a registry.

    Attributes:
        name: what ``params.yaml`` says.
        path: where the class is, ``package.module:Name``.
        package: the distribution that brings it, or the top-level package of a dotted path.
    """

    name: str
    path: str
    package: str

    @property
    def is_builtin(self) -> bool:
        """Whether it is part of tru."""
        return self.package == OWN


class PluginRegistry:
    """All members of one kind. Iterating gives their names, the built-in ones first.

    Args:
        what: the kind, as a message says it.
        key: the setting that holds a name.
        group: the group of entry points.
        builtin: name -> dotted path of those that are part of tru.
        error: what to raise.
    """

    def __init__(self, what: str, key: str, group: str, builtin: Mapping[str, str], error: type[TruError]) -> None:
        self.what, self.key, self.group, self.builtin, self.error = what, key, group, dict(builtin), error

    @cached_property
    def _offers(self) -> dict[str, list[Plugin]]:
        """Name -> everything of that name. Read once per process; it takes some hundredths of a second."""
        offers = defaultdict(list, {name: [Plugin(name, path, OWN)] for name, path in self.builtin.items()})
        for entry in sorted(entry_points(group=self.group), key=lambda entry: entry.name):
            package = entry.dist.name if entry.dist else entry.value.partition(".")[0]
            if package != OWN and _NAME.fullmatch(entry.name):
                offers[entry.name].append(Plugin(entry.name, entry.value, package))
        return dict(offers)

    def __iter__(self) -> Iterator[str]:
        return iter(self._offers)

    def __contains__(self, name: object) -> bool:
        return name in self.builtin or name in self._offers

    @staticmethod
    def is_path(name: str) -> bool:
        """Whether a name is a dotted path, ``package.module:Name``."""
        return _PATH.fullmatch(name) is not None

    def members(self) -> list[Plugin]:
        """Everything there is, the built-in ones first.

        Raises:
            TruError: two packages offer the same name.
        """
        return [self.find(name) for name in self]

    def find(self, name: str) -> Plugin:
        """The member of a name, or at a dotted path ``package.module:Name``; nothing is imported.

        Raises:
            TruError: there is none of that name, or two packages offer it; the message says what there is.
        """
        if self.is_path(name):
            return Plugin(name, name, name.partition(":")[0].partition(".")[0])
        offers = self._offers.get(name, [])
        if not offers:
            raise self.error(
                f"{self.key}: no {self.what} is called {name!r}. There are: {', '.join(sorted(self))}. One of another "
                "package is named by that package once it is installed, or by its path, package.module:Name."
            )
        if len(offers) > 1:
            packages = " and ".join(plugin.package for plugin in offers)
            raise self.error(
                f"{self.key}: {packages} both offer {self.what} {name!r}. Uninstall one of them, or name the one you "
                f"mean by its path: {' or '.join(plugin.path for plugin in offers)}."
            )
        return offers[0]

    def load(self, name: str) -> Any:  # noqa: ANN401 - the callers know which kind of class theirs are
        """The class of a name or a dotted path; imports its module.

        Raises:
            TruError: as :meth:`find`; or it cannot be imported.
        """
        plugin = self.find(name)
        try:
            return EntryPoint(plugin.name, plugin.path, self.group).load()
        except Exception as error:
            raise self.error(
                f"{self.key}: {self.what} {name!r} cannot be loaded from {plugin.path} "
                f"({type(error).__name__}: {error}). Its package must be installed where tru runs, or be on PYTHONPATH."
            ) from error

    def summary(self, name: str) -> str:
        """One sentence about a member: the first line of its class's docstring. Imports its module.

        Raises:
            TruError: as :meth:`load`.
        """
        text = (getattr(self.load(name), "__doc__", None) or "").strip()
        return text.splitlines()[0] if text else ""

    def params_class(self, name: object, builtin: type[P], plain: type[P]) -> type[P]:
        """The class that checks a member's settings. The module of a built-in one is not imported for that.

        Args:
            name: whatever a person wrote.
            builtin: the class of the built-in ones, and of whatever is not the name of another.
            plain: the class of one that has no ``params_class``.

        Raises:
            TruError: as :meth:`load`.
        """
        if not isinstance(name, str) or name in self.builtin:
            return builtin
        if not self.is_path(name) and name not in self:
            return builtin
        found: type[P] = getattr(self.load(name), "params_class", plain)
        return found
