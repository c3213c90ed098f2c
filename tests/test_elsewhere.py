"""Models that tru did not train: wrapped, unlearned, compared, saved, and opened by another process."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import tru
from tests import tiny
from tests.patience import HANG
from tru.models.base import Embedding, Rows
from tru.models.params import ModelParams, TrainParams
from tru.models.trained import Recipe, TrainedModel
from tru.training import fit, refit
from tru.unlearning.closed_form.method import Tru
from tru.unlearning.params import UnlearnParams

ROOT = Path(__file__).parents[1]
CANARIES = 60


class Factors(nn.Module):
    """Plain matrix factorisation with a bias that all share: as little as a module can be."""

    item_graph = False

    def __init__(self, params, widths, rows, seed):
        super().__init__()
        self.users = nn.Parameter(torch.from_numpy(rows.users.copy()))
        self.items = nn.Parameter(torch.from_numpy(rows.items.copy()))
        self.scale = nn.Parameter(torch.ones(()))

    def item_bases(self):
        return ("final", "start")

    def embed(self, inputs):
        users, items = self.users * self.scale, self.items * 1.0
        return Embedding(users, items, {"final": (users, items)})

    def loss(self, inputs, batch):
        found = self.embed(inputs)
        lead = found.users[batch.users] * (found.items[batch.positives] - found.items[batch.negatives])
        return nn.functional.softplus(-lead.sum(1)).mean()


class Tattler(Factors):
    """Keeps something of each user beside its row."""

    def __init__(self, params, widths, rows, seed):
        super().__init__(params, widths, rows, seed)
        self.register_buffer("seen", torch.zeros(len(rows.users)))


class Idle(Factors):
    """Has a parameter that nothing learns."""

    def __init__(self, params, widths, rows, seed):
        super().__init__(params, widths, rows, seed)
        self.spare = nn.Parameter(torch.zeros(3))


class Other(Factors):
    """Gives other vectors than what it was built from."""

    def __init__(self, params, widths, rows, seed):
        super().__init__(params, widths, Rows(rows.users + 1, rows.items), seed)


class Pair(Factors):
    """Its vectors are wider than its rows."""

    def embed(self, inputs):
        found = super().embed(inputs)
        return Embedding(*(torch.cat([x, x], dim=1) for x in (found.users, found.items)), found.branches)


def train(pairs, seed, module=Factors):
    """Somebody's own loop."""
    generator = torch.Generator().manual_seed(seed)
    sizes = [(len(pairs.users), 8), (len(pairs.items), 8)]
    initial = tuple(torch.randn(size, generator=generator).mul(0.1).numpy() for size in sizes)
    found = module(None, {}, Rows(*initial), 0)
    user, item = torch.from_numpy(pairs.edges.copy()).T
    optimiser = torch.optim.Adam(found.parameters(), lr=0.02)
    for _ in range(60):
        negative = torch.randint(len(pairs.items), item.shape, generator=generator)
        lead = (found.users[user] * (found.items[item] - found.items[negative])).sum(1)
        loss = nn.functional.softplus(-lead).mean() + 1e-3 * (found.users.square().mean() + found.items.square().mean())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return found, initial


@pytest.fixture(scope="module")
def data():
    return tru.load(tiny.dataset().interactions)


@pytest.fixture(scope="module")
def made(data):
    """What somebody has trained, and where it started."""
    return train(tru.prepare(data, canaries=CANARIES), 5)


@pytest.fixture(scope="module")
def model(data, made):
    return tru.wrap(made[0], data, initial=made[1], canaries=CANARIES, seed=5)


@pytest.fixture(scope="module")
def gone(data):
    return [str(user) for user in data.users[10:50]]


@pytest.fixture(scope="module")
def forgot(model, gone):
    return tru.forget(model, users=gone)


def test_a_wrapped_module_recommends_as_it_did(model, made, data):
    module, pairs = made[0], tru.prepare(data, canaries=CANARIES)
    assert model.backbone == f"{__name__}:Factors" and model.notes == ()
    scores = (module.users @ module.items.T).detach()
    scores[tuple(torch.from_numpy(pairs.train).T)] = -torch.inf
    best = pairs.items[scores.argsort(dim=1, descending=True)[7, :5]]
    assert model.recommend(pairs.users[7], k=5) == best.tolist()
    assert model.evaluate()["test/ndcg@20"] > 0.1


def test_rows_in_an_order_of_their_own_are_put_into_place(model, made, data):
    pairs = tru.prepare(data, canaries=CANARIES)
    users, items = (np.random.default_rng(0).permutation(len(names)) for names in (pairs.users, pairs.items))
    tables = [(rows.users[users], rows.items[items]) for rows in (Rows(*made[1]), Rows(*map(_numpy, _tables(made[0]))))]
    shuffled = Factors(None, {}, Rows(*tables[1]), 0)
    shuffled.scale.data = made[0].scale.data.clone()
    shuffled.users = nn.Parameter(torch.cat([shuffled.users.data, torch.ones(1, 8)]))  # somebody who is not in the data
    initial = np.concatenate([tables[0][0], np.ones((1, 8), np.float32)]), tables[0][1]
    found = tru.wrap(
        shuffled,
        data,
        initial=initial,
        canaries=CANARIES,
        users=[*pairs.users[users], "a stranger"],
        items=pairs.items[items].tolist(),
    )
    for name in ("users", "items", "scale"):
        assert np.array_equal(found.trained.arrays[name], model.trained.arrays[name])
        if name != "scale":
            assert np.array_equal(getattr(found.trained.initial, name), getattr(model.trained.initial, name))


def _tables(module):
    return module.users, module.items


def _numpy(table):
    return table.detach().numpy()


def test_it_forgets_like_a_retrained_one(model, forgot, gone):
    gamma = model.trained.facts["gamma"]
    assert gamma["gone"], "calibrated on the pairs that its training did not see"
    found = tru.compare(model, forgot, tru.retrain(model, forgot.data, seeds=2, trainer=train))
    rows = found.rows()
    assert found.seeds == [5, 6] and not any(found.exact.values())
    original, unlearned, retrained = (rows[name]["membership_auc"] for name in ("original", "unlearned", "retrained"))
    assert original > 0.8 and abs(unlearned - retrained) < 0.5 * (original - retrained)
    assert all(seconds > 0 for step, seconds in found.seconds.items() if step != "train")
    assert "The gate: " in str(found) and not set(gone) & set(forgot.data.users)


def test_nothing_of_who_is_gone_stays_not_even_where_they_started(model, forgot, gone, data):
    kept = ~np.isin(data.users, gone)
    assert np.array_equal(forgot.trained.initial.users, model.trained.initial.users[kept])
    lonely = str(data.items[0])
    rows = data.interactions
    pairs = rows[(rows["item_id"] == lonely) & (rows["split"] == 0)][["user_id", "item_id"]].to_numpy().tolist()
    found = tru.forget(model, interactions=pairs)
    assert np.array_equal(found.trained.initial.items[0], found.trained.arrays["items"][0])
    assert not np.array_equal(found.trained.initial.items[0], model.trained.initial.items[0])
    assert np.array_equal(found.trained.initial.items[1:], model.trained.initial.items[1:])


def test_deleted_users_are_asked_about_by_the_row_that_they_started_from(model, forgot):
    """Whoever has the training's first rows can try them on any later model, also on a retrained one."""
    retrained = tru.retrain(model, forgot.data, seeds=1, trainer=train)
    own = tru.compare(model, forgot, retrained).rows()
    strange = tru.Model(replace(model.trained, initial=None), model.data)
    other = tru.compare(strange, forgot, retrained).rows()
    assert own["unlearned"]["membership_auc"] != other["unlearned"]["membership_auc"]
    assert own["unlearned"]["test/ndcg@20"] == other["unlearned"]["test/ndcg@20"]


def test_stored_rows_forget_exactly_as_derived_ones():
    """Our own model, once with rows derived from ids and once with the same rows stored."""
    model = fit(tiny.dataset(), ModelParams(name="lightgcn", width=16), tiny.TRAIN)
    retained = tiny.without(tru.ForgetSet(users=frozenset(tiny.dataset().users[:3].tolist())))
    derived = Tru(UnlearnParams(strength=1.5)).unlearn(model, retained)
    stored = Tru(UnlearnParams(strength=1.5)).unlearn(
        replace(model, initial=model.started(), recipe=replace(model.recipe, keyed=False)), retained
    )
    for side in ("users", "items"):
        assert np.array_equal(derived.arrays[side], stored.arrays[side])
    assert np.array_equal(stored.started().users, derived.started().users)


def test_where_nobody_knows_the_first_rows_it_says_what_is_worse(data, made, gone):
    with pytest.warns(UserWarning, match="not known where the rows of this model started") as said:
        model = tru.wrap(made[0], data, canaries=CANARIES)
    assert [str(warning.message) for warning in said] == list(model.notes)
    assert model.trained.started() is None and model.trained.facts["gamma"]["gone"] == []
    forgot = tru.forget(model, users=gone)
    found = tru.compare(model, forgot, tru.retrain(model, forgot.data, seeds=1, trainer=train))
    rows = found.rows()
    assert rows["unlearned"]["test/ndcg@20"] > 0.8 * rows["retrained"]["test/ndcg@20"]
    assert rows["unlearned"]["forget/recall@20"] < 0.5 * rows["original"]["forget/recall@20"]


def test_without_withheld_pairs_a_strength_is_asked_for(data, gone):
    module, initial = train(tru.prepare(data), 1)
    model = tru.wrap(module, data, initial=initial)
    with pytest.raises(tru.UnlearningError, match=r"strength=1\.25"):
        tru.forget(model, users=gone)
    assert tru.forget(model, users=gone, strength=1.25).trained.facts["gamma"] == {
        "users": 1.25,
        "items": 1.25,
        "gone": [],
    }


def test_retraining_asks_for_the_training(model, forgot, gone):
    for again in (
        lambda: tru.retrain(model, forgot.data),
        lambda: tru.forget(model, users=gone, method="retrain"),
        lambda: refit(forgot.trained.data, model.trained, TrainParams()),
    ):
        with pytest.raises(tru.ModelError, match=r"trained elsewhere, so there is no recipe.*trainer="):
            again()
    own = tru.fit(forgot.data, epochs=1, width=8)
    with pytest.raises(tru.ModelError, match="has a recipe of its own"):
        tru.retrain(own, forgot.data, trainer=train)


@pytest.mark.parametrize("method", ["cut", "finetune", "ascent"])
def test_other_methods_take_it_too(model, gone, method):
    found = tru.forget(model, users=gone, method=method)
    assert len(found.trained.initial.users) == len(found.trained.data.users) == 120 - len(gone)


def test_it_is_saved_and_another_process_opens_it_and_forgets(model, gone, tmp_path):
    model.save(tmp_path / "model")
    program = f"""
import tru
model = tru.open_model({str(tmp_path / "model")!r})
forgot = tru.forget(model, users={gone!r})
print(model.evaluate() == {model.evaluate()!r}, model.trained.initial.users.shape)
forgot.save({str(tmp_path / "forgot")!r})
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(Path(__file__).parent)])}
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, timeout=HANG, check=False
    )
    assert (done.returncode, done.stdout) == (0, "True (120, 8)\n"), done.stderr
    again = tru.open_model(tmp_path / "forgot")
    assert np.array_equal(again.trained.initial.users, tru.forget(model, users=gone).trained.initial.users)
    assert again.trained.recipe == model.trained.recipe and not again.trained.recipe.keyed


def test_a_model_of_a_package_that_is_not_there_says_so(model, tmp_path):
    lost = replace(model.trained, params=model.trained.params.model_copy(update={"name": "nowhere.to:be_found"}))
    with pytest.raises(tru.ModelError, match=r"nowhere\.to:be_found.* cannot be loaded .* must be installed"):
        lost.module()
    model.save(tmp_path / "model")
    words = (tmp_path / "model" / "model.json").read_text()
    (tmp_path / "model" / "model.json").write_text(words.replace("test_elsewhere:Factors", "test_elsewhere:Vectors"))
    with pytest.raises(tru.ModelError, match="cannot be loaded"):
        tru.open_model(tmp_path / "model").evaluate()


def test_a_model_directory_from_before_there_were_stored_rows_still_loads(tmp_path):
    """A recipe without the key, as all were written until now."""
    import json

    model = tiny.trained()
    model.save(tmp_path / "model")
    file = tmp_path / "model" / "model.json"
    words = json.loads(file.read_text())
    assert words["recipe"].pop("keyed") is True
    file.write_text(json.dumps(words))
    found = TrainedModel.load(tmp_path / "model")
    assert (found.recipe, found.initial) == (model.recipe, None) and isinstance(found.recipe, Recipe)
    assert np.array_equal(found.started().items, model.recipe.item_rows(model.data.items, 16))


def rebuilt_as(kind):
    """A builder that makes another kind of module than was trained."""
    return {"build": f"{__name__}:{kind}"}


@pytest.mark.parametrize(
    ("kind", "given", "says"),
    [
        ("Tattler", {}, "would outlive their deletion"),
        ("Factors", rebuilt_as("Other"), "builds a module with other vectors"),
        ("Factors", rebuilt_as("nothing"), "cannot be loaded"),
        ("Factors", {"build": lambda *_: None}, "defined inside something else"),
        ("Idle", {}, "loss does not depend on spare"),
        ("Pair", {}, "of another width than its rows"),
        ("Factors", {"users": ["a"]}, "has 120 rows of users and there are 1 users"),
        ("Factors", {"items": [f"i{k}" for k in range(80)]}, "80 of the items in the data have no row"),
        ("Factors", {"initial": (np.zeros((3, 8)), np.zeros((80, 8)))}, r"initial: users are \(3, 8\)"),
        ("Factors", {"widht": 3}, "no setting widht"),
    ],
)
def test_what_could_not_be_unlearned_is_refused(data, made, kind, given, says):
    module = globals()[kind](None, {}, Rows(*map(_numpy, _tables(made[0]))), 0)
    with pytest.raises(tru.ModelError, match=says):
        tru.wrap(module, data, **{"initial": made[1], **given})


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda m: delattr(m, "items"), "Factors lacks items"),
        (lambda m: setattr(m, "users", nn.Parameter(torch.zeros(120))), r"parameters of shape \(n, d\)"),
        (lambda m: setattr(m, "users", nn.Parameter(torch.zeros(120, 4))), "rows of users have 4 numbers"),
        (lambda m: m.double(), "must be float32"),
        (lambda m: m.users.data.fill_(torch.nan), "not all finite|other vectors"),
        (lambda m: setattr(m, "item_bases", lambda: ("final", "image")), "item_bases names image"),
    ],
)
def test_a_module_that_lacks_something_is_refused(data, made, change, says):
    module = Factors(None, {}, Rows(*map(_numpy, _tables(made[0]))), 0)
    change(module)
    with pytest.raises(tru.ModelError, match=says):
        tru.wrap(module, data, initial=made[1])
