"""Searching every store for what is left of the forgotten."""
