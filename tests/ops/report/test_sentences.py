from dataclasses import replace

import pytest

from tests import nights
from tru.ops.report import sentences
from tru.ops.report.sentences import how, limits, to_do, verdict_sentence
from tru.ops.report.sequel import Sequel
from tru.ops.report.story import ending


@pytest.mark.parametrize(
    ("batch", "says"),
    [
        (nights.fresh(), "40 people, 2 items and 20 single interactions were forgotten"),
        (nights.fresh(), "became champion as version 2"),
        (nights.licensed(), "of their own: exact checks and quality decided, together with the nights before."),
        (nights.retrained(), "because the gate did not accept the unlearned model"),
        (nights.held(), "The old champion serves on, all subjects stay suppressed"),
        (nights.declined(), "was not approved"),
        (nights.released(), "let the retrained one serve as version 5 all the same"),
        (nights.declined_then_released(), "was not approved at first"),
        (nights.not_found(), "None of the requests names anybody"),
        (nights.half_way(), "the last step that finished is “check”"),
        (nights.half_way("gate"), "To let it serve comes next"),
    ],
)
def test_the_verdict_in_a_sentence(batch, says):
    assert says in verdict_sentence(batch)


def test_who_serves_now_is_said_where_it_is_another():
    assert verdict_sentence(nights.fresh(), nights.sequel()).endswith("as version 2. Version 9 serves now.")
    for batch, sequel in (
        (nights.fresh(), nights.sequel(serving="2")),
        (nights.fresh(), Sequel()),
        (nights.held(), nights.sequel()),
        (nights.not_found(), nights.sequel()),
    ):
        assert "serves now" not in verdict_sentence(batch, sequel)


def test_nobody_claims_an_erasure_that_is_to_come_nor_forgets_one_that_was():
    assert any("before the erasure" in words for words in limits(nights.fresh()))
    after = limits(nights.fresh(), nights.sequel())
    assert len(after) == 4 and not any("before the erasure" in words for words in after)


def test_one_is_said_as_one():
    one = replace(nights.fresh(), size=1, facts=nights.facts(regimes={"users": 1}, forgotten=1))
    assert verdict_sentence(one).startswith("1 person was forgotten")
    assert "the subject stays suppressed" in verdict_sentence(replace(nights.held(), size=1))
    assert verdict_sentence(replace(nights.not_found(), size=1)).startswith("The request names nobody")


def test_a_licensed_night_that_is_large_enough_says_so():
    gate = nights.verdict(nights.facts()["gate"]["table"], "licensed")
    large = replace(nights.licensed(), facts=nights.facts(gate=gate))
    assert "So few" not in verdict_sentence(large)


def test_nobody_claims_a_likeness_that_was_not_measured():
    """Also with models retrained tonight, two subjects prove nothing by statistics."""
    lines = [*nights.exact(), nights.row("test/ndcg@20", 0.36, 0.36)]
    few = [*lines, nights.row("membership_auc", 0.5, 0.5, group="users", n=2, judged=False)]
    said = [
        verdict_sentence(replace(nights.fresh(), facts=nights.facts(gate=nights.verdict(rows))))
        for rows in (few, lines)
    ]
    assert not any("behaves like" in words for words in said)
    assert said[0].endswith("exact checks and quality decided.") and "No pair had to be forgotten" in said[1]


def test_nobody_claims_a_quality_that_was_not_measured():
    lines = [*nights.exact(), nights.row("test/ndcg@20", None, None, n=0, judged=False)]
    few = [*lines, nights.row("membership_auc", 0.5, 0.5, group="users", n=2, judged=False)]
    for rows in (few, lines):
        said = verdict_sentence(replace(nights.fresh(), facts=nights.facts(gate=nights.verdict(rows))))
        assert "exact checks alone decided, for want of test rows" in said and "quality" not in said


def test_a_method_that_could_not_is_said():
    unable = nights.retrained().facts | {"unlearn": {"method": "none", "seconds": None, "reason": "too much"}}
    assert "the method could not unlearn" in verdict_sentence(replace(nights.retrained(), facts=unable))


@pytest.mark.parametrize("name", nights.ALL)
def test_every_ending_has_a_headline_a_tone_and_a_sign(name):
    end = ending(nights.ALL[name]())
    assert sentences.HEADLINES[end] and sentences.TONES[end] in ("yes", "no", "wait") and sentences.SIGNS[end]


def test_only_a_held_batch_asks_for_something():
    held = {"held", "declined", "stopped", "without numbers"}
    assert {name for name, make in nights.ALL.items() if to_do(make())} == held
    assert any("tru batch release" in command for command, _ in to_do(nights.held()))


def test_how_it_was_judged():
    said = dict(how(nights.licensed()))
    assert said["Mode"].startswith("Under licence.") and "licence-20261122-users" in said["Licences"]
    assert "above the budget" in said["Cost"] and "3 nights, 1.13 %" in said["Drift"] and "exact checks" in said["Note"]
    assert "Then a model was retrained" in dict(how(nights.retrained()))["Mode"]
    assert "could not be done" in dict(how(nights.unlicensed()))["Mode"]


def test_the_words_of_people_are_there_while_they_hold():
    assert "not on the day of the sale" in dict(how(nights.declined()))["Held"]
    said = dict(how(nights.declined_then_released()))
    assert "Held" not in said and said["Released"] == "The person's reason: The sale is over."


def test_drift_without_numbers():
    gate = nights.verdict(nights.exact(), drift={"nights": None, "forgotten_share": float("nan")})
    batch = replace(nights.fresh(), facts=nights.facts(gate=gate))
    assert dict(how(batch))["Drift"] == "Since the last full training: not measured."


def test_a_revoked_modality_has_a_limit_of_its_own():
    assert len(limits(nights.fresh())) == 4
    pictures = replace(nights.fresh(), facts=nights.facts(regimes={"modalities": 1}))
    assert any("revoked modality" in words for words in limits(pictures))
