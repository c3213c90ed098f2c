"""The real commands, as a person types them, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tru.errors import TruError, WorkspaceError
from tru.ops.settings import load_settings
from tru.ops.workspace import Workspace


class CommandFailed(TruError):
    """A command that had to work did not."""


@dataclass(frozen=True)
class Tru:
    """The command ``tru`` in one workspace.

    Attributes:
        root: the workspace.
        logs: folder for what the commands print.
    """

    root: Path
    logs: Path

    def start(self, *words: str, log: str, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command; what it says goes to ``log``."""
        self.logs.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "tru.cli.main", *words]
        with (self.logs / f"{log}.err").open("wb") as errors, (self.logs / f"{log}.out").open("wb") as out:
            where = {"TRU_WORKSPACE": str(self.root), **environment}
            return subprocess.Popen(command, stdout=out, stderr=errors, env={**_clean(os.environ), **where})

    def call(self, *words: str, log: str, **environment: str) -> int:
        """Run a command to its end; its exit code, negative if a signal ended it."""
        return self.start(*words, log=log, **environment).wait()

    def do(self, *words: str, log: str) -> str:
        """Run a command that has to work; what it printed.

        Raises:
            CommandFailed: it did not.
        """
        if code := self.call(*words, log=log):
            raise CommandFailed(f"`tru {words[0]}` ended with {code}: {self.said(log)}")
        return (self.logs / f"{log}.out").read_text()

    def ask(self, *words: str, log: str) -> Any:  # noqa: ANN401 - whatever JSON holds
        """The same for a command that prints JSON."""
        return json.loads(self.do(*words, "--json", log=log))

    def said(self, log: str) -> str:
        """The error that a command ended with, or else the last line that it wrote to standard error."""
        lines = (self.logs / f"{log}.err").read_text(errors="replace").strip().splitlines()
        errors = [line for line in lines if line.startswith("Error: ")]
        return (errors or lines or ["nothing"])[-1]


def fresh_workspace(tru: Tru, data: Path | None, settings: Mapping[str, object]) -> None:
    """A workspace with data and no model yet; may be repeated.

    Args:
        tru: the command in it.
        data: what to import; None for the built-in data.
        settings: dotted names -> values for ``params.yaml``.
    """
    tru.do("init", str(tru.root), log="init")
    set_params(Workspace(tru.root), settings)
    tru.do(*(["data", "import", str(data.resolve())] if data else ["data", "generate"]), log="data")


def set_params(ws: Workspace, settings: Mapping[str, object]) -> None:
    """Change some settings of ``params.yaml``.

    Raises:
        WorkspaceError: a name or value is wrong.
    """
    words = yaml.safe_load(ws.params.read_text())
    for name, value in settings.items():
        block = words
        *path, last = name.split(".")
        for part in path:
            block = block.setdefault(part, {})
            if not isinstance(block, dict):
                raise WorkspaceError(f"{name}: {part} holds a value, not a block. See params.yaml.")
        block[last] = value
    ws.params.write_text(yaml.safe_dump(words, sort_keys=False))
    load_settings(ws)


def parse_settings(given: list[str]) -> dict[str, object]:
    """``["gate.mode=licensed"]`` as a mapping; values are read as YAML.

    Raises:
        WorkspaceError: there is no ``=`` in one.
    """
    if wrong := [words for words in given if "=" not in words]:
        raise WorkspaceError(f"{wrong[0]!r} is no setting. Write it as gate.mode=licensed.")
    pairs = [words.split("=", 1) for words in given]
    return {name: yaml.safe_load(value) for name, value in pairs}


def _clean(environment: Mapping[str, str]) -> dict[str, str]:
    """Without what would point the commands to another workspace or server."""
    other = ("TRU_", "PREFECT_", "MLFLOW_TRACKING", "MLFLOW_REGISTRY")
    kept = {name: value for name, value in environment.items() if not name.startswith(other)}
    return kept | {name: value for name, value in environment.items() if name == "PREFECT_SERVER_ANALYTICS_ENABLED"}
