"""Serving, where it stood in version 0.1.0."""
