"""The gate: a candidate may serve only if it behaves like models retrained without the forgotten data.

Two-sided where forgetting is judged: a pair pushed below what retraining gives betrays itself as much as one still
remembered. The tests and their margins are those of :mod:`tru.evaluation.statistics`. A handful of subjects proves
nothing by itself: such a night is judged by its exact checks, and its numbers are added to those of the nights before
until there are enough. The verdict holds every number, its allowed range and the reasons in plain words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from tru.evaluation.evidence import Evidence, Group, Reference, retrained_reference
from tru.evaluation.params import GateParams
from tru.evaluation.statistics import Bounds, Moments, bootstrap_bounds, bounds
from tru.evaluation.verdict import SWAPPED, Fault, Finding, Night, Verdict

WINDOW = "window"


@dataclass(frozen=True)
class Claim:
    """Something a candidate is to be tested on.

    Attributes:
        name: the metric, under the name it has everywhere.
        group: which forgotten pairs, or what it is compared with; None for all test users.
        value: the candidate's.
        reference: what it should be.
        moments: of the paired differences, by independent subject.
        reference_error: standard error of the reference beyond the pairing.
        margin: as the settings have it, in units of the value.
        two_sided: whether more is as bad as less.
        users: (n,) paired differences per user where a bootstrap is to be drawn.
        is_rate: whether it is a share of hits. Where hits are few, their spread is underestimated just when there are
            fewest, so two subjects that differ by one either way are assumed besides (as Agresti and Min 2005 do).
        is_broken: whether the reference has no number to compare with.
    """

    name: str
    group: str | None
    value: float
    reference: float
    moments: Moments
    margin: float
    two_sided: bool
    reference_error: float = 0.0
    users: np.ndarray | None = field(default=None, repr=False)
    is_rate: bool = False
    is_broken: bool = False

    @property
    def key(self) -> str:
        """Its name in a night's record."""
        return f"{self.name}/{self.group}"

    @property
    def error(self) -> float:
        """Standard error of the difference."""
        rare = math.sqrt(2) / max(self.moments.subjects, 1) if self.is_rate else 0.0
        return math.hypot(self.moments.error, self.reference_error, rare)


def judge_fresh(
    candidate: Evidence,
    baselines: Sequence[Evidence],
    groups: Mapping[str, Group],
    exact: Mapping[str, int],
    params: GateParams,
    past: Sequence[Night] = (),
) -> Verdict:
    """Compare a candidate with models retrained on the same data.

    Args:
        candidate: what was observed of it.
        baselines: the same of each retrained model; at least one.
        groups: the forgotten pairs by why they went.
        exact: check in words -> number of violations; each must be 0.
        params: the margins.
        past: ``Verdict.night`` of the nights since the last full training that are in the window.
    """
    retrained = np.mean([b.ndcg for b in baselines], axis=0)
    claims = [_utility(None, candidate.ndcg, retrained, params)]
    claims += forgetting(candidate, retrained_reference(list(baselines)), groups, params)
    return judge(claims, exact, params, past, mode="fresh")


def judge_licensed(
    candidate: Evidence,
    reference: Reference,
    champion: Evidence,
    baseline: tuple[np.ndarray, np.ndarray],
    groups: Mapping[str, Group],
    exact: Mapping[str, int],
    params: GateParams,
    past: Sequence[Night] = (),
) -> Verdict:
    """Compare a candidate without a retrain of tonight.

    Args:
        candidate: what was observed of it.
        reference: what its forgotten pairs should look like (:func:`tru.evaluation.evidence.own_reference`).
        champion: what was observed of the model that it came from.
        baseline: ids of the latest baseline's test users, sorted, and their mean test NDCG@20.
        groups: see :func:`judge_fresh`.
        exact: see :func:`judge_fresh`.
        params: the margins.
        past: see :func:`judge_fresh`.
    """
    users, ndcg = baseline
    _, here, there = np.intersect1d(candidate.users, users, return_indices=True)
    # Where nobody is tested nothing can be said; where somebody is, a baseline that knows none of them is none.
    is_strange = len(candidate.users) > 0 and len(here) == 0
    claims = [
        _utility("champion", candidate.ndcg, champion.ndcg, params),
        _utility("baseline", candidate.ndcg[here], ndcg[there], params, is_broken=is_strange),
    ]
    claims += forgetting(candidate, reference, groups, params)
    return judge(claims, exact, params, past, mode="licensed")


def forgetting(
    candidate: Evidence, reference: Reference, groups: Mapping[str, Group], params: GateParams
) -> list[Claim]:
    """Two claims per group: its pairs are recalled, and told from never-seen ones, as the reference has it.

    Every subject counts once: with a subject of 400 pairs among forty of two, a mean over pairs would be that
    subject's, and its error could not be estimated.
    """
    found = []
    for name, group in groups.items():
        recall = "forget/recall@20", candidate.hits, reference.hits, reference.hits_error
        auc = "membership_auc", candidate.wins, reference.wins, reference.wins_error
        for (metric, own, other, error), margin in ((recall, params.forget_margin), (auc, params.membership_margin)):
            # A pair without a never-seen item has no share to compare; a model's broken numbers fail an exact check.
            mine, theirs = np.isfinite(own[group.at]), np.isfinite(other[group.at])
            at, subjects = group.at[mine & theirs], group.subjects[mine & theirs]
            weights = 1 / np.bincount(subjects)[subjects]
            moments = Moments.of(own[at] - other[at], subjects, weights)
            value, expected = (float(np.average(x[at], weights=weights)) if len(at) else math.nan for x in (own, other))
            found.append(
                Claim(
                    metric,
                    name,
                    value,
                    expected,
                    moments,
                    margin,
                    two_sided=True,
                    reference_error=error.get(name, 0.0),
                    is_rate=metric.startswith("forget/"),
                    is_broken=bool(mine.any() and not len(at)),
                )
            )
    return found


def _utility(
    group: str | None, own: np.ndarray, other: np.ndarray, params: GateParams, *, is_broken: bool = False
) -> Claim:
    moments = Moments.of(own - other, np.arange(len(own)))
    reference = float(other.mean()) if len(other) else math.nan
    value = float(own.mean()) if len(own) else math.nan
    margin = params.utility_margin * reference
    return Claim(
        "test/ndcg@20", group, value, reference, moments, margin, False, users=own - other, is_broken=is_broken
    )


def judge(
    claims: Sequence[Claim], exact: Mapping[str, int], params: GateParams, past: Sequence[Night], mode: str
) -> Verdict:
    """Test every claim that can be tested, tonight's alone or pooled with the nights before."""
    whole = [claim for claim in claims if not claim.is_broken]
    tests = sum(1 + claim.two_sided for claim in whole)
    alone = [claim for claim in whole if _can_be_judged(claim, tests, params)]
    settled = {claim.key for claim in alone}
    few = [claim for claim in whole if claim.key not in settled]
    pooled = [_pooled(claim, past, mode) for claim in few if claim.two_sided]
    judged = alone + [claim for claim in pooled if _can_be_judged(claim, tests, params)]
    tests = sum(1 + claim.two_sided for claim in judged)
    findings = [_exact(words, count) for words, count in exact.items()]
    findings += [_broken(claim) for claim in claims if claim.is_broken]
    findings += [_test(claim, tests, params) for claim in judged]
    findings += [_not_judged(claim, tests, params) for claim in few]
    # What was judged alone is settled; pooled again it would be judged twice, and drown what other nights hold.
    night = {
        f"{mode}/{c.key}": {**{k: float(v) for k, v in asdict(c.moments).items()}, "reference_error": c.reference_error}
        for c in few
        if c.two_sided and c.moments.subjects
    }
    notes = [_FEW.format(least=params.min_subjects)] if few else []
    return Verdict(all(f.passed for f in findings), tuple(findings), mode, night, tuple(notes))


def _can_be_judged(claim: Claim, tests: int, params: GateParams) -> bool:
    """Whether there is enough to judge by: subjects, and a margin no wider than makes sense; or a fault is proven.

    A fault that makes a model erratic also makes its numbers spread; it must not take itself out of the test.
    """
    if claim.moments.subjects < (params.min_subjects if claim.two_sided else 2):
        return False
    if not math.isfinite(claim.moments.mean) or claim.margin < 0:  # broken numbers fail; an improvement is demanded
        return True
    found, widest = _bounds(claim, tests, params), _widest(claim, params)
    return found.floor <= widest or found.high < -widest or (claim.two_sided and found.low > widest)


def _widest(claim: Claim, params: GateParams) -> float:
    """The widest margin that still means something; one set wider than that is the user's own wish."""
    most = params.widest_margin if claim.two_sided else params.widest_loss * claim.reference
    return max(most, claim.margin)


def _broken(claim: Claim) -> Finding:
    whom = f"{_whose(claim)}{_of_whom(claim)}"
    said = f"{claim.name}{whom}: there is nothing to compare with, so it cannot be judged without a retrain"
    return Finding(claim.name, False, said, claim.group, fault="exact")


_FEW = (
    "Where fewer than {least} independent subjects went, or so few that the margin would lose its meaning, no "
    "statistic of this night alone could tell forgotten from remembered. There the exact checks decide, and the "
    "numbers are pooled with those of the nights before and after."
)


def _pooled(claim: Claim, past: Sequence[Night], mode: str) -> Claim:
    """Tonight's claim with those of earlier nights of this mode added; its value is their mean difference, from 0."""
    moments, error = claim.moments, claim.reference_error
    for night in past:
        if before := night.get(f"{mode}/{claim.key}"):
            words = dict(before)
            error = max(error, words.pop("reference_error"))
            moments = moments + Moments(**{**words, "subjects": int(words["subjects"])})  # type: ignore[arg-type]
    group, value = f"{claim.group}, {WINDOW}", moments.mean
    return replace(claim, group=group, value=value, reference=0.0, moments=moments, reference_error=error)


def _exact(words: str, count: int) -> Finding:
    said = f"{words}: none, as it must be" if count == 0 else f"{words}: {count}, must be 0"
    fault: Fault = "swapped" if words in SWAPPED else "exact"
    return Finding(words, count == 0, said, None, float(count), 0.0, low=0.0, high=0.0, fault=fault if count else None)


def _test(claim: Claim, tests: int, params: GateParams) -> Finding:
    found = _bounds(claim, tests, params)
    margin = max(claim.margin, min(found.floor, _widest(claim, params))) if claim.margin >= 0 else claim.margin
    difference = claim.moments.mean
    # NaN compares false, so that what cannot be computed does not pass.
    enough, little = found.low >= -margin, found.high <= margin
    passed = bool(enough and (little or not claim.two_sided))
    fault = None if passed else _fault(claim, difference)
    high = claim.reference + margin if claim.two_sided else math.inf
    return Finding(
        name=claim.name,
        group=claim.group,
        value=claim.value,
        reference=claim.reference,
        difference=difference,
        interval=(found.low, found.high),
        low=claim.reference - margin,
        high=high,
        margin=margin,
        n=claim.moments.subjects,
        passed=passed,
        fault=fault,
        words=_said(claim, found, margin, passed, fault),
    )


def _bounds(claim: Claim, tests: int, params: GateParams) -> Bounds:
    if claim.users is not None and len(claim.users) >= params.min_subjects:
        return bootstrap_bounds(claim.users, tests, params.alpha, params.power)
    return bounds(claim.moments.mean, claim.error, claim.moments.subjects, tests, params.alpha, params.power)


def _fault(claim: Claim, difference: float) -> Fault:
    if not math.isfinite(difference):
        return "exact"
    if claim.name.startswith("test/"):
        return "utility"
    return "under-forgotten" if difference > 0 else "over-forgotten"


def _said(claim: Claim, found: Bounds, margin: float, passed: bool, fault: Fault | None) -> str:
    what = f"{claim.name}{_whose(claim)}"
    against = f"{claim.value:.4f} against {claim.reference:.4f}{_of_whom(claim)}"
    if WINDOW in (claim.group or ""):
        against = (
            f"{claim.moments.mean:+.4f} from its reference over {claim.moments.subjects} subjects of several nights"
        )
    interval = f"difference {claim.moments.mean:+.4f}, interval {found.low:+.4f} to {found.high:+.4f}"
    allowed = f"±{margin:.4f}" if claim.two_sided else f"{-margin:+.4f}"
    wider = (
        f", widened from {claim.margin:.4f} as so little data tells nothing finer apart"
        if margin > claim.margin
        else ""
    )
    said = f"{what} {against}: {interval}, allowed {allowed}{wider}"
    return said if passed else f"{said}; {_MEANING[fault or 'exact']}"


def _whose(claim: Claim) -> str:
    return "" if claim.name.startswith("test/") else f" of forgotten {claim.group}"


def _of_whom(claim: Claim) -> str:
    if not claim.name.startswith("test/"):
        return ""
    return f" of the {claim.group}" if claim.group else " of the retrained models"


def _not_judged(claim: Claim, tests: int, params: GateParams) -> Finding:
    n = claim.moments.subjects
    why = f"at least {params.min_subjects}"
    if n >= params.min_subjects or (n > 1 and not claim.two_sided):
        floor = _bounds(claim, max(tests, 1), params).floor
        why = f"the margin would have to be {floor:.4f}, more than {_widest(claim, params):.4g}"
    against = (
        f"{claim.value:.4f} against {claim.reference:.4f}{_of_whom(claim)}" if n else f"not known{_of_whom(claim)}"
    )
    few = f"{n} independent subject{'s' * (n != 1)}, too few to judge by ({why})"
    said = f"{claim.name}{_whose(claim)} {against}: {few}"
    values = claim.value, claim.reference, claim.moments.mean
    return Finding(claim.name, True, said, claim.group, *values, n=n, judged=False)


_MEANING = {
    "under-forgotten": "the forgotten pairs are still remembered",
    "over-forgotten": "over-forgotten, which betrays them as well",
    "utility": "recommendations got worse for those who stay",
    "exact": "cannot be compared",
}
