"""A workspace that is only a folder, and a model so small that its right answers are seen at a glance."""

from pathlib import Path

import numpy as np
import pytest

from tru.ops.release.serving import SERVING_FILE
from tru.ops.workspace import Workspace


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    for name in ("MLFLOW_TRACKING_URI", "TRU_WORKSPACE", "TRU_DATABASE_URL", "TRU_SUPPRESSION_KEY"):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / "workspace"
    root.mkdir()
    (root / "params.yaml").write_text("{}\n")
    return Workspace(root)


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    """See :func:`write_model`."""
    return write_model(tmp_path / "candidate")


def write_model(folder: Path) -> Path:
    """Users ann, bob; items i0 … i5. Ann likes high numbers and has seen i5, bob low ones and has seen i0, i1."""
    folder.mkdir()
    likes = np.arange(6, dtype=np.float32)
    np.savez(
        folder / SERVING_FILE,
        users=np.array(["ann", "bob"]),
        items=np.array([f"i{n}" for n in range(6)]),
        user_vectors=np.array([[1.0], [-1.0]], np.float32),
        item_vectors=likes[:, None],
        seen_indptr=np.array([0, 1, 3], np.int64),
        seen_indices=np.array([5, 0, 1], np.int32),
        popular=np.array([2, 0, 4, 1, 3, 5], np.int32),
    )
    (folder / "model.json").write_text('{"backbone": "none"}')
    return folder
