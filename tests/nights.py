"""Batches as the inbox gives them back, with facts as the steps of a night record them: what the report is fed with."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from tru.ops.report.sequel import Erasure, Link, Sequel
from tru.ops.requests.lifecycle import Batch

NIGHT = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
BEFORE, AFTER = "124cb6a6a43bb9e15b457063ea3d7efc.dir", "9400820d0e6e820a4aad30c2bf1817ef.dir"
EDGES = [round(x, 2) for x in np.linspace(0, 1, 21).tolist()]
EXACT = (
    "deleted users in the model",
    "deleted items in the model",
    "forgotten pairs in the model's graph",
    "revoked modalities in the model",
    "deleted items in a top-20 list",
    "numbers that are not finite",
)


def exact(broken: str = "", found: int = 0) -> list[dict[str, Any]]:
    """Lines of the checks that must be exactly zero."""
    rows = []
    for name in EXACT:
        n = found if name == broken else 0
        rows.append(
            {
                **{"name": name, "group": None, "value": float(n), "reference": 0.0, "difference": None},
                **{"interval": None, "low": 0.0, "high": 0.0, "margin": None, "n": 0, "judged": True},
                **{"passed": n == 0, "fault": "exact" if n else None},
                "words": f"{name}: {f'{n}, must be 0' if n else 'none, as it must be'}",
            }
        )
    return rows


def row(
    name: str,
    value: float | None,
    reference: float | None,
    *,
    margin: float = 0.03,
    half: float = 0.01,
    n: int = 62,
    group: str | None = None,
    judged: bool = True,
    fault: str | None = None,
) -> dict[str, Any]:
    """A line of the verdict; ``half`` is half the width of the interval."""
    known = value is not None and reference is not None
    difference = round(value - reference, 6) if known else None  # type: ignore[operator]
    found = {"name": name, "group": group, "value": value, "reference": reference, "difference": difference, "n": n}
    where = f"{name} of forgotten {group}" if group else f"{name} against retraining"
    if not judged:
        words = f"{where} {value} against {reference}: {n} independent subjects, too few to judge by (at least 30)"
        nothing = dict.fromkeys(("interval", "low", "high", "margin", "fault"))
        return {**found, **nothing, "judged": False, "passed": True, "words": words}
    low = reference - margin if known else None  # type: ignore[operator]
    high = None if not known or name.startswith("test/") else reference + margin  # type: ignore[operator]
    interval = [difference - half, difference + half] if difference is not None else None
    words = f"{where} {value} against {reference}: difference {difference}, allowed {margin}"
    return {
        **{**found, "interval": interval, "low": low, "high": high, "margin": margin, "judged": True},
        **{"passed": fault is None, "fault": fault, "words": f"{words}; {fault}" if fault else words},
    }


def verdict(rows: list[dict[str, Any]], mode: str = "fresh", **more: Any) -> dict[str, Any]:
    """What the gate says."""
    failed = [r["words"] for r in rows if not r["passed"]]
    return {
        "verdict": "fail" if failed else "pass",
        "mode": mode,
        "reasons": failed or [r["words"] for r in rows],
        "table": rows,
        "cost": {
            "expected_seconds": 14.2 if mode == "fresh" else 5210.0,
            "budget_seconds": 1800.0,
            "words": "Two retrainings cost about 14 s, within the budget of 30 min: judged against fresh ones."
            if mode == "fresh"
            else "Two retrainings would cost about 87 min, above the budget of 30 min: judged under licence.",
        },
        "licences": [],
        "drift": {"nights": 3, "forgotten_share": 0.0113, "distance": 0.124},
        "notes": [],
        **more,
    }


def numbers(ndcg: float, forget: float | None, auc: float | None, canary: float | None = 0.552) -> dict[str, Any]:
    """One model's metrics."""
    return {
        "test": {"recall@10": ndcg * 1.26, "recall@20": ndcg * 1.61, "ndcg@10": ndcg * 0.887, "ndcg@20": ndcg},
        "forget": {"recall@20": forget},
        "membership_auc": auc,
        "canary_auc": canary,
    }


def shares(pull: float) -> list[float]:
    """A histogram over rank percentiles; the higher ``pull``, the more stand at the top."""
    middle = (np.array(EDGES[:-1]) + np.array(EDGES[1:])) / 2
    weights = np.exp(pull * middle)
    return [round(w, 6) for w in (weights / weights.sum()).tolist()]


def profiles(*, retrained: bool = True, unlearned: float = 1.9) -> dict[str, Any]:
    """Rank percentiles of forgotten pairs and canaries."""
    found = {
        "edges": EDGES,
        "original": shares(26),
        "unlearned": shares(unlearned),
        "retrained": shares(1.4),
        "canaries": shares(1.2),
    }
    return found if retrained else {k: v for k, v in found.items() if k != "retrained"}


def facts(**more: Any) -> dict[str, Any]:
    """Facts of a fresh night that passed; ``more`` replaces."""
    rows = [
        *exact(),
        row("test/ndcg@20", 0.3571, 0.3587, margin=0.0108, half=0.0031, n=1204),
        row("forget/recall@20", 0.0839, 0.0790, margin=0.042, half=0.021, group="users", n=40),
        row("membership_auc", 0.6106, 0.5721, margin=0.071, half=0.024, group="users", n=40),
        row("membership_auc", 0.5320, 0.5287, margin=0.03, half=0.2, group="items", n=2, judged=False),
        row("membership_auc", 0.5320, 0.5102, margin=0.055, half=0.021, group="items, window", n=31),
    ]
    return {
        **{"data_md5_before": BEFORE, "data_md5_after": AFTER, "forgotten": 62, "started": NIGHT.timestamp()},
        "regimes": {"users": 40, "items": 2, "interactions": 20},
        "check": {"passed": True, "expectations": 31},
        "unlearn": {"method": "tru", "seconds": 0.28, "gamma": {"users": 1.25, "items": 1.8}},
        "evaluate": {
            "mode": "fresh",
            "models": {
                "original": numbers(0.3596, 0.6906, 0.9579),
                "unlearned": numbers(0.3571, 0.0839, 0.6106),
                "retrained": numbers(0.3587, 0.0790, 0.5721),
            },
            "seconds": {"train": 10.65, "unlearn": 0.28, "retrain": 7.11, "audit": 3.4},
            "pairs": 1834,
            "profiles": profiles(),
        },
        "gate": verdict(rows),
        "retrain": None,
        "version": "2",
        "outcome": "unlearned",
        **more,
    }


def fresh() -> Batch:
    """Passed against models retrained the same night."""
    return Batch(
        id="batch-20261123-01",
        opened=NIGHT,
        step="close",
        size=62,
        sequence=62,
        outcome="unlearned",
        verdict="pass",
        seconds={"unlearn": 0.28, "retrain": 7.11, "total": 38.2},
        facts=facts(),
        closed=NIGHT + timedelta(seconds=38),
    )


def sequel(**more: Any) -> Sequel:
    """What is known of the fresh night a month later: erased, certified, and another version serves by now."""
    found: dict[str, Any] = {
        "written": NIGHT + timedelta(days=30),
        **{"serving": "9", "served": "2", "since": NIGHT + timedelta(seconds=30), "until": NIGHT + timedelta(days=1)},
        "erasure": Erasure(
            at=NIGHT + timedelta(seconds=50),
            destroyed=[
                {"store": "dvc cache", "count": 13, "bytes": 2_170_000},
                {"store": "mlflow runs", "count": 1, "bytes": 0},
            ],
            scan=[
                {"store": "data", "state": "not found", "count": 0, "why": ""},
                {"store": "dvc remote", "state": "unreachable", "count": 0, "why": "no credentials"},
            ],
            unreachable=["what others computed from earlier models or lists"],
        ),
        "certificates": [f"req-{n:016x}.json" for n in range(62)],
        "links": [Link("Prefect run", "0a1b2c3d-0000-4000-8000-000000000000")],
    }
    return Sequel(**{**found, **more})


def licensed() -> Batch:
    """20 requests, judged under licence: too few for statistics of their own."""
    rows = [
        *exact(),
        row("test/ndcg@20", 0.0901, 0.0911, margin=0.0027, half=0.0004, n=35110, group="champion"),
        row("test/ndcg@20", 0.0903, 0.0909, margin=0.0027, half=0.0011, n=34980, group="baseline"),
        row("forget/recall@20", 0.0240, 0.0181, half=0.03, group="users", n=14, judged=False),
        row("membership_auc", 0.5530, 0.5300, half=0.09, group="users", n=14, judged=False),
        row("membership_auc", 0.6010, 0.5280, half=0.29, group="items", n=2, judged=False),
        row("membership_auc", 0.5530, 0.5300, margin=0.048, half=0.022, group="users, window", n=96),
    ]
    notes = [
        "Where fewer than 30 independent subjects went, no statistic of this night alone could tell forgotten from "
        "remembered. There the exact checks decide, and the numbers are pooled with those of other nights."
    ]
    found = verdict(rows, "licensed", licences=["licence-20261122-users", "licence-20261122-items"], notes=notes)
    models = {
        "original": numbers(0.0911, 0.4420, 0.9310),
        "unlearned": numbers(0.0901, 0.0240, 0.5530),
        "baseline": {"test": numbers(0.0909, None, None)["test"], "forget": {}, "membership_auc": None},
    }
    evaluate = {
        "mode": "licensed",
        "models": models,
        "seconds": {"train": 2605.0, "unlearn": 21.4, "retrain": None, "audit": 77.0},
        "pairs": 161,
        "profiles": profiles(retrained=False, unlearned=1.6),
    }
    regimes = {"users": 14, "items": 2, "interactions": 3}
    return replace(
        fresh(),
        id="batch-20261124-01",
        opened=NIGHT + timedelta(days=1),
        closed=NIGHT + timedelta(days=1, seconds=262),
        size=20,
        sequence=82,
        seconds={"unlearn": 21.4, "retrain": 0.0, "total": 262.0},
        facts=facts(
            **{"gate": found, "evaluate": evaluate, "regimes": regimes, "forgotten": 19, "version": "3"},
            unlearn={"method": "tru", "seconds": 21.4, "gamma": {"users": 1.25, "items": 1.8}},
        ),
    )


def refused(fault: str = "under-forgotten", auc: float = 0.7410) -> list[dict[str, Any]]:
    """Lines of a verdict that says no."""
    return [
        *exact(),
        row("test/ndcg@20", 0.3564, 0.3587, margin=0.0108, half=0.0031, n=1204),
        row("forget/recall@20", 0.1610, 0.0790, margin=0.042, half=0.026, group="users", n=40, fault=fault),
        row("membership_auc", auc, 0.5721, margin=0.071, half=0.024, group="users", n=40, fault=fault),
    ]


def second(fault: str | None = None) -> list[dict[str, Any]]:
    """Lines of the verdict on the retrained model."""
    ndcg = 0.3410 if fault else 0.3590
    return [
        *exact(),
        row("test/ndcg@20", ndcg, 0.3585, margin=0.0108, half=0.0031, n=1204, fault=fault),
        row("membership_auc", 0.5721, 0.5698, margin=0.071, half=0.024, group="users", n=40),
    ]


def retrained() -> Batch:
    """The unlearned model was refused, the retrained one serves."""
    found = facts(gate=verdict(refused()), retrain=verdict(second()), outcome="retrained", version="4")
    found["evaluate"]["models"]["unlearned"] = numbers(0.3564, 0.1610, 0.7410)
    found["evaluate"]["profiles"] = profiles(unlearned=6.0)
    return replace(fresh(), id="batch-20261125-01", outcome="retrained", facts=found)


def held() -> Batch:
    """Both were refused; a person must decide."""
    found = facts(gate=verdict(refused()), retrain=verdict(second("utility")))
    del found["version"], found["outcome"]
    found["evaluate"]["models"]["unlearned"] = numbers(0.3564, 0.1610, 0.7410)
    return replace(
        fresh(), id="batch-20261126-01", step="retrain", outcome="held", verdict="fail", closed=None, facts=found
    )


def released() -> Batch:
    """Held first; then a person let the retrained model serve."""
    found = held().facts | {"outcome": "retrained", "version": "5", "released": "The loss is small; the month is over."}
    return replace(held(), id="batch-20261127-01", step="close", outcome="retrained", closed=NIGHT, facts=found)


def declined() -> Batch:
    """The gate said yes, the person asked for approval said no."""
    found = facts()
    del found["version"], found["outcome"]
    found["held"] = ["a person declined it: not on the day of the sale"]
    return replace(
        fresh(), id="batch-20261128-01", step="gate", outcome="held", verdict="pass", closed=None, facts=found
    )


def declined_then_released() -> Batch:
    """The gate said yes, a person first no and then yes."""
    found = declined().facts | {"outcome": "unlearned", "version": "6", "released": "The sale is over."}
    return replace(declined(), step="close", outcome="unlearned", closed=NIGHT, facts=found)


def unlicensed() -> Batch:
    """Nothing licensed the batch, so the unlearned model was not even judged."""
    words = "it cannot be judged without a retrain: no rehearsal has passed for items"
    reason = {"name": words, "group": None, "passed": False, "words": words, "judged": True, "fault": None, "n": 0}
    reason |= dict.fromkeys(("value", "reference", "difference", "interval", "low", "high", "margin"))
    found = facts(gate=verdict([reason], "licensed"), retrain=verdict(second()), outcome="retrained", version="4")
    return replace(fresh(), outcome="retrained", facts=found)


def again() -> Batch:
    """Held, then told to run again: it stands after the checks and still has the verdicts of the first attempt."""
    return replace(held(), step="check", outcome=None, verdict=None)


def not_found() -> Batch:
    """Nobody in the data was meant."""
    nothing = {"verdict": "pass", "mode": "none", "reasons": ["nothing to forget"], "table": [], "notes": []}
    found = facts(
        gate={**nothing, "cost": None, "licences": [], "drift": None},
        unlearn={"method": "none", "seconds": None, "reason": "nothing to forget"},
        evaluate={"mode": "none", "models": {}, "seconds": {}, "pairs": 0},
        regimes={},
        forgotten=0,
        outcome="not found",
    )
    return replace(fresh(), id="batch-20261129-01", size=2, outcome="not found", verdict=None, facts=found)


def stopped(step: str = "cut") -> Batch:
    """A step failed that would fail again, before the gate: held."""
    found = half_way(step)
    held = {"held": ["the data is not what it should be: the average number of rows of a user fell by more than half"]}
    return replace(found, outcome="held", verdict="fail", facts=found.facts | held)


def retired() -> Batch:
    """Everybody had to be forgotten, and a person accepted that."""
    found = facts(
        gate={**dict.fromkeys(("cost", "drift")), "verdict": "pass", "mode": "none", "reasons": ["nobody is left"]},
        unlearn={"method": "none", "seconds": None},
        evaluate={"mode": "none", "models": {}, "seconds": {}},
        **{"data_md5_after": None, "version": None, "outcome": "retired", "released": "The tenant has left."},
    )
    return replace(fresh(), id="batch-20261130-01", outcome="retired", facts=found)


def withdrawn() -> Batch:
    """Held before its cut; then every request was taken out of it."""
    held = stopped("claim")
    return replace(held, id="batch-20261130-02", outcome="withdrawn", verdict=None, closed=NIGHT + timedelta(hours=9))


def half_way(step: str = "check") -> Batch:
    """Open, and this far; by default after the checks of the new data."""
    order = ("cut", "check", "unlearn", "evaluate", "gate")
    keys = {
        "cut": ("data_md5_before", "data_md5_after", "forgotten", "regimes", "started"),
        **{name: (name,) for name in order[1:4]},
        "gate": ("gate", "retrain"),
    }
    done = order[: order.index(step) + 1] if step in order else ()
    known = {key: value for name in done for key, value in facts().items() if key in keys[name]}
    return replace(fresh(), step=step, outcome=None, verdict=None, seconds={}, closed=None, facts=known)


def old_form() -> Batch:
    """A batch of version 0.1, whose facts say less."""
    table = [
        {"name": name, "value": 0.0, "low": 0.0, "high": 0.0, "passed": True, "words": f"{name}: none"}
        for name in EXACT
    ] + [
        {"name": "test/ndcg@20", "value": 0.3571, "low": 0.3475, "high": None, "passed": True, "words": "ndcg is fine"},
        {"name": "membership_auc", "value": 0.61, "low": 0.35, "high": 0.65, "passed": True, "words": "auc is fine"},
    ]
    found = facts(gate={"verdict": "pass", "reasons": [r["words"] for r in table], "table": table})
    del found["evaluate"]["mode"], found["evaluate"]["profiles"]
    return replace(fresh(), facts=found)


def without_numbers() -> Batch:
    """Every measurement missing or not a number, as it comes when a model diverged."""

    def blank(value: Any) -> Any:
        if isinstance(value, dict):
            return value if value.get("name") in EXACT else {key: blank(part) for key, part in value.items()}
        if isinstance(value, list):
            return [blank(part) for part in value]
        return float("nan") if isinstance(value, float) else value

    found = blank(held().facts)
    found["evaluate"]["profiles"]["unlearned"] = None
    found["evaluate"]["models"]["retrained"] = {}
    return replace(held(), facts=found, seconds={})


def history(nights: int = 14) -> list[Batch]:
    """Closed batches before tonight, newest first, of all outcomes."""
    draw = np.random.default_rng(7)
    past = []
    for night in range(nights):
        outcome = ("retrained", "unlearned", "unlearned", "unlearned")[night % 4]
        auc, ndcg = 0.57 + abs(float(draw.normal(0.018, 0.02))), 0.3585 + float(draw.normal(0, 0.003))
        auc += 0.09 if outcome == "retrained" else 0
        said = verdict([*exact(), row("test/ndcg@20", ndcg, 0.3587, n=1200), row("membership_auc", auc, 0.57)])
        found = facts(gate=said)
        found["evaluate"]["models"]["unlearned"] = numbers(ndcg, 0.08, auc)
        opened = NIGHT - timedelta(days=night + 1)
        id = f"batch-{opened:%Y%m%d}-01"
        closed = opened + timedelta(seconds=38)
        past.append(replace(fresh(), id=id, opened=opened, closed=closed, outcome=outcome, facts=found))  # type: ignore[arg-type]
    return past


ALL = {
    "fresh": fresh,
    "licensed": licensed,
    "retrained": retrained,
    "held": held,
    "released": released,
    "declined": declined,
    "declined then released": declined_then_released,
    "unlicensed": unlicensed,
    "again": again,
    "not found": not_found,
    "stopped": stopped,
    "retired": retired,
    "withdrawn": withdrawn,
    "half way": half_way,
    "old form": old_form,
    "without numbers": without_numbers,
}
