"""The reader says what MLflow says, loads nothing of it, and leaves everything as it is."""

import http.server
import shutil
import socket
import threading
from contextlib import nullcontext

import pytest
from mlflow.tracking import MlflowClient

from tru.errors import ReleaseError
from tru.ops.release import registry_reader
from tru.ops.release.registry import Registry
from tru.ops.release.registry_reader import BASELINE, CHALLENGER, CHAMPION, MODEL_NAME


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """A workspace with twelve versions, of which one was deleted; aliases and tags as nights leave them."""
    from tests.ops.release.conftest import write_model
    from tru.ops.workspace import Workspace

    ws = Workspace(tmp_path_factory.mktemp("a workspace, with #1 blank"))
    model = write_model(ws.root / "candidate")
    registry = Registry(ws)
    for n in range(1, 13):
        run = registry.log_run(
            f"run {n}", key=f"key-{n}", data_md5="0.dir", metrics={}, params={}, tags={}, model_dir=model
        )
        registry.register(run, {"tru.data_md5": f"{n}.dir", "tru.deleted_through": n})
    for alias, version in ((CHAMPION, "11"), (CHALLENGER, "11"), (BASELINE, "2")):
        registry.set_alias(alias, version)
    registry.tag("2", {"tru.deleted_through": "20"})
    MlflowClient(ws.tracking_uri, registry_uri=ws.tracking_uri).delete_model_version(MODEL_NAME, "7")
    return ws


def test_it_says_what_mlflow_says(filled):
    registry = Registry(filled)
    versions = registry_reader.versions(filled)
    assert versions == registry.list_versions() and len(versions) == 11
    assert registry_reader.champion(filled) == registry.champion()
    for found in versions:
        assert registry_reader.model_dir(filled, found.version) == registry.model_dir(found.version)
        assert registry_reader.lost_files(filled, found.version) is None


@pytest.mark.parametrize("version", ["7", "99"])
def test_a_version_that_is_not_there_is_an_error(filled, version):
    with pytest.raises(ReleaseError, match=f"no version {version} of tru-recommender"):
        registry_reader.model_dir(filled, version)


def test_files_that_are_gone_are_noticed(filled, monkeypatch, tmp_path):
    place = registry_reader.model_dir(filled, "3").parents[1]
    shutil.move(place, tmp_path / "elsewhere")
    try:
        assert registry_reader.lost_files(filled, "3") == place
    finally:
        shutil.move(tmp_path / "elsewhere", place)


def test_asking_makes_no_store(workspace):
    assert registry_reader.versions(workspace) == [] and registry_reader.champion(workspace) is None
    assert not (workspace.root / "mlflow.db").exists()


def test_asking_leaves_the_store_as_it_is(filled):
    file = filled.root / "mlflow.db"
    before = file.read_bytes(), sorted(filled.root.iterdir())
    registry_reader.versions(filled)
    assert (file.read_bytes(), sorted(filled.root.iterdir())) == before


@pytest.mark.parametrize("content", [b"", b"this is no database" * 100])
def test_a_damaged_store_is_an_error(workspace, content):
    (workspace.root / "mlflow.db").write_bytes(content)
    with pytest.raises(ReleaseError, match="cannot be read"):
        registry_reader.versions(workspace)


def test_a_server_that_does_not_answer_is_named_without_its_password(workspace, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and nobody listens
        port = taken.getsockname()[1]
        for scheme in ("http", "postgresql+psycopg2"):
            monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://ann:secret@127.0.0.1:{port}/x")
            with pytest.raises(
                ReleaseError, match=rf"127\.0\.0\.1:{port} does not answer \(MLFLOW_TRACKING_URI\)"
            ) as no:
                registry_reader.champion(workspace)
            assert "secret" not in str(no.value)


def test_a_server_that_takes_the_call_and_says_nothing_does_not_answer(workspace, monkeypatch):
    monkeypatch.setattr(registry_reader, "_PATIENCE", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(ReleaseError, match="does not answer"):
            registry_reader.versions(workspace)


@pytest.mark.parametrize(("code", "is_there"), [(200, True), (401, True), (404, True), (502, False), (503, False)])
def test_any_answer_of_a_server_is_an_answer_but_that_of_a_proxy_with_nobody_behind(
    workspace, monkeypatch, code, is_there
):
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(code)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{server.server_port}")
        with nullcontext() if is_there else pytest.raises(ReleaseError, match="does not answer"):
            registry_reader.refuse_if_silent(workspace)
    finally:
        server.shutdown()
        server.server_close()
