"""What a command must not load. No time is measured here: what is loaded is, and that is what the time is spent on."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = ("torch", "torch_geometric", "scipy", "mlflow", "prefect", "dvc", "great_expectations")
"""Computing and tools that take seconds to load."""
TABLES = ("pandas", "pyarrow")


def loaded(program: str, watched: tuple[str, ...], folder: Path = ROOT) -> list[str]:
    """Which of the watched packages a program has loaded at its end."""
    ending = f"\nimport sys\nprint('loaded:', *[name for name in {watched!r} if name in sys.modules])"
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", program + ending],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


def loaded_by(folder: Path, *words: str, watched: tuple[str, ...]) -> list[str]:
    """The same of a command that is typed in a folder, and that succeeds."""
    program = f"""
import sys
sys.argv = {["tru", *words]!r}
from tru.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
"""
    return loaded(program, watched, folder)


def test_settings_load_nothing_that_computes():
    assert loaded("from tru.ops.settings import load_settings", (*TOOLS, *TABLES, "numpy", "sqlalchemy")) == []


@pytest.mark.parametrize(
    ("command", "watched"),
    [
        ("status", (*TOOLS, *TABLES, "numpy")),
        ("status --json", (*TOOLS, *TABLES, "numpy")),
        ("run", (*TOOLS, *TABLES, "numpy")),  # nothing is due
        ("requests list", (*TOOLS, *TABLES, "numpy")),
        ("rollback --list", (*TOOLS, *TABLES, "numpy")),
        ("baseline --show", (*TOOLS, *TABLES)),
        ("erase --plan", (*TOOLS, *TABLES, "numpy")),
        ("ledger verify", (*TOOLS, *TABLES, "numpy")),
        ("recommend --user somebody", (*TOOLS, *TABLES)),
        ("stage prepare", TOOLS),
    ],
)
def test_who_only_asks_waits_for_no_tool(trained, command, watched):
    assert loaded_by(trained.root, *command.split(), watched=watched) == []


def test_a_plan_of_what_would_be_erased_computes_nothing(trained):
    folder = trained.state / "erasure" / "batch-20260101-01"
    folder.mkdir(parents=True)
    (folder / "traces.npz").touch()
    about = {"batch": folder.name, "mark": 0, "promoted": "2026-01-01T02:30:00+00:00", "requests": [], "about": {}}
    (folder / "about.json").write_text(json.dumps(about))
    assert loaded_by(trained.root, "erase", "--plan", watched=("torch", "torch_geometric")) == []
