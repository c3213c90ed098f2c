"""The quality of forgetting, measured over a grid and written down: ``python -m benchmarks.quality``.

========== ===========================================================================================================
grid       what is to be measured: backbone x data set x regime x fraction x seed x method, from ``grid.yaml``
pantry     data sets and trained models, kept by content, shared by all who need them
cells      one method at one place of the grid, measured
drift      the same after many small batches in a row
tuning     settings for every rival, chosen on validation with the same number of tries for each
pool       many processes, one progress bar, nothing lost when one of them is killed
results    small files of finished cells, merged into ``results.parquet``; the runs in MLflow
tables     what the report reads off that file: medians, spreads, targets, comparisons
figures    its pictures
markdown   its numbers and tables
report     ``docs/results.md``, from ``results.parquet`` alone
========== ===========================================================================================================
"""
