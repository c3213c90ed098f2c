"""The driver on tiny data: what is finished stays finished, whatever is killed, and nothing is there twice."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import yaml

from benchmarks.quality import cells, pool, results, tuning
from benchmarks.quality.__main__ import main
from benchmarks.quality.grid import Cell, Place, load_grid
from benchmarks.quality.pantry import Pantry, folder_md5
from benchmarks.quality.results import COLUMNS, FAILED, PLACE
from tests.patience import until
from tru.errors import DataError, UnlearningError

WORDS = {
    "datasets": {"toy": {"users": 120, "items": 80}},
    "backbones": {
        "mgcn": {
            "model": {"width": 16},
            "train": {"epochs": 6, "min_epochs": 2, "batch": 256, "learning_rate": 0.01, "canaries": 60},
        }
    },
    "seeds": [0],
    "methods": ["tru", "unheard-of"],
    "ablations": {"no-gate": {"fusion_gate": False}},
    "sweeps": [{"backbones": ["mgcn"], "datasets": ["toy"], "regimes": ["user"], "fractions": [0.05]}],
    "drift": [{"backbones": ["mgcn"], "datasets": ["toy"], "regimes": ["mixed"], "nights": [1, 2], "size": 3}],
    "tuning": {
        "backbones": ["mgcn"],
        "datasets": ["toy"],
        "regimes": ["user"],
        "tries": {"tru": [{"strength": 1.0}, {"strength": 1.5}]},
    },
}
HERE = Path(__file__).resolve().parents[2]


@pytest.fixture
def asked(tmp_path):
    """The arguments that keep everything in a folder of the test."""
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(WORDS))
    names = {"grid": "grid.yaml", "settings": "settings.json", "results": "results.parquet", "cache": "cache"}
    return [word for name, file in names.items() for word in (f"--{name}", str(tmp_path / file))]


def written(tmp_path):
    return {file.name: file.stat().st_mtime_ns for file in (tmp_path / "cache" / "cells").glob("*.json")}


def test_a_run_its_rows_and_a_second_run(asked, tmp_path, capsys):
    assert main(["run", *asked]) == 0
    frame = pd.read_parquet(tmp_path / "results.parquet")
    assert list(frame.columns) == COLUMNS and not frame.duplicated([*PLACE, "metric"]).any()
    assert set(frame["method"]) == {"original", "reference", "retrain", "tru", "tru/no-gate"}
    assert set(frame["fraction"]) == {"0.05", "1x3", "2x3"}
    assert "unheard-of" in capsys.readouterr().err
    wide = frame[frame["fraction"] == "0.05"].pivot(index="method", columns="metric", values="value")
    wanted = ["test/ndcg@20", "forget/recall@20", "membership_auc", "canary_auc", "seconds", "speedup", "violations"]
    assert wide.loc["tru", [*wanted, "ks", "relative/ndcg@20", "distance/lists", "audit_seconds"]].notna().all()
    assert wide.loc["reference", "speedup"] == 1 and pd.isna(wide.loc["reference", "ks"])
    assert wide.loc[["tru", "retrain", "reference"], "violations"].eq(0).all()
    assert any(str(name).startswith("audit/") for name in wide.columns) and "audit_failed" not in wide
    assert frame["data_md5"].unique().tolist() == [folder_md5(tmp_path / "cache" / "data" / "toy")]
    before = written(tmp_path)
    assert main(["run", *asked]) == 0
    assert written(tmp_path) == before
    assert pd.read_parquet(tmp_path / "results.parquet").equals(frame)
    assert main(["run", "--again", "--only", "method=tru/no-gate", *asked]) == 0
    assert sum(before[name] != at for name, at in written(tmp_path).items()) == 1
    assert len(pd.read_parquet(tmp_path / "results.parquet")) == len(frame)


def test_planted_users_are_forgotten_and_what_they_pushed_is_counted(asked, tmp_path):
    words = {
        **WORDS,
        "datasets": {"toy": {"users": 200, "items": 400}, "attacked": {"of": "toy", "plant": {"users": 30}}},
        "methods": ["cut", "tru"],
        "sweeps": [
            {
                "backbones": ["mgcn"],
                "datasets": ["attacked"],
                "regimes": ["planted"],
                "fractions": [30],
                "audits": ["exposure"],
            }
        ],
        "ablations": {},
        "drift": [],
        "tuning": {},
    }
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump(words))
    assert main(["run", *asked]) == 0
    frame = pd.read_parquet(tmp_path / "results.parquet")
    wide = frame.pivot(index="method", columns="metric", values="value")
    shown = wide["audit/exposure@20/planted"]
    assert shown["original"] > 2 * shown["reference"] and shown["original"] > shown["tru"]
    assert wide.loc["tru", "forgotten_pairs"] >= 30 * 5
    data = Pantry(load_grid(tmp_path / "grid.yaml"), tmp_path / "cache")
    assert len(data.dataset("attacked").users) == 30 + len(data.dataset("toy").users)


def test_no_model_is_made_while_the_clock_of_another_runs(asked, tmp_path, monkeypatch):
    """What a retraining took is what TRU is compared with; the training of an original must not be in it."""
    (tmp_path / "grid.yaml").write_text(yaml.safe_dump({**WORDS, "seeds": [0, 1]}))
    make, running, most = Pantry._make, [], []

    def watched(pantry, place, how):
        running.append(place)
        most.append(len(running))
        make(pantry, place, how)
        running.pop()

    monkeypatch.setattr(Pantry, "_make", watched)
    bench = cells.Bench(load_grid(tmp_path / "grid.yaml"), tmp_path / "cache", "abc", {})
    pantry = Pantry(bench.grid, bench.folder)
    scene, next_one = (cells.Scene(pantry, Place("mgcn", "toy", "user", "0.05", seed)) for seed in (0, 1))
    assert scene.noise.recipe == replace(scene.reference.recipe, seed=bench.grid.noise_seed)
    assert next_one.reference.recipe.seed == 1  # there was no original yet
    assert most == [1] * 5


def test_a_killed_run_leaves_nothing_behind_and_goes_on(asked, tmp_path):
    words = [sys.executable, "-m", "benchmarks.quality", "run", *asked]
    run = subprocess.Popen(words, cwd=HERE, stderr=subprocess.DEVNULL)
    models = tmp_path / "cache" / "models"
    until(lambda: models.is_dir() and any(models.iterdir()))
    children = [int(pid) for pid in Path(f"/proc/{run.pid}/task/{run.pid}/children").read_text().split()]
    run.send_signal(signal.SIGKILL)
    run.wait()
    until(lambda: not any(_alive(pid) for pid in children))
    before = written(tmp_path)
    assert all(json.loads((tmp_path / "cache" / "cells" / name).read_text())["metrics"] for name in before)
    assert main(["run", *asked]) == 0
    assert not list((tmp_path / "cache").glob("*/*.part-*")) and not list(models.glob("*.new-*"))
    frame = pd.read_parquet(tmp_path / "results.parquet")
    assert not frame.duplicated([*PLACE, "metric"]).any() and len(frame[PLACE].drop_duplicates()) == 5 + 2 * 3
    assert {name: at for name, at in written(tmp_path).items() if name in before} == before


def test_a_killed_child_does_not_stop_the_others(tmp_path):
    calls = {"dies": (os.abort, ()), "works": (int, ("0",)), "fails": (int, ("3",))}
    tasks = [pool.Task(name, call, arguments, ()) for name, (call, arguments) in calls.items()]
    assert sorted(pool.run(tasks, 2, tmp_path, "test")) == ["dies", "fails"]


def test_a_method_that_fails_is_a_row_and_is_tried_again(asked, tmp_path, monkeypatch):
    bench = cells.Bench(load_grid(tmp_path / "grid.yaml"), tmp_path / "cache", "abc", {})
    cell = Cell(Place("mgcn", "toy", "user", "0.05", 0), "tru")
    monkeypatch.setattr(cells, "unlearned", _refuse)
    monkeypatch.setattr(cells.Scene, "original", object())
    assert cells.work(bench, [cell]) == 1
    cell_id = bench.cell_id(Pantry(bench.grid, bench.folder), cell)
    record = results.read(bench.folder, cell_id)
    assert record["metrics"] == {FAILED: 1.0} and not results.is_done(bench.folder, cell_id)
    assert results.table([record])["metric"].tolist() == [FAILED]


def _refuse(*_):
    raise UnlearningError("no")


def test_other_cells_of_the_results_stay(tmp_path):
    file = tmp_path / "results.parquet"
    here = {name: "x" for name in PLACE} | {"seed": 0, "commit": "c", "data_md5": "m"}
    results.merge(file, [{**here, "metrics": {"a": 1.0, "b": 2.0}}, {**here, "seed": 1, "metrics": {"a": 3.0}}])
    found = results.merge(file, [{**here, "metrics": {"a": 4.0}}])
    assert found[["seed", "metric", "value"]].to_numpy().tolist() == [[0, "a", 4.0], [1, "a", 3.0]]
    file.write_bytes(b"no")
    with pytest.raises(DataError, match="damaged"):
        results.load(file)


def test_runs_are_logged_once_under_the_same_names(tmp_path):
    (tmp_path / "params.yaml").touch()
    here = {name: "x" for name in PLACE} | {"seed": 0, "commit": "c+", "data_md5": "m", "settings": {"ridge": 0.1}}
    metric = cells.metric_name("audit/exact/pairs in the model's graph/all")
    record = {**here, "finished": "now", "metrics": {"test/ndcg@20": 0.04, metric: 0.0}}
    assert metric == "audit/exact/pairs in the models graph/all"
    assert results.log(tmp_path / "cache", tmp_path, {"one": record}) == 1
    assert results.log(tmp_path / "cache", tmp_path, {"one": record}) == 0
    assert results.log(tmp_path / "cache", tmp_path, {"one": {**record, "finished": "later"}}) == 1


def test_settings_decide_what_a_cell_is(tmp_path, asked):
    grid = load_grid(tmp_path / "grid.yaml")
    pantry, cell = Pantry(grid, tmp_path / "cache"), Cell(Place("mgcn", "toy", "user", "0.05", 0), "tru")
    ids = {
        cells.Bench(grid, tmp_path / "cache", commit, chosen).cell_id(pantry, cell)
        for commit, chosen in (("a", {}), ("b", {}), ("a", {"tru": {"mgcn": {"ridge": 0.3}}}))
    }
    assert len(ids) == 2
    noise = Cell(cell.place, "retrain")
    ids = {
        cells.Bench(grid, tmp_path / "cache", "a", chosen).cell_id(pantry, noise)
        for chosen in ({}, {"tru": {"mgcn": {"ridge": 0.3}}})
    }
    assert len(ids) == 1


def test_tuning_takes_the_lowest_loss(asked, tmp_path):
    assert main(["tune", *asked]) == 0
    said = json.loads((tmp_path / "settings.json").read_text())
    row = said["methods"]["tru"]["mgcn"]
    assert row["tries"] == len(row["losses"]) == 2 and row["loss"] == min(row["losses"])
    assert cells.load_settings(tmp_path / "settings.json") == {"tru": {"mgcn": row["settings"]}}
    assert not (tmp_path / "results.parquet").exists()

    elsewhere = [*asked, "--cache", str(tmp_path / "empty"), "--only", "backbone=nobody"]
    assert main(["tune", *elsewhere]) == 0  # what was chosen on another machine stays
    assert json.loads((tmp_path / "settings.json").read_text()) == said
    (tmp_path / "settings.json").write_text(json.dumps({**said, "seed": 5}))
    assert main(["tune", *elsewhere]) == 0  # but not if it was chosen in another way
    assert json.loads((tmp_path / "settings.json").read_text())["methods"] == {}
    said["methods"]["tru"]["mgcn"]["tries"] = 1
    (tmp_path / "settings.json").write_text(json.dumps(said))
    assert main(["tune", *elsewhere]) == 0  # nor from fewer tries
    assert json.loads((tmp_path / "settings.json").read_text())["methods"] == {}


def test_damaged_settings_are_told(asked, tmp_path):
    (tmp_path / "settings.json").write_text('{"methods": ')
    with pytest.raises(SystemExit, match=r"settings\.json is damaged\. Restore it from git"):
        main(["run", *asked])


def test_the_loss_is_two_sided_in_what_is_forgotten():
    assert tuning.loss({"relative/ndcg@20": 1.3, "ks": 0.1, "distance/membership_auc": 0.02}) == pytest.approx(0.12)
    assert tuning.loss({"relative/ndcg@20": 0.9, "ks": 0.1, "distance/membership_auc": 0.02}) == pytest.approx(0.22)
    assert tuning.loss({FAILED: 1.0}) == float("inf")


def _alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
