"""Taking a cut back: the data as it was before a batch, as long as no model without the batch serves.

The order makes it repeatable: the data first, then its version, then the ledger, and last the batch's folder, whose
notes say that there is a cut to take back. Whatever a kill leaves of it is done by the next run.
"""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path

from tru.data.swap import replace_folder
from tru.ops import locks
from tru.ops.held import cuts_to_take_back
from tru.ops.release.versions import DataVersions
from tru.ops.requests.store import open_ledger
from tru.ops.stages import clear
from tru.ops.workspace import Workspace

NOTES = "notes.json"
"""In a batch's folder, says that the data before the cut is there as a whole."""


def take_back(ws: Workspace, batch: str) -> None:
    """Put the data back as it was before the batch, and destroy what was made without it; nothing if it was not cut.

    May be repeated. The batch must be this process's: leased, or aside.
    """
    folder = ws.batches / batch
    if (folder / NOTES).exists():
        replace_folder(ws.data, partial(_copied, folder / "before"))
        versions = DataVersions(ws)
        md5 = versions.add()
        versions.commit(f"Data as it was before {batch}")
        if (last := open_ledger(ws).last("data")) is not None:
            enter_data(ws, batch, last.facts.get("after"), md5, how="taken back")
        (folder / NOTES).unlink()
    clear(folder)


def _copied(before: Path, new: Path) -> None:
    shutil.copytree(before, new, dirs_exist_ok=True)


def enter_data(ws: Workspace, batch: str, before: str | None, after: str | None, **facts: object) -> None:
    """Write down that the batch made one version of the data another; nothing if that is the ledger's last word.

    A batch that is cut again has an entry for each time, so that the entries lead from version to version.
    """
    ledger = open_ledger(ws)
    last = ledger.last("data")
    if last is not None and last.facts.get("after") == after:
        return
    key = batch if ledger.find("data", batch) is None else f"{batch}/{last.seq if last else 0}"
    ledger.append("data", key, batch=batch, before=before, after=after, **facts)


def take_back_strays(ws: Workspace) -> None:
    """Take back the cuts of batches that stand aside, or that ended because every request was taken out of them.

    Raises:
        Busy: an erasure or a rollback is at work, or another process does it.
    """
    if cuts_to_take_back(ws):
        with locks.serving(ws):
            for batch in cuts_to_take_back(ws):
                take_back(ws, batch)
