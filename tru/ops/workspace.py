"""A workspace: the folder with params.yaml, dvc.yaml and data.dvc in which everything of one recommender lives."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tru.errors import TruError, WorkspaceError
from tru.ops import identity


@dataclass(frozen=True)
class Workspace:
    """Where things are. Only paths and addresses; nothing is read or created here.

    Attributes:
        root: the absolute path of the folder.
    """

    root: Path

    @classmethod
    def find(cls, path: Path | str | None = None, *, reading: bool = False) -> Workspace:
        """The workspace at ``path``, else at ``$TRU_WORKSPACE``, else the current directory.

        Args:
            path: the folder.
            reading: nothing is written and no model is read, so that it may be a copy that was not adopted yet.

        Raises:
            WorkspaceError: there is no ``params.yaml`` in it; or it is a copy, which would work in the original.
        """
        root = Path(path or os.environ.get("TRU_WORKSPACE") or ".").resolve()
        if not (root / "params.yaml").is_file():
            raise WorkspaceError(
                f"{root} is not a workspace: it has no params.yaml. "
                "Name one with --workspace DIR or TRU_WORKSPACE, or make one with `tru init DIR`."
            )
        identity.refuse_unsafe_name(root)
        if (origin := identity.origin(root)) is None:
            identity.settle(root)
        elif not reading:
            raise WorkspaceError(origin.words(root))
        return cls(root)

    @property
    def params(self) -> Path:
        """The one file of settings."""
        return self.root / "params.yaml"

    @property
    def data(self) -> Path:
        """The raw data set, tracked by ``data.dvc``."""
        return self.root / "data"

    @property
    def artifacts(self) -> Path:
        """Outputs of the DVC stages."""
        return self.root / "artifacts"

    @property
    def metrics(self) -> Path:
        """Small JSON and CSV files of numbers, tracked by git; never an identifier in them."""
        return self.root / "metrics"

    @property
    def state(self) -> Path:
        """What this machine knows and git does not: inbox, batches under way, logs of the servers."""
        return self.root / ".tru"

    @property
    def batches(self) -> Path:
        """One folder of intermediates per open batch; destroyed when the batch closes."""
        return self.state / "batches"

    @property
    def reports(self) -> Path:
        """The report of each batch, ``BATCH.html``."""
        return self.state / "reports"

    @property
    def certificates(self) -> Path:
        """The certificate of each fulfilled request, ``REQUEST.json``."""
        return self.state / "certificates"

    @property
    def database_url(self) -> str:
        """SQLAlchemy address of the inbox: ``$TRU_DATABASE_URL``, else SQLite in the workspace."""
        return os.environ.get("TRU_DATABASE_URL") or f"sqlite:///{self.state / 'inbox.db'}"

    @property
    def tracking_uri(self) -> str:
        """MLflow's address: ``$MLFLOW_TRACKING_URI``, else ``mlflow.db`` in the workspace (MLflow's own default)."""
        return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{self.root / 'mlflow.db'}"

    @property
    def model_store(self) -> Path:
        """Where the artifacts of MLflow runs are kept when MLflow runs on the default store."""
        return self.root / "mlartifacts"


@contextmanager
def only_one(lock: Path, otherwise: TruError) -> Iterator[None]:
    """Let one process at a time through; the system takes the lock from one that dies.

    Args:
        lock: a file, made if it is not there.
        otherwise: raised if somebody else holds it.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise otherwise from None
        yield
