"""The night's report: one self-contained page that a privacy officer understands and an engineer can check."""

from tru.ops.report.page import compose, newest, render, rewrite, summary, write

__all__ = ["compose", "newest", "render", "rewrite", "summary", "write"]
