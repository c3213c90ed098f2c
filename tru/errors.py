"""Every error a user of tru can meet.

::

    TruError
    ├── CommandError          a command line of which something would be lost
    ├── MissingExtra          a command needs packages that an extra of tru brings
    ├── WorkspaceError        the folder is not a workspace, or its params.yaml is wrong
    ├── DataError             the data set is unreadable, inconsistent or empty
    │   ├── CheckFailed       Great Expectations refused the data
    │   └── NothingLeft       without what is to be forgotten there would be nothing to learn from
    ├── RequestError          a deletion request that cannot be taken as given
    │   └── LeaseHeld         another run holds the open batch
    ├── ModelError            a model that cannot be trained, loaded or served
    ├── UnlearningError       an unlearner cannot do what is asked of it
    ├── EvaluationError       an audit that could say nothing, such as of a model against itself
    ├── ReleaseError          the model registry or the data versions refuse a step
    │   └── Busy              another run is at the same work
    ├── ErasureError          an erasure that cannot begin, or that left something behind
    └── CertificateError      a certificate that cannot be issued, or is not to be trusted

A message says what is wrong, where (file, row), and what to do next. It never names a person.
"""

from __future__ import annotations

from collections.abc import Sequence

REASON_FILE = "TRU_REASON_FILE"
"""Environment variable: the file in which whoever started a command of ours looks for its one-line reason to fail."""


class TruError(Exception):
    """Base of all errors that are the user's to solve; the command line prints them without a traceback."""


class CommandError(TruError):
    """A command line of which something would be lost, such as one of two values of an option that takes one."""


class MissingExtra(TruError):
    """A command needs packages that an extra of tru brings and that are not installed."""


class WorkspaceError(TruError):
    """The folder is not a workspace, or its ``params.yaml`` is wrong."""


class DataError(TruError):
    """The data set is unreadable, inconsistent or empty."""


class CheckFailed(DataError):
    """Great Expectations refused the data; the message names the failed expectations and no identifier.

    Attributes:
        reasons: why, one sentence per expectation.
    """

    def __init__(self, message: str, reasons: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.reasons = list(reasons) or [message]


class NothingLeft(DataError):
    """Without what is to be forgotten there would be nothing to learn from."""


class RequestError(TruError):
    """A deletion request that cannot be taken as given."""


class LeaseHeld(RequestError):
    """Another run holds the open batch; wait for it or let its lease run out."""


class ModelError(TruError):
    """A model that cannot be trained, loaded or served."""


class UnlearningError(TruError):
    """An unlearner cannot do what is asked of it."""


class EvaluationError(TruError):
    """An audit that could say nothing, such as of a model against itself."""


class ReleaseError(TruError):
    """The model registry or the data versions refuse a step."""


class Busy(ReleaseError):
    """Another run is at the same work; nothing was changed, and when it has ended this can be run again."""


class ErasureError(TruError):
    """An erasure that cannot begin, or that left something behind."""


class CertificateError(TruError):
    """A certificate that cannot be issued, or is not to be trusted; or its key."""
