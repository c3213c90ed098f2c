"""A benchmark makes only folders of its own anew."""

import shutil

import pytest

from benchmarks import erasure
from benchmarks.folders import claim
from benchmarks.quality.grid import Grid
from benchmarks.quality.pantry import Pantry
from benchmarks.soak import Soak
from tru.errors import TruError


@pytest.fixture
def somebodys(tmp_path):
    """A folder with a workspace in it, called as a benchmark calls its own."""
    folder = tmp_path / "shops"
    (folder / "workspace").mkdir(parents=True)
    (folder / "workspace" / "params.yaml").write_text("mine")
    return folder


def test_a_folder_that_no_benchmark_made_is_refused(somebodys):
    with pytest.raises(TruError, match="no benchmark made it"):
        Soak(somebodys, seed=3, largest=4).set_up()
    with pytest.raises(SystemExit, match="no benchmark made it"):
        erasure.main(["--folder", str(somebodys)])
    with pytest.raises(TruError, match="no benchmark made it"):
        claim(somebodys / "workspace" / "params.yaml")
    assert [path.name for path in somebodys.iterdir()] == ["workspace"]
    assert (somebodys / "workspace" / "params.yaml").read_text() == "mine"


def test_a_new_an_empty_and_its_own_folder_are_taken(somebodys):
    shutil.rmtree(somebodys / "workspace")
    for folder in (somebodys, somebodys / "a" / "new"):
        claim(folder)
        (folder / "more").touch()
        claim(folder)


def test_only_what_killed_processes_left_is_swept(tmp_path):
    names = ["downloads/film.part-1", "cells/film.part-one", "models/a.new-old", "models/a"]
    left = ["cells/a.json.part-12", "data/a.md5.part-3", "strengths/a.json.part-4"]
    for name in [*names, *left]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "models" / "b.new-7").mkdir()
    Pantry(Grid.model_construct(), tmp_path).sweep()
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file()) == sorted(names)
    assert not (tmp_path / "models" / "b.new-7").exists()
