"""Standard output of a command that works for long: its outcome, and nothing else."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print the outcome, warnings and errors only.")]

QUIET_VARIABLE = "TRU_QUIET"
"""Set for `tru.training` here and in the processes of the stages: no progress, please."""


@contextmanager
def reserved_for_outcome(*, quiet: bool) -> Iterator[None]:
    """Keep standard output free while the work goes on: libraries print on it, and a program may be reading it.

    What they print goes to standard error, like the log and the progress; nowhere if ``quiet``, which also asks Prefect
    and the training, in this process and in those of the stages, for warnings only. Errors are always printed.
    """
    wishes = {QUIET_VARIABLE: "1", "PREFECT_LOGGING_LEVEL": "WARNING"} if quiet else {}
    before = {name: os.environ.get(name) for name in wishes}
    os.environ.update(wishes)
    sys.stdout.flush()
    outcome = os.dup(1)
    elsewhere = os.open(os.devnull, os.O_WRONLY) if quiet else os.dup(2)
    try:
        os.dup2(elsewhere, 1)
        yield
    finally:
        sys.stdout.flush()
        os.dup2(outcome, 1)
        os.close(outcome)
        os.close(elsewhere)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
