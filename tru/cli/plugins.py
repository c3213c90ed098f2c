"""``tru backbones`` and ``tru unlearners``: what ``params.yaml`` may name, of this package and of others."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from tru.cli.options import JsonOption, print_json
from tru.errors import TruError

if TYPE_CHECKING:
    from tru.plugins import Plugin, PluginRegistry


def backbones(json: JsonOption = False) -> None:
    """List the backbones that `model.name` in params.yaml may name, those of other packages with their package."""
    from tru.models.params import BACKBONES

    _list(BACKBONES, json)


def unlearners(json: JsonOption = False) -> None:
    """List the methods that `unlearn.method` in params.yaml may name, those of other packages with their package."""
    from tru.unlearning.params import UNLEARNERS

    _list(UNLEARNERS, json)


def _list(registry: PluginRegistry, json: bool) -> None:
    members = registry.members()
    summaries = [_summary(registry, plugin) for plugin in members]
    if json:
        print_json([asdict(plugin) | {"summary": text} for plugin, text in zip(members, summaries, strict=True)])
        return
    width = max(len(plugin.name) for plugin in members)
    for plugin, text in zip(members, summaries, strict=True):
        package = "" if plugin.is_builtin else f" [{plugin.package}]"
        typer.echo(f"{plugin.name:{width}}  {text}{package}")


def _summary(registry: PluginRegistry, plugin: Plugin) -> str:
    """What a member says of itself. One that cannot be loaded says why, and the list goes on."""
    try:
        return registry.summary(plugin.name)
    except TruError as error:
        return str(error)
