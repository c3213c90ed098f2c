"""What the tests of the roof share: one trained tiny workspace per test session, copied for each test."""

import logging
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from filelock import FileLock

from tests.s3 import ENVIRONMENT, Store
from tru.cli.main import QUIET

os.environ.update(QUIET)
for _name in (
    "TRU_WORKSPACE",
    "TRU_DATABASE_URL",
    "TRU_SUPPRESSION_KEY",
    "TRU_CRASH_AFTER",
    "MLFLOW_TRACKING_URI",
    "TRU_SIGNING_KEY",
    "TRU_SIGNING_KEY_PASSWORD",
):
    os.environ.pop(_name, None)


@pytest.fixture(scope="session")
def trained_template(tmp_path_factory) -> Path:
    """A workspace with a champion, never changed; workers of pytest-xdist share it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    root = shared / "trained-workspace"
    with FileLock(shared / "trained-workspace.lock"):
        if not (shared / "trained-workspace.done").exists():
            from tests.workspaces import make
            from tru.ops.pipeline import train

            shutil.rmtree(root, ignore_errors=True)
            train(make(root))
            (shared / "trained-workspace.done").touch()
    return root


@pytest.fixture
def trained(trained_template, tmp_path):
    """A workspace of one's own with tiny data and a champion."""
    from tests.workspaces import copy

    return copy(trained_template, tmp_path / "trained")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Store]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield Store(f"http://{host}:{port}")
    server.stop()


@pytest.fixture
def s3(s3_server: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An S3 store; each test makes buckets of its own."""
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        (tmp_path / name).touch()
        monkeypatch.setenv(name, str(tmp_path / name))
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    return s3_server


SLOW = (
    *("flows/", "benchmarks/", "ops/pipeline/", "ops/weekly/", "ops/erasure/", "ops/release/", "ops/report/test_page"),
    *("ops/test_killed_runs", "ops/test_adopt", "ops/test_services", "ops/test_stages", "ops/test_server"),
    *("ops/test_prefect_plugin", "ops/test_champion", "ops/certificates/test_certificate_page"),
    *("cli/test_demo", "cli/test_baseline_command", "cli/test_erasure_command"),
    *("ops/test_checks", "ops/requests/test_store", "ops/requests/test_ledger", "ops/test_preconditions"),
    *("ops/test_status", "cli/test_main", "cli/test_certificate_command", "unlearning/test_tru", "data/test_ids"),
    *("test_readme", "test_stored_before", "test_extending", "test_imports", "test_extras", "test_plugins"),
    *("test_testing", "test_elsewhere", "test_architecture", "unlearning/test_rivals"),
)
"""Files and folders that take seconds to minutes: flows, crashes, servers, processes, whole workspaces."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is slow, so that `make test-fast` can leave it out; `make test` runs all of it."""
    here = Path(__file__).parent
    for item in items:
        place = item.path.relative_to(here).as_posix() if item.path.is_relative_to(here) else ""
        if place.startswith(SLOW) or "trained" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.slow)
