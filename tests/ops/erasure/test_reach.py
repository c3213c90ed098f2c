"""A list of subjects that the erasure would find is refused before anything is filed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.workspaces import make
from tru.cli.main import app
from tru.data.forget import ForgetSet
from tru.errors import RequestError
from tru.ops.erasure.reach import is_searched
from tru.ops.erasure.search.scan import scan
from tru.ops.erasure.search.traces import Traces
from tru.ops.release.registry import Registry
from tru.ops.requests.store import open_inbox

USER = "u-anna-karenina"


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    return make(tmp_path_factory.mktemp("places") / "shop").root


@pytest.fixture
def shop(template, tmp_path):
    from tests.workspaces import copy

    return copy(template, tmp_path / "shop")


def in_the_workspace(ws, outside):
    return ws.root / "leavers.csv"


def deep_in_it(ws, outside):
    return ws.root / ".tru" / "lists" / "leavers.csv"


def among_the_exports(ws, outside):
    return ws.root / "exports" / "leavers.csv"


def behind_a_linked_folder(ws, outside):
    (ws.root / "exports").symlink_to(outside)
    return outside / "sub" / "leavers.csv"


def through_a_link_to_the_workspace(ws, outside):
    (outside / "shop").symlink_to(ws.root)
    return outside / "shop" / "leavers.csv"


def in_a_remote(ws, outside):
    dvc = [sys.executable, "-m", "dvc", "remote", "add", "-d", "origin", str(outside)]
    subprocess.run(dvc, cwd=ws.root, check=True, capture_output=True)
    return outside / "leavers.csv"


def in_the_cache(ws, outside):
    dvc = [sys.executable, "-m", "dvc", "cache", "dir", str(outside)]
    subprocess.run(dvc, cwd=ws.root, check=True, capture_output=True)
    return outside / "leavers.csv"


def among_the_models(ws, outside):
    Registry(ws)._client.create_experiment("mine", artifact_location=outside.as_uri())
    return outside / "leavers.csv"


PLACES = [
    *(in_the_workspace, deep_in_it, among_the_exports, behind_a_linked_folder, through_a_link_to_the_workspace),
    *(in_a_remote, in_the_cache, among_the_models),
]


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("is_link", [False, True])
def test_a_list_where_the_erasure_searches_is_refused(place, is_link, shop, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    file = place(shop, outside)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"USER_ID\n{USER}\n")
    given = file
    if is_link:
        given = tmp_path / "link.csv"
        given.symlink_to(file)

    done = CliRunner().invoke(app, ["requests", "import", str(given), "--workspace", str(shop.root)])

    assert isinstance(done.exception, RequestError)
    words = str(done.exception)
    assert "Move it out" in words and "\n" not in words and USER not in words
    assert open_inbox(shop).list() == []
    # The reason is true: the search finds it there.
    found = scan(shop, Traces(ForgetSet(users=frozenset({USER}))))
    assert [f.state for f in found if f.state == "found"] == ["found"]


def test_a_relative_name_counts_from_where_one_is(shop, tmp_path, monkeypatch):
    (shop.root / "leavers.csv").touch()
    monkeypatch.chdir(shop.root)
    assert is_searched(shop, Path("leavers.csv"))
    monkeypatch.chdir(tmp_path)
    assert not is_searched(shop, Path("leavers.csv"))


def test_a_list_anywhere_else_is_taken(shop, tmp_path):
    (tmp_path / "shop-lists").mkdir()  # a name that begins alike
    for file in (tmp_path / "leavers.csv", tmp_path / "shop-lists" / "leavers.csv"):
        file.write_text(f"USER_ID\n{USER}\n")
        done = CliRunner().invoke(app, ["requests", "import", str(file), "--workspace", str(shop.root)])
        assert done.exit_code == 0, done.output
    assert len(open_inbox(shop).list()) == 1
    shutil.rmtree(tmp_path / "shop-lists")


def test_the_list_that_a_search_is_given_is_not_its_own_finding(shop):
    """`tru scan --subjects FILE` only reads, so FILE may lie in the workspace."""
    file = shop.root / "leavers.csv"
    file.write_text(f"USER_ID\n{USER}\n")
    words = ["scan", "--batch", "batch-20261101-01", "--subjects", str(file), "--workspace", str(shop.root)]
    done = CliRunner().invoke(app, words)
    assert "Nothing found" in done.output and done.exit_code == 0, done.output
