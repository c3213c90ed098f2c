"""What runs when: the ``prefect.yaml`` of a workspace, and the files of the flows that it names.

``tru init`` puts both into a workspace, where they may be edited. A workspace that has none of its own, such as one
of version 0.1.0, runs on those that come with tru.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tru import templates
from tru.errors import WorkspaceError
from tru.ops.workspace import Workspace
from tru.ops.yaml_file import read_yaml

NAME = "prefect.yaml"


def entrypoint(ws: Workspace, deployment: str) -> str:
    """Where the flow of a deployment is, as Prefect writes it: ``FILE:FUNCTION`` with an absolute path.

    What the workspace's own ``prefect.yaml`` says counts, if it knows the deployment.

    Raises:
        WorkspaceError: its ``prefect.yaml`` cannot be read.
    """
    own = ws.root / NAME
    for file in (own, templates.template(NAME)):
        for known in _deployments(read_yaml(file)) if file.is_file() else ():
            if known.get("name") == deployment:
                return _located(ws, known["entrypoint"])
    raise WorkspaceError(f"{own} has no deployment {deployment!r}, and tru brings none of that name along.")


def prefect_file(ws: Workspace) -> Path:
    """The ``prefect.yaml`` to deploy.

    It is the workspace's own where that names only flows that are there. Otherwise a copy of it, or of the one that
    comes with tru, in which the flows that come with tru have their full path.

    Raises:
        WorkspaceError: the workspace's own cannot be read.
    """
    own = ws.root / NAME
    brought = read_yaml(templates.template(NAME))
    words = read_yaml(own) if own.is_file() else brought
    moved = False
    for known in _deployments(words):
        if (place := _located(ws, known["entrypoint"])) != _absolute(ws, known["entrypoint"]):
            known["entrypoint"], moved = place, True
    if own.is_file() and not moved:
        return own
    words["pull"] = words.get("pull") or brought["pull"]
    target = ws.state / NAME
    target.write_text(yaml.safe_dump(words, sort_keys=False), encoding="utf-8")
    return target


def _deployments(words: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The deployments of a ``prefect.yaml`` that name a flow."""
    for known in words.get("deployments") or ():
        if isinstance(known, dict) and isinstance(known.get("entrypoint"), str):
            yield known


def _located(ws: Workspace, entrypoint: str) -> str:
    """An entry point with the full path of its file: the workspace's own, else the one that comes with tru.

    Version 0.1.0 named flows by module, ``flows.unlearn.unlearn_nightly``. Other modules are the user's and stay.
    """
    file, function = _parts(entrypoint)
    if file in templates.flows() and not (ws.root / file).is_file():
        return f"{templates.template(file)}:{function}"
    is_module = ":" not in entrypoint and not (ws.root / file).is_file()
    return entrypoint if is_module else f"{ws.root / file}:{function}"


def _absolute(ws: Workspace, entrypoint: str) -> str:
    """An entry point as Prefect reads it in the folder of the workspace."""
    return f"{ws.root}/{entrypoint}" if ":" in entrypoint and not Path(entrypoint).is_absolute() else entrypoint


def _parts(entrypoint: str) -> tuple[str, str]:
    """File and function; of a module path, the file that it would be below the workspace."""
    if ":" in entrypoint:
        file, _, function = entrypoint.rpartition(":")
        return Path(file).as_posix(), function
    module, _, function = entrypoint.rpartition(".")
    return f"{module.replace('.', '/')}.py", function
