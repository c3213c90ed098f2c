from copy import deepcopy
from dataclasses import replace
from math import isnan

import numpy as np
import pytest

from tests import tiny
from tru.data.forget import ForgetSet
from tru.errors import EvaluationError
from tru.evaluation.audits import Stage
from tru.evaluation.research.relearning import Lesson
from tru.evaluation.research.shadows import shadow_data
from tru.evaluation.research.suite import PARTS, audit, judged, refuse_same
from tru.training import fit, refit
from tru.unlearning.base import make
from tru.unlearning.params import UnlearnParams


@pytest.fixture(scope="module")
def retained():
    """Without a few of every kind."""
    users, items = tiny.dataset().users, tiny.dataset().items
    return tiny.without(
        ForgetSet(
            users=frozenset(map(str, users[[1, 40, 77]])),
            items=frozenset(map(str, items[[4, 33]])),
            pairs=frozenset(tiny.train_pairs()[::30]),
            modalities=frozenset({(str(items[9]), "image")}),
        )
    )


@pytest.fixture(scope="module")
def stage(retained):
    return Stage.of(tiny.trained().data, retained)


@pytest.fixture(scope="module")
def unlearned(retained):
    return make(UnlearnParams(strength=1.5), tiny.TRAIN).unlearn(tiny.trained(), retained)


@pytest.fixture(scope="module")
def retrained(retained):
    return [refit(retained, tiny.trained(), tiny.TRAIN, seed=seed) for seed in (None, 1)]


def test_all_audits_of_all_models(unlearned, retrained, stage):
    model = tiny.trained()
    shadows = [refit(data, model, tiny.TRAIN, seed=9 + k) for k, data in enumerate(shadow_data(model.data, 2))]
    rows = audit(
        model, unlearned, retrained, stage, shadows, targets=[str(model.data.items[0])], lesson=Lesson(steps=2)
    )
    assert all(row.keys() == {"metric", "group", "model", "value"} for row in rows)
    assert {row["model"] for row in rows} == {"original", "unlearned", "retrained-0", "retrained-1"}
    assert len({(row["metric"], row["group"], row["model"]) for row in rows}) == len(rows)
    kinds = {row["metric"].split("/")[0] for row in rows}
    assert kinds == {"exact", "test", "retain", "forget", "canary", "mia", "exposure@20", "probe", "relearn"}
    assert {row["metric"].split("/")[1] for row in rows if row["metric"].startswith("mia")} == {
        "population",
        "last-vector",
        "lira",
        "lira-offline",
        "rmia",
    }
    names = {*map(str, model.data.users), *map(str, model.data.items)}
    assert not names & {word for row in rows for word in (row["metric"], row["group"], row["model"])}
    exact = [row["value"] for row in rows if row["metric"].startswith("exact")]
    assert exact
    assert not any(exact)
    value = {(row["metric"], row["group"], row["model"]): row["value"] for row in rows}
    assert value["exposure@20", "taken down", "unlearned"] == 0 < value["exposure@20", "taken down", "original"]
    assert value["forget/auc", "all", "original"] > value["forget/auc", "all", "unlearned"]


def test_only_what_is_asked_for(unlearned, retrained, stage):
    rows = audit(tiny.trained(), unlearned, retrained, stage, parts=["ranks"])
    assert {row["metric"].split("/")[0] for row in rows} == {"forget", "canary"}
    with pytest.raises(EvaluationError, match="utility"):
        audit(tiny.trained(), unlearned, retrained, stage, parts=["rank"])
    assert len(set(PARTS)) == len(PARTS)


def test_rows_of_one_model_are_those_it_has_among_all(unlearned, retrained, stage):
    parts = [part for part in PARTS if part != "relearning"]
    everything = audit(tiny.trained(), unlearned, retrained[:1], stage, parts=parts)
    for name in ("original", "unlearned", "retrained-0"):
        rows = audit(tiny.trained(), unlearned, retrained[:1], stage, parts=parts, only={name})
        assert {row["model"] for row in rows} == {name}
        own = {(row["metric"], row["group"]): row["value"] for row in everything if row["model"] == name}
        assert {(row["metric"], row["group"]): row["value"] for row in rows} == pytest.approx(own, nan_ok=True)
    with pytest.raises(EvaluationError, match="no model called retrained-7"):
        audit(tiny.trained(), unlearned, retrained, stage, only={"retrained-7"})


def test_a_model_against_itself_is_refused(unlearned, retrained, stage):
    model = tiny.trained()
    for first, second, others in (
        (model, model, retrained),
        (model, deepcopy(model), retrained),
        (model, retrained[0], retrained),
        (model, unlearned, [retrained[0], replace(retrained[0], facts={"seconds": 1})]),
    ):
        with pytest.raises(EvaluationError, match="the same model"):
            audit(first, second, others, stage)


def test_models_that_have_nothing_but_rows_are_told_apart(retained):
    """Their parameters are called like what the data has: users and items."""
    model = fit(tiny.dataset(), tiny.MODEL.model_copy(update={"name": "lightgcn"}), tiny.TRAIN)
    seeds = [refit(retained, model, tiny.TRAIN, seed=seed) for seed in (0, 1)]
    refuse_same({"one": seeds[0], "other": seeds[1]})
    with pytest.raises(EvaluationError, match="one and other are the same model"):
        refuse_same({"one": seeds[0], "other": deepcopy(seeds[0])})


def test_the_same_rows_on_another_graph_are_another_model(retrained, retained, stage):
    """The structural cut, a rival: it changes no parameter if only pairs go."""
    pairs = tiny.without(ForgetSet(pairs=frozenset(tiny.train_pairs()[::30])))
    model = tiny.trained()
    stage = Stage.of(model.data, pairs)
    others = [refit(pairs, model, tiny.TRAIN)]
    assert audit(model, replace(model, data=pairs), others, stage, parts=["ranks"])


def test_without_a_retrain_there_is_nothing_to_judge_by(unlearned, stage):
    with pytest.raises(EvaluationError, match="no retrained model"):
        audit(tiny.trained(), unlearned, [], stage)


def rows_of(metric, **values):
    names = {"keyed": "retrained-0", "first": "retrained-1", "second": "retrained-2"}
    return [{"metric": metric, "group": "all", "model": names.get(m, m), "value": v} for m, v in values.items()]


def test_the_difference_beside_the_spread_by_hand():
    (found,) = judged(rows_of("test", original=9.0, unlearned=0.5, keyed=0.4, first=0.45, second=0.3))
    numbers = {"unlearned": 0.5, "retrained": 0.4, "difference": 0.1, "spread": 0.15, "inside": True}
    assert {name: found[name] for name in numbers} == pytest.approx(numbers)
    (found,) = judged(rows_of("test", unlearned=0.2, keyed=0.4, first=0.45, second=0.3))
    assert found["inside"] is False
    assert found["difference"] == pytest.approx(-0.2)


def test_one_retrain_has_no_spread():
    (found,) = judged(rows_of("test", unlearned=0.2, keyed=0.4))
    assert isnan(found["spread"])
    assert found["inside"] is False


def test_a_distance_to_the_keyed_retrain_is_judged_by_that_of_others():
    (found,) = judged(rows_of("forget/ks/z", unlearned=0.1, first=0.07, second=0.12))
    assert (found["retrained"], found["difference"], found["spread"], found["inside"]) == (0, 0.1, 0.12, True)
    (found,) = judged(rows_of("forget/below/share", unlearned=0.6, first=0.45, second=0.52))
    assert [found[name] for name in ("retrained", "difference", "spread")] == pytest.approx([0.5, 0.1, 0.05])
    assert found["inside"] is False


def test_a_model_that_was_not_measured_is_not_judged():
    assert judged(rows_of("test", original=1.0, keyed=0.4)) == []
    assert judged(rows_of("test", unlearned=1.0)) == []


def test_identical_values_are_inside():
    (found,) = judged(rows_of("exact", unlearned=0.0, keyed=0.0, first=0.0))
    assert found["inside"] is True
    assert np.isfinite(found["spread"])
