"""Facts of a certificate as a night and its erasure leave them; what the tests of certificates are fed with."""

from __future__ import annotations

import hashlib
from typing import Any

from tests import nights
from tru.ops.certificates import Facts

REQUEST = "req-270a22c2f652fb5a"
STORES = (
    *("data", "dvc cache", "dvc run cache", "dvc remote backup", "stage outputs", "metrics and pipeline files"),
    *("mlflow database", "mlflow artifacts", "inbox and ledger", "batches under way", "baseline", "reports"),
    *("certificates", "logs", "prefect database", "prefect results", "temporary files", "git objects"),
    "other files of the workspace",
)


def digest(word: str) -> str:
    """64 hex characters."""
    return hashlib.sha256(word.encode()).hexdigest()


def fields(**more: Any) -> dict[str, Any]:
    """The fields of a request that was unlearned in a fresh night; ``more`` replaces."""
    gate = nights.facts()["gate"]
    day = "2026-11-23T02:3"
    times = {"received": "2026-11-01T09:15:02+00:00", "suppressed": "2026-11-01T09:15:02+00:00"}
    steps = ("cut", "unlearned", "gated", "promoted", "erased")
    return {
        **{"request": REQUEST, "subject": digest("subject"), "regime": "user", "batch": "batch-20261123-01"},
        "times": {**times, **{name: f"{day}{n}:10+00:00" for n, name in enumerate(steps)}},
        "data": {"before": nights.BEFORE, "after": nights.AFTER},
        "models": {
            "before": {"version": "1", "digest": digest("old")},
            "after": {"version": "2", "digest": digest("new")},
        },
        "code": {"tru": "0.1.0", "commit": "56385dc0aa94bb9e15b457063ea3d7efc0aa94bb"},
        **{"params": digest("params"), "method": "tru", "fallback": False, "verdict": gate, "table": gate["table"]},
        "erasure": [
            {"store": "DVC cache", "count": 14, "bytes": 3812345},
            {"store": "MLflow model versions", "count": 1},
            {"store": "MLflow artifacts", "count": 1031, "bytes": 20123456},
        ],
        "scan": [
            *({"store": store, "state": "not found", "count": 0, "why": ""} for store in STORES),
            {"store": "dvc remote archive", "state": "unreachable", "count": 0, "why": "no answer from its server"},
        ],
        "unreachable": ["Git's history: hashes and sizes of old data; no data.", "Backups and colleagues' copies."],
        **more,
    }


def facts(**more: Any) -> Facts:
    """The same, checked."""
    return Facts(**fields(**more))


def retrained() -> Facts:
    """The gate refused the unlearned model; the retrained one serves."""
    said = nights.retrained().facts["retrain"]
    return facts(method="retrain", fallback=True, verdict=said, table=said["table"])


def released() -> Facts:
    """The gate refused both; a person let the retrained one serve."""
    said = nights.held().facts["retrain"] | {"released": "The loss is small;\nthe month is over."}
    return facts(method="retrain", fallback=True, verdict=said, table=said["table"])


def licensed() -> Facts:
    """Judged without retraining, an item; nothing old was there."""
    said = nights.licensed().facts["gate"]
    return facts(regime="item", verdict=said, table=said["table"], erasure=[], unreachable=[])


def modality() -> Facts:
    """A revoked picture: nothing is suppressed, no pair is forgotten, so exact checks decide."""
    rows = nights.exact()
    times = {name: at for name, at in fields()["times"].items() if name != "suppressed"}
    return facts(regime="modality", times=times, verdict=nights.verdict(rows), table=rows)


ALL = {"fresh": facts, "retrained": retrained, "released": released, "licensed": licensed, "modality": modality}
