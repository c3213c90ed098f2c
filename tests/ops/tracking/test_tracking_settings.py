"""Params only where they apply, and when a model was made."""

from datetime import UTC, datetime, timedelta

import pytest

from tests import tiny
from tru.ops.settings import Settings
from tru.ops.tracking.settings import finished, flat, span_of, used


def blocks(params):
    return {name.partition(".")[0] for name in params}


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({}, {"model", "recipe"}),
        ({"trained": True}, {"model", "recipe", "train"}),
        ({"unlearned": True}, {"model", "recipe", "unlearn"}),
    ],
)
def test_a_model_has_the_settings_that_made_it_and_no_others(made, expected):
    assert blocks(used(tiny.trained(), Settings(), **made)) == expected


def test_they_are_the_models_own_whatever_the_file_says_by_now():
    settings = Settings.model_validate({"model": {"width": 128}, "train": {"seed": 5}})
    params = used(tiny.trained(), settings, trained=True)
    assert params["model.width"] == 16 and params["train.seed"] == params["recipe.seed"] == 0
    assert params["recipe.epochs"] == tiny.trained().recipe.epochs


@pytest.mark.parametrize("method", ["retrain", "finetune"])
def test_another_method_does_not_show_the_settings_of_tru(method):
    params = used(tiny.trained(), Settings.model_validate({"unlearn": {"method": method}}), unlearned=True)
    names = {name for name in params if name.startswith("unlearn.")}
    assert "unlearn.method" in names
    assert all(name.startswith(("unlearn.method", f"unlearn.rivals.{method}.")) for name in names)


def test_metrics_are_flat_with_slashes():
    assert flat({"test": {"recall@20": 0.5}, "membership_auc": None}, "/") == {
        "test/recall@20": 0.5,
        "membership_auc": None,
    }


def test_a_model_knows_when_it_was_made():
    before = datetime.now(UTC)
    model = finished(tiny.trained())
    span = span_of(model)
    assert before - timedelta(seconds=1) <= span.ended <= datetime.now(UTC)
    assert (span.ended - span.began).total_seconds() == pytest.approx(model.facts["seconds"], abs=1e-5)
    since = model.with_facts(trained="2026-11-23T02:30:00.000+00:00", train_seconds=90.0, seconds=0.3)
    assert span_of(since, training=True).ended == datetime(2026, 11, 23, 2, 30, tzinfo=UTC)
    assert span_of(since, training=True).began == datetime(2026, 11, 23, 2, 28, 30, tzinfo=UTC)


def test_a_model_of_an_earlier_version_does_not():
    assert span_of(tiny.trained()) is None and span_of(tiny.trained(), training=True) is None
