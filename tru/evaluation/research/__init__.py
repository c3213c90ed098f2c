"""Audits for research: attacks, probes, relearning, ranks, utility."""
