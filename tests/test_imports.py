"""What a command must not load. Time is not measured: what is loaded is, and that is what the time is spent on."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
# What computes, and the tools that are slow to load.
SLOW = ("torch", "torch_geometric", "scipy", "pandas", "pyarrow", "mlflow", "prefect", "dvc", "great_expectations")


def loaded(program: str, watched: tuple[str, ...]) -> list[str]:
    """Which of the watched modules a program has loaded at its end."""
    ending = f"\nimport sys\nprint('loaded:', *[name for name in {watched!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", program + ending], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def test_settings_load_nothing_that_computes():
    assert loaded("from tru.settings import load_settings", (*SLOW, "numpy", "sqlalchemy")) == []
