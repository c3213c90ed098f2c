"""How runs are named, tagged and grouped."""

from dataclasses import replace

import pytest

from tests import nights
from tru.data.forget import ForgetSet
from tru.ops.erasure.search.patterns import Needles
from tru.ops.erasure.search.text import in_text
from tru.ops.erasure.search.traces import Traces
from tru.ops.settings import Settings
from tru.ops.tracking.groups import of_batch, of_experiment


def test_a_batch_is_tagged_by_what_it_forgets():
    batch = nights.fresh()
    group = of_batch(batch, Settings(), f"{batch.id}/abc", 0.02273)
    assert (group.name, group.key, group.data_md5) == (batch.id, f"{batch.id}/abc", nights.AFTER)
    assert group.tags == {
        "tru.batch": batch.id,
        "tru.regime": "user+item+interaction",
        "tru.fraction": "0.02273",
    }
    assert group.own["tru.deleted_through"] == 62 and group.own["tru.prefect_run"] is None
    assert any(name.startswith("gate.") for name in group.params)
    assert not any(name.startswith(("unlearn.", "train.")) for name in group.params)


def test_a_batch_names_the_last_prefect_run_that_worked_on_it():
    batch = replace(nights.fresh(), facts=nights.facts(prefect_runs=["first", "second"]))
    assert of_batch(batch, Settings(), "k").own["tru.prefect_run"] == "second"


@pytest.mark.parametrize(
    ("forget", "name", "fraction"),
    [
        ({}, "5 % of users, seed 7, tru", "0.05"),
        ({"regime": "item", "fraction": 0.125, "seed": 0}, "12.5 % of items, seed 0, tru", "0.125"),
        ({"regime": "interaction", "count": 30}, "30 interactions, seed 7, tru", "0.0312"),
    ],
)
def test_an_experiment_is_named_after_what_it_forgets_and_how(forget, name, fraction):
    group = of_experiment(Settings.model_validate({"forget": forget}), "1.dir", "research/1.dir/x", 0.0312, "62")
    assert (group.name, group.tags["tru.fraction"]) == (name, fraction)
    assert group.tags["tru.deleted_through"] == "62" and group.own["tru.kind"] == "experiment"
    assert group.params["forget.seed"] == forget.get("seed", 7)


def test_no_name_looks_like_an_identifier_to_an_erasure():
    """People and items may be called by bare numbers; a name that seems to speak of one is reported as a trace."""
    subjects = [str(number) for number in range(100)]
    needles = Needles(Traces(ForgetSet(users=frozenset(subjects), items=frozenset(subjects))))
    for regime in ("user", "item", "interaction", "modality"):
        for size in ({"fraction": 0.05}, {"count": 12}):
            settings = Settings.model_validate({"forget": {"regime": regime, **size}})
            group = of_experiment(settings, "1.dir", "research/1.dir/x", 0.05, "7")
            words = [group.name, *map(str, group.tags.values()), *map(str, group.own.values())]
            assert not in_text("\n".join(words).encode(), needles)
