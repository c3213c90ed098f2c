"""What the flows in ``flows/`` are made of: the only package that knows Prefect besides the plug-in.

Importing it alone does not import Prefect, so that :func:`use_workspace` can say where Prefect keeps its things.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, cast

from tru.errors import Busy, TruError, WorkspaceError
from tru.ops.servers.deployments import entrypoint
from tru.ops.servers.services import prefect_environment, without_prefect
from tru.ops.workspace import Workspace


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
    # The temporary server watches this process and ends with it, even after a SIGKILL: see
    # tru/ops/servers/prefect_plugin.py.
    os.environ["TRU_RUN_PID"] = str(os.getpid())
    if "prefect" in sys.modules:
        from prefect.context import refresh_global_settings_context

        refresh_global_settings_context()


def run(ws: Workspace, deployment: str, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - whatever the flow takes
    """Run the flow of a deployment in this process, with or without a server; what `tru run` and the like call.

    Args:
        ws: the workspace, whose own flow is run if it has one.
        deployment: its name in ``prefect.yaml``, such as ``unlearn-nightly``.
        **parameters: of the flow, besides ``workspace``.

    Returns:
        What the flow returns; of `unlearn-nightly` ``{"batch": id, ...}``, or ``{"batch": None}`` if nothing was due.

    Raises:
        Busy: another run is at the same work.
        WorkspaceError: the flow cannot be loaded.
        TruError: as the flow.
    """
    use_workspace(ws)
    return _called(load(ws, deployment), ws, **parameters)


def load(ws: Workspace, deployment: str) -> Callable[..., Any]:
    """The flow of a deployment, loaded from the file that ``prefect.yaml`` names.

    Raises:
        WorkspaceError: there is no such file or flow, or the file cannot be executed.
    """
    from prefect.exceptions import MissingFlowError, ScriptError
    from prefect.flows import load_flow_from_entrypoint

    place, before = entrypoint(ws, deployment), list(sys.path)
    try:
        return cast(Callable[..., Any], load_flow_from_entrypoint(place, use_placeholder_flow=False))
    except ScriptError as error:
        what = f"{type(error.user_exc).__name__}: {error.user_exc}"
        raise WorkspaceError(f"{place} cannot be loaded ({what}). Correct it, or its name in prefect.yaml.") from error
    except (MissingFlowError, ImportError, OSError) as error:
        raise WorkspaceError(f"{place} names no flow ({error}). Correct it in prefect.yaml.") from error
    finally:
        # Prefect puts the file's folder and the current one first, where any file that is called like a library would
        # be taken for it by every later import. Last is enough for what lies beside the flow.
        sys.path[:] = [*before, *(folder for folder in sys.path if folder not in before)]


def command_line(flow: Callable[..., Any]) -> None:
    """The command line of ``python -m flows.NAME``: run one flow in this process, print its outcome as JSON."""
    parser = argparse.ArgumentParser(description=(flow.__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--workspace", "-w", help="folder to work in (default: $TRU_WORKSPACE, else the current directory)"
    )
    try:
        ws = Workspace.find(parser.parse_args().workspace)
        use_workspace(ws)
        outcome = _called(flow, ws)
    except TruError as error:
        sys.exit(f"Error: {error}")
    print(json.dumps(outcome, indent=2, default=str))  # noqa: T201 - this is a command


def _called(flow: Callable[..., Any], ws: Workspace, **parameters: Any) -> dict[str, Any]:  # noqa: ANN401 - the same
    with _busy_if_cancelled():
        return cast(dict[str, Any], flow(workspace=str(ws.root), **parameters))  # Prefect unpacks the state


@contextmanager
def _busy_if_cancelled() -> Iterator[None]:
    """Around a flow that is called in this process: its state Cancelled is the error `Busy` for who called."""
    from prefect.exceptions import CancelledRun

    try:
        yield
    except CancelledRun as cancelled:
        raise Busy(str(cancelled)) from None
