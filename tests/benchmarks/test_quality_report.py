"""Tables and judgements from rows made by hand, so that every number can be checked in one's head."""

import numpy as np
import pandas as pd
import pytest

from benchmarks.quality import results, tables
from benchmarks.quality.grid import Grid
from benchmarks.quality.report import write
from benchmarks.quality.results import COLUMNS
from benchmarks.quality.tables import Results, Summary, course, due, earned, match, targets

SPOT = ("mgcn", "toy", "user", "0.05")
GRID = Grid.model_validate(
    {
        "datasets": {"toy": {"users": 10}},
        "backbones": {"mgcn": {}},
        "methods": ["tru", "cut", "ssd"],
        "ablations": {"no-gate": {"fusion_gate": False}},
        "sweeps": [{"backbones": ["mgcn"], "datasets": ["toy"], "regimes": ["user"], "fractions": [0.05]}],
    }
)


def rows(method, metrics, spot=SPOT, seeds=(0, 1, 2)):
    """Metric -> one value per seed, or one for all."""
    place = dict(zip(("backbone", "dataset", "regime", "fraction"), spot, strict=True))
    source = {"method": method, "commit": "abc1234", "data_md5": "d0.dir"}
    out = []
    for metric, values in metrics.items():
        values = values if isinstance(values, tuple) else (values,) * len(seeds)
        out += [
            {**place, **source, "seed": s, "metric": metric, "value": v} for s, v in zip(seeds, values, strict=True)
        ]
    return out


def usual(relative=1.0, recall=0.0, auc=0.0, ks=0.1, **more):
    distances = {"distance/forget_recall@20": recall, "distance/membership_auc": auc, "ks": ks}
    return {"test/ndcg@20": 0.04, "relative/ndcg@20": relative, **distances, **more}


def found(*parts):
    return Results(pd.DataFrame([row for part in parts for row in part], columns=COLUMNS))


NOISE = rows("retrain", usual(relative=(0.98, 1.01, 1.0), recall=(0.01, 0.02, 0.03), auc=0.01, ks=0.03))


def test_medians_and_spreads():
    assert Summary.of([3.0, 1.0, 2.0]) == Summary(2.0, 1.0, 3)
    assert Summary.of([3.0, np.nan]) == Summary(3.0, 0.0, 1)
    assert not Summary.of([]).known


def test_targets_are_judged_on_medians():
    mine = rows(
        "tru", usual(relative=(0.985, 0.995, 0.992), recall=(0.05, 0.03, 0.045), auc=0.02, speedup=(19, 25, 10))
    )
    words = {t.name: (round(t.value, 3), round(t.bound, 3), t.word) for t in targets(found(mine, NOISE), SPOT)}
    assert words == {
        "retained NDCG@20": (0.992, 0.99, "met"),
        "forget recall@20": (0.045, 0.04, "FAILED"),  # the noise is .02, the slack .02
        "membership AUC": (0.02, 0.02, "met"),
        "speed-up": (19, 20, "FAILED"),
    }
    few = (*SPOT[:3], "20")
    assert targets(found(rows("tru", usual(), few)), few)[3].bound == 100
    assert [t.word for t in targets(found(NOISE), SPOT)] == ["missing"] * 4


@pytest.mark.parametrize(
    ("own", "best", "word"),
    [(0.1, 0.2, "best"), (0.1, 0.1, "best"), (0.12, 0.1, "tied"), (0.14, 0.1, "WORSE"), (0.21, 0.1, "CATASTROPHIC")],
)
def test_against_the_rivals(own, best, word):
    rivals = rows("cut", usual(ks=best)), rows("ssd", usual(ks=0.5)), rows("shards", usual(ks=0.0))
    without = rows("tru/no-gate", usual(ks=0.0))  # neither it nor an exact method is a rival
    duel = match(found(rows("tru", usual(ks=own)), *rivals, without, NOISE), SPOT, "b")
    assert (duel.word, duel.rival, duel.noise) == (word, "cut", 0.03)


def test_utility_above_retrained_is_no_advantage():
    mine, other = rows("tru", usual(relative=1.0)), rows("cut", usual(relative=1.2))
    assert match(found(mine, other, NOISE), SPOT, "a").word == "best"
    lower = rows("tru", usual(relative=0.992))
    duel = match(found(lower, other, NOISE), SPOT, "a")
    assert duel.own == pytest.approx(0.008) and duel.noise == pytest.approx(0.01) and duel.word == "tied"


def test_no_rival_or_no_noise_is_missing():
    assert match(found(rows("tru", usual()), NOISE), SPOT, "b").word == "missing"
    assert match(found(rows("tru", usual()), rows("cut", usual())), SPOT, "b").word == "missing"


def test_an_ablation_is_paired_by_seed():
    mine, without = rows("tru", usual(ks=(0.1, 0.2, 0.3))), rows("tru/no-gate", usual(ks=(0.2, 0.25, 0.3)))
    part = earned(found(mine, without, NOISE), SPOT, "tru/no-gate", "b")
    assert part.change == pytest.approx(0.05) and part.word == "earns"
    assert earned(found(without, mine, NOISE), SPOT, "tru/no-branches", "b").word == "missing"
    better = rows("tru/no-gate", usual(ks=(0.05, 0.1, 0.2)))
    assert earned(found(mine, better, NOISE), SPOT, "tru/no-gate", "b").word == "harms"
    assert earned(
        found(mine, rows("tru/no-gate", usual(ks=(0.1, 0.2, 0.32))), NOISE), SPOT, "tru/no-gate", "b"
    ).word == ("no difference")


def test_when_a_retrain_is_due():
    parts = []
    for night, relative in ((1, 0.98), (5, 0.995), (10, 0.98)):
        spot = (*SPOT[:3], f"{night}x20")
        parts += [
            rows("tru", usual(relative=relative, forgotten_share=night / 100), spot),
            rows("retrain", usual(), spot),
        ]
    read = found(*parts)
    assert read.nights() == {("mgcn", "toy", "user", 20): [1, 5, 10]} and read.spots() == []
    nights = list(course(read, ("mgcn", "toy", "user", 20), [1, 5, 10]))
    assert [night.holds for night in nights] == [False, True, False]
    assert (due(nights).night, due(nights).share) == (10, 0.1)
    assert due(nights[:2]) is None  # the first night's failure did not last


def test_what_two_retrains_do_not_agree_on_calls_for_no_retrain():
    spot = (*SPOT[:3], "1x20")
    far = rows("tru", usual(relative=0.98, auc=0.04, forgotten_share=0.01), spot)
    for noise, holds in ((usual(relative=1.03, auc=0.05), True), (usual(relative=1.03, auc=0.03), False)):
        night = next(course(found(far, rows("retrain", noise, spot)), ("mgcn", "toy", "user", 20), [1]))
        assert [t.name for t in night.targets if t.word == "FAILED"] == ["retained NDCG@20", "membership AUC"]
        assert night.holds is holds


CHOSEN = {
    "criterion": "the nearer the better",
    "regimes": ["user"],
    "fraction": 0.05,
    "seed": 100,
    "data_md5": {"toy": "d0.dir"},
    "methods": {
        "ssd": {
            "mgcn": {
                "settings": {"rivals": {"ssd": {"dampening": 0.1, "batch": 8}}},
                "loss": 0.25,
                "losses": [0.5, None, 0.25],
                "commit": "def5678",
            }
        }
    },
}


def test_the_page_has_numbers_sources_failures_and_what_is_missing(tmp_path):
    parts = [
        *rows("tru", usual(speedup=150.0, cpu_seconds=(0.2, 0.3, 0.4))),
        *rows("cut", usual(ks=0.6)),
        *rows("ssd", {results.FAILED: 1.0}),
        *rows("tru/no-gate", usual(ks=0.2), seeds=(0,)),
        *NOISE,
        *rows("tru", usual(forgotten_share=0.01), (*SPOT[:3], "1x20")),
        *rows("tru", {"audit/exposure@20/planted": (0.001, 0.002, 0.004)}, (*SPOT[:2], "planted", "100")),
    ]
    file = tmp_path / "results.parquet"
    frame = pd.DataFrame(parts, columns=COLUMNS)
    frame.to_parquet(file)
    write(file, tmp_path / "docs", GRID, CHOSEN)
    page = (tmp_path / "docs" / "results.md").read_text()
    assert "commit abc1234 · data md5 toy d0.dir · seeds 0, 1, 2" in page
    assert "| mgcn | toy | user | 0.05 | 3 | 1.000 ±0.000 ≥ 0.990 **met** |" in page
    assert "| tru | 0.0400 ±0.0000 | 1.000 ±0.000 |" in page and "| 0.30 ±0.10 |" in page
    assert "| ssd | failed | failed |" in page and "| mgcn | toy | user | 0.05 | ssd | 3 | 0 |" in page
    assert "| mgcn | toy | user | 0.05 | tru/no-gate | 0 | 2 |" in page
    assert "0.1000 / 0.6000 cut / 0.0300 **best**" in page
    assert "| ssd | mgcn | dampening 0.1, batch 8 | 0.250 | 0.500 missing 0.250 |" in page
    assert "| mgcn on toy, planted, 100 |" in page and "| 2.00 ±1.50 |" in page
    assert "commit def5678 · data md5 toy d0.dir" in page
    for name in ("trade-off", "ablation", "drift", "time"):
        assert (tmp_path / "docs" / "figures" / f"{name}.svg").stat().st_size > 1000
        assert f"figures/{name}.svg" in page
    first = (tmp_path / "docs" / "figures" / "time.svg").read_bytes()
    write(file, tmp_path / "docs", GRID, CHOSEN)
    assert (tmp_path / "docs" / "figures" / "time.svg").read_bytes() == first


def test_the_page_begins_with_what_falls_short(tmp_path):
    parts = [*rows("tru", usual(relative=0.98, auc=0.03, speedup=30.0)), *rows("cut", usual(auc=0.01, ks=0.6)), *NOISE]
    pd.DataFrame([*parts, *rows("ssd", usual(ks=0.7, auc=0.5))], columns=COLUMNS).to_parquet(tmp_path / "r.parquet")
    write(tmp_path / "r.parquet", tmp_path, GRID, {})
    page = (tmp_path / "results.md").read_text()
    assert "- Targets of TRU: 2 met, 2 FAILED.\n  - FAILED, retained NDCG@20: mgcn on toy, user, 5% (0.980 ±0" in page
    assert "  - FAILED, membership AUC: mgcn on toy, user, 5% (0.030 ±0.000 ≤ 0.020)." in page
    assert "  - WORSE: mgcn on toy, user, 5% (0.0300 / 0.0100 cut / 0.0100)." in page


def test_a_page_without_any_result_says_so(tmp_path):
    results.merge(tmp_path / "results.parquet", [])
    write(tmp_path / "results.parquet", tmp_path, GRID, {})
    page = (tmp_path / "results.md").read_text()
    assert "Measured: 0 of 1 places" in page and "Not measured at all: mgcn on toy, user, 5%." in page
    assert "None were chosen" in page
    assert "nothing measured yet" in page and "figures/" not in page


def test_every_column_of_the_page_is_a_metric_that_cells_have():
    from benchmarks.quality.report import COLUMNS as SHOWN

    assert len({metric for metric, _ in SHOWN.values()}) == len(SHOWN)
    assert tables.CRITERIA["b"][1] in {metric for metric, _ in SHOWN.values()}
