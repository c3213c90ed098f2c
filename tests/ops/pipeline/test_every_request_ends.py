"""Whatever is asked for: after a few nights and at most one decision of a person, every request has ended.

The batches are drawn from all kinds that a night could stumble over, alone and mixed, with other requests coming in
behind them. The data are so small that a night takes about a second.
"""

import random
from dataclasses import dataclass

import pytest

from tests.workspaces import copy, file_requests, remains, whole_night
from tru.data.interactions import load_dataset
from tru.ops import pipeline
from tru.ops.erasure import eraser
from tru.ops.release.champion import is_retired, unanchored
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox, open_ledger

NIGHTS = 6
"""More than any of these batches needs."""


def users(ds):
    return [Subject.of(user=user) for user in ds.users.tolist()]


def items(ds):
    return [Subject.of(item=item) for item in ds.items.tolist()]


def rows(ds, split):
    some = ds.interactions[ds.interactions["split"] == split]
    return [Subject.of(user=u, item=i) for u, i in zip(some["user_id"], some["item_id"], strict=True)]


def pictures(ds, modality="image"):
    return [Subject.of(item=item, modality=modality) for item in ds.items[ds.present[modality]].tolist()]


def strangers(_):
    return [Subject.of(user=f"u-nobody-{n}") for n in range(3)]


KINDS = {
    "everybody": users,
    "all but one": lambda ds: users(ds)[1:],
    "all but two": lambda ds: users(ds)[2:],
    "half of the users": lambda ds: users(ds)[::2],
    "all items": items,
    "all items but one": lambda ds: items(ds)[1:],
    "one modality of all items": pictures,
    "all modalities of all items": lambda ds: pictures(ds) + pictures(ds, "text"),
    "all modalities of one item": lambda ds: [pictures(ds, m)[3] for m in ds.modalities],
    "all train rows": lambda ds: rows(ds, 0),
    "most train rows": lambda ds: rows(ds, 0)[3:],
    "all train rows of some users": lambda ds: [s for s in rows(ds, 0) if s.user in set(ds.users[:8].tolist())],
    "all validation rows": lambda ds: rows(ds, 1),
    "all test rows": lambda ds: rows(ds, 2),
    "every row": lambda ds: rows(ds, 0) + rows(ds, 1) + rows(ds, 2),
    "strangers": strangers,
    "one user": lambda ds: users(ds)[5:6],
}


@dataclass(frozen=True)
class Case:
    """Filings one after the other, and what comes in when the first of them is held or done."""

    first: tuple[str, ...]
    later: tuple[str, ...] = ()

    def __str__(self):
        return " + ".join(self.first) + (f" then {' + '.join(self.later)}" if self.later else "")


def cases(seed=20261201, mixed=6):
    """Every kind alone, and mixtures, drawn by the seed."""
    draw = random.Random(seed)
    names = sorted(KINDS)
    found = [Case((name,), ("one user",) if number % 3 == 0 else ()) for number, name in enumerate(names)]
    for _ in range(mixed):
        first = tuple(draw.sample(names, draw.choice((2, 3))))
        found.append(Case(first, tuple(draw.sample(names, draw.choice((0, 1))))))
    return found


def file_all(ws, names, whole):
    """One filing per kind, as several people and suppliers would; what they asked for, and the ids."""
    wanted = [KINDS[name](whole) for name in names]
    return [s for some in wanted for s in some], [id for some in wanted for id in file_requests(ws, some)]


def still_open(ws, ids):
    return [id for id in dict.fromkeys(ids) if open_inbox(ws).get(id).is_open]


def nights(ws, ids):
    """Nights until nothing moves any more."""
    for _ in range(NIGHTS):
        before = len(still_open(ws, ids)), open_inbox(ws).open_batch()
        if whole_night(ws) is None and (len(still_open(ws, ids)), open_inbox(ws).open_batch()) == before:
            return


@pytest.mark.parametrize("case", cases(), ids=str)
def test_every_request_ends_after_at_most_one_decision(small, tmp_path, case):
    ws = copy(small.root, tmp_path / "workspace")
    whole = load_dataset(ws.data)
    asked, ids = file_all(ws, case.first, whole)
    nights(ws, ids)
    later, more = file_all(ws, case.later, whole)
    nights(ws, more)

    held = open_inbox(ws).held()
    for batch in held:
        if open_inbox(ws).batch(batch.id).is_held:  # another decision may have ended it
            pipeline.accept(ws, "the contract has ended", batch.id)
            nights(ws, ids + more)

    assert still_open(ws, ids + more) == []
    assert_sound(ws, asked + later)


def assert_sound(ws, asked):
    inbox, champion = open_inbox(ws), Registry(ws).champion()
    assert inbox.open_batch() is None and not inbox.aside() and not inbox.held()
    assert open_ledger(ws).verify() == [] and unanchored(ws) == []
    assert list(ws.batches.iterdir()) == []
    assert (champion is None) == is_retired(ws) == (not DataVersions(ws).has_data)
    if champion is None:
        assert not ws.data.exists() and inbox.suppression().retirements() == 1
    else:
        assert remains(ws, asked) == []
        assert champion.tags["tru.data_md5"] == DataVersions(ws).md5() or champion.version == "1"
    erased = eraser.erase(ws)
    fulfilled = [r for r in inbox.list() if r.outcome in ("unlearned", "retrained", "retired")]
    assert erased["certificates"] == len(fulfilled)
    assert eraser.plan(ws).batches == []
