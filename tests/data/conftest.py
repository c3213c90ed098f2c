from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tru.data.interactions import Dataset, save_dataset
from tru.data.params import SyntheticParams
from tru.data.synthetic import generate

TINY = SyntheticParams(users=120, items=80)


@pytest.fixture(scope="session")
def tiny() -> Dataset:
    """A small data set that no test may write to."""
    return generate(TINY)


@pytest.fixture
def folder(tiny, tmp_path) -> Path:
    """The small data set on disk, for the test to damage."""
    save_dataset(tiny, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def fingerprint() -> Callable[[Path], dict[str, str]]:
    """Hashes of all files below a folder."""

    def hashes(root: Path) -> dict[str, str]:
        files = sorted(path for path in root.rglob("*") if path.is_file())
        return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    return hashes
