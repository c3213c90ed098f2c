"""Training from scratch on the current data: how the first champion comes about, and any that a person asks for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from tru.data.interactions import load_dataset
from tru.errors import RequestError
from tru.evaluation.audits import Stage
from tru.evaluation.audits import evaluate as measure
from tru.models.trained import TrainedModel, fingerprint
from tru.ops import locks
from tru.ops.pipeline.tracked import closed_batches
from tru.ops.release.champion import crown
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.requests.lifecycle import Batch
from tru.ops.requests.store import open_inbox
from tru.ops.settings import load_settings
from tru.ops.stages import stands_on
from tru.ops.tracking.card import Card, in_markdown
from tru.ops.tracking.settings import span_of, used
from tru.ops.workspace import Workspace


def train(ws: Workspace) -> dict[str, Any]:
    """Train on the current data (DVC's stages prepare, check and train) and make the result champion.

    Raises:
        Busy: another run is training.
        RequestError: a batch of deletions is open, so finish it first; or one came in between.
    """
    with locks.training(ws):
        return _train(ws)


def _train(ws: Workspace) -> dict[str, Any]:
    """Do it; see :func:`train`."""
    inbox = open_inbox(ws)
    if _is_begun(inbox.open_batch()):
        raise RequestError("a batch of deletions is open. Finish it first: `tru run`.")
    versions, registry, settings = DataVersions(ws), Registry(ws), load_settings(ws)
    md5, completed = versions.md5(), inbox.completed_through()

    def refuse_if_changed() -> None:
        if (versions.md5(), inbox.completed_through()) != (md5, completed) or _is_begun(inbox.open_batch()):
            raise RequestError("a night or an import came in between, so nothing was promoted. Run it again.")

    versions.reproduce(["train"])
    refuse_if_changed()
    model = TrainedModel.load(ws.artifacts / "original")
    if not stands_on(ws, model):  # DVC's record says up to date, and the files are those of other data
        versions.reproduce(["train"], force=True)
        model = TrainedModel.load(ws.artifacts / "original")
    versions.commit("Trained on the current data")
    stage = Stage.of(model.data, model.data)
    numbers = {name: value for name, value in measure(model, stage).items() if value == value}
    tags = {
        "tru.data_md5": md5,
        "tru.git_commit": versions.git_commit() or "none",
        "tru.method": "train",
        "tru.verdict": "none",
        "tru.deleted_through": str(completed),
    }
    refuse_if_changed()
    card = _card(ws, md5, completed, numbers)
    span = span_of(model, training=True)
    run_id = registry.log_run(
        f"training {span.began if span else datetime.now(UTC):%Y-%m-%d}",
        key=f"train/{md5}/{completed}/{fingerprint(ws.artifacts / 'original')[:12]}",
        data_md5=md5,
        metrics={**numbers, "seconds": model.facts["train_seconds"]},
        params=used(model, settings, trained=True),
        tags={**tags, "tru.kind": "training"},
        model_dir=ws.artifacts / "original",
        span=span,
        note=card,
    )
    version = registry.register(run_id, tags, card)
    refuse_if_changed()
    crown(ws, version.version, "trained")
    return {"version": version.version, "data_md5": md5, **{k: round(v, 4) for k, v in numbers.items()}}


def _is_begun(batch: Batch | None) -> bool:
    """Whether a batch is open that has changed the data, or may have a candidate."""
    return batch is not None and batch.step != "claim"


def _card(ws: Workspace, md5: str, completed: int, numbers: dict[str, float]) -> str:
    card = Card(
        made="Trained from scratch by `tru train`.",
        data_md5=md5,
        summary=load_dataset(ws.data).summary(),
        requests=completed,
        batches=closed_batches(ws),
        metrics={"this version": numbers},
        limits=["How well it forgets: it was trained on all of this data, and no gate has judged it."],
        links=["who served when, and why: `tru ledger show`"],
    )
    return in_markdown(card)
