import io
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tru.errors import ModelError
from tru.ops.release.serving import MAX_K, SERVING_FILE, ListedSuppression, Recommender, checked_query


@pytest.fixture
def suppression() -> ListedSuppression:
    return ListedSuppression()


@pytest.fixture
def recommender(model_dir: Path, suppression: ListedSuppression) -> Recommender:
    return Recommender.load(model_dir, suppression)


def change(folder: Path, **arrays: Any) -> None:
    with np.load(folder / SERVING_FILE) as stored:
        content = {**stored, **arrays}
    np.savez(folder / SERVING_FILE, **{name: array for name, array in content.items() if array is not None})


def test_personal_lists_leave_out_what_was_seen(recommender: Recommender) -> None:
    ann = recommender.recommend("ann", 3)
    assert ann.items == ("i4", "i3", "i2")
    assert ann.known and not ann.suppressed
    assert recommender.recommend("bob", 10).items == ("i2", "i3", "i4", "i5")


def test_unknown_user_gets_the_popular_list(recommender: Recommender) -> None:
    answer = recommender.recommend("somebody", 4)
    assert answer.items == ("i2", "i0", "i4", "i1")
    assert not answer.known and not answer.suppressed


def test_suppressed_user_gets_the_popular_list_at_once(
    recommender: Recommender, suppression: ListedSuppression
) -> None:
    assert recommender.recommend("ann", 2).items == ("i4", "i3")
    suppression.users.add("ann")
    answer = recommender.recommend("ann", 6)
    assert answer.items == ("i2", "i0", "i4", "i1", "i3", "i5")  # nothing masked: what they saw is not used any more
    assert answer.suppressed and not answer.known
    suppression.users.clear()
    assert recommender.recommend("ann", 2).items == ("i4", "i3")


def test_item_taken_down_is_in_no_list(recommender: Recommender, suppression: ListedSuppression) -> None:
    recommender.recommend("ann", 2)
    suppression.items.update({"i4", "i2"})
    lists = recommender.recommend_many(["ann", "bob", "somebody"], 6)
    assert [answer.items for answer in lists] == [("i3", "i1", "i0"), ("i3", "i5"), ("i0", "i1", "i3", "i5")]


def test_suppressed_pair_is_hidden_from_this_user_alone(
    recommender: Recommender, suppression: ListedSuppression
) -> None:
    suppression.pairs.update({("ann", "i4"), ("somebody", "i2")})
    assert recommender.recommend("ann", 2).items == ("i3", "i2")
    assert recommender.recommend("somebody", 2).items == ("i0", "i4")
    assert recommender.recommend("somebody else", 2).items == ("i2", "i0")


def test_everything_suppressed_gives_an_empty_list(recommender: Recommender, suppression: ListedSuppression) -> None:
    suppression.items.update(f"i{n}" for n in range(6))
    assert recommender.recommend("ann").items == recommender.recommend("somebody").items == ()


def test_same_answers_as_a_full_sort(tmp_path: Path) -> None:
    """On random data with many ties, in blocks, alone, and with suppressed items and pairs in the way."""
    rng = np.random.default_rng(3)
    n_users, n_items = 300, 500
    seen = [np.sort(rng.choice(n_items, 20, replace=False)) for _ in range(n_users)]
    arrays = {
        "users": np.array([f"u{n}" for n in range(n_users)]),
        "items": np.array([f"i{n}" for n in range(n_items)]),
        "user_vectors": rng.integers(-2, 3, (n_users, 3)).astype(np.float32),
        "item_vectors": rng.integers(-2, 3, (n_items, 3)).astype(np.float32),
        "seen_indptr": np.arange(0, 20 * n_users + 1, 20),
        "seen_indices": np.concatenate(seen).astype(np.int32),
        "popular": np.arange(n_items, dtype=np.int32),
    }
    np.savez(tmp_path / SERVING_FILE, **arrays)
    items = {f"i{n}" for n in range(0, n_items, 3)}
    pairs = {(f"u{u}", f"i{n}") for u in range(0, n_users, 2) for n in range(1, n_items, 4)}
    recommender = Recommender.load(tmp_path, ListedSuppression(items=items, pairs=pairs))
    answers = recommender.recommend_many(arrays["users"].tolist(), 30)
    scores = arrays["user_vectors"] @ arrays["item_vectors"].T
    for u, answer in enumerate(answers):
        order = np.argsort(-scores[u], kind="stable")
        names = [f"i{n}" for n in order if n not in seen[u]]
        assert list(answer.items) == [i for i in names if i not in items and (f"u{u}", i) not in pairs][:30]
    assert recommender.recommend("u7", 30) == answers[7]


@pytest.mark.parametrize(("user", "k"), [("", 5), (5, 5), (None, 5), ("ann", 0), ("ann", MAX_K + 1), ("ann", True)])
def test_unusable_questions_are_refused(user: Any, k: Any) -> None:
    with pytest.raises(ModelError, match=r"user_id|k must") as caught:
        checked_query(user, k)
    assert "ann" not in str(caught.value)


@pytest.mark.parametrize("k", [2.0, "2", None, np.float64(2)])
def test_k_is_a_whole_number(recommender: Recommender, k: Any) -> None:
    with pytest.raises(ModelError, match="whole number from 1 to 1000"):
        recommender.recommend("ann", k)


def test_missing_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="Train one first"):
        Recommender.load(tmp_path, ListedSuppression())


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"popular": None}, "lacks an array .*popular"),
        ({"users": np.array(["ann", "ann"])}, "appears twice"),
        ({"users": np.array(["ann"])}, "differ in number"),
        ({"user_vectors": np.zeros((2, 4), np.float32)}, "differ in width"),
        ({"seen_indptr": np.array([0, 3, 2])}, "seen items"),
        ({"popular": np.array([6])}, "out of range"),
        ({"item_vectors": np.full((6, 1), np.nan, np.float32)}, "not finite"),
        ({"items": np.zeros(0, str), "item_vectors": np.zeros((0, 1), np.float32)}, "no item"),
    ],
)
def test_inconsistent_model_is_refused(model_dir: Path, arrays: dict[str, Any], fault: str) -> None:
    change(model_dir, **arrays)
    with pytest.raises(ModelError, match=fault):
        Recommender.load(model_dir, ListedSuppression())


def test_damaged_and_pickled_models_are_refused(model_dir: Path) -> None:
    file = model_dir / SERVING_FILE
    whole = file.read_bytes()
    change(model_dir, users=np.array(["ann", {}], dtype=object))
    with pytest.raises(ModelError, match="cannot be read"):
        Recommender.load(model_dir, ListedSuppression())
    array = io.BytesIO()
    np.save(array, np.zeros(3))
    for damaged in (whole[: len(whole) // 2], b"", b"no archive", pickle.dumps({"users": 1}), array.getvalue()):
        file.write_bytes(damaged)
        with pytest.raises(ModelError, match="cannot be read"):
            Recommender.load(model_dir, ListedSuppression())
