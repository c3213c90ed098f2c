"""How long what is old may stay: versions of models and data, and the numbers of runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from tru.ops.release.params import ErasureParams
from tru.ops.release.registry_reader import BASELINE, CHAMPION, ModelVersion


def kept(versions: Sequence[ModelVersion], mark: int, params: ErasureParams, now: datetime) -> list[ModelVersion]:
    """The versions that survive an erasure, newest first.

    Args:
        versions: all there are, newest first.
        mark: how many deletions a version must respect (``tru.deleted_through``).
        params: how many stay, and how long.
        now: aware.
    """
    able = [v for v in versions if int(v.tags.get("tru.deleted_through") or 0) >= mark]
    stay = {v.version for v in able if {CHAMPION, BASELINE} & set(v.aliases)}
    oldest = now - timedelta(days=params.keep_days)
    others = [v for v in able if v.version not in stay and v.created >= oldest]
    stay |= {v.version for v in others[: params.keep_versions]}
    return [v for v in able if v.version in stay]
