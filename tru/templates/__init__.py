"""What a new workspace starts with: ``params.yaml``, ``dvc.yaml``, ``prefect.yaml`` and the flows.

The files beside this module are links to those at the top of the repository, which are the only copy; a wheel carries
what they lead to. Three bear the ending ``.template``: DVC takes every ``dvc.yaml`` for a pipeline, also one that it
comes across in a virtual environment inside a workspace.
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

_FOLDER = Path(str(files("tru.templates")))


def template(name: str) -> Path:
    """Where the template of a file is.

    Args:
        name: the file by its path in a workspace, such as ``params.yaml`` or ``flows/unlearn.py``.
    """
    return _FOLDER / (name if name.startswith("flows/") else f"{name}.template")


def flows() -> list[str]:
    """The files of the flows by their path in a workspace, ``flows/unlearn.py`` and the like."""
    return sorted(f"flows/{file.name}" for file in (_FOLDER / "flows").glob("*.py"))
