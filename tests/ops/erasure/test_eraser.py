"""The erasure from end to end, on a tiny workspace that had a real night."""

import json
import logging
import os
import random
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.workspaces import change, file_requests, subjects, whole_night
from tru.data.interactions import load_dataset
from tru.errors import ErasureError, ReleaseError
from tru.models.trained import TrainedModel
from tru.ops import certificates
from tru.ops.certificates.keys import KEY_VARIABLE, new_key
from tru.ops.erasure import eraser
from tru.ops.erasure.pending import waiting
from tru.ops.erasure.places import folder, pending
from tru.ops.erasure.search.scan import scan
from tru.ops.erasure.search.traces import Traces
from tru.ops.release.champion import eligible
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.report.sequel import look_up
from tru.ops.requests.store import open_inbox, open_ledger
from tru.ops.status import read, urgent
from tru.ops.workspace import only_one


@pytest.fixture
def promoted(trained):
    """A workspace after a night; nothing is erased yet. The batch and its traces come with it."""
    file_requests(trained, subjects(trained))
    batch = whole_night(trained)
    return trained, batch, Traces.load(folder(trained, batch))


def names(traces):
    return traces.subjects.users | traces.subjects.items


def left(ws, traces):
    return [f for f in scan(ws, traces) if f.state == "found"]


def test_a_night_sets_aside_what_the_erasure_needs_and_nothing_more(promoted):
    ws, batch, traces = promoted
    (one,) = waiting(ws)
    assert (one.batch, one.mark) == (batch, 6)
    assert sorted(r["regime"] for r in one.requests) == ["interaction", "item", "modality", "user", "user"]
    assert traces.vectors and names(traces)
    about = json.dumps([one.about, one.requests])
    assert not [name for name in names(traces) if name in about]
    assert folder(ws, batch).stat().st_mode & 0o077 == 0


def test_old_models_and_data_hold_the_forgotten_before_and_nothing_does_after(promoted):
    ws, batch, traces = promoted
    assert {"dvc cache", "mlflow artifacts"} <= {f.store for f in left(ws, traces)}
    found = eraser.erase(ws)
    assert found["batches"] == [batch] and found["certificates"] == 5
    assert left(ws, traces) == []
    assert all(row["count"] > 0 for row in found["destroyed"])


def test_the_champion_its_data_and_the_pipeline_survive(promoted):
    ws, _, _ = promoted
    champion, md5 = Registry(ws).champion(), DataVersions(ws).md5()
    eraser.erase(ws)
    assert Registry(ws).champion() == champion
    model = TrainedModel.load(Registry(ws).model_dir(champion.version))
    assert model.data.users.tolist() == load_dataset(ws.data).users.tolist()
    assert DataVersions(ws).md5() == md5
    assert [v.version for v in eligible(ws)] == [champion.version]
    assert not [stage for stage in DataVersions(ws).status() if stage.endswith(".dvc")]


def test_every_fulfilled_request_gets_a_certificate_that_names_nobody(promoted):
    ws, batch, traces = promoted
    eraser.erase(ws)
    files = certificates.issued(ws)
    fulfilled = [r for r in open_inbox(ws).list(batch=batch) if r.outcome == "unlearned" or r.outcome == "retrained"]
    assert sorted(file.stem for file in files) == sorted(r.id for r in fulfilled)
    for file in files:
        facts = certificates.verify(file.read_bytes(), certificates.trusted(ws))
        assert facts.batch == batch and facts.data["before"] != facts.data["after"]
        assert {"received", "cut", "unlearned", "gated", "promoted", "erased"} <= facts.times.keys()
        assert not [name for name in names(traces) if name in file.read_text()]


def test_the_development_key_is_warned_of_once_however_many_certificates_it_signs(promoted, caplog):
    ws, _, _ = promoted
    with caplog.at_level(logging.WARNING, logger="tru"):
        found = eraser.erase(ws)
    warned = [record.getMessage() for record in caplog.records]
    assert found["certificates"] == 5 and warned == [certificates.DEVELOPMENT_WARNING]


def test_a_key_of_ones_own_is_not_warned_of(promoted, caplog, tmp_path, monkeypatch):
    ws, _, _ = promoted
    new_key(tmp_path / "key.pem")
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "key.pem"))
    with caplog.at_level(logging.WARNING, logger="tru"):
        eraser.erase(ws)
    assert caplog.records == []


def test_the_report_goes_on_to_the_erasure_and_the_certificates(promoted):
    ws, batch, traces = promoted
    page = ws.reports / f"{batch}.html"
    assert "were still there" in page.read_text(encoding="utf-8")
    eraser.erase(ws)
    text = page.read_text(encoding="utf-8")
    assert "5 requests were certified" in text and "were still there" not in text
    assert text.count('href="../certificates/req-') == 5
    found = look_up(ws, open_inbox(ws).batch(batch))
    version = Registry(ws).champion().version
    assert [(link.name, link.text) for link in found.links] == [("MLflow version", f"{version} of tru-recommender")]
    assert found.erasure.count > 0 and len(found.certificates) == 5 and found.serving == found.served == version
    assert not [name for name in names(traces) if name in text]


def test_it_is_on_record_and_the_traces_are_gone(promoted):
    ws, batch, _ = promoted
    assert any("NOT ERASED" in line for line in urgent(ws))
    eraser.erase(ws)
    entry = open_ledger(ws).last("erasure")
    assert entry.key == batch and entry.facts["mark"] == 6
    assert pending(ws) == [] and not folder(ws, batch).exists()
    assert not any("NOT ERASED" in line for line in urgent(ws))
    assert read(ws)["erasure"] == {"waiting": [], "last": entry.at.isoformat(timespec="seconds")}


def test_a_second_erasure_finds_nothing_to_do(promoted):
    ws, batch, _ = promoted
    first = eraser.erase(ws)
    again = eraser.erase(ws)
    assert first["batches"] == [batch] and again["batches"] == []
    assert again["certificates"] == 0 and again["destroyed"] == [] and eraser.plan(ws).destroy == []
    assert len(open_ledger(ws).entries("erasure")) == 1


def test_without_a_batch_that_waits_nothing_is_destroyed(trained):
    versions, objects = len(Registry(trained).list_versions()), len(list((trained.root / ".dvc" / "cache").rglob("*")))
    assert eraser.erase(trained)["destroyed"] == []
    assert len(Registry(trained).list_versions()) == versions
    assert len(list((trained.root / ".dvc" / "cache").rglob("*"))) == objects


def test_the_plan_touches_nothing_and_says_what_would_go(promoted):
    ws, batch, _ = promoted
    before = sorted(str(p) for p in ws.root.rglob("*") if ".git/" not in str(p) and "/tmp/" not in str(p))
    found = eraser.plan(ws)
    after = sorted(str(p) for p in ws.root.rglob("*") if ".git/" not in str(p) and "/tmp/" not in str(p))
    assert found.batches == [batch] and found.keep == [Registry(ws).champion().version]
    assert sum(row.count for row in found.destroy) > 0
    assert any("git" in words for words in found.unreachable)
    assert before == after


def test_grace_keeps_what_is_old_until_it_is_over(promoted):
    ws, batch, traces = promoted
    change(ws, "gate", alpha=0.05)  # the file is written anew, so the block can be added
    ws.params.write_text(ws.params.read_text() + "erasure: {grace_hours: 2}\n")
    now = datetime.now(UTC)
    assert eraser.erase(ws, now=now, graceful=True)["batches"] == []
    assert left(ws, traces) and not any("NOT ERASED" in line for line in urgent(ws, now))
    assert eraser.erase(ws, now=now + timedelta(hours=3), graceful=True)["batches"] == [batch]


def test_a_residue_that_somebody_left_stops_the_certificates(promoted):
    ws, batch, traces = promoted
    (ws.root / "notes.txt").write_text(f"asked to leave: {sorted(traces.subjects.users)[0]}\n")
    with pytest.raises(ErasureError, match=r"something of the forgotten is still there: .*notes.txt"):
        eraser.erase(ws)
    assert pending(ws) == [batch] and certificates.issued(ws) == []
    assert open_ledger(ws).last("erasure") is None
    (ws.root / "notes.txt").unlink()
    assert eraser.erase(ws)["certificates"] == 5


def test_exported_lists_go(promoted):
    ws, _, traces = promoted
    (ws.root / "exports").mkdir()
    (ws.root / "exports" / "lists.csv").write_text(f"user,items\n{sorted(traces.subjects.users)[0]},a b c\n")
    rows = {row["store"]: row["count"] for row in eraser.erase(ws)["destroyed"]}
    assert rows["exports"] == 1 and not (ws.root / "exports").exists()


@pytest.mark.parametrize("name", ["..", ".", "data", ".tru/reports", ".git", "params.yaml"])
def test_exports_that_are_needed_or_elsewhere_are_refused_before_anything_goes(promoted, name):
    ws, batch, _ = promoted
    versions = len(Registry(ws).list_versions())
    ws.params.write_text(ws.params.read_text() + f"erasure: {{exports: ['{name}']}}\n")
    with pytest.raises(ErasureError, match=r"not a folder of exports inside the workspace\. Nothing was destroyed"):
        eraser.erase(ws)
    assert len(Registry(ws).list_versions()) == versions and pending(ws) == [batch]


def test_it_waits_while_a_batch_is_worked_on(promoted):
    ws, _, _ = promoted
    ds = load_dataset(ws.data)
    from tru.ops import pipeline
    from tru.ops.requests.lifecycle import Subject

    file_requests(ws, [Subject.of(user=str(ds.users[1]))])
    pipeline.claim(ws)
    with pytest.raises(ErasureError, match="is being worked on"):
        eraser.erase(ws)
    assert eraser.erase(ws, graceful=True)["batches"] == []  # that night erases when it ends
    assert pending(ws) == [promoted[1]]


def test_one_erasure_at_a_time(promoted):
    ws, batch, _ = promoted
    with only_one(ws.state / "erasure" / "lock", RuntimeError()):
        with pytest.raises(ErasureError, match="another erasure is at work"):
            eraser.erase(ws)
        assert eraser.erase(ws, graceful=True)["batches"] == []
    assert eraser.erase(ws)["batches"] == [batch]


def test_a_damaged_record_is_told_and_does_not_silence_the_status(promoted):
    ws, batch, _ = promoted
    (folder(ws, batch) / "about.json").write_text("{")
    assert any("NOT ERASED" in line and "about.json is missing or damaged" in line for line in urgent(ws))


def test_changed_data_stops_it_before_anything_is_destroyed(promoted):
    ws, _, _ = promoted
    versions = len(Registry(ws).list_versions())
    (ws.data / "dataset.json").write_text((ws.data / "dataset.json").read_text() + "\n")
    with pytest.raises(ReleaseError, match=r"data/ is not what data.dvc names, so nothing was destroyed"):
        eraser.erase(ws)
    assert len(Registry(ws).list_versions()) == versions


def test_killed_at_random_moments_it_is_finished_by_the_next_run(promoted):
    ws, batch, traces = promoted
    draw = random.Random(4)
    for _ in range(4):
        command = [sys.executable, "-m", "tru.cli.main", "erase", "--json"]
        running = subprocess.Popen(
            command,
            env={**os.environ, "TRU_WORKSPACE": str(ws.root)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(draw.uniform(2.0, 6.0))
        running.send_signal(signal.SIGKILL)
        running.wait()
    eraser.erase(ws)
    assert pending(ws) == [] and left(ws, traces) == [] and len(certificates.issued(ws)) == 5
    assert TrainedModel.load(Registry(ws).model_dir(Registry(ws).champion().version))
    assert open_ledger(ws).find("erasure", batch) is not None
