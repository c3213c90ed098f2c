"""Where models rank the forgotten pairs, and how far that is from where retraining ranks them, on both sides."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

import numpy as np

from tru.evaluation.audits import Scores, Stage, forget_recall, ks_distance, membership_auc, win_shares, z_scores
from tru.evaluation.evidence import groups, ranked
from tru.evaluation.research.utility import mean

REFERENCE = "retrained-0"
QUANTILE = 0.95
"""Of the distances between two retrains' percentiles of a pair: less than this is noise."""


def rank_rows(scores: Mapping[str, Scores], stage: Stage) -> dict[str, dict[tuple[str, str], float]]:
    """Per model what it makes of the forgotten pairs, in all and, in a mixed batch, by what made them go.

    ``forget/percentile``, ``forget/z``: means; 1 is the best rank. ``forget/hit@20``: share of pairs in the top 20,
    ``forget/recall@20`` the same as a mean over users. ``forget/auc``: how often a pair outscores never-seen ones;
    ``canary/auc`` beside it for pairs that no training has seen. Against the keyed retrain, for all other models:
    ``forget/ks/percentile``, ``forget/ks/z``: distance of the two distributions, where the rows of the other retrains
    are that of two retrained seeds; ``forget/below/...``, ``forget/above/...``: see :func:`apart`. Without forgotten
    pairs there is nothing.
    """
    pairs = stage.forgotten
    if not len(pairs):
        return {}
    several = groups(stage)
    parts = {"all": np.arange(len(pairs))} | ({name: g.at for name, g in several.items()} if len(several) > 1 else {})
    observed = {name: (*ranked(part, stage, pairs), z_scores(part, pairs)) for name, part in scores.items()}
    wins = {name: win_shares(part, stage, pairs) for name, part in scores.items()}
    retrained = [observed[name][1] for name in scores if name.startswith("retrained")]
    out: dict[str, dict[tuple[str, str], float]] = {
        name: {
            ("forget/recall@20", "all"): forget_recall(part, stage),
            ("canary/auc", "all"): membership_auc(part, stage, stage.canary),
        }
        for name, part in scores.items()
    }
    for group, at in parts.items():
        slack = tolerance([ranks[at] for ranks in retrained])
        for name, (hits, ranks, z) in observed.items():
            seen = wins[name][at]
            values = {"hit@20": mean(hits[at]), "percentile": mean(ranks[at]), "z": mean(z[at])}
            values["auc"] = mean(seen[~np.isnan(seen)])
            if name != REFERENCE:
                _, theirs, their_z = observed[REFERENCE]
                values |= {"ks/percentile": ks_distance(ranks[at], theirs[at])}
                values |= {"ks/z": ks_distance(z[at], their_z[at])}
                values |= apart(ranks[at], theirs[at], slack)
            out[name] |= {(f"forget/{metric}", group): value for metric, value in values.items()}
    return out


def tolerance(retrained: list[np.ndarray]) -> float:
    """By how much the percentiles of a pair differ between two retrains, at most, in QUANTILE of the cases; 0 of one.

    Args:
        retrained: per retrained model, (p,) percentiles.
    """
    differences = [np.abs(a - b) for a, b in combinations(retrained, 2)]
    return float(np.quantile(np.concatenate(differences), QUANTILE)) if differences and len(differences[0]) else 0.0


def apart(ranks: np.ndarray, reference: np.ndarray, slack: float) -> dict[str, float]:
    """Over- and under-forgetting, pair by pair against a retrained model.

    Args:
        ranks: (p,) percentiles, 1 is best.
        reference: (p,) those of the retrained model.
        slack: what two retrains differ by.

    Returns:
        ``below/share``: pairs ranked below the reference, ties count half: .5 where nothing is pushed either way.
        ``below/clear``, ``above/clear``: pairs below or above it by more than ``slack``.
        ``below/mean``: how far below on average; negative is above.
    """
    difference = ranks - reference
    return {
        "below/share": mean((difference < 0) + 0.5 * (difference == 0)),
        "below/clear": mean(difference < -slack),
        "above/clear": mean(difference > slack),
        "below/mean": mean(-difference),
    }
