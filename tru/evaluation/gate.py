"""The gate: a candidate may serve only if it behaves like models retrained without the forgotten data.

Two-sided where forgetting is judged: a pair pushed below what retraining gives betrays itself as much as one still
remembered. The verdict holds every number, its allowed range and the reasons in plain words.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pydantic import Field

from tru.params import Params


class GateParams(Params):
    """The gate: block ``gate`` of ``params.yaml``."""

    baselines: int = Field(default=2, ge=2)
    """Seeds to retrain and compare with; at least 2."""
    utility_margin: float = Field(default=0.03, allow_inf_nan=False)
    """Test NDCG@20 may lie below the retrained median by this share of it."""
    forget_margin: float = Field(default=0.03, allow_inf_nan=False)
    """Recall@20 of forgotten pairs may lie outside the retrained range by so much, above or below."""
    membership_margin: float = Field(default=0.03, allow_inf_nan=False)
    """Membership AUC may lie outside the retrained range by so much, above or below."""


@dataclass(frozen=True)
class Finding:
    """One line of the verdict.

    Attributes:
        name: the metric, under the name it has everywhere.
        value: the candidate's.
        low: least that passes.
        high: most that passes.
        passed: whether it does.
        words: the same for a person.
    """

    name: str
    value: float
    low: float
    high: float
    passed: bool
    words: str


@dataclass(frozen=True)
class Verdict:
    """What the gate says.

    Attributes:
        passed: whether the candidate may serve.
        findings: one per check.
    """

    passed: bool
    findings: tuple[Finding, ...]

    @property
    def word(self) -> str:
        """``pass`` or ``fail``."""
        return "pass" if self.passed else "fail"

    @property
    def reasons(self) -> list[str]:
        """Why it failed, or why it passed."""
        return [f.words for f in self.findings if f.passed == self.passed]

    def to_dict(self) -> dict[str, Any]:
        """For JSON; no identifier in it. Infinite bounds become null."""
        rows = [{k: _plain(v) for k, v in asdict(f).items()} for f in self.findings]
        return {"verdict": self.word, "reasons": self.reasons, "table": rows}


def judge(
    candidate: dict[str, float],
    baselines: list[dict[str, float]],
    exact: dict[str, int],
    independent: int,
    params: GateParams,
) -> Verdict:
    """Compare a candidate with retrained baselines.

    Args:
        candidate: its metrics (:func:`tru.evaluation.audits.evaluate`).
        baselines: the same metrics of each retrained model; at least one.
        exact: check in words -> number of violations; each must be 0.
        independent: how many of the forgotten pairs count as independent draws (pairs of one subject are not); with
            few, the sampling error widens the margins of the audits. 0: no pair was forgotten.
        params: the margins.
    """
    median = float(np.median([b["test/ndcg@20"] for b in baselines]))
    findings = [_exact(words, count) for words, count in exact.items()] + [
        _between("test/ndcg@20", candidate, median * (1 - params.utility_margin), math.inf)
    ]
    # Without forgotten pairs (a revoked picture, say) there is nothing to rank; the exact checks stand alone.
    if independent:
        rate = float(np.mean([b["forget/recall@20"] for b in baselines]))
        findings.append(
            _around(
                "forget/recall@20",
                candidate,
                baselines,
                max(params.forget_margin, _error(_binomial(rate), independent)),
            )
        )
        findings.append(
            _around(
                "membership_auc", candidate, baselines, max(params.membership_margin, _error(_UNIFORM, independent))
            )
        )
    return Verdict(all(f.passed for f in findings), tuple(findings))


_UNIFORM = 0.29
"""Standard deviation of a pair's rank among never-seen items where it looks like one of them."""


def _binomial(rate: float) -> float:
    return math.sqrt(max(rate * (1 - rate), 0.01))


def _error(deviation: float, n: int) -> float:
    """1.96 standard errors of the difference of two means over n pairs."""
    return 1.96 * deviation * math.sqrt(2 / n)


def _exact(words: str, count: int) -> Finding:
    said = f"{words}: none, as it must be" if count == 0 else f"{words}: {count}, must be 0"
    return Finding(words, float(count), 0.0, 0.0, count == 0, said)


def _around(name: str, candidate: dict[str, float], baselines: list[dict[str, float]], margin: float) -> Finding:
    values = np.array([b[name] for b in baselines])  # NaN in any baseline makes both bounds NaN, and nothing passes
    return _between(name, candidate, float(values.min()) - margin, float(values.max()) + margin)


def _between(name: str, candidate: dict[str, float], low: float, high: float) -> Finding:
    value = candidate[name]
    passed = math.isfinite(value) and low <= value <= high  # NaN compares false and so fails
    allowed = f"at least {low:.4f}" if math.isinf(high) else f"{max(low, 0):.4f} to {high:.4f}"
    if passed:
        said = f"{name} {value:.4f} lies in the range that retraining allows ({allowed})"
    else:
        side = "below" if value < low else "above" if value > high else "undefined or cannot be compared, not in"
        meaning = _MEANING.get((name, side), "")
        said = f"{name} {value:.4f} is {side} the range that retraining allows ({allowed}){meaning}"
    return Finding(name, value, low, high, passed, said)


_MEANING = {
    ("forget/recall@20", "above"): ": the forgotten pairs are still remembered",
    ("membership_auc", "above"): ": the forgotten pairs are still remembered",
    ("forget/recall@20", "below"): ": over-forgotten, which betrays them as well",
    ("membership_auc", "below"): ": over-forgotten, which betrays them as well",
    ("test/ndcg@20", "below"): ": recommendations got worse for those who stay",
}


def _plain(value: Any) -> Any:  # noqa: ANN401 - whatever a finding holds
    return None if isinstance(value, float) and not math.isfinite(value) else value
