"""What a person or a program asks of a workspace: who serves, what waits, what would be recommended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tru.errors import ModelError
from tru.release.registry import Registry
from tru.release.serving import Recommender
from tru.requests.store import open_inbox, open_suppression
from tru.workspace import Workspace


def read(ws: Workspace) -> dict[str, Any]:
    """The state of the workspace; no identifier of a person in it.

    Returns:
        ``champion`` (version, data_md5, deleted_through; or None), ``requests`` (state -> count), ``last_batch`` (id,
        outcome, verdict, size, seconds; or None).
    """
    inbox = open_inbox(ws)
    local = ws.tracking_uri.removeprefix("sqlite:///")  # asking must not make a store where there is none yet
    is_missing = local != ws.tracking_uri and not Path(local).exists()
    champion = None if is_missing else Registry(ws).champion()
    batch = inbox.last_batch()
    return {
        "champion": None
        if champion is None
        else {
            "version": champion.version,
            "data_md5": champion.tags.get("tru.data_md5"),
            "deleted_through": int(champion.tags.get("tru.deleted_through", 0)),
        },
        "requests": inbox.counts(),
        "last_batch": None
        if batch is None
        else {
            "id": batch.id,
            "outcome": batch.outcome,
            "verdict": batch.verdict,
            "size": batch.size,
            "seconds": batch.seconds,
        },
    }


def as_words(found: dict[str, Any]) -> str:
    """The same for a person."""
    champion, batch = found["champion"], found["last_batch"]
    lines = [
        f"champion    version {champion['version']}, data {champion['data_md5']}, deletions through "
        f"{champion['deleted_through']}"
        if champion
        else "champion    none; train one: `tru train`",
        "requests    " + (", ".join(f"{n} {state}" for state, n in found["requests"].items() if n) or "none"),
    ]
    if batch:
        lines.append(
            f"last batch  {batch['id']}: {batch['outcome']}, verdict {batch['verdict']}, {batch['size']} requests"
        )
        if batch["outcome"] == "held":
            lines += [
                "            Neither candidate passed the gate. The champion serves on; the subjects are suppressed.",
                "            Read the verdict in Prefect's page, correct the cause or params.yaml, then type",
                "            `tru batch retry` and `tru run`.",
            ]
    return "\n".join(lines)


def recommendation(ws: Workspace, user: str, k: int) -> dict[str, Any]:
    """The champion's list for a user.

    Raises:
        ModelError: there is no champion.
    """
    registry = Registry(ws)
    champion = registry.champion()
    if champion is None:
        raise ModelError("there is no champion yet. Train one: `tru train`.")
    recommender = Recommender.load(registry.model_dir(champion.version), open_suppression(ws))
    found = recommender.recommend(user, k)
    return {"items": list(found.items), "model_version": champion.version, "suppressed": found.suppressed}
