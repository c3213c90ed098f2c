"""What an MLflow store may hold of tru, and what an erasure asks of it; nothing here knows MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Version:
    """A registered version of any name."""

    name: str
    number: int
    run_id: str | None
    source: str
    tags: Mapping[str, str] = field(default_factory=dict)
    is_champion: bool = False


@dataclass(frozen=True)
class Run:
    """A run in any state; only the tags of tru are known."""

    id: str
    started: int
    tags: Mapping[str, str] = field(default_factory=dict)
    is_finished: bool = True
    is_deleted: bool = False


@dataclass(frozen=True)
class Model:
    """A LoggedModel in any state."""

    id: str
    run_id: str | None
    place: str
    is_deleted: bool = False


@dataclass(frozen=True)
class Holdings:
    """Everything that may be destroyed."""

    versions: tuple[Version, ...]
    runs: tuple[Run, ...]
    models: tuple[Model, ...]


class Store(Protocol):
    """One MLflow store."""

    def read(self) -> Holdings:
        """Everything in it that is tru's."""
        ...

    def places(self) -> list[str]:
        """Where the artifacts of the experiments are of which something may be destroyed."""
        ...

    def own_places(self) -> list[str]:
        """Those among them that are tru's own: whatever no row stands for there was left by tru."""
        ...

    def living(self) -> set[str]:
        """Ids of all runs and models in it, whoever made them, whose artifacts are still somebody's."""
        ...

    def drop_version(self, version: Version) -> None:
        """Destroy a version; an alias that points to it goes too.

        Raises:
            ReleaseError: it became the champion meanwhile.
        """
        ...

    def drop_model(self, model: Model) -> None:
        """Destroy a LoggedModel's row."""
        ...

    def drop_run(self, run: Run) -> None:
        """Destroy a run's rows."""
        ...

    def drop_traces(self) -> int:
        """Destroy recorded calls and evaluation data sets, which may quote what a caller asked; how many."""
        ...

    def tidy(self) -> int:
        """Destroy rows that nothing refers to: tombstones, deleted experiments; how many."""
        ...
