"""Erasure: finding and destroying what a batch left behind, wherever it lies."""
