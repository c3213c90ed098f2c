"""One step's view of its batch: the record in the inbox, the folder of intermediates, the models in it."""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from tru.data.forget import ForgetSet
from tru.data.interactions import load_dataset
from tru.data.prepare import Prepared, prepare
from tru.data.swap import recover, replace_folder
from tru.errors import RequestError
from tru.evaluation.audits import Stage
from tru.evaluation.comparison import Comparison, compare
from tru.evaluation.verdict import SAME_MODEL
from tru.models.trained import TrainedModel, fingerprint
from tru.ops.judging.plan import Plan, plan
from tru.ops.pipeline.undo import NOTES
from tru.ops.release.names import PARENT
from tru.ops.release.registry import Registry
from tru.ops.release.registry_reader import ModelVersion
from tru.ops.requests.ledger import Kind
from tru.ops.requests.lifecycle import Batch, DeletionRequest, Regime, State
from tru.ops.requests.owner import this_owner
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.settings import load_settings
from tru.ops.stages import clear, digest, retrained, write_json
from tru.ops.tracking.groups import Group, of_batch
from tru.ops.tracking.runs import log_comparison, named
from tru.ops.workspace import Workspace
from tru.unlearning.closed_form.calibration import calibrated

_log = logging.getLogger(__name__)

LEFT = "subjects of the batch that the model still knows"
STEPS = ("claim", "cut", "check", "unlearn", "evaluate", "gate", "retrain", "promote", "close")


@dataclass
class Run:
    """One step's view of its batch: the record in the inbox, the folder of intermediates, the models in it."""

    ws: Workspace
    id: str

    def __post_init__(self) -> None:
        self.owner = this_owner()
        self.inbox = open_inbox(self.ws)
        self.folder = self.ws.batches / self.id
        self.before = self.folder / "before"
        opened = self.inbox.open_batch()
        if opened is None or opened.id != self.id:
            raise RequestError(f"{self.id} is not the open batch. See `tru status`.")
        self.batch: Batch = opened

    @property
    def facts(self) -> dict[str, Any]:
        """What finished steps recorded."""
        return dict(self.batch.facts)

    def is_done(self, step: str) -> bool:
        """Whether the step was finished, by this run or one before."""
        return STEPS.index(self.batch.step) >= STEPS.index(step) and (
            step != "retrain" or self.facts["retrain"] is not None
        )

    def finish(self, step: str, state: State | None, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Record a finished step, and when."""
        facts["times"] = {**self.facts.get("times", {}), step: datetime.now(UTC).isoformat(timespec="seconds")}
        self.batch = self.inbox.advance(self.id, self.owner, step, state, **facts)

    def note(self, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
        """Keep something with the batch that is no step's result."""
        self.batch = self.inbox.advance(self.id, self.owner, self.batch.step, None, **facts)

    def keep_before(self, md5: str) -> None:
        """Set the data before the cut and the known subjects aside, once; notes.json says that all of it is there."""
        if (self.folder / NOTES).exists():
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        clear(self.before)
        shutil.copytree(self.ws.data, self.before)
        champion = Registry(self.ws).champion()
        asked = self.inbox.forget_set(self.id)
        found = [asked.known(load_dataset(self.before))]
        if champion:  # it may know somebody whom an import since its training has left out
            data = TrainedModel.load(Registry(self.ws).model_dir(champion.version)).data
            found.append(known(asked, data))
        union(found).save(self.folder / "forget.json")
        notes = {"data_md5": md5, "started": time.time(), "champion": champion.version if champion else None}
        write_json(self.folder / NOTES, notes)

    def set_apart(self, ids: Sequence[str], reasons: Sequence[str]) -> None:
        """Leave some requests to a person, in a batch of their own; the others go on."""
        self.inbox.set_apart(self.id, self.owner, ids, reasons)
        self.batch = self.inbox.batch(self.id)

    def take_in(self, ids: Collection[str] | None = None) -> None:
        """Take other open requests in as well; None: every one."""
        if ids is None or ids:
            self.batch = self.inbox.take_in(self.id, self.owner, ids)

    def start_from(self, champion: ModelVersion | None) -> None:
        """Unlearn from this version instead: the champion may have changed while the batch was held."""
        write_json(self.folder / NOTES, {**self.notes, "champion": champion.version if champion else None})

    @cached_property
    def notes(self) -> dict[str, Any]:
        """What :meth:`keep_before` wrote down."""
        return dict(json.loads((self.folder / NOTES).read_text()))

    @cached_property
    def forget(self) -> ForgetSet:
        """The subjects that were in the data; empty where none of them was."""
        return ForgetSet.load(self.folder / "forget.json")

    @property
    def key(self) -> str:
        """What the batch's MLflow runs are found by again; another attempt, or other settings, log new ones."""
        attempts = self.facts.get("attempts")
        return f"{self.id}/{f'{attempts}/' if attempts else ''}{digest(load_settings(self.ws))}"

    @property
    def not_found(self) -> int:
        """How many of its requests were closed because their subject is not in the data."""
        return self.inbox.outcomes(self.id)["not found"]

    def group(self, share: float | None = None) -> Group:
        """What the batch's MLflow runs belong to; ``share``: of the training pairs that were forgotten."""
        return of_batch(self.batch, load_settings(self.ws), self.key, share)

    @property
    def parent(self) -> str | None:
        """The MLflow run that its others are shown below; None if nothing was measured yet."""
        return Registry(self.ws).find_run(f"{self.key}/{PARENT}")

    def unknown(self) -> list[str]:
        """Requests whose subject is not in the data."""
        return [r.id for r in self.inbox.list(batch=self.id) if r.is_open and not _is_in(r, self.forget)]

    @cached_property
    def champion(self) -> TrainedModel:
        """The model that served when the batch was cut."""
        return TrainedModel.load(Registry(self.ws).model_dir(str(self.notes["champion"])))

    @cached_property
    def after(self) -> Prepared:
        """The data without the batch."""
        return prepare(load_dataset(self.ws.data), self.champion.recipe.canary_rate)

    @cached_property
    def plan(self) -> Plan:
        """How the candidate is to be judged: as chosen when it was measured."""
        # A batch that is retried still has the plan of its first attempt; it is planned anew.
        recorded = self.facts["evaluate"].get("plan") if self.is_done("evaluate") else None
        return Plan(**recorded) if recorded else plan(self.ws, self.champion, self.forget, load_settings(self.ws))

    @property
    def accepted(self) -> str | None:
        """Why a person has decided that the batch is right as it is, if one has (`tru batch accept`)."""
        return self.facts.get("accepted")

    @property
    def is_retired(self) -> bool:
        """Whether nothing is left without the batch, so that no model is to serve any more."""
        return self.is_done("cut") and self.facts["data_md5_after"] is None

    @property
    def needs_a_model(self) -> bool:
        """Whether a new model is to be made: not if there is nothing to forget, or nothing to learn from."""
        return not (self.forget.is_empty or self.is_retired)

    @property
    def candidate(self) -> TrainedModel | None:
        """The unlearned model, if the method could make one."""
        return TrainedModel.load(self.folder / "unlearned") if self.facts["unlearn"]["method"] != "none" else None

    def compare(self, *, fresh: bool) -> Comparison:
        """Measure all models; ``fresh``: after training the baselines, which are kept in the batch's folder."""
        settings = load_settings(self.ws)
        place, candidate = self.folder / "retrained", self.candidate
        recover(place / "seed-0")
        baselines = (
            retrained(self.champion, self.after, settings.train, settings.gate.baselines, place) if fresh else []
        )
        stage = Stage.of(prepare(load_dataset(self.before), self.champion.recipe.canary_rate), self.after)
        found = compare(stage, self.champion, candidate, baselines, own=not fresh and self.plan.can_judge)
        if candidate is not None:
            found.exact[SAME_MODEL] = int(self.digest("unlearned") != self.facts["unlearn"]["digest"])
            found.exact[LEFT] = known(self.forget, candidate.data).size
        if baselines:
            found.exact_retrained[LEFT] = known(self.forget, baselines[0].data).size
        found.save(self.folder / "comparison")
        share = found.pairs / max(len(self.champion.data.edges), 1)
        began = datetime.fromtimestamp(self.notes["started"], UTC)
        models = named(self.champion, candidate, baselines)
        log_comparison(self.ws, found, models, self.group(share), settings, began)
        return found

    def digest(self, name: str) -> str:
        """Hash of the parameters of one of the batch's models."""
        return fingerprint(self.folder / name)

    @property
    def comparison(self) -> Comparison:
        """What was measured last."""
        return Comparison.load(self.folder / "comparison")

    def passed(self) -> tuple[Path, str]:
        """The model directory that passed the gate, and its method."""
        if self.facts["retrain"] is None:
            return self.folder / "unlearned", str(self.facts["unlearn"]["method"])
        return self.folder / "retrained" / "seed-0", "retrain"

    def calibrate(self) -> str:
        """Give the retrained model its own calibrated strength, which a champion needs for the nights to come.

        Returns:
            The digest of what is to serve if it passes.
        """
        folder = self.folder / "retrained" / "seed-0"
        recover(folder)
        model = TrainedModel.load(folder)
        if "gamma" not in model.facts:
            replace_folder(folder, calibrated(model, load_settings(self.ws).unlearn).save)
        return self.digest("retrained/seed-0")

    def is_swapped(self) -> bool:
        """Whether the model that passed is not, or not any more, the one that the gate judged."""
        folder, _ = self.passed()
        judged = self.facts["retrain"] or self.facts["unlearn"]
        name = folder.relative_to(self.folder).as_posix()
        return not (folder / "arrays.npz").exists() or self.digest(name) != judged.get("digest")


def known(asked: ForgetSet, data: Prepared) -> ForgetSet:
    """The part of it that a model standing on ``data`` knows."""
    users, items = (frozenset(names.tolist()) for names in (data.users, data.items))
    pairs = zip(data.users[data.train[:, 0]].tolist(), data.items[data.train[:, 1]].tolist(), strict=True)
    modalities = {(item, m) for m in data.modalities for item in data.items[data.present[m]].tolist()}
    return ForgetSet(
        users=asked.users & users,
        items=asked.items & items,
        pairs=asked.pairs & frozenset(pairs),
        modalities=asked.modalities & modalities,
    )


def union(found: list[ForgetSet]) -> ForgetSet:
    """Whatever is in any of them."""
    parts = ("users", "items", "pairs", "modalities")
    return ForgetSet(**{part: frozenset().union(*(getattr(one, part) for one in found)) for part in parts})


def _is_in(request: DeletionRequest, known: ForgetSet) -> bool:
    if request.regime is Regime.USER:
        return request.user in known.users
    if request.regime is Regime.ITEM:
        return request.item in known.items
    if request.regime is Regime.INTERACTION:
        return (request.user, request.item) in known.pairs
    return (request.item, request.modality) in known.modalities


def best_effort(work: Callable[[], Path]) -> Path | None:
    """The report, or None: one that cannot be written is no reason to keep anybody's data a night longer."""
    try:
        return work()
    except Exception as error:
        # Its words stay out: an unforeseen error quotes the value it stumbled over.
        _log.warning("the report could not be written (%s)", type(error).__name__)
        return None


def enter(ws: Workspace, kind: Kind, key: str, **facts: Any) -> None:  # noqa: ANN401 - whatever JSON can hold
    """Add to the ledger; the same kind and key twice is one entry."""
    open_ledger(ws).append(kind, key, **facts)


def short(words: Any) -> str:  # noqa: ANN401 - whatever JSON can hold
    """Names an entry by what it says, so that a repeated step writes it once and a retried batch writes its own."""
    return hashlib.sha256(json.dumps(words, sort_keys=True).encode()).hexdigest()[:12]


def seconds(facts: dict[str, Any]) -> dict[str, float]:
    """``unlearn``, ``retrain`` (one baseline, the median) and ``total`` since the claim; 0 for what did not happen."""
    return {
        "unlearn": (facts.get("unlearn") or {}).get("seconds") or 0.0,
        "retrain": ((facts.get("evaluate") or {}).get("seconds") or {}).get("retrain") or 0.0,
        "total": round(time.time() - facts["started"], 3) if "started" in facts else 0.0,
    }
