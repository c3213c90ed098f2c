from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tru.data.interactions import TEST, TRAIN, VAL
from tru.data.shortcomings import FEW_TRAIN_ROWS, refuse_unlearnable, shortcomings
from tru.errors import DataError


def _less(ds, keep):
    rows = ds.interactions
    return replace(ds, interactions=rows[keep(rows)].reset_index(drop=True))


CASES = [
    (lambda rows: rows["split"] != VAL, ["no validation rows"]),
    (lambda rows: rows["split"] != TEST, ["no test rows"]),
    (lambda rows: rows["split"] == TRAIN, ["no validation rows", "no test rows"]),
    (lambda rows: np.arange(len(rows)) < 30, ["train rows, perhaps too few"]),
    (lambda rows: (rows["user_id"] == rows["user_id"].iloc[0]) | (rows["split"] != TRAIN), ["train rows, perhaps"]),
    (lambda rows: rows["item_id"] == rows["item_id"].iloc[0], ["train rows, perhaps", "with one item"]),
]


def test_nothing_is_said_of_enough(tiny):
    assert shortcomings(tiny) == [] and refuse_unlearnable(tiny) is tiny


@pytest.mark.parametrize(("keep", "words"), CASES)
def test_each_lack_is_said_in_a_sentence_that_names_nobody(tiny, keep, words):
    less = _less(tiny, keep)
    said = shortcomings(less)
    for part in words:
        assert sum(part in sentence for sentence in said) == 1
    everybody = (*tiny.users.tolist(), *tiny.items.tolist())
    assert all(sentence.endswith(".") and not any(name in sentence for name in everybody) for sentence in said)


def test_one_user_cannot_be_forgotten(tiny):
    alone = _less(tiny, lambda rows: rows["user_id"] == rows["user_id"].iloc[0])
    assert any("one user: nobody can be forgotten" in sentence for sentence in shortcomings(alone))


@pytest.mark.parametrize("bad", ["a\nb", " a", "x" * 513])
def test_ids_of_an_older_import_that_no_request_can_name_are_counted(tiny, bad):
    first = tiny.interactions["user_id"].iloc[0]
    said = shortcomings(replace(tiny, interactions=tiny.interactions.replace({"user_id": {first: bad}})))
    assert len(said) == 1 and said[0].startswith("1 ids can be named by no request")


def test_the_number_of_train_rows_decides(tiny):
    train = _less(tiny, lambda rows: rows["split"] == TRAIN)
    enough, few = (
        _less(train, lambda rows, n=n: np.arange(len(rows)) < n) for n in (FEW_TRAIN_ROWS, FEW_TRAIN_ROWS - 1)
    )
    assert not any("train rows" in sentence for sentence in shortcomings(enough))
    assert any(f"only {FEW_TRAIN_ROWS - 1} train rows" in sentence for sentence in shortcomings(few))


def test_nothing_to_prefer_is_refused(tiny):
    with pytest.raises(DataError, match="all train rows are with one item"):
        refuse_unlearnable(_less(tiny, lambda rows: rows["item_id"] == rows["item_id"].iloc[0]))
