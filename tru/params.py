"""The base of every params class: frozen, and a key nobody knows is an error, not a silence."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Params(BaseModel):
    """Base class of all settings read from ``params.yaml``; each subclass stands beside what it configures."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)
