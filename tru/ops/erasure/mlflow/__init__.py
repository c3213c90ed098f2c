"""Destroying what MLflow keeps of older models: versions, runs, artifacts."""
