"""Data sets with too little of something still have a champion and nights, and the import said what they lack."""

from dataclasses import replace

from tests.workspaces import change, file_requests, make, remains, whole_night
from tru.cli.baseline import as_words, read
from tru.data.interactions import TRAIN, load_dataset, save_dataset
from tru.ops import pipeline
from tru.ops.pipeline.weekly import run_baseline
from tru.ops.release.registry import Registry
from tru.ops.release.versions import DataVersions
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox
from tru.ops.status import read as status


def workspace(root, keep):
    """A trained workspace with those of the tiny data's rows that ``keep`` marks."""
    ws = make(root)
    ds = load_dataset(ws.data)
    rows = ds.interactions[keep(ds.interactions)].reset_index(drop=True)
    save_dataset(replace(ds, interactions=rows), ws.data)
    DataVersions(ws).add()
    DataVersions(ws).commit("Less data")
    pipeline.train(ws)
    return ws


def forget(ws, *subjects):
    """A night; how its batch ended."""
    file_requests(ws, list(subjects))
    whole_night(ws)
    assert remains(ws, list(subjects)) == []
    batch = open_inbox(ws).last_batch()
    return batch.outcome, batch.facts


def test_without_validation_and_test_rows_nights_and_baselines_go_on(tmp_path):
    ws = workspace(tmp_path / "workspace", lambda rows: rows["split"] == TRAIN)
    ds = load_dataset(ws.data)
    outcome, facts = forget(ws, Subject.of(user=str(ds.users[3])), Subject.of(item=str(ds.items[4])))
    assert outcome == "unlearned" and facts["gate"]["mode"] == "fresh"
    (utility,) = [row for row in facts["gate"]["table"] if row["name"] == "test/ndcg@20"]
    assert utility["passed"] and not utility["judged"] and utility["value"] is None
    assert "0 independent subjects, too few to judge by" in utility["words"]

    assert run_baseline(ws)["test/ndcg@20"] == []
    assert "test/ndcg@20 not measured, for want of test rows" in as_words(read(ws))

    change(ws, "gate", mode="licensed")
    outcome, facts = forget(ws, Subject.of(user=str(ds.users[9]), item=_taken(ds, str(ds.users[9]))))
    assert facts["gate"]["mode"] == "licensed" and outcome in ("unlearned", "retrained")
    assert status(ws)["champion"]["version"] == Registry(ws).champion().version


def test_five_rows_have_a_champion_and_a_night_that_retrains(tmp_path):
    ws = workspace(tmp_path / "workspace", lambda rows: rows.index.isin(_five(rows)))
    ds = load_dataset(ws.data)
    assert len(ds.interactions) == 5
    outcome, facts = forget(ws, Subject.of(user=str(ds.users[0])))
    assert outcome == "retrained"
    assert facts["unlearn"]["method"] == "none" and "canary" in facts["unlearn"]["reason"]


def _taken(ds, user):
    rows = ds.interactions
    return str(rows.loc[rows["user_id"] == user, "item_id"].iloc[0])


def _five(rows):
    """Positions of five train rows, of three users."""
    train = rows[rows["split"] == TRAIN]
    return train.groupby("user_id").head(2).index[:5]
