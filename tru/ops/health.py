"""`tru check`: is the whole workspace in order? One line for each thing that has to be, and nothing is changed.

Each check says in a sentence what it found. What it raises as an error of ours is what is wrong, with the way out. Like
any use of the inbox, a check finishes a cleaning of its file that was interrupted; nothing else is written.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tru.errors import ErasureError, ModelError, ReleaseError, RequestError, TruError, WorkspaceError
from tru.models.params import refuse_without_features
from tru.ops import identity
from tru.ops.release import registry_reader
from tru.ops.release.champion import unanchored
from tru.ops.requests.store import open_ledger, refuse_unusable
from tru.ops.servers import services
from tru.ops.settings import load_settings
from tru.ops.status import Champion, champion, urgent
from tru.ops.workspace import Workspace
from tru.ops.yaml_file import read_yaml

State = Literal["ok", "warning", "wrong"]
GIB = 1024**3
SPARE = 0.5 * GIB
"""Bytes beyond copies of data and models: reports, MLflow's and Prefect's databases, logs."""
COPIES = 6
"""What a night needs at the same time of the data and of the model: the data before, each candidate, what is logged."""


class Remark(Exception):
    """Something to know or to do, which keeps nothing from working."""


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes:
        what: the thing that was looked at.
        state: ``wrong`` where something will not work; ``warning`` where something is to be known or done.
        words: in a sentence or two; no identifier of a person.
    """

    what: str
    state: State
    words: str


def check(ws: Workspace) -> Iterator[Finding]:
    """Look at everything, one thing after the other; what is wrong with one keeps no other from being looked at."""
    for what, look in CHECKS.items():
        try:
            yield Finding(what, "ok", look(ws))
        except Remark as warning:
            yield Finding(what, "warning", str(warning))
        except TruError as error:
            yield Finding(what, "wrong", str(error))
        except OSError as error:
            yield Finding(what, "wrong", f"{error.filename or ws.root} cannot be read: {error.strerror}.")


def _place(ws: Workspace) -> str:
    if (origin := identity.origin(ws.root)) is not None:
        raise WorkspaceError(origin.words(ws.root))
    return f"{ws.root}, where it belongs"


def _settings(ws: Workspace) -> str:
    from tru.ops.erasure.eraser import export_folders

    settings = load_settings(ws)
    export_folders(ws)
    return f"{settings.model.name}, unlearned by {settings.unlearn.method}, gate mode {settings.gate.mode}"


def _git(ws: Workspace) -> str:
    from tru.ops.release.versions import DataVersions

    if not (ws.root / ".git").exists():
        raise WorkspaceError(f"{ws.root} is not a git repository of its own. Make it one: `tru init {ws.root}`.")
    commit = DataVersions(ws).git_commit()
    if commit is None:
        raise Remark("there is no commit yet; the first `tru data import` or `tru train` makes one.")
    return f"at commit {commit[:8]}"


def _dvc(ws: Workspace) -> str:
    from tru.ops.stages import STAGES

    if not (ws.root / ".dvc" / "config").is_file():
        raise WorkspaceError(f"{ws.root} is not under DVC. Make it a workspace: `tru init {ws.root}`.")
    stages = read_yaml(ws.root / "dvc.yaml").get("stages") or {}
    if missing := [name for name in STAGES if name not in stages]:
        raise WorkspaceError(
            f"dvc.yaml lacks the stages {', '.join(missing)}. Restore it with `git checkout dvc.yaml`, or copy the one "
            "of a new workspace."
        )
    return f"{len(STAGES)} stages in dvc.yaml"


def _data(ws: Workspace) -> str:
    if not ws.data.exists() and not ws.data.with_suffix(".dvc").exists():
        raise Remark("there is none yet. Bring some: `tru data import PATH`, or `tru data generate`.")
    from tru.data.interactions import load_dataset
    from tru.ops.checks import check_raw

    dataset = load_dataset(ws.data)
    report = check_raw(dataset)
    report.raise_if_failed()
    refuse_without_features(load_settings(ws).model.name, dataset.modalities)
    counts = f"{len(dataset.users)} users, {len(dataset.items)} items, {len(dataset.interactions)} interactions"
    return f"{counts}; all {len(report.expectations)} expectations met"


def _data_version(ws: Workspace) -> str:
    from tru.ops.release.versions import DataVersions

    if not ws.data.exists() and not ws.data.with_suffix(".dvc").exists():
        raise Remark("there is no data yet.")
    versions = DataVersions(ws)
    named = versions.md5()
    if versions.md5_now() != named:
        raise ReleaseError(
            "data/ is not what data.dvc names. If a night or an import was interrupted, run it again; else "
            "`dvc checkout data.dvc` brings back the version that is named, and `tru data import PATH` takes another."
        )
    return f"data/ is {named[:8]}, as data.dvc says"


def _inbox(ws: Workspace) -> str:
    refuse_unusable(ws)
    if not os.environ.get("TRU_DATABASE_URL"):
        _refuse_open_to_others([ws.state / "inbox.db", ws.state / "suppression.key"])
    return "it opens, and the suppression key is the one that it was filled with"


def _ledger(ws: Workspace) -> str:
    ledger = open_ledger(ws, create=False)
    if faults := [*ledger.verify(), *unanchored(ws)]:
        raise RequestError(f"{' '.join(faults)} See `tru ledger verify`, and compare with a backup.")
    return f"{len(ledger.entries())} entries, none changed or missing"


def _champion(ws: Workspace) -> str:
    from tru.ops.release.serving import SERVING_FILE, ServingArrays

    refuse_unusable(ws)  # a ledger is not made here
    serving = champion(ws)
    if serving.problem:
        raise ModelError(serving.problem)
    if serving.is_retired:
        return "none, for nobody was left to recommend to"
    if serving.facts is None:
        raise Remark("there is none yet. Train one: `tru train`.")
    version = str(serving.facts["version"])
    arrays = ServingArrays.read(registry_reader.model_dir(ws, version) / SERVING_FILE)
    return f"version {version} serves {len(arrays.users)} users and {len(arrays.items)} items"


def _work(ws: Workspace) -> str:
    refuse_unusable(ws)  # an inbox is not made here
    told = services.gone_words(ws)  # who serves, and what runs, have lines of their own
    lines = [line for line in urgent(ws, serving=Champion(None, {})) if line not in told]
    if lines:
        raise RequestError(f"{' '.join(line.strip() for line in lines[:2])} See `tru status`.")
    return "nothing is overdue, held, interrupted or waits for its erasure"


def _signing_key(ws: Workspace) -> str:
    from tru.ops.certificates.keys import KEY_VARIABLE, present

    key = present(ws)
    if key is None or not os.environ.get(KEY_VARIABLE):
        raise Remark(
            "certificates are signed with a development key, which is worth nothing to an outsider. Make one of your "
            f"own: `tru certificate keys new FILE`, and name it in {KEY_VARIABLE}."
        )
    return f"certificates are signed with key {key.keyid[:16]}"


def _servers(ws: Workspace) -> str:
    if words := services.gone_words(ws):
        raise WorkspaceError(" ".join(words))
    started = services.load(ws)
    if started is None:
        return "not started; `tru up` starts the schedule and the pages"
    return f"all {len(started.members)} of `tru up` run"


def _disk(ws: Workspace) -> str:
    if not os.access(ws.root, os.W_OK):
        raise WorkspaceError(f"{ws.root} may not be written by this account.")
    free = shutil.disk_usage(ws.root).free
    needed = COPIES * (_size(ws.data) + _size(ws.artifacts / "original")) + SPARE
    if free < needed:
        raise ErasureError(
            f"{free / GIB:.1f} GiB are free, and a night may need {needed / GIB:.1f} for copies of data and models. "
            "Make room before the next one."
        )
    return f"{free / GIB:.1f} GiB are free, a night needs {needed / GIB:.1f} GiB at most"


CHECKS: dict[str, Callable[[Workspace], str]] = {
    "settings": _settings,
    "place": _place,
    "git": _git,
    "DVC": _dvc,
    "data": _data,
    "data version": _data_version,
    "inbox": _inbox,
    "ledger": _ledger,
    "champion": _champion,
    "open work": _work,
    "signing key": _signing_key,
    "servers": _servers,
    "disk": _disk,
}


def _refuse_open_to_others(files: list[Path]) -> None:
    """Identifiers of people who asked to be forgotten, and the key to them, are for the owner's eyes only."""
    for file in files:
        if file.exists() and file.stat().st_mode & 0o077:
            raise WorkspaceError(f"{file} may be read by other accounts. Close it: `chmod 600 {file}`.")


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
