"""Block ``erasure`` of ``params.yaml``; apart from what reads it, so that nobody loads MLflow to ask."""

from __future__ import annotations

from pydantic import Field

from tru.params import Params


class ErasureParams(Params):
    """When an erasure comes, and what else it destroys. Nothing that knows the forgotten outlives the grace."""

    automatic: bool = True
    """The nightly run erases by itself; false: it leaves that to a person and ``tru erase``."""
    grace_hours: float = Field(default=0.0, ge=0)
    """So long after the promotion what knew the forgotten may stay, for servers that still read the old champion."""
    keep_versions: int = Field(default=5, ge=0)
    """Model versions, with their data, that know nobody forgotten and stay besides champion and baseline."""
    keep_days: float = Field(default=90.0, ge=0)
    """And no longer than that."""
    alone: bool = False
    """Nobody else uses this workspace's DVC remotes and cache: what this repository never named goes there as well."""
    exports: list[str] = Field(default=["exports"])
    """Folders of the workspace with what was made from the data or the models by hand: destroyed at each erasure."""
