"""What version 0.1.0 stored opens, serves and verifies: a workspace of it, with everything that it wrote.

The file was made at commit 004dd5d by `tru init`, `tru data generate` (90 users, 60 items), `tru train`, `tru baseline`
(one licence, for modalities), two requests, `tru run` and a third request that waits. It is unpacked elsewhere than
where it was made, as a backup would be.
"""

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.patience import HANG

STORE = Path(__file__).parent / "stores" / "version-0.1.0.tar.gz"
BIN = Path(sys.executable).parent
CERTIFIED = ("req-65489a575c27996e", "req-bdbdf347a8054a8b")
WAITS = "req-14a1e92ec901c5ef"
SERVE = """
import json, mlflow, sys
mlflow.set_tracking_uri(sys.argv[1])
model = mlflow.pyfunc.load_model("models:/tru-recommender@champion")
print(json.dumps(model.predict([{"user_id": user, "k": 3} for user in sys.argv[2:]])))
"""


def unpacked(folder):
    with tarfile.open(STORE) as stored:
        stored.extractall(folder, filter="data")
    return folder


def run(root, *words, check=True):
    environment = {**os.environ, "TRU_WORKSPACE": str(root), "PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(words, cwd=root, capture_output=True, text=True, timeout=HANG, env=environment)
    assert done.returncode == 0 or not check, done.stderr[-2000:]
    return done


def tru(root, *words):
    return run(root, str(BIN / "tru"), *words).stdout


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """The workspace, made at home where it was unpacked."""
    root = unpacked(tmp_path_factory.mktemp("stored") / "shop")
    tru(root, "adopt")
    return root


def test_it_only_reads_until_it_is_adopted(tmp_path):
    root = unpacked(tmp_path / "shop")
    assert "`tru adopt`" in tru(root, "status")
    refused = run(root, str(BIN / "tru"), "requests", "add", "--user", "x", check=False)
    assert refused.returncode == 1 and "`tru adopt`" in refused.stderr


def test_its_champion_serves_by_the_script_that_was_stored_with_it(store):
    users = json.loads(tru(store, "recommend", "--user", "a stranger", "-k", "3", "--json"))["items"]
    answer = run(store, sys.executable, "-c", SERVE, f"sqlite:///{store}/mlflow.db", "a stranger")
    assert json.loads(answer.stdout.splitlines()[-1]) == [{"items": users, "suppressed": False}]


def test_its_ledger_and_its_certificates_verify(store):
    assert json.loads(tru(store, "ledger", "verify", "--json"))["intact"] is True
    listed = json.loads(tru(store, "certificate", "verify", *CERTIFIED, "--json"))
    assert [one["genuine"] for one in listed] == [True, True]


def test_its_licence_and_its_batch_count(store):
    entries = json.loads(tru(store, "ledger", "show", "--json"))["entries"]
    licences = [entry["facts"] for entry in entries if entry["kind"] == "licence"]
    assert [facts["regime"] for facts in licences if facts["passed"]] == ["modality"]
    status = json.loads(tru(store, "status", "--json"))
    assert (status["champion"]["version"], status["champion"]["deleted_through"]) == ("3", 2)
    assert (status["last_batch"]["outcome"], status["last_batch"]["size"]) == ("unlearned", 2)
    assert (status["requests"]["queued"], status["requests"]["closed"]) == (1, 2)


def test_its_night_goes_on(tmp_path):
    root = unpacked(tmp_path / "shop")
    tru(root, "adopt")
    found = json.loads(tru(root, "run", "--quiet", "--json"))
    assert (found["size"], found["not_found"]) == (1, 0) and found["outcome"] in ("unlearned", "retrained")
    assert json.loads(tru(root, "requests", "show", WAITS, "--json"))["state"] == "closed"
    assert found["erased"] == [found["batch"]]
    assert "genuine" in tru(root, "certificate", "verify", WAITS)
