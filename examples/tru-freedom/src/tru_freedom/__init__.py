"""FREEDOM as a backbone of tru."""

from tru_freedom.model import Freedom, FreedomParams

__all__ = ["Freedom", "FreedomParams"]
