"""The night's report: one self-contained page that a privacy officer understands and an engineer can check."""

from tru.report.page import newest, render, write

__all__ = ["newest", "render", "write"]
