"""The steps of ``baseline-weekly``: train baselines on the current data, crown the better model, rehearse a deletion.

As in the night, each step may be repeated and a finished one returns its result at once, so that a killed run goes on
where it stood. Everything works on a copy of the data taken at the start: a night may fall in between, and then the
baseline is kept to compare with but does not become champion. Copy and models are destroyed at the end.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from tru.data.interactions import load_dataset
from tru.data.prepare import Prepared, prepare
from tru.errors import ModelError
from tru.evaluation.audits import Stage
from tru.evaluation.evidence import observe
from tru.evaluation.params import GateParams
from tru.evaluation.verdict import Night
from tru.models.trained import TrainedModel
from tru.ops.judging import baseline
from tru.ops.judging.baseline import REGIMES, Baseline, Licence, Regime
from tru.ops.judging.contest import Contest
from tru.ops.judging.plan import drift, due
from tru.ops.judging.rehearsal import rehearse as rehearsed
from tru.ops.pipeline.snapshot import Weekly, snapshot
from tru.ops.pipeline.tracked import closed_batches
from tru.ops.release.champion import crown
from tru.ops.release.registry import Registry
from tru.ops.release.registry_reader import BASELINE
from tru.ops.release.versions import DataVersions
from tru.ops.requests.store import open_ledger
from tru.ops.stages import clear
from tru.ops.tracking.card import Card, in_markdown
from tru.ops.tracking.groups import of_baseline
from tru.ops.tracking.runs import log_group
from tru.ops.tracking.settings import span_of, used
from tru.ops.workspace import Workspace
from tru.training import fit, refit
from tru.unlearning.closed_form.calibration import calibrated


def run_baseline(ws: Workspace) -> dict[str, Any]:
    """All steps in order; see :func:`finish` for the result.

    Raises:
        ReleaseError: another run is making a baseline.
        RequestError: a batch of deletions is open.
        ModelError: there is no champion.
    """
    with baseline.exclusive(ws):
        id = snapshot(ws)
        for step in (train, measure, promote, rehearse):
            step(ws, id)
        return finish(ws, id)


def train(ws: Workspace, id: str) -> dict[str, Any]:
    """Train the seeds: the first as ``tru train`` does, the others with its recipe and other dice."""
    run = Weekly(ws, id)
    if "train" in run.done:
        return dict(run.done["train"])
    for k, seed in enumerate(run.seeds):
        if (run.place(k) / "model.json").exists():
            continue
        checkpoint = run.folder / f"seed-{k}.npz"
        if k == 0:
            params = run.settings.train.model_copy(update={"seed": seed})
            model = fit(run.dataset, run.settings.model, params, checkpoint=checkpoint, title=f"baseline, seed {seed}")
        else:
            first = TrainedModel.load(run.place(0))
            title = f"baseline, seed {seed}"
            model = refit(first.data, first, run.settings.train, seed=seed, checkpoint=checkpoint, title=title)
        calibrated(model, run.settings.unlearn).save(run.place(k))
        checkpoint.unlink(missing_ok=True)
    seconds = float(np.median([model.facts["train_seconds"] for model in run.models]))
    return run.finish("train", {"seeds": run.seeds, "seconds": seconds})


def measure(ws: Workspace, id: str) -> dict[str, Any]:
    """Measure the seeds, log each, register the first under alias ``baseline``, keep the numbers for the nights."""
    run = Weekly(ws, id)
    if "measure" in run.done:
        return dict(run.done["measure"])
    observed = [observe(model, Stage.of(model.data, model.data)) for model in run.models]
    metrics = [{name: value for name, value in found.metrics.items() if value == value} for found in observed]
    noise = {name: float(np.std([row[name] for row in metrics], ddof=1)) for name in metrics[0]}
    version = _register(run, metrics)
    found = Baseline(
        version=version,
        data_md5=run.notes["data_md5"],
        made=run.made,
        deleted_through=run.notes["deleted_through"],
        seeds=run.seeds,
        seconds=run.done["train"]["seconds"],
        metrics=metrics,
        noise=noise,
        users=observed[0].users,
        ndcg=np.stack([evidence.ndcg for evidence in observed]),
    )
    _keep(ws, found)
    words = {k: v for k, v in asdict(found).items() if k not in ("users", "ndcg", "made")}
    open_ledger(ws).append("baseline", id, **words, made=run.notes["made"])
    return run.finish("measure", {"version": version, "metrics": metrics, "noise": noise})


def promote(ws: Workspace, id: str) -> dict[str, Any]:
    """Let the baseline serve if it is better than the champion, or as good and the champion has drifted.

    Returns:
        ``crowned`` and why, in ``words``.
    """
    run = Weekly(ws, id)
    if "promote" in run.done:
        return dict(run.done["promote"])
    version = str(run.done["measure"]["version"])
    registry = Registry(ws)
    champion = registry.champion()
    if champion is not None and champion.version == version:  # killed between the crowning and its record
        return run.finish("promote", {"crowned": True, "words": "the baseline is champion"})
    if why := run.changed():
        words = f"{why}: it is kept to compare with, and the champion stays"
        return run.finish("promote", {"crowned": False, "words": words})
    if champion is None:
        raise ModelError("there is no champion any more. Train one: `tru train`.")
    serving = TrainedModel.load(registry.model_dir(champion.version))
    first, settings = run.models[0], run.settings
    contest = Contest.between(first, serving, first.data, settings.baseline.margin, settings.gate)
    drifted = _used_up(serving, settings.gate)
    wins = contest.is_better or (drifted is not None and contest.is_as_good)
    words = f"{contest.words}; {drifted}" if drifted else contest.words
    if wins:
        crown(ws, version, "baseline", contest=contest.facts, words=words)
    return run.finish("promote", {"crowned": wins, "words": words, "contest": contest.facts})


def rehearse(ws: Workspace, id: str) -> dict[str, Any]:
    """Forget a simulated batch and retrain without it; each regime that comes up to a retrain gets a licence.

    Returns:
        ``licences``: one dict per regime with ``regime``, ``size``, ``passed``, ``words``.
    """
    run = Weekly(ws, id)
    if "rehearse" in run.done:
        return dict(run.done["rehearse"])
    bound = baseline.method_facts(run.folder / "data", run.settings)
    ledger = open_ledger(ws)
    version, original = _original(run)
    place = run.folder / f"rehearsal-{version}"
    found = rehearsed(original, run.dataset, run.settings, place, id, _past(ws, bound, run))
    expires = run.made + timedelta(days=run.settings.baseline.licence_days)
    words = []
    for outcome in found:
        facts = {k: v for k, v in asdict(outcome).items()}
        entry = ledger.append(
            "licence",
            f"{id}/{outcome.regime}",
            **facts,
            **bound,
            granted=run.made.isoformat(),
            expires=expires.isoformat(),
            version=version,
        )
        words.append(_in_words(entry.facts, Licence.of(entry)))
    return run.finish("rehearse", {"licences": words})


def finish(ws: Workspace, id: str) -> dict[str, Any]:
    """Destroy the copy of the data and everything made from it.

    Returns:
        ``id``, ``version``, ``data_md5``, ``seeds``, ``seconds``, ``test/ndcg@20`` (per seed, none without test rows),
        ``crowned``, ``words``, ``licences`` (see :func:`rehearse`).
    """
    run = Weekly(ws, id)
    trained, measured, promoted = (run.done[step] for step in ("train", "measure", "promote"))
    found = {
        "id": id,
        "version": measured["version"],
        "data_md5": run.notes["data_md5"],
        "seeds": trained["seeds"],
        "seconds": trained["seconds"],
        "test/ndcg@20": [row["test/ndcg@20"] for row in measured["metrics"] if "test/ndcg@20" in row],
        "crowned": promoted["crowned"],
        "words": promoted["words"],
        "licences": run.done["rehearse"]["licences"],
    }
    clear(run.folder)
    return found


def _in_words(facts: dict[str, Any], found: Licence) -> dict[str, Any]:
    regime: Regime = facts["regime"]
    words = found.words if facts["passed"] else f"no licence for {REGIMES[regime]}: {'; '.join(facts['reasons'])}"
    return {"regime": regime, "size": facts["size"], "passed": facts["passed"], "words": words}


def _register(run: Weekly, metrics: list[dict[str, float]]) -> str:
    """Log every seed as a run with the names all models have; the first becomes a version with alias ``baseline``."""
    registry = Registry(run.ws)
    tags = {
        "tru.method": "baseline",
        "tru.data_md5": run.notes["data_md5"],
        "tru.git_commit": DataVersions(run.ws).git_commit() or "none",
        "tru.deleted_through": str(run.notes["deleted_through"]),
        "tru.verdict": "none",
    }
    group = of_baseline(run.id, run.notes["data_md5"], tags)
    parent = log_group(registry, group, run.made)
    card = _card(run, metrics)
    runs = []
    for k, (model, row) in enumerate(zip(run.models, metrics, strict=True)):
        runs.append(
            registry.log_run(
                BASELINE if k == 0 else f"{BASELINE}-{k}",
                key=f"{run.id}/seed-{k}",
                data_md5=run.notes["data_md5"],
                metrics={**row, "seconds": model.facts["train_seconds"]},
                params=used(model, run.settings, trained=True),
                tags=tags,
                model_dir=run.place(k) if k == 0 else None,
                parent=parent,
                span=span_of(model, training=True),
                note=card if k == 0 else "",
            )
        )
    registry.amend_run(parent, metrics=metrics[0], ended=datetime.now(UTC))
    version = registry.register(runs[0], tags, card).version
    registry.set_alias(BASELINE, version)
    return version


def _card(run: Weekly, metrics: list[dict[str, float]]) -> str:
    card = Card(
        made=f"Trained from scratch for {run.id}: how good a champion should be. It serves only if it is better.",
        data_md5=run.notes["data_md5"],
        summary=run.dataset.summary(),
        requests=run.notes["deleted_through"],
        batches=closed_batches(run.ws),
        metrics={"this version": metrics[0]} | {f"seed {k + 1} more": row for k, row in enumerate(metrics[1:])},
        limits=["How well it forgets: it was trained on all of this data, and no gate has judged it."],
        links=["what is valid by it: `tru baseline --show`", "whether it serves, and why: `tru ledger show`"],
    )
    return in_markdown(card)


def _keep(ws: Workspace, found: Baseline) -> None:
    """Store it, and drop whoever was cut out of the data since the copy was taken."""
    baseline.keep(ws, found)
    baseline.drop(ws, set(found.users.tolist()) - set(load_dataset(ws.data).users.tolist()))


def _original(run: Weekly) -> tuple[str, TrainedModel]:
    """Who forgets in the rehearsal: the champion if it stands on this data, else the first seed."""
    registry = Registry(run.ws)
    champion = registry.champion()
    if champion is not None:
        model = TrainedModel.load(registry.model_dir(champion.version))
        if _same(model.data, prepare(run.dataset, model.recipe.canary_rate)):
            return champion.version, model
    return str(run.done["measure"]["version"]), run.models[0]


def _same(one: Prepared, other: Prepared) -> bool:
    mine, theirs = one.arrays(), other.arrays()
    return mine.keys() == theirs.keys() and all(np.array_equal(mine[name], theirs[name]) for name in mine)


def _past(ws: Workspace, bound: dict[str, str], run: Weekly) -> list[Night]:
    """What earlier rehearsals of the same method measured, as long as a licence of theirs would count."""
    return [
        entry.facts["night"]
        for entry in open_ledger(ws).entries("licence")
        if all(entry.facts[k] == v for k, v in bound.items())
        and not entry.key.startswith(f"{run.id}/")
        and datetime.fromisoformat(entry.facts["expires"]) > run.made
    ]


def _used_up(champion: TrainedModel, gate: GateParams) -> str | None:
    """In words, what of the champion's drift budget leaves no room for one more night; None if there is room."""
    found = drift(champion)
    reasons = due({**found, "nights": found["nights"] + 1}, gate)
    return f"the champion's next night would end in a retraining ({'; '.join(reasons)})" if reasons else None
