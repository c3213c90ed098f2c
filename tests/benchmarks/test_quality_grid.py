"""The grid: every cell once, filters, and what cannot be is refused."""

import pytest
import yaml

from benchmarks.quality.grid import GRID, Cell, Place, cells, courses, load_grid, parse_only, places, wanted
from tru.errors import DataError
from tru.unlearning.params import UnlearnParams

WORDS = {
    "datasets": {"a": {"users": 120, "items": 80}, "b": "somewhere"},
    "backbones": {"mgcn": {"model": {"width": 16}}},
    "seeds": [0, 1],
    "methods": ["tru", "cut"],
    "ablations": {"no-gate": {"fusion_gate": False}},
    "sweeps": [{"backbones": ["mgcn"], "datasets": ["a"], "regimes": ["user", "item"], "fractions": [0.05, 20]}],
}


def grid(tmp_path, **changes):
    file = tmp_path / "grid.yaml"
    file.write_text(yaml.safe_dump({**WORDS, **changes}))
    return load_grid(file)


def test_the_product_is_taken_each_cell_once(tmp_path):
    found = grid(tmp_path, sweeps=[*WORDS["sweeps"], *WORDS["sweeps"]])
    assert len(places(found)) == 2 * 2 * 2
    assert len(cells(found)) == len(set(cells(found))) == 8 * 6
    assert found.rows(places(found)[0]) == ["original", "reference", "retrain", "tru", "cut", "tru/no-gate"]


def test_a_data_set_may_take_more_seeds(tmp_path):
    sweeps = [{**WORDS["sweeps"][0], "datasets": ["a", "b"], "fractions": [0.05]}]
    found = grid(tmp_path, sweeps=sweeps, more_seeds={"b": [1, 2]})  # one of them is there already
    seeds = {name: [p.seed for p in places(found) if (p.dataset, p.regime) == (name, "user")] for name in "ab"}
    assert seeds == {"a": [0, 1], "b": [0, 1, 2]} == {name: found.seeds_of(name) for name in "ab"}


def test_a_share_and_a_count_are_told_apart(tmp_path):
    found = grid(tmp_path)
    share, count = (Place("mgcn", "a", "user", words, 1).forget(found) for words in ("0.05", "20"))
    assert (share.fraction, share.count, share.seed) == (0.05, None, 7)  # the same for all seeds
    assert Place("mgcn", "a", "user", "0.05", 100).forget(found).seed == 107  # but for the one that tunes
    assert (count.count, count.regime) == (20, "user")
    chosen = Place("mgcn", "a", "item:popular", "0.05", 0).forget(found)
    assert (chosen.regime, chosen.choice) == ("item", "popular")


def test_dear_audits_are_for_some_places_only(tmp_path):
    sweeps = [{**WORDS["sweeps"][0], "audits": ["ranks", "relearning"]}]
    found = grid(tmp_path, sweeps=sweeps, relearning=["cut"])
    place = Place("mgcn", "a", "user", "0.05", 0)
    assert found.audits(Cell(place, "cut")) == ["ranks", "relearning"]
    assert found.audits(Cell(place, "tru")) == ["ranks"]
    assert found.audits(Cell(Place("mgcn", "a", "user", "0.05", 1), "cut")) == ["ranks"]  # one seed is enough
    assert found.audits(Cell(place, "tru/no-gate")) == ["ranks"]
    assert found.audits(Cell(Place("mgcn", "b", "user", "0.05", 0), "cut")) == []


def test_a_sweep_may_take_fewer_methods_and_have_shadows(tmp_path):
    found = grid(tmp_path, sweeps=[{**WORDS["sweeps"][0], "methods": ["tru", "tru/no-gate"], "shadows": 4}])
    place = places(found)[0]
    assert found.rows(place) == ["original", "reference", "retrain", "tru", "tru/no-gate"]
    assert (found.shadows(place), found.shadows(Place("mgcn", "b", "user", "0.05", 0))) == (4, 0)
    with pytest.raises(DataError, match="ssd: used, but not defined"):
        grid(tmp_path, sweeps=[{**WORDS["sweeps"][0], "methods": ["ssd"]}])


def test_a_filter_takes_several_axes_and_values(tmp_path):
    found = cells(grid(tmp_path))
    kept = list(wanted(found, parse_only(["method=tru,cut", "fraction=20", "seed=1"])))
    assert {(c.method, c.place.fraction, c.place.seed) for c in kept} == {("tru", "20", 1), ("cut", "20", 1)}
    assert len(kept) == 4
    with pytest.raises(DataError, match="the axes are"):
        parse_only(["colour=red"])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sweeps": [{**WORDS["sweeps"][0], "datasets": ["c"]}]}, "c: used, but not defined"),
        ({"tuning": {"seed": 1}}, "tuning.seed 1"),
        ({"tuning": {"seed": 2}, "more_seeds": {"a": [2]}}, "tuning.seed 2"),
        ({"more_seeds": {"c": [2]}}, "c: used, but not defined"),
        ({"tuning": {"tries": {"tru": [{}], "cut": [{}, {}]}}}, "equally many settings"),
        ({"sizes": 3}, "sizes"),
        ({"datasets": {**WORDS["datasets"], "c": {"of": "d"}}}, "d: used, but not defined"),
        ({"datasets": {**WORDS["datasets"], "c": {"of": "c"}}}, "c: used, but not defined"),
        ({"sweeps": [{**WORDS["sweeps"][0], "regimes": ["planted"]}]}, "must be their number: a: 0"),
        ({"sweeps": [{**WORDS["sweeps"][0], "regimes": ["planted"], "fractions": [0]}]}, "must be their number: a: 0"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, changes, words):
    with pytest.raises(DataError, match=words):
        grid(tmp_path, **changes)


def test_nights_have_cells_like_all_others(tmp_path):
    found = grid(tmp_path, drift=[{"backbones": ["mgcn"], "datasets": ["a"], "nights": [1, 3], "size": 4}])
    first = courses(found)[0]
    assert len(courses(found)) == 4
    assert first.cells[-1] == Cell(Place("mgcn", "a", "user", "3x4", 0), "tru")


def test_the_committed_grid_is_what_the_issue_asks_for():
    found = load_grid(GRID)
    there = {(p.backbone, p.dataset, p.regime, p.fraction) for p in places(found)}
    both = [("mgcn", "tiktok"), ("mgcn", "amazon-baby"), ("miggt", "tiktok"), ("miggt", "amazon-baby")]
    wanted = {(*pair, r, f) for pair in both for r in ("user", "item", "interaction") for f in ("0.05", "0.01")}
    wanted |= {(*pair, "user", "20") for pair in both}
    wanted |= {("lightgcn", name, "user", "20") for name in ("tiktok", "amazon-baby")}
    wanted |= {("mgcn", name, "user", "0.05") for name in ("microlens-50k", "amazon-sports")}
    wanted |= {("mgcn", "tiktok", f"user:{choice}", "0.05") for choice in ("popular", "unpopular", "core", "edge")}
    wanted |= {(backbone, "tiktok-planted", "planted", "100") for backbone in ("mgcn", "miggt")}
    assert there == wanted and len(found.seeds) >= 3
    assert {c.regime for c in courses(found)} == {"user", "mixed"}
    assert {c.nights for c in courses(found)} == {(1, 5, 10, 20, 30)} and {c.size for c in courses(found)} == {20}
    assert {len(tries) for tries in found.tuning.tries.values()} == {6}
    for settings in [*found.ablations.values(), *(t for tries in found.tuning.tries.values() for t in tries)]:
        UnlearnParams.model_validate(settings)
