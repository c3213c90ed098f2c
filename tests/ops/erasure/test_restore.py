"""After a backup was restored, whoever was forgotten is found and forgotten again."""

import shutil
from multiprocessing import get_context
from pathlib import Path

import pytest

from tests.workspaces import file_requests, remains, subjects, whole_night
from tru.errors import CertificateError
from tru.ops import certificates
from tru.ops.erasure import eraser
from tru.ops.erasure.restore import reapply
from tru.ops.release.versions import DataVersions
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.workspace import Workspace


def night_and_erasure(root):
    ws = Workspace(Path(root))
    file_requests(ws, subjects(ws))
    whole_night(ws)
    eraser.erase(ws)


@pytest.fixture
def restored(trained, tmp_path):
    """A night forgot five subjects; then somebody put the old data back."""
    backup, wanted = tmp_path / "backup", subjects(trained)
    shutil.copytree(trained.data, backup)
    file_requests(trained, wanted)
    whole_night(trained)
    shutil.rmtree(trained.data)
    shutil.copytree(backup, trained.data)
    DataVersions(trained).add()
    DataVersions(trained).commit("Restored")
    return trained, wanted


def test_whoever_came_back_is_filed_again_and_forgotten_by_the_next_night(restored):
    ws, wanted = restored
    assert len(remains(ws, wanted)) == 5
    found = reapply(ws)
    assert found["found"] == {"user": 2, "item": 1, "interaction": 1, "modality": 1}
    assert (found["filed"], found["places"]) == (5, {"data": 5, "champion": 0})
    assert open_ledger(ws).last("restore").facts["filed"] == 5
    whole_night(ws)
    assert remains(ws, wanted) == []
    assert reapply(ws)["filed"] == 0


def test_typed_twice_it_files_once(restored):
    ws, _ = restored
    reapply(ws)
    reapply(ws)
    assert open_inbox(ws).counts()["queued"] == 5
    assert len(open_ledger(ws).entries("restore")) == 1


def test_where_nobody_came_back_there_is_nothing_to_do(trained):
    assert reapply(trained) == {
        "found": {"user": 0, "item": 0, "interaction": 0, "modality": 0},
        "places": {"data": 0, "champion": 0},
        "filed": 0,
    }
    assert open_ledger(trained).last("restore") is None


def test_certificates_stand_in_for_an_inbox_that_was_restored_too(trained, tmp_path):
    wanted, place = subjects(trained), tmp_path / "backup"
    shutil.copytree(trained.root, place, symlinks=True)
    # In a process of its own: MLflow keeps databases open that are to be replaced here.
    process = get_context("spawn").Process(target=night_and_erasure, args=(str(trained.root),))
    process.start()
    process.join()
    assert process.exitcode == 0
    kept = tmp_path / "certificates"
    shutil.copytree(trained.state / "certificates", kept)
    signing = tmp_path / "signing"
    shutil.copytree(trained.state / "signing", signing)
    key = (trained.state / "suppression.key").read_bytes()
    shutil.rmtree(trained.root)
    shutil.copytree(place, trained.root, symlinks=True)
    (trained.state / "suppression.key").write_bytes(key)  # keys are kept apart from the database
    shutil.copytree(signing, trained.state / "signing")
    assert len(remains(trained, wanted)) == 5
    assert reapply(trained)["filed"] == 0
    found = reapply(trained, kept)
    assert found["filed"] == 5 and found["places"]["champion"] == 5
    whole_night(trained)
    assert remains(trained, wanted) == []


def test_a_folder_without_certificates_is_named(trained, tmp_path):
    with pytest.raises(CertificateError, match="holds no certificate"):
        reapply(trained, tmp_path)


def test_a_certificate_that_does_not_verify_is_named(trained, tmp_path):
    (tmp_path / "req-0000000000000000.json").write_text("{}")
    with pytest.raises(CertificateError, match=r"req-0000000000000000\.json"):
        reapply(trained, tmp_path)
    assert certificates.issued(trained) == []
