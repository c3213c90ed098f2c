"""The rivals: the contract of every unlearner on every backbone, and for each one that it does what its paper says."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest
import torch

from tests import tiny
from tests.tiny import without_some_edges
from tru import randomness
from tru.data.forget import ForgetSet
from tru.data.prepare import Prepared
from tru.errors import UnlearningError
from tru.models.params import ModelParams
from tru.models.trained import TrainedModel
from tru.testing import UnlearnerContract
from tru.training import fit
from tru.unlearning.base import make
from tru.unlearning.baselines import settings as rivals
from tru.unlearning.baselines.cut import is_same, structural
from tru.unlearning.baselines.influence import Curvature, Touched, gradient, solve
from tru.unlearning.baselines.reverse import Ground
from tru.unlearning.baselines.sampler import Lessons
from tru.unlearning.baselines.shards import ensemble, shard_of
from tru.unlearning.baselines.ssd import factor, importance
from tru.unlearning.change import Change
from tru.unlearning.params import UnlearnParams

BACKBONES = ("mgcn", "miggt", "lightgcn")
APPROXIMATE = ("cut", "finetune", "ascent", "mmrecun", "ssd", "influence")
SHARDS = rivals.Shards(number=3)


@cache
def trained(backbone: str) -> TrainedModel:
    if backbone == "mgcn":
        return tiny.trained()
    return fit(tiny.dataset(), ModelParams(name=backbone, width=16), tiny.TRAIN)


@cache
def sharded(backbone: str) -> TrainedModel:
    model = trained(backbone)
    return ensemble(model, model.data, SHARDS, tiny.TRAIN)


def method(name: str, **settings):
    blocks = {"rivals": {name: settings}} if settings else {}
    return make(UnlearnParams(method=name, **blocks), tiny.TRAIN)


def parts(kind: str) -> ForgetSet:
    """A batch of one kind."""
    data = tiny.dataset()
    users, items, pairs = data.users.astype(str), data.items.astype(str), tiny.train_pairs()
    return {
        "user": ForgetSet(users=frozenset(users[[3, 50]].tolist())),
        "item": ForgetSet(items=frozenset(items[[5, 20]].tolist())),
        "interaction": ForgetSet(pairs=frozenset(pairs[::20])),
        "modality": ForgetSet(modalities=frozenset({(items[30], "image")})),
    }[kind]


class RivalContract(UnlearnerContract):
    """The contract, and what the brief of the comparison asks beside it."""

    name = ""
    backbone = ""

    def make(self):
        return method(self.name)

    @pytest.fixture(scope="class")
    @classmethod
    def model(cls):
        return sharded(cls.backbone) if cls.name == "shards" else trained(cls.backbone)

    def test_it_signs_what_it_made(self, model, retained, found):
        assert found.facts["method"] == self.name
        assert found.facts["forgotten_edges"] == len(Change.between(model.data, retained).forgotten)
        assert found.facts["seconds"] >= 0

    def test_forgotten_pairs_are_gone_and_retained_ones_all_there(self, model, forget, found):
        before, after = (
            {(str(d.users[u]), str(d.items[i])) for u, i in d.edges.tolist()} for d in (model.data, found.data)
        )
        stay = {p for p in before - forget.pairs if p[0] not in forget.users and p[1] not in forget.items}
        assert after == stay

    def test_withheld_canaries_stay_withheld(self, model, retained, found):
        def without_canaries(data: Prepared) -> Prepared:
            return replace(data, train=data.edges, canary=np.zeros(len(data.edges), dtype=bool))

        assert model.data.canary.any()
        blind = self.make().unlearn(replace(model, data=without_canaries(model.data)), without_canaries(retained))
        assert all(np.array_equal(blind.arrays[name], found.arrays[name]) for name in found.arrays)

    @pytest.mark.parametrize("kind", ["user", "item", "interaction", "modality"])
    def test_every_regime_alone(self, model, kind):
        retained = tiny.without(parts(kind))
        found = self.make().unlearn(model, retained)
        assert found.data is retained
        assert all(np.isfinite(array).all() for array in found.arrays.values())
        if kind == "modality" and self.name not in ("finetune", "shards"):  # no pair was forgotten: only the cut
            assert all(np.array_equal(found.arrays[name], array) for name, array in model.arrays.items())


for _backbone in BACKBONES:
    for _name in (*APPROXIMATE, "shards"):
        _title = f"Test{_name.capitalize()}On{_backbone.capitalize()}"
        globals()[_title] = type(_title, (RivalContract,), {"name": _name, "backbone": _backbone})
del _title


def leads(model: TrainedModel, pairs: np.ndarray) -> np.ndarray:
    """By how many standard deviations of its user's scores each pair stands above their mean."""
    found = model.embed()
    scores = (found.users @ found.items.T).numpy()
    scores = (scores - scores.mean(1, keepdims=True)) / scores.std(1, keepdims=True)
    return scores[pairs[:, 0], pairs[:, 1]]


@pytest.fixture(scope="module")
def night():
    """Some pairs to forget, of people who stay: (model before, retained data, change, their positions afterwards)."""
    model, retained = tiny.trained(), tiny.without(parts("interaction"))
    assert (model.data.users == retained.users).all()
    assert (model.data.items == retained.items).all()
    change = Change.between(model.data, retained)
    return model, retained, change, change.forgotten


class TestCutAlone:
    def test_no_parameter_of_those_who_keep_an_edge_moves(self, night):
        model, retained, change, _ = night
        found = method("cut").unlearn(model, retained)
        stay = {"users": ~change.emptied_users, "items": ~change.emptied_items}
        for name, array in model.arrays.items():
            at = stay.get(name, slice(None))
            assert np.array_equal(found.arrays[name][at], array[at])
        assert not np.array_equal(found.embed().items.numpy(), model.embed().items.numpy())  # the graph is another

    def test_rows_that_lost_every_edge_are_fresh_unless_told_otherwise(self):
        model, user = tiny.trained(), tiny.train_pairs()[0][0]
        retained = tiny.without(ForgetSet(pairs=frozenset(p for p in tiny.train_pairs() if p[0] == user)))
        change = Change.between(model.data, retained)
        at, was = np.flatnonzero(change.emptied_users), change.users[change.emptied_users]
        patched = replace(model, patch=np.ones_like(model.patch))
        fresh, kept = (structural(patched, retained, change, neutral) for neutral in (True, False))
        assert np.array_equal(fresh.arrays["users"][at], model.recipe.user_rows(retained.users[at], 16, "neutral user"))
        assert np.array_equal(kept.arrays["users"][at], model.arrays["users"][was])
        assert not fresh.patch[at].any()
        assert fresh.patch.any()

    def test_a_revoked_feature_is_a_difference(self):
        model = tiny.trained()
        assert is_same(model.data, tiny.without(ForgetSet()))
        assert not is_same(model.data, tiny.without(parts("modality")))


class TestFinetune:
    def test_it_learns_what_stays_better_than_the_cut(self, night):
        model, retained, _, _ = night
        lessons = Lessons(retained, retained.edges, model.recipe, "examination").draw(0, 2000)

        def loss(found: TrainedModel) -> float:
            from tru.models.graph import Inputs

            with torch.no_grad():
                return float(found.module().loss(Inputs.of(retained), lessons))

        cut, tuned = (method(name).unlearn(model, retained) for name in ("cut", "finetune"))
        assert loss(tuned) < loss(cut)

    def test_every_layer_moves_also_for_a_modality(self):
        model = tiny.trained()
        found = method("finetune", steps=3).unlearn(model, tiny.without(parts("modality")))
        assert all(not np.array_equal(found.arrays[name], array) for name, array in model.arrays.items())


class TestAscent:
    def test_it_lowers_forgotten_pairs_below_the_cut(self, night):
        model, retained, _, pairs = night
        cut, climbed = method("cut"), method("ascent", rate=1e-2)
        before, after = (leads(each.unlearn(model, retained), pairs) for each in (cut, climbed))
        assert after.mean() < before.mean() - 0.2

    def test_more_steps_lower_them_more_and_it_has_an_end(self, night):
        model, retained, _, pairs = night
        few, many = (method("ascent", steps=n, rate=1e-2).unlearn(model, retained) for n in (5, 200))
        assert leads(many, pairs).mean() < leads(few, pairs).mean()
        sizes = [np.abs(each.arrays["items"]).max() for each in (model, many)]
        assert sizes[1] < 10 * sizes[0]

    @pytest.mark.parametrize("kind", ["user", "item"])
    def test_who_goes_is_unlearned_before_going(self, kind):
        model, retained = tiny.trained(), tiny.without(parts(kind))
        cut, climbed = (method(name).unlearn(model, retained) for name in ("cut", "ascent"))
        other = "items" if kind == "user" else "users"
        assert not np.array_equal(cut.arrays[other], climbed.arrays[other])


class TestMMRecUn:
    def test_forgotten_pairs_fall_and_retained_ones_are_held(self, night):
        model, retained, _, pairs = night
        setting = {"steps": 60, "rate": 1e-2}
        climbed, both = (method(name, **setting).unlearn(model, retained) for name in ("ascent", "mmrecun"))
        cut = method("cut").unlearn(model, retained)
        assert leads(both, pairs).mean() < leads(cut, pairs).mean() - 0.2
        assert leads(both, retained.edges).mean() > leads(climbed, retained.edges).mean()

    def test_it_is_uniform_over_layers(self, night):
        model, retained, _, _ = night
        found = method("mmrecun", steps=2).unlearn(model, retained)
        assert all(not np.array_equal(found.arrays[name], array) for name, array in model.arrays.items())

    def test_the_weight_decides_between_the_two(self, night):
        model, retained, _, pairs = night
        light, heavy = (method("mmrecun", rate=1e-2, weight=w).unlearn(model, retained) for w in (0.1, 10.0))
        assert leads(heavy, pairs).mean() < leads(light, pairs).mean()


class TestGround:
    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_those_who_stay_read_nothing_of_those_who_go(self, backbone):
        model, both = trained(backbone), replace(parts("user"), items=parts("item").items)
        retained = tiny.without(both)
        change = Change.between(model.data, retained)
        ground = Ground.of(model.data, retained, change)
        laid, cut = ground.model(model).embed(), structural(model, retained, change, False).embed()
        assert torch.allclose(laid.users[: len(retained.users)], cut.users, atol=1e-6)
        assert torch.allclose(laid.items[: len(retained.items)], cut.items, atol=1e-6)
        assert len(laid.users) == len(model.data.users)

    def test_pairs_and_rows_find_their_way_and_back(self):
        model, retained = tiny.trained(), tiny.without(replace(parts("user"), items=parts("item").items))
        change = Change.between(model.data, retained)
        ground = Ground.of(model.data, retained, change)
        for data, pairs in ((ground.data, ground.forgotten), (model.data, change.forgotten)):
            named = [(data.users[u], data.items[i]) for u, i in pairs]
            assert named == [(model.data.users[u], model.data.items[i]) for u, i in change.forgotten]
        back = ground.back(ground.model(model), model)
        assert all(np.array_equal(back.arrays[name], array) for name, array in model.arrays.items())
        assert back.data is model.data


class TestSsd:
    def test_factors_by_hand(self):
        forget, whole = torch.tensor([4.0, 1.0, 0.0, 8.0, 3.0]), torch.tensor([1.0, 1.0, 0.0, 0.5, 0.0])
        found = factor(forget, whole, rivals.Ssd(selection=2.0, dampening=0.5))
        # 4 > 2: .5 * 1 / 4; 1 <= 2; nothing is not more than nothing; 8 > 1: .5 * .5 / 8; only the forgotten need it
        assert found.tolist() == [0.125, 1.0, 1.0, 0.03125, 0.0]

    def test_a_factor_never_amplifies(self):
        found = factor(torch.tensor([3.0]), torch.tensor([1.0]), rivals.Ssd(selection=1.0, dampening=5.0))
        assert found.tolist() == [1.0]

    def test_importance_by_hand(self):
        """One user, two items, no graph: the gradient of a pair is -sigmoid(-lead) times the other side."""
        data = tiny.by_hand("ab", "xy", "ax by")
        model = replace(
            trained("lightgcn"),
            params=ModelParams(name="lightgcn", width=2, layers=0, regularisation=0.0),
            arrays={"users": np.array([[1.0, 0.5], [0, 0]], np.float32), "items": np.eye(2, dtype=np.float32)},
            data=data,
        )
        pairs = data.edges[:1]
        lesson = next(iter(Lessons(data, pairs, model.recipe, "importance").once(8)))
        found = importance(model, pairs, 8)
        assert lesson.negatives.tolist() == [1]
        weight = 1 / (1 + np.exp(0.5))  # lead .5
        assert np.allclose(found["users"], [[weight**2, weight**2], [0, 0]])
        assert np.allclose(found["items"], (weight * np.array([[1, 0.5], [1, 0.5]])) ** 2)

    def test_it_dampens_exactly_what_matters_more_to_the_forgotten(self, night):
        model, retained, change, pairs = night
        found = method("ssd", selection=4.0, dampening=0.5, batch=256).unlearn(model, retained)
        whole, part = (importance(model, each, 256) for each in (model.data.edges, pairs))
        stay = {"users": ~change.emptied_users, "items": ~change.emptied_items}
        moved, n = 0, 0
        for name, array in model.arrays.items():
            at = stay.get(name, slice(None))
            chosen = (part[name] > 4 * whole[name]).numpy()
            ratio = (0.5 * whole[name] / part[name].clamp_min(1e-30)).clamp_max(1).numpy()
            assert np.allclose(found.arrays[name][at], np.where(chosen, array * ratio, array)[at])
            moved, n = moved + chosen.sum(), n + chosen.size
        assert 0 < moved < n / 2
        assert found.facts["dampened"] == pytest.approx(moved / n, abs=1e-6)


class TestInfluence:
    def test_a_quadratic_gives_the_exact_leave_out_solution(self):
        """Ridge regression: one undamped step from the optimum with a row is the optimum without it."""
        draws = randomness.table(np.arange(30).astype(str), 6, 1.0)
        x, y = torch.from_numpy(draws[:, :5]).double(), torch.from_numpy(draws[:, 5]).double()

        def hessian(rows):
            return x[rows].T @ x[rows] + 0.1 * torch.eye(5)

        def optimum(rows):
            return torch.linalg.solve(hessian(rows), x[rows].T @ y[rows])

        everybody, stay = torch.arange(30), torch.arange(3, 30)
        before = optimum(everybody)
        forgotten = x[:3].T @ (x[:3] @ before - y[:3])
        apart = -forgotten  # gradient of what stays minus gradient of all
        found = before - solve(lambda v: hessian(stay) @ v, apart, 0.0, 5)
        assert torch.allclose(found, optimum(stay), atol=1e-8)
        assert not torch.allclose(before, optimum(stay), atol=1e-3)

    def test_damping_and_stopping(self):
        target = torch.tensor([2.0, 4.0])
        assert torch.allclose(solve(lambda v: v, target, 1.0, 10), target / 2)
        assert not solve(lambda v: v, torch.zeros(2), 1.0, 10).any()

    def test_the_gradients_differ_by_the_forgotten_pairs_own(self):
        """Without a graph there is no spillover: what differs is the gradient of what is forgotten."""
        flat = ModelParams(name="lightgcn", width=16, layers=0)
        model = replace(trained("lightgcn"), params=flat)
        retained = without_some_edges(model.data, 10)
        change = Change.between(model.data, retained)
        if (retained.popularity == 0).any():
            pytest.skip("an item lost every edge, so negatives differ")
        n = len(model.data.edges)
        was, now = gradient(model, n), gradient(structural(model, retained, change, False), n)
        untouched = np.setdiff1d(np.arange(len(model.data.users)), change.forgotten[:, 0])
        assert torch.allclose(was[0][untouched], now[0][untouched], atol=1e-5)
        assert not torch.allclose(was[0], now[0], atol=1e-3)

    @pytest.mark.parametrize("backbone", BACKBONES)
    def test_the_curvature_is_the_gauss_newton_matrix(self, backbone):
        model = trained(backbone)
        touched = Touched(torch.tensor([1, 4]), torch.tensor([2]))
        curvature = Curvature(model, touched, 300)
        entries = [curvature._lead[k] for k in range(len(curvature._lead))]
        rows = [touched.pick(*torch.autograd.grad(e, curvature._tables, retain_graph=True)).flatten() for e in entries]
        jacobian = torch.stack(rows)
        matrix = jacobian.T @ (curvature._weight[:, None] * jacobian)
        step = torch.from_numpy(randomness.table(np.array(["p", "q", "r"]), 16, 1.0))
        expected = (matrix @ step.flatten()).reshape(3, 16)
        assert torch.allclose(curvature(step), expected, atol=0.02 * float(expected.abs().max()))
        assert float(curvature.mean()) > 0

    def test_only_rows_of_touched_nodes_move(self, night):
        model, retained, change, _ = night
        cut, found = (method(name).unlearn(model, retained) for name in ("cut", "influence"))
        for name in model.arrays.keys() - {"users", "items"}:
            assert np.array_equal(found.arrays[name], model.arrays[name])
        touched = Touched.of(change)
        for name, rows in (("users", touched.users), ("items", touched.items)):
            moved = np.flatnonzero((found.arrays[name] != cut.arrays[name]).any(axis=1))
            assert np.array_equal(moved, rows.numpy())

    def test_the_step_has_the_length_that_is_asked_for(self, night):
        model, retained, _, _ = night
        cut = method("cut").unlearn(model, retained).arrays["items"]
        one, three = (method("influence", scale=s).unlearn(model, retained).arrays["items"] - cut for s in (1.0, 3.0))
        assert np.allclose(three, 3 * one, atol=1e-5)

    def test_it_lowers_forgotten_pairs_below_the_cut(self, night):
        model, retained, _, pairs = night
        cut, found = (leads(method(name).unlearn(model, retained), pairs) for name in ("cut", "influence"))
        assert found.mean() < cut.mean()


class TestShards:
    @pytest.mark.parametrize("kind", ["user", "item", "interaction", "modality"])
    def test_it_is_what_an_ensemble_without_would_have_been(self, kind):
        original, retained = tiny.trained(), tiny.without(parts(kind))
        found = method("shards").unlearn(sharded("mgcn"), retained)
        expected = ensemble(original, retained, SHARDS, tiny.TRAIN)
        assert all(np.array_equal(found.arrays[name], array) for name, array in expected.arrays.items())

    def test_shards_that_held_nothing_of_it_are_not_trained_again(self, monkeypatch):
        model, user = sharded("mgcn"), str(tiny.dataset().users[3])
        own = int(shard_of(np.array([user]), 3)[0])
        found = method("shards").unlearn(model, tiny.without(ForgetSet(users=frozenset({user}))))
        assert found.facts["retrained_shards"] == 1
        for k in range(3):
            columns = slice(16 * k, 16 * k + 16)
            same = np.array_equal(found.arrays["items"][:, columns], model.arrays["items"][:, columns])
            assert same == (k != own)

    @pytest.mark.parametrize("kind", ["item", "modality"])
    def test_what_is_part_of_every_shard_trains_them_all(self, kind):
        assert method("shards").unlearn(sharded("mgcn"), tiny.without(parts(kind))).facts["retrained_shards"] == 3

    def test_a_user_is_served_by_the_own_shard_alone(self):
        model = sharded("mgcn")
        own = shard_of(model.data.users, 3)
        used = np.abs(model.arrays["users"]).reshape(-1, 3, 16).sum(axis=2) > 0
        assert np.array_equal(used, own[:, None] == np.arange(3))

    def test_users_are_dealt_evenly_and_for_good(self):
        names = np.array([f"user {k}" for k in range(4000)])
        dealt = shard_of(names, 4)
        assert np.abs(np.bincount(dealt) - 1000).max() < 150
        assert np.array_equal(dealt[::7], shard_of(names[::7], 4))

    def test_an_ensemble_recommends(self):
        model = sharded("mgcn")
        drawn = np.stack([model.data.edges[:, 0], np.roll(model.data.edges[:, 1], 7)], axis=1)
        assert leads(model, model.data.edges).mean() > leads(model, drawn).mean() + 0.3

    def test_a_model_in_one_piece_is_refused(self):
        with pytest.raises(UnlearningError, match=r"no shard ensemble.*tru\.unlearning\.baselines\.shards\.ensemble"):
            method("shards").unlearn(tiny.trained(), tiny.without(parts("user")))


class TestLessons:
    @staticmethod
    def drawn(data: Prepared, like: int | None = None) -> dict[tuple[str, str], tuple[int, str]]:
        """Pair -> the batch that it is in, and its negative."""
        found = {}
        for batch in Lessons(data, data.edges, tiny.trained().recipe, "test").once(512, like):
            assert sum(batch.chunks) == len(batch.users)
            for u, i, n in zip(batch.users, batch.positives, batch.negatives, strict=True):
                pair = (str(data.users[u]), str(data.items[i]))
                assert pair not in found
                found[pair] = (batch.number, str(data.items[n]))
        return found

    def test_every_pair_comes_once(self):
        data = tiny.prepared()
        assert len(self.drawn(data)) == len(data.edges)

    def test_without_others_a_pair_keeps_its_batch_and_its_negative(self):
        data, less = tiny.prepared(), tiny.without(replace(parts("user"), items=parts("item").items))
        before, after = self.drawn(data), self.drawn(less, like=len(data.edges))
        gone = parts("item").items
        assert len(after) < len(before)
        assert all(before[pair] == now for pair, now in after.items() if before[pair][1] not in gone)

    def test_a_draw_is_a_sample_of_the_step(self):
        data = tiny.prepared()
        lessons = Lessons(data, data.edges, tiny.trained().recipe, "test")
        first, again, second = lessons.draw(0, 700), lessons.draw(0, 700), lessons.draw(1, 700)
        assert len(first.users) == 700
        assert first.chunks == [512, 188]
        assert torch.equal(first.negatives, again.negatives)
        assert not torch.equal(first.users, second.users)
        assert len(lessons.draw(0, 10**6).users) == len(data.edges)


class TestSettings:
    def test_every_rival_is_tuned_under_the_same_budget(self):
        for name in ("finetune", "ascent", "mmrecun", "ssd", "influence", "shards"):
            tried = rivals.grid(name)
            assert len({each.model_dump_json() for each in tried}) == len(tried) == rivals.BUDGET
            others = rivals.Rivals().model_dump() | {name: None}
            assert all(each.model_dump() | {name: None} == others for each in tried)

    def test_what_has_nothing_to_tune_says_so(self):
        with pytest.raises(UnlearningError, match="'cut' has nothing to tune"):
            rivals.grid("cut")

    def test_only_the_block_in_use_counts_as_a_setting(self):
        assert "rivals" not in UnlearnParams().model_dump()
        assert "rivals" not in UnlearnParams(method="cut").model_dump()
        params = UnlearnParams(method="ssd", rivals={"ssd": {"selection": 3.0}})
        assert params.model_dump()["rivals"] == {"ssd": {"selection": 3.0, "dampening": 0.3, "batch": 1024}}
        assert UnlearnParams.model_validate(params.model_dump()) == params

    @pytest.mark.parametrize("words", [{"ssd": {"alpha": 1}}, {"ssd": {"selection": 0}}, {"magic": {}}])
    def test_settings_that_make_no_sense_are_refused(self, words):
        with pytest.raises(ValueError, match="rivals"):
            UnlearnParams(rivals=words)

    def test_all_of_them_are_listed(self):
        with pytest.raises(
            UnlearningError, match="ascent, cut, finetune, influence, mmrecun, retrain, shards, ssd, tru"
        ):
            make(UnlearnParams(method="magic"), tiny.TRAIN)
