"""The small world of the tests. It is shipped, in :mod:`tru.testing.tiny`."""

from tru.testing.tiny import (
    CANARY_RATE,
    MODEL,
    TRAIN,
    by_hand,
    dataset,
    in_modalities,
    less,
    prepared,
    train_pairs,
    trained,
    without,
    without_some_edges,
)

__all__ = [
    "CANARY_RATE",
    "MODEL",
    "TRAIN",
    "by_hand",
    "dataset",
    "in_modalities",
    "less",
    "prepared",
    "train_pairs",
    "trained",
    "without",
    "without_some_edges",
]
