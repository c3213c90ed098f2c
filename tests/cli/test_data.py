from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tests.workspaces import repository
from tru.cli.data import app
from tru.data.interactions import load_dataset
from tru.errors import DataError, RequestError
from tru.ops.release.versions import DataVersions
from tru.ops.requests import Subject
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.workspace import Workspace

PARAMS = "data:\n  name: builtin\n  split_seed: 3\n  synthetic: {users: 60, items: 40}\n"


@pytest.fixture
def root(tmp_path):
    """A workspace that is not under DVC."""
    root = tmp_path / "work"
    root.mkdir()
    (root / "params.yaml").write_text(PARAMS)
    return root


@pytest.fixture
def source(tmp_path):
    """A data set in the Parquet form."""
    folder = tmp_path / "source"
    folder.mkdir()
    pd.DataFrame({"user_id": [0, 0, 1], "item_id": [0, 1, 2], "split": [0, 1, 0]}).to_parquet(
        folder / "interactions.parquet"
    )
    np.save(folder / "image.npy", np.ones((3, 4), dtype=np.float32))
    return folder


def _run(*arguments):
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def _hashes(folder):
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def test_generate_writes_the_built_in_data_and_says_what(root):
    result = _run("generate", "--workspace", root)
    assert result.exit_code == 0
    assert "builtin: 60 users, 40 items" in result.output and "image: 40 of 40 items, 64 numbers each" in result.output
    first = _hashes(root / "data")
    _run("generate", "--workspace", root)
    assert _hashes(root / "data") == first
    assert [path.name for path in root.iterdir() if path.name != "params.yaml"] == ["data"]


def test_import_replaces_the_data(root, source):
    _run("generate", "--workspace", root)
    result = _run("import", source, "--workspace", root)
    assert "source: 2 users, 3 items, 3 interactions" in result.output
    assert load_dataset(root / "data").modalities == ("image",)
    assert not (root / "data" / "text.npy").exists()


def test_bad_input_changes_nothing_on_disk(root, source):
    _run("generate", "--workspace", root)
    before = _hashes(root / "data")
    np.save(source / "image.npy", np.ones((2, 4), dtype=np.float32))
    with pytest.raises(DataError, match="no feature row"):
        _run("import", source, "--workspace", root)
    assert _hashes(root / "data") == before
    assert sorted(path.name for path in root.iterdir()) == ["data", "params.yaml"]


def test_what_cannot_be_done_with_the_data_is_said_and_they_are_kept(root, source):
    result = _run("import", source, "--workspace", root)
    assert result.exit_code == 0 and (root / "data" / "dataset.json").exists()
    said = [line for line in result.output.splitlines() if line.startswith("  warning: ")]
    assert len(said) == 2 and "no test rows" in said[0] and "only 2 train rows" in said[1]
    for words in (["import", source], ["show"]):
        found = json.loads(_run(*words, "--workspace", root, "--json").output)
        assert [f"  warning: {sentence}" for sentence in found["warnings"]] == said


def test_enough_data_give_no_warning(root):
    assert "warning" not in _run("generate", "--workspace", root).output
    assert json.loads(_run("show", "--workspace", root, "--json").output)["warnings"] == []


def test_data_that_teach_nothing_change_nothing(root, source):
    pd.DataFrame({"user_id": [0, 1], "item_id": [0, 0], "split": [0, 0]}).to_parquet(source / "interactions.parquet")
    with pytest.raises(DataError, match="all train rows are with one item"):
        _run("import", source, "--workspace", root)
    assert not (root / "data").exists()


def test_show_as_json(root, source):
    _run("import", source, "--workspace", root)
    facts = json.loads(_run("show", "--workspace", root, "--json").output)
    assert facts["interactions"] == 3 and facts["modalities"] == {"image": [3, 4]} and facts["md5"] is None


def test_under_dvc_the_data_get_a_version(root):
    repository(root)
    output = _run("generate", "--workspace", root).output
    version = DataVersions(Workspace(root)).md5()
    assert f"version: {version}" in output and version in (root / "data.dvc").read_text()
    assert DataVersions(Workspace(root)).status() == {}
    assert json.loads(_run("show", "--workspace", root, "--json").output)["md5"] == version


# those who were forgotten do not come back


def _forget(root, *subjects, outcome="unlearned"):
    """File and close requests, as a night does."""
    inbox = open_inbox(Workspace(root))
    for named in subjects:
        inbox.add_all([Subject.of(**named)])
    batch = inbox.claim("me").id
    inbox.close(batch, "me", outcome, "pass" if outcome == "unlearned" else "fail", {})


@pytest.fixture
def shop(tmp_path):
    """Three users, four items, two modalities; user 2 alone has item 3."""
    folder = tmp_path / "shop"
    folder.mkdir()
    pairs = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 1), (2, 3)]
    pd.DataFrame({"user_id": [u for u, _ in pairs], "item_id": [i for _, i in pairs], "split": 0}).to_parquet(
        folder / "interactions.parquet"
    )
    for name in ("image", "text"):
        np.save(folder / f"{name}.npy", np.ones((4, 3), dtype=np.float32))
    near = pd.DataFrame({"item_id": [0, 1, 2], "neighbour_id": [1, 2, 0], "cosine": [0.5, 0.5, 0.5]})
    near.to_parquet(folder / "image_knn.parquet")
    return folder


def _pairs(root):
    rows = load_dataset(root / "data").interactions
    return set(zip(rows["user_id"], rows["item_id"], strict=True))


def test_every_regime_is_left_out_of_an_import(root, shop):
    _run("import", shop, "--workspace", root)
    assert len(load_dataset(root / "data").neighbours["image"]) == 3
    _forget(root, {"user": "0"}, {"item": "3"}, {"user": "1", "item": "1"}, {"item": "2", "modality": "image"})
    result = _run("import", shop, "--workspace", root)
    ds = load_dataset(root / "data")
    assert _pairs(root) == {("1", "0"), ("2", "1")}
    assert list(ds.items) == ["0", "1", "2"]
    row = list(ds.items).index("2")
    assert not ds.present["image"][row] and not ds.features["image"][row].any()
    assert ds.present["text"][row]
    assert ds.neighbours["image"][["item_id", "neighbour_id"]].to_numpy().tolist() == [["0", "1"]]
    # rows: three of user 0, one of item 3 and its two features, one pair, one picture
    assert "8 rows of 4 subjects who were forgotten are left out." in result.output


@pytest.mark.parametrize("columns", [["user_id"], ["item_id"], ["user_id", "item_id"]])
def test_who_was_forgotten_as_a_float_does_not_come_back_as_a_whole_number(root, shop, columns):
    """An earlier version took 7.0 for the id of who is 7 everywhere else."""
    rows = pd.read_parquet(shop / "interactions.parquet")
    rows.astype(dict.fromkeys(columns, "float64")).astype("str").to_parquet(shop / "interactions.parquet")
    u, i = (".0" if column in columns else "" for column in ("user_id", "item_id"))
    _forget(root, {"user": f"0{u}"}, {"item": f"3{i}"}, {"user": f"1{u}", "item": f"1{i}"})
    _forget(root, {"item": f"2{i}", "modality": "image"}, {"user": "2", "item": "1"})  # and one as it is now
    result = _run("import", shop, "--workspace", root)
    ds = load_dataset(root / "data")
    assert _pairs(root) == {("1", "0")}
    assert list(ds.items) == ["0", "1", "2"] and not ds.present["image"][2]
    assert "of 5 subjects who were forgotten are left out." in result.output


def test_the_message_counts_and_names_nobody(root, shop):
    _forget(root, {"user": "1", "item": "1"}, outcome="retrained")
    result = _run("import", shop, "--workspace", root)
    assert result.output.splitlines()[-1] == "  1 row of 1 subject who was forgotten is left out."
    facts = json.loads(_run("import", shop, "--workspace", root, "--json").output)
    assert facts["left_out"] == {"rows": 1, "subjects": 1}
    assert "left_out" not in json.loads(_run("show", "--workspace", root, "--json").output)


def test_who_is_still_waiting_or_took_it_back_stays_in(root, shop):
    inbox = open_inbox(Workspace(root))
    inbox.add("user", user="0")
    inbox.withdraw(inbox.add("user", user="2").request.id)
    result = _run("import", shop, "--workspace", root)
    assert "left out" not in result.output
    assert {user for user, _ in _pairs(root)} == {"0", "1", "2"}


def test_who_was_not_found_may_come(root, shop):
    inbox = open_inbox(Workspace(root))
    request = inbox.add("user", user="0").request
    batch = inbox.claim("me").id
    inbox.not_found(batch, "me", [request.id])
    inbox.close(batch, "me", "not found", None, {})
    _run("import", shop, "--workspace", root)
    assert ("0", "0") in _pairs(root)


def test_the_built_in_data_come_back_without_them_too(root):
    _run("generate", "--workspace", root)
    ds = load_dataset(root / "data")
    user, item = str(ds.users[3]), str(ds.items[5])
    _forget(root, {"user": user}, {"item": item})
    result = _run("generate", "--workspace", root)
    after = load_dataset(root / "data")
    assert user not in after.users.tolist() and item not in after.items.tolist()
    assert len(after.users) == len(ds.users) - 1
    assert "of 2 subjects who were forgotten" in result.output
    assert user not in result.output and item not in result.output
    again = _hashes(root / "data")
    _run("generate", "--workspace", root)
    assert _hashes(root / "data") == again


def test_an_import_of_nobody_else_changes_nothing(root, shop):
    _run("generate", "--workspace", root)
    before = _hashes(root / "data")
    _forget(root, {"user": "0"}, {"user": "1"}, {"user": "2"})
    with pytest.raises(DataError, match="nothing was changed"):
        _run("import", shop, "--workspace", root)
    assert _hashes(root / "data") == before


@pytest.mark.parametrize(
    ("outcome", "way_on"), [("open", "Finish it first"), ("held", "`tru batch retry` takes the cut back")]
)
def test_an_open_batch_stops_an_import(root, shop, outcome, way_on):
    inbox = open_inbox(Workspace(root))
    inbox.add("user", user="0")
    batch = inbox.claim("me").id
    if outcome == "held":
        inbox.hold(batch, "me", "fail", {})
    with pytest.raises(RequestError, match=way_on):
        _run("import", shop, "--workspace", root)
    assert not (root / "data").exists()


def test_the_ledger_knows_each_new_version_once(root, shop):
    repository(root)
    ws = Workspace(root)
    open_inbox(ws)
    _run("generate", "--workspace", root)
    first = DataVersions(ws).md5()
    _run("generate", "--workspace", root)
    _forget(root, {"user": "0"})
    _run("import", shop, "--workspace", root)
    second = DataVersions(ws).md5()
    _run("generate", "--workspace", root)
    found = [(e.facts["how"], e.facts["before"], e.facts["after"]) for e in open_ledger(ws).entries("data")]
    assert found == [("generated", None, first), ("imported", first, second), ("generated", second, first)]
    assert open_ledger(ws).entries("data")[1].facts["left_out"] == {"rows": 3, "subjects": 1}
    assert open_ledger(ws).verify() == []


def test_a_killed_import_typed_again_is_entered(root, shop, monkeypatch):
    repository(root)
    ws = Workspace(root)
    open_inbox(ws)
    _run("generate", "--workspace", root)

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tru.cli.data._enter", die)
        assert CliRunner().invoke(app, ["import", str(shop), "--workspace", str(root)]).exit_code != 0
    assert len(open_ledger(ws).entries("data")) == 1
    _run("import", shop, "--workspace", root)
    entry = open_ledger(ws).last("data")
    assert (entry.facts["how"], entry.facts["after"]) == ("imported", DataVersions(ws).md5())
    assert entry.facts["before"] == open_ledger(ws).entries("data")[0].facts["after"]


def test_nothing_heavy_is_imported_for_help():
    heavy = "('pandas', 'numpy', 'great_expectations', 'dvc')"
    script = f"import sys, tru.cli.data; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"
