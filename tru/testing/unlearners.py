"""The contract of every unlearner, as tests that a package of its own can inherit."""

from __future__ import annotations

import copy
import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch

from tru.data.forget import ForgetSet
from tru.data.interactions import TEST
from tru.data.prepare import Prepared
from tru.errors import UnlearningError
from tru.models.trained import TrainedModel
from tru.testing import tiny
from tru.unlearning.base import Unlearner, make
from tru.unlearning.params import unlearn_params


class UnlearnerContract:
    """What every unlearner must do. Subclass it, name the class ``Test…``, and say in ``method`` which unlearner.

    An unlearner that is made in another way than from its name and settings overrides :meth:`make`, one for another
    kind of model the fixture ``model``.
    """

    method: ClassVar[str] = ""
    """As in ``unlearn.method``: the name of an entry point, or a dotted path ``package.module:Name``."""
    settings: ClassVar[dict[str, Any]] = {}
    """Further keys of block ``unlearn``."""
    trains_from_scratch: ClassVar[bool] = False
    """True where more data than before is no obstacle."""

    def make(self) -> Unlearner:
        """The unlearner, with what trains set to the small world."""
        return make(unlearn_params({"method": self.method, **self.settings}), tiny.TRAIN)

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls) -> TrainedModel:
        """The model that is to forget."""
        return tiny.trained()

    @pytest.fixture(scope="class")
    @classmethod
    def forget(cls) -> ForgetSet:
        """Something of each kind, and a user who stays with test rows only."""
        users, items, pairs = tiny.dataset().users, tiny.dataset().items, tiny.train_pairs()
        gone = {users[3], users[50]}
        left = next(user for user, _ in tiny.train_pairs(TEST) if user not in gone)
        return ForgetSet(
            users=frozenset(map(str, gone)),
            items=frozenset(map(str, items[[5, 20]])),
            pairs=frozenset(pairs[::25]) | {pair for pair in pairs if pair[0] == left},
            modalities=frozenset({(str(items[30]), "image")}),
        )

    @pytest.fixture(scope="class")
    @classmethod
    def retained(cls, forget: ForgetSet) -> Prepared:
        """The data that may stay."""
        return tiny.without(forget)

    @pytest.fixture(scope="class")
    @classmethod
    def found(cls, model: TrainedModel, retained: Prepared) -> TrainedModel:
        """The model after it."""
        return cls().make().unlearn(model, retained)

    @staticmethod
    def ids_in(folder: Path, ids: Iterable[str]) -> set[str]:
        """Which ids occur in the bytes of the files, as text or as NumPy's characters."""
        content = b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
        return {
            name for name in ids if any(name.encode(code) in content for code in ("utf-8", "utf-16-le", "utf-32-le"))
        }

    def test_the_result_stands_on_exactly_the_retained_data(
        self, model: TrainedModel, retained: Prepared, found: TrainedModel
    ) -> None:
        expected, stored = retained.arrays(), found.data.arrays()
        assert stored.keys() == expected.keys()
        assert all(np.array_equal(stored[name], expected[name]) for name in expected)
        assert len(retained.users) < len(model.data.users)
        width = model.params.width
        assert found.arrays["users"].shape == found.patch.shape == (len(retained.users), width)
        assert found.arrays["items"].shape == (len(retained.items), width)
        assert found.arrays.keys() == model.arrays.keys()
        assert (found.params, found.recipe) == (model.params, model.recipe)
        vectors = found.embed()
        assert np.isfinite(vectors.users.numpy()).all()
        assert np.isfinite(vectors.items.numpy()).all()

    def test_what_is_deleted_is_nowhere_in_it(
        self, model: TrainedModel, forget: ForgetSet, found: TrainedModel, tmp_path: Path
    ) -> None:
        found.save(tmp_path / "model")
        gone = forget.users | forget.items
        assert self.ids_in(tmp_path / "model", gone) == set()
        stay = {str(found.data.users[0]), str(found.data.items[0])}
        assert self.ids_in(tmp_path / "model", stay) == stay
        assert not any(name in json.dumps(found.facts) for name in (*model.data.users, *model.data.items))
        for side, ids in (("users", forget.users), ("items", forget.items)):
            rows = model.arrays[side][np.isin(getattr(model.data, side), sorted(ids))]
            assert len(rows) == 2
            for array in (*found.arrays.values(), found.patch):
                if array.shape[1:] == rows.shape[1:]:
                    assert not (array[:, None] == rows[None]).all(axis=2).any()

    def test_a_user_who_lost_every_edge_keeps_nothing_learned(
        self, model: TrainedModel, retained: Prepared, found: TrainedModel
    ) -> None:
        lonely = np.setdiff1d(np.arange(len(retained.users)), retained.train[:, 0])
        assert len(lonely) == 1
        before = model.arrays["users"][np.isin(model.data.users, retained.users[lonely])]
        after = found.arrays["users"][lonely]
        cosine = (before * after).sum() / np.linalg.norm(before) / np.linalg.norm(after)
        assert abs(cosine) < 0.8
        assert not found.patch[lonely].any()

    def test_the_result_is_the_same_every_time(
        self, model: TrainedModel, retained: Prepared, found: TrainedModel
    ) -> None:
        again = self.make().unlearn(model, retained)
        assert all(np.array_equal(found.arrays[name], again.arrays[name]) for name in found.arrays)
        assert np.array_equal(found.patch, again.patch)

    def test_the_model_it_is_given_stays_as_it_was(self, model: TrainedModel, retained: Prepared) -> None:
        before = copy.deepcopy(model)
        self.make().unlearn(model, retained)
        for then, now in ((before.arrays, model.arrays), (before.data.arrays(), model.data.arrays())):
            assert all(np.array_equal(then[name], now[name]) for name in then)
        assert np.array_equal(before.patch, model.patch)
        assert before.facts == model.facts

    def test_forgotten_pairs_are_wanted_less(self, model: TrainedModel, forget: ForgetSet, found: TrainedModel) -> None:
        def want(which: TrainedModel) -> np.ndarray:
            vectors = which.embed()
            scores = (vectors.users @ vectors.items.T).numpy()
            scores = (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)
            users, items = (
                {str(name): k for k, name in enumerate(ids)} for ids in (which.data.users, which.data.items)
            )
            stay = [pair for pair in sorted(forget.pairs) if pair[0] in left and pair[1] in kept]
            return np.array([scores[users[user], items[item]] for user, item in stay])

        left, kept = set(map(str, found.data.users)), set(map(str, found.data.items))
        before, after = want(model), want(found)
        assert len(before) > 30
        assert after.mean() < before.mean() - 0.1

    def test_a_change_of_nothing_leaves_the_vectors_equal(self, model: TrainedModel) -> None:
        found = self.make().unlearn(model, model.data)
        assert torch.equal(found.embed().users, model.embed().users)
        assert torch.equal(found.embed().items, model.embed().items)

    @pytest.mark.parametrize("grown", ["users", "items", "edges"])
    def test_data_that_grew_is_refused_or_trained_on(self, model: TrainedModel, grown: str) -> None:
        if grown == "edges":  # canaries that training withheld are edges it has not seen
            data = dataclasses.replace(model.data, canary=~model.data.canary)
        else:
            one = frozenset({str(getattr(model.data, grown)[0])})
            fewer = ForgetSet(users=one) if grown == "users" else ForgetSet(items=one)
            model, data = dataclasses.replace(model, data=tiny.without(fewer)), model.data
        if self.trains_from_scratch:
            assert np.array_equal(self.make().unlearn(model, data).data.edges, data.edges)
            return
        with pytest.raises(UnlearningError, match="tru train"):
            self.make().unlearn(model, data)

    def test_the_result_can_be_saved_loaded_and_unlearned_again(self, found: TrainedModel, tmp_path: Path) -> None:
        found.save(tmp_path / "model")
        loaded = TrainedModel.load(tmp_path / "model")
        assert torch.equal(loaded.embed().users, found.embed().users)
        data = tiny.without_some_edges(loaded.data, 5)
        again = self.make().unlearn(loaded, data)
        assert np.array_equal(again.data.edges, data.edges)
