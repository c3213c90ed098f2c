"""Which certificates are meant by whoever names files, requests, batches, or a case number of their own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tru.errors import CertificateError
from tru.ops.certificates.envelope import place
from tru.ops.requests.inbox import Inbox
from tru.ops.requests.lifecycle import WAITING, DeletionRequest, State
from tru.ops.workspace import Workspace

_REQUEST = re.compile(r"req-[0-9a-f]{16}")
_BATCH = re.compile(r"batch-[0-9]{8}-[0-9]{2,6}")


def is_file(name: str) -> bool:
    """Whether ``name`` is the path of a file, and not the id of a request or a batch."""
    return Path(name).exists() or not (_REQUEST.fullmatch(name) or _BATCH.fullmatch(name))


def select(
    ws: Workspace, names: Sequence[str], references: Sequence[str] = (), *, only_ids: bool = False
) -> list[Path]:
    """The files of the certificates that are meant, each once, in the order named.

    Args:
        ws: where requests, batches and references are looked up.
        names: files, ids of requests, ids of batches. A batch, like a case number, stands for those of its requests
            that are or will be fulfilled; one that named nobody or was withdrawn gets no certificate.
        references: case numbers of a person's own that requests were filed under (``--ref``).
        only_ids: whether ``names`` holds no files.

    Raises:
        RequestError: no such request or batch.
        CertificateError: one of the requests has no certificate; the message says why, and what comes next.
    """
    from tru.ops.requests.store import open_inbox  # a file is verified where there is no database

    inbox = open_inbox(ws)
    files: list[Path] = []
    for name in names:
        # An id that is also the name of a file is the id where only ids are meant.
        files += [Path(name)] if not only_ids and is_file(name) else _certified(ws, _named(inbox, name))
    for reference in references:
        files += _certified(ws, _filed_under(inbox, reference))
    return list(dict.fromkeys(files))


def _named(inbox: Inbox, name: str) -> Sequence[DeletionRequest]:
    if not _BATCH.fullmatch(name):
        return [inbox.get(name)]  # it says so if there is none, and does not repeat what was typed
    return inbox.list(batch=inbox.batch(name).id)


def _filed_under(inbox: Inbox, reference: str) -> Sequence[DeletionRequest]:
    requests = inbox.filed_under(reference)
    if not requests:
        # What was typed is not repeated: a case number leads to a person.
        raise CertificateError("No request was filed under this case number. Write it exactly as it was then.")
    return requests


def _certified(ws: Workspace, requests: Sequence[DeletionRequest]) -> list[Path]:
    """The certificates of those of the requests that are fulfilled or will be; all of them must be there."""
    to_certify = [request for request in requests if request.is_open or request.outcome not in (None, "not found")]
    due = to_certify or list(requests)
    missing = [request for request in due if not place(ws, request.id).exists()]
    if missing:
        of = f"{len(missing)} of {len(due)} requests have no certificate. " if len(due) > 1 else ""
        raise CertificateError(of + why_missing(missing[0]))
    return [place(ws, request.id) for request in due]


def why_missing(request: DeletionRequest) -> str:
    """Why a request has no certificate, and what comes next."""
    if request.state in WAITING:
        return f"{request.id} waits for the next night, so there is nothing to certify yet. `tru run` takes it up now."
    if request.state is State.HELD:
        return f"{request.id} is in batch {request.batch}, which is held for a person to decide. See `tru status`."
    if request.state is State.WITHDRAWN:
        return f"{request.id} was withdrawn. Nothing was erased, so there is nothing to certify."
    if request.state is State.REFUSED:
        return f"{request.id} was refused. Nothing was erased, so there is nothing to certify."
    if request.outcome == "not found":
        return f"{request.id} named nobody and nothing in the data. Nothing was erased, so there is nothing to certify."
    if request.is_open:
        return (
            f"{request.id} is worked on in batch {request.batch} and stands at “{request.state}”. Next comes the rest "
            "of the night, then the erasure; then its certificate. `tru run` goes on with a batch that was interrupted."
        )
    return (
        f"{request.id} is forgotten by the model that serves. What is old is not yet destroyed and searched through; "
        "its certificate comes with that: `tru erase`, or the next night. `tru status` says what stands in the way."
    )
