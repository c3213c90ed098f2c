"""Measuring: ranking metrics, audits of forgetting, and the gate that turns them into a verdict."""
