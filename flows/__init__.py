"""What runs, when, with which retries: the only package that knows Prefect (besides ``tru.prefect_plugin``).

Importing ``flows`` alone does not import Prefect, so that :func:`use_workspace` can say where Prefect keeps its things.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tru.errors import Busy, TruError
from tru.services import prefect_environment, without_prefect
from tru.workspace import Workspace


def use_workspace(ws: Workspace) -> None:
    """Make Prefect in this process keep everything inside ``ws``, and leave the user's own Prefect alone.

    Flow runs are recorded by the server of a running ``tru up`` of the workspace; without one, Prefect starts a
    temporary server beside this process (about 10 s) that writes to the same place. It is best called before Prefect is
    imported; afterwards works too.
    """
    for name in os.environ.keys() - without_prefect(os.environ).keys():
        del os.environ[name]
    (ws.state / "prefect").mkdir(parents=True, exist_ok=True)  # Prefect does not make the parents itself
    os.environ.update(prefect_environment(ws))
    # The temporary server watches this process and ends with it, even after a SIGKILL: see tru/prefect_plugin.py.
    os.environ["TRU_RUN_PID"] = str(os.getpid())
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


@contextmanager
def busy_if_cancelled() -> Iterator[None]:
    """Around a flow that is called in this process: its state Cancelled is the error `Busy` for who called."""
    from prefect.exceptions import CancelledRun

    try:
        yield
    except CancelledRun as cancelled:
        raise Busy(str(cancelled)) from None


def main(run: Callable[[Workspace], dict[str, Any]], description: str) -> None:
    """The command line of ``python -m flows.NAME``: run one flow, print its outcome as JSON."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument(
        "--workspace", "-w", help="folder to work in (default: $TRU_WORKSPACE, else the current directory)"
    )
    try:
        outcome = run(Workspace.find(parser.parse_args().workspace))
    except TruError as error:
        sys.exit(f"Error: {error}")
    print(json.dumps(outcome, indent=2, default=str))  # noqa: T201 - this is a command
