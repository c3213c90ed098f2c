"""Serving, where it stood in version 0.1.0."""

from tru.ops.release.serving import DEFAULT_K, MAX_USERS, Query, Recommender, checked_query

__all__ = ["DEFAULT_K", "MAX_USERS", "Query", "Recommender", "checked_query"]
