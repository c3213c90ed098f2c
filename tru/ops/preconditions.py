"""What must hold before a command starts: asked at once, before Prefect, DVC or torch are loaded.

The steps ask again when they run, because a night or an import may come in between. Whoever types a command should not
wait a minute for an answer that could be had in one second.
"""

from __future__ import annotations

import json

from tru.errors import DataError, ModelError, RequestError
from tru.models.params import refuse_without_features
from tru.ops.release import registry_reader
from tru.ops.release.champion import is_retired
from tru.ops.requests.lifecycle import WAITING
from tru.ops.requests.store import open_inbox
from tru.ops.settings import load_settings
from tru.ops.workspace import Workspace


def of_training(ws: Workspace) -> None:
    """What `tru train` needs: settings, data that the backbone can read, a model store that answers, no batch begun.

    Raises:
        TruError: it would refuse; the message says what to do.
    """
    settings = load_settings(ws)
    _has_data(ws)
    refuse_without_features(settings.model.name, _modalities(ws))
    opened = open_inbox(ws).open_batch()
    if opened is not None and opened.step != "claim":
        raise RequestError(f"{opened.id} is open. Finish it first: `tru run`, or, if it is held, see `tru status`.")
    registry_reader.refuse_if_silent(ws)


def of_a_night(ws: Workspace) -> None:
    """What `tru run` needs: right settings; for a batch data and a champion.

    Raises:
        TruError: it would refuse; the message says what to do.
    """
    load_settings(ws)
    inbox = open_inbox(ws)
    if inbox.open_batch() is None and not any(inbox.counts()[state] for state in WAITING):
        return  # at most something to erase
    if is_retired(ws) or any(ws.batches.glob("*/notes.json")):
        return  # nobody was left, or a cut is under way, after which perhaps nobody is
    _has_data(ws)
    _has_champion(ws, "there is no champion to make forget anything.")


def of_a_baseline(ws: Workspace) -> None:
    """What `tru baseline` needs: right settings, data, a champion to compare with, and no open batch.

    Raises:
        TruError: it would refuse; the message says what to do.
    """
    load_settings(ws)
    _has_data(ws)
    opened = open_inbox(ws).open_batch()
    if opened is not None:
        raise RequestError(
            f"{opened.id} is open: its subjects are still in the champion. Finish it first: `tru run`, or, if it is "
            "held, see `tru status`."
        )
    _has_champion(ws, "there is no champion to compare a baseline with.")


def _has_data(ws: Workspace) -> None:
    if not ws.data.with_suffix(".dvc").is_file():
        raise DataError(f"{ws.root} has no data yet. Bring some: `tru data import PATH`, or `tru data generate`.")
    if not (ws.data / "dataset.json").is_file():
        raise DataError(f"{ws.data} is missing or not whole, though data.dvc names it. Bring it back: `dvc checkout`.")


def _modalities(ws: Workspace) -> list[str]:
    """The modalities that the data says it has; if it says nothing usable, loading it will tell what is wrong."""
    try:
        found = json.loads((ws.data / "dataset.json").read_text(encoding="utf-8"))["modalities"]
    except (OSError, ValueError, LookupError, TypeError):
        return ["unknown"]
    return list(found) if isinstance(found, list) else ["unknown"]


def _has_champion(ws: Workspace, otherwise: str) -> None:
    found = registry_reader.champion(ws)
    if found is None:
        raise ModelError(f"{otherwise} Train one first: `tru train`.")
    if lost := registry_reader.lost_files(ws, found.version):
        raise ModelError(
            f"version {found.version} is champion, but its files are gone from {lost}. Restore them, or let another "
            "serve: `tru rollback --list`, `tru train`."
        )
