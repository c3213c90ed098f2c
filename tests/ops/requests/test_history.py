from datetime import timedelta

import pytest

from tests.contracts import NIGHT, Clock
from tru.ops.requests import MemoryLedger
from tru.ops.requests.history import in_words, reigns
from tru.ops.requests.ledger import KINDS

BATCH = "batch-20261123-01"


@pytest.mark.parametrize(
    ("kind", "facts", "words"),
    [
        (
            "champion",
            {
                "version": "7",
                "why": "unlearned",
                "batch": BATCH,
                "previous": "6",
                "deleted_through": 41,
                "mode": "fresh",
            },
            f"version 7 (unlearned, {BATCH}), after version 6, deletions through 41",
        ),
        (
            "champion",
            {"version": "1", "why": "trained", "batch": None, "previous": None, "deleted_through": 0},
            "version 1 (trained), deletions through 0",
        ),
        (
            "champion",
            {"version": "5", "why": "rollback", "previous": "7", "reason": "slow\n  pages"},
            "version 5 (rollback), after version 7: slow pages",
        ),
        (
            "data",
            {"before": "a" * 32, "after": "b" * 32, "forgotten": 3, "batch": BATCH},
            f"{'a' * 12} became {'b' * 12}, 3 subjects forgotten, {BATCH}",
        ),
        (
            "data",
            {"before": None, "after": "b" * 32, "how": "imported", "left_out": {"rows": 12, "subjects": 3}},
            f"{'b' * 12}, imported, 3 subjects forgotten before left out",
        ),
        (
            "baseline",
            {"version": "8", "seeds": [1, 2], "deleted_through": 41, "metrics": [{}, {}]},
            "version 8, 2 seeds, deletions through 41",
        ),
        (
            "licence",
            {
                "regime": "user",
                "size": 100,
                "passed": True,
                "expires": "2026-12-28T03:30:00+00:00",
                "method": "tru",
                "backbone": "mgcn",
                "data": "tiktok",
                "table": [{}],
            },
            "regime user up to 100 subjects, until 2026-12-28 (tru, on mgcn, data tiktok)",
        ),
        (
            "licence",
            {"regime": "item", "size": 20, "passed": False, "reasons": ["too much is left", "too little"]},
            "none for regime item: too much is left; too little",
        ),
        (
            "verdict",
            {"batch": BATCH, "candidate": "unlearned", "verdict": "pass", "mode": "licensed", "reasons": ["in range"]},
            f"pass: {BATCH}, unlearned (licensed)",
        ),
        (
            "verdict",
            {"batch": BATCH, "candidate": "retrained", "verdict": "fail", "mode": "fresh", "reasons": ["too low"]},
            f"fail: {BATCH}, retrained (fresh): too low",
        ),
        (
            "batch",
            {"batch": BATCH, "outcome": "unlearned", "verdict": "pass", "size": 20, "version": "7"},
            f"{BATCH} unlearned, 20 requests, version 7",
        ),
        ("batch", {"batch": BATCH, "outcome": "held", "reasons": ["too low"]}, f"{BATCH} held: too low"),
        (
            "rollback",
            {"version": "5", "previous": "7", "reason": "slow pages"},
            "to version 5, from version 7: slow pages",
        ),
        (
            "approval",
            {"batch": BATCH, "answer": "declined", "candidate": "unlearned", "words": "not before Christmas"},
            f"{BATCH} declined, unlearned: not before Christmas",
        ),
        ("erasure", {"objects": 3, "bytes": 1024, "places": ["dvc", "mlflow"]}, "objects 3, bytes 1024"),
        ("restore", {}, "no more is said"),
    ],
)
def test_an_entry_reads_as_a_sentence(kind, facts, words):
    assert in_words(MemoryLedger().append(kind, "k", **facts)) == words


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "facts",
    [
        {},
        {"unreadable": True},
        {"version": 7, "why": None, "batch": 3},
        {"before": 1, "after": 2},
        {"before": None, "after": "b", "left_out": 5},
    ],
)
def test_an_entry_of_another_shape_is_shown_all_the_same(kind, facts):
    words = in_words(MemoryLedger().append(kind, "k", **facts))
    assert words and "\n" not in words


def test_a_reign_lasts_until_the_next():
    clock = Clock()
    ledger = MemoryLedger(clock)
    ledger.append("champion", "1", version="1", why="trained")
    clock.pass_seconds(3600)
    ledger.append("data", "d")
    ledger.append("champion", "2", version="2", why="unlearned", batch=BATCH)
    first, second = reigns(ledger.entries())
    assert (first.version, first.since, first.until, first.why, first.batch) == (
        "1",
        NIGHT,
        NIGHT + timedelta(hours=1),
        "trained",
        None,
    )
    assert (second.version, second.since, second.until, second.batch) == ("2", first.until, None, BATCH)
    assert second.public() == {
        "version": "2",
        "from": "2026-11-23T03:30:00+00:00",
        "until": None,
        "why": "unlearned",
        "batch": BATCH,
    }
    assert reigns([]) == []
