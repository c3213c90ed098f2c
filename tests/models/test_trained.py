import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests import tiny
from tru import randomness
from tru.errors import ModelError
from tru.models.graph import Inputs
from tru.models.trained import Recipe, TrainedModel


@pytest.fixture
def model():
    """A trained model with a patch on two users."""
    found = tiny.trained()
    patch = np.zeros_like(found.patch)
    patch[[3, 40]] = np.arange(32, dtype=np.float32).reshape(2, 16) / 10 + 0.1
    return replace(found, patch=patch)


@pytest.fixture
def folder(model, tmp_path):
    model.save(tmp_path / "model")
    return tmp_path / "model"


def test_it_is_saved_and_loaded_whole(model, folder):
    loaded = TrainedModel.load(folder)
    assert (loaded.params, loaded.recipe, loaded.facts) == (model.params, model.recipe, model.facts)
    assert loaded.arrays.keys() == model.arrays.keys()
    for name, array in model.arrays.items():
        assert np.array_equal(loaded.arrays[name], array)
    assert np.array_equal(loaded.patch, model.patch)
    assert torch.equal(loaded.embed().users, model.embed().users)
    assert torch.equal(loaded.embed().items, model.embed().items)


def test_saving_twice_gives_the_same_files(model, folder, tmp_path):
    TrainedModel.load(folder).save(tmp_path / "again")
    for path in sorted(folder.iterdir()):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_no_file_holds_a_pickle_and_the_words_hold_no_identifier(model, folder):
    assert {path.name for path in folder.iterdir()} == {"model.json", "arrays.npz", "prepared.npz", "serving.npz"}
    for path in folder.glob("*.npz"):
        with np.load(path, allow_pickle=False) as stored:
            assert not any(stored[name].dtype.hasobject for name in stored.files)
    words = (folder / "model.json").read_text()
    assert not any(str(name) in words for name in (*model.data.users, *model.data.items))
    assert json.loads(words)["params"]["name"] == "mgcn"


def test_only_patched_users_are_stored(folder):
    with np.load(folder / "arrays.npz") as stored:
        assert stored["patch/rows"].tolist() == [3, 40]
        assert stored["patch/values"].shape == (2, 16)


def test_the_patch_moves_its_users_and_nobody_else(model):
    plain = replace(model, patch=np.zeros_like(model.patch)).embed()
    found = model.embed()
    moved = (found.users - plain.users).abs().sum(1) > 0
    assert moved.nonzero().ravel().tolist() == [3, 40]
    torch.testing.assert_close(found.users[3] - plain.users[3], torch.from_numpy(model.patch[3]))
    assert torch.equal(found.items, plain.items)


def test_what_is_served_is_the_embedding_with_train_rows_to_mask(model, folder):
    with np.load(folder / "serving.npz", allow_pickle=False) as stored:
        found = {name: stored[name] for name in stored.files}
    vectors, data = model.embed(), model.data
    assert np.array_equal(found["user_vectors"], vectors.users.numpy())
    assert np.array_equal(found["item_vectors"], vectors.items.numpy())
    assert found["user_vectors"].dtype == found["item_vectors"].dtype == np.float32
    assert (found["users"] == data.users).all()
    assert (found["items"] == data.items).all()
    start, end = found["seen_indptr"][[17, 18]]
    assert found["seen_indices"][start:end].tolist() == sorted(data.train[data.train[:, 0] == 17, 1])
    assert found["seen_indptr"][-1] == len(found["seen_indices"]) == len(data.train)  # canaries are seen, too
    assert (found["seen_indptr"].dtype, found["seen_indices"].dtype) == (np.int64, np.int32)
    counts = data.popularity[found["popular"]]
    assert (np.diff(counts) <= 0).all()
    assert sorted(found["popular"]) == list(range(len(data.items)))


def test_a_user_without_train_rows_has_nothing_to_mask(tmp_path):
    model = tiny.trained()
    stay = model.data.train[:, 0] != 5
    data = replace(model.data, train=model.data.train[stay], canary=model.data.canary[stay])
    replace(model, data=data).save(tmp_path)
    with np.load(tmp_path / "serving.npz") as stored:
        assert stored["seen_indptr"][5] == stored["seen_indptr"][6]
        assert len(stored["seen_indptr"]) == len(data.users) + 1


def test_other_tables_and_another_graph_can_take_the_place_of_its_own(model):
    users = np.ones_like(model.arrays["users"])
    assert (model.module(users=users).users == 1).all()
    assert np.array_equal(model.module(users=users).items.detach().numpy(), model.arrays["items"])
    stay = np.arange(len(model.data.train)) % 2 == 0
    less = replace(model.data, train=model.data.train[stay], canary=model.data.canary[stay])
    assert not torch.allclose(model.embed(Inputs.of(less)).users, model.embed().users)


def test_facts_are_added_to_a_copy(model):
    assert model.with_facts(gamma=1.5).facts == {**model.facts, "gamma": 1.5}
    assert "gamma" not in model.facts


def test_initial_rows_follow_from_the_recipe():
    recipe = Recipe(seed=4, epochs=1, batches=1, chunks=1, user_bound=0.1, item_bound=0.2, canary_rate=0.0)
    names = np.array(["a", "b"])
    assert (recipe.user_rows(names, 8) == randomness.table(names, 8, 0.1, randomness.of_word("user"), 4)).all()
    found = [recipe.user_rows(names, 8) * 2, recipe.item_rows(names, 8), recipe.item_rows(names, 8, "neutral")]
    found.append(replace(recipe, seed=5).item_rows(names, 8))
    assert len(np.unique(np.concatenate(found), axis=0)) == 8


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.json", None),
        ("model.json", b"{"),
        ("model.json", b"[]"),
        ("model.json", b'{"params": {"depth": 3}, "recipe": {}, "facts": {}}'),
        ("arrays.npz", None),
        ("arrays.npz", b""),
        ("arrays.npz", b"PK\x03\x04 torn"),
        ("prepared.npz", None),
    ],
)
def test_a_damaged_directory_is_refused(folder, file, content):
    (folder / file).unlink()
    if content is not None:
        (folder / file).write_bytes(content)
    with pytest.raises(ModelError, match=r"is not a model directory.*tru train"):
        TrainedModel.load(folder)


def test_arrays_without_a_patch_are_refused(folder):
    np.savez(folder / "arrays.npz", users=np.zeros(3))
    with pytest.raises(ModelError, match="is not a model directory"):
        TrainedModel.load(folder)
