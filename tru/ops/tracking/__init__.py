"""What MLflow's pages show of tru: which runs belong together, what each says, and the model cards of versions.

Numbers, settings, counts and words only: no identifier of a subject comes here. Only :mod:`tru.ops.tracking.runs` loads
MLflow.
"""
