"""Planted cases on tiny data: what is planted is what it says it is, and it is counted as it should be."""

import json
from dataclasses import replace

import numpy as np
import pytest

from benchmarks import gate, plants
from benchmarks.cases import KINDS, Case, cases, judged, spread
from benchmarks.scenes import RETRAINED, batches, draw, scenes
from benchmarks.trainings import Trainings
from tests import tiny
from tru.errors import DataError
from tru.evaluation.evidence import observe
from tru.evaluation.params import GateParams
from tru.ops.settings import Settings

WANTED = [("user", 1), ("interaction", 1)]
SETTINGS = Settings(model=tiny.MODEL, train=tiny.TRAIN, gate=GateParams(min_subjects=4))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("shelf")


@pytest.fixture(scope="module")
def stages(folder):
    shelf = Trainings.of(folder, tiny.dataset(), SETTINGS)
    return list(scenes(tiny.dataset(), SETTINGS, shelf, WANTED))


@pytest.fixture(scope="module")
def found(stages):
    return [case for scene in stages for case in cases(scene)]


def test_models_are_trained_once_and_shared(stages, folder):
    assert [scene.name for scene in stages] == ["user-1", "interaction-1"]
    shelf = Trainings.of(folder, tiny.dataset(), SETTINGS)
    again = list(scenes(tiny.dataset(), SETTINGS, shelf, WANTED))
    assert shelf.made == 0
    assert np.array_equal(again[0].retrained[1].arrays["users"], stages[0].retrained[1].arrays["users"])


def test_a_half_written_model_is_trained_again(folder, stages):
    (folder / "user-1-0" / "done").unlink()
    (folder / "user-1-0" / "arrays.npz").write_bytes(b"torn")
    shelf = Trainings.of(folder, tiny.dataset(), SETTINGS)
    again = next(scenes(tiny.dataset(), SETTINGS, shelf, WANTED))
    assert shelf.made == 1
    assert np.array_equal(again.retrained[0].arrays["users"], stages[0].retrained[0].arrays["users"])


def test_models_of_other_data_or_settings_are_not_mixed(folder, stages):
    with pytest.raises(DataError, match="other data or settings"):
        Trainings.of(folder, tiny.dataset(), Settings(model=tiny.MODEL))
    fewer = replace(tiny.dataset(), interactions=tiny.dataset().interactions.iloc[1:])
    with pytest.raises(DataError, match="other data or settings"):
        Trainings.of(folder, fewer, SETTINGS)


def test_retrained_models_know_nothing_of_the_batch(stages):
    scene = stages[0]
    gone = np.setdiff1d(scene.stage.before.users, scene.stage.after.users)
    assert len(gone) == 6
    assert len(scene.retrained) == RETRAINED and len({m.recipe.seed for m in scene.retrained}) == RETRAINED
    assert not any(np.isin(gone, model.data.users).any() for model in scene.retrained)
    assert np.isin(gone, scene.champion.data.users).all() and np.isin(gone, scene.elsewhere.data.users).all()


def test_batches_are_within_what_a_licence_allows():
    sizes = SETTINGS.baseline.rehearsal
    data = tiny.trained().data
    forget = draw(data, sizes, "mixed", 1)
    assert forget.users and forget.pairs and forget.modalities
    assert len(draw(data, sizes, "user", 1).users) == len(data.users) // 20
    assert draw(data, sizes, "user", 1) != draw(data, sizes, "user", 2)
    assert batches(2, ["user", "item"]) == [("user", 1), ("item", 1), ("user", 2), ("item", 2)]


def test_damage_has_a_side(stages):
    scene = stages[0]
    down, up = plants.pushed(scene, 2.0), plants.pulled(scene, 2.0)
    low, high = scene.damage(observe(down, scene.stage)), scene.damage(observe(up, scene.stage))
    assert low["over-forgotten"] > plants.GROSS > low["under-forgotten"]
    assert high["under-forgotten"] > plants.GROSS > high["over-forgotten"]
    bad = scene.damage(observe(plants.exchanged(scene, 1.0), scene.stage))
    assert bad["utility"] > plants.BAD
    assert max(abs(scene.damage(seen)["utility"]) for seen in scene.seen) < bad["utility"]


def test_cut_alone_leaves_rows_as_they_were(stages):
    scene = stages[1]
    model = plants.Tru(plants.OFF).unlearn(scene.champion, scene.stage.after)
    assert np.array_equal(model.arrays["items"], scene.champion.arrays["items"])
    assert not model.patch.any()
    weak, full = plants.weakened(scene), plants.unlearned(scene)
    moved = [np.abs(m.patch).sum() for m in (weak, full)]
    assert 0 < moved[0] < moved[1]


def test_what_can_be_told_exactly_is_always_refused_for_the_right_reason(found):
    exact = [case for case in found if case and case.kind in ("swapped", "unchanged")]
    assert {case.mode for case in exact} == {"fresh", "licensed"}
    assert len(exact) == 2 * 2 * 3 and not any(case.wrong for case in exact)


def test_honest_models_are_judged_in_every_mode(found):
    honest = [case for case in found if case and case.kind == "honest"]
    assert {case.mode for case in honest} == {"fresh", "fresh, pooled", "licensed", "licensed, pooled"}
    assert len(honest) == 2 * 3 * 4


def test_without_canaries_only_a_retrain_can_judge(stages):
    scene = stages[0]
    blind = replace(scene, stage=replace(scene.stage, canary=scene.stage.canary[:0]))
    modes = [mode for mode, _ in judged(blind, scene.retrained[0], scene.seen[0], scene.seen[1:])]
    assert modes == ["fresh", "fresh, pooled"]


def test_a_week_has_every_subject_once(stages):
    for scene in stages:
        parts = spread(scene.groups, 3)
        for name, group in scene.groups.items():
            mine = [part[name] for part in parts if name in part]
            assert sorted(np.concatenate([g.at for g in mine])) == sorted(group.at)
            assert sum(g.size for g in mine) == group.size
            assert [g.shares.sum() for g in mine] == pytest.approx([g.size for g in mine])


@pytest.mark.parametrize(
    ("fault", "faults", "passed", "wrong"),
    [
        (None, (), True, False),
        (None, ("utility",), False, True),
        ("utility", ("utility", "exact"), False, False),
        ("utility", ("exact",), False, True),
        ("utility", (), True, True),
    ],
)
def test_a_case_is_wrong_if_the_gate_was(fault, faults, passed, wrong):
    assert Case("kind", "how", "scene", "fresh", fault, faults, passed).wrong is wrong


def test_the_tally_counts_what_was_judged(folder, stages, found):
    result = gate.measure(tiny.dataset(), SETTINGS, folder, WANTED)
    real = [case for case in found if case]
    assert result["cases"] == len(real) and result["not_bad_enough"] == found.count(None)
    assert list(result["by_kind"]) == list(KINDS)
    assert sum(row["cases"] for row in result["by_kind"].values()) == len(real)
    wrong = {name: [c for c in real if c.wrong and (c.fault is None) == name] for name in (True, False)}
    assert result["false_alarm_rate"] == round(len(wrong[True]) / (2 * 3 * 4), 4)
    assert result["miss_rate"] == round(len(wrong[False]) / (len(real) - 2 * 3 * 4), 4)
    assert len(result["wrong"]) == len(wrong[True]) + len(wrong[False])
    assert result["data"] == "builtin" and len(result["data_hash"]) == 12 and result["trained"] == 0
    text = json.dumps(result)
    assert not any(str(name) in text for name in (*tiny.dataset().users, *tiny.dataset().items))
    assert "114 cases" in gate._words({**result, "cases": 114})


def test_the_command_prints_json_alone_and_says_whether_the_rates_are_kept(monkeypatch, capsys, folder, stages):
    monkeypatch.setattr(gate, "Settings", lambda **_: SETTINGS)
    monkeypatch.setattr(gate, "generate", lambda _: tiny.dataset())
    monkeypatch.setattr(gate, "QUICK", ("user", "interaction"))
    code = gate.main(["--quick", "--json", "--folder", str(folder)])
    printed = capsys.readouterr()
    result = json.loads(printed.out)
    assert {"cases", "false_alarm_rate", "miss_rate", "by_kind"} <= set(result)
    assert code == int(max(result["false_alarm_rate"], result["miss_rate"]) > 0.05)
    assert "batch 2 of 2 judged" in printed.err


def test_missing_data_is_said(tmp_path):
    with pytest.raises(SystemExit, match="Error: "):
        gate.main(["--data", str(tmp_path / "nowhere")])
