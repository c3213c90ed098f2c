from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from tru.cli.data import app
from tru.data.interactions import load_dataset
from tru.errors import DataError
from tru.release.versions import DataVersions, init
from tru.workspace import Workspace

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


def test_show_as_json(root, source):
    _run("import", source, "--workspace", root)
    facts = json.loads(_run("show", "--workspace", root, "--json").output)
    assert facts["interactions"] == 3 and facts["modalities"] == {"image": [3, 4]} and facts["md5"] is None


def test_under_dvc_the_data_get_a_version(root):
    init(root)
    output = _run("generate", "--workspace", root).output
    version = DataVersions(Workspace(root)).md5()
    assert f"version: {version}" in output and version in (root / "data.dvc").read_text()
    assert DataVersions(Workspace(root)).status() == {}
    assert json.loads(_run("show", "--workspace", root, "--json").output)["md5"] == version


def test_nothing_heavy_is_imported_for_help():
    heavy = "('pandas', 'numpy', 'great_expectations', 'dvc')"
    script = f"import sys, tru.cli.data; print([m for m in {heavy} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True).stdout.strip() == "[]"
