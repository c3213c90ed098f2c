"""What Prefect's engine logs of a run, made short: each fact once, and no way through the code where words say it.

A run that a person has to help ends with one line that says why. Prefect would log that line four times, once with the
whole way of the error through its own engine. ``TRU_DEBUG=1`` leaves everything as it is.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator

from tru.errors import TruError

_ENDED = re.compile(r'(Finished in state \w+)\(["\'](?:Task|Flow) run encountered an exception:? (\w+): ')
_SERVER_STOPS = "Stopping temporary server"


class Brief(logging.Filter):
    """Drops or shortens the lines of Prefect's engine that say again what a step or its error says."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is logged; it may be made shorter."""
        if os.environ.get("TRU_DEBUG"):
            return True
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, TruError):
            record.msg, record.args, record.exc_info, record.exc_text = str(error), (), None, None
            return not _is_run_by_hand()  # where a person reads, the command says it, last
        line = record.getMessage()
        if (ended := _ENDED.match(line)) and ended[2] in set(_names(TruError)):
            record.msg, record.args = ended[1], ()
        return line != "Finished in state Completed()" or record.name != "prefect.task_runs"


class _NoFarewell(logging.Filter):
    """Keeps the end of the temporary server, which nobody asked for, from being the last word."""

    def filter(self, record: logging.LogRecord) -> bool:
        return not str(record.msg).startswith(_SERVER_STOPS)


class _NoHooks(logging.Filter):
    """Keeps out that a hook began and ended well, as one does in every run; a hook that fails is said."""

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno > logging.INFO or not record.getMessage().startswith(("Running hook ", "Hook "))


_BRIEF, _NO_FAREWELL, _NO_HOOKS = Brief(), _NoFarewell(), _NoHooks()


def shorten() -> None:
    """Shorten the engine's lines in this process; saying it twice changes nothing."""
    for name in ("prefect.flow_runs", "prefect.task_runs"):
        logging.getLogger(name).addFilter(_BRIEF)
    logging.getLogger("prefect").addFilter(_NO_FAREWELL)
    logging.getLogger("prefect.engine").addFilter(_NO_HOOKS)


def _is_run_by_hand() -> bool:
    """Whether a command runs the flow in this process (`tru.ops.flows.use_workspace`), and not a worker."""
    return os.environ.get("TRU_RUN_PID") == str(os.getpid())


def _names(kind: type[Exception]) -> Iterator[str]:
    """The name of a class of errors and of all that come from it."""
    yield kind.__name__
    for inner in kind.__subclasses__():
        yield from _names(inner)
