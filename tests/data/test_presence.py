import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tru.data.forget import ForgetSet
from tru.data.interactions import load_dataset, save_dataset
from tru.data.prepare import prepare
from tru.data.presence import Named, present, present_in_model
from tru.data.synthetic import SyntheticParams, generate


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A data set in which some items lack a picture, one user and one item have names that are easily confused."""
    ds = generate(SyntheticParams(users=60, items=30), name="small", split_seed=1)
    rows = ds.interactions.replace({"user_id": {str(ds.users[0]): "Zoe\u0301"}})
    place = tmp_path_factory.mktemp("data") / "data"
    save_dataset(replace(ds, interactions=rows.sort_values(["user_id", "item_id"], ignore_index=True)), place)
    return place


def asked(ds):
    """Half of it is there, half is not."""
    users, items = [*ds.users[::2].tolist(), "nobody", "Zo\u00e9"], [*ds.items[::2].tolist(), "nothing"]
    rows = ds.interactions.iloc[::3]
    pairs = [*zip(rows["user_id"], rows["item_id"], strict=True), ("nobody", items[0]), (users[0], "nothing")]
    pairs += [(users[0], item) for item in ds.items.tolist()]
    modalities = [(i, m) for i in [*ds.items.tolist(), "nothing"] for m in (*ds.modalities, "smell", "item_id")]
    return ForgetSet(*map(frozenset, (users, items, pairs, modalities)))


def named(forget):
    return Named(forget.users, forget.items, forget.pairs, forget.modalities)


def test_it_says_the_same_as_the_whole_data_set(small, monkeypatch):
    ds = load_dataset(small)
    wanted = asked(ds)
    there = wanted.known(ds)
    assert all(
        0 < len(part) < len(whole) for part, whole in zip(*(vars(n).values() for n in (there, wanted)), strict=True)
    )
    assert present(small, named(wanted)) == named(there)
    monkeypatch.setattr("tru.data.presence._ROWS_AT_ONCE", 7)
    assert present(small, named(wanted)) == named(there)


def test_nothing_is_asked_and_nothing_found(small):
    assert present(small, Named()) == Named()
    assert present(small, Named(users=frozenset({"nobody"}))) == Named()


def test_identifiers_are_compared_letter_by_letter(small):
    both = frozenset({"Zoe\u0301", "Zo\u00e9"})
    assert present(small, Named(users=both)) == Named(users=frozenset({"Zoe\u0301"}))


@pytest.mark.parametrize("kind", [pa.int64(), pa.int32(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_identifiers_of_other_kinds_are_read_as_the_data_set_reads_them(tmp_path, kind):
    ids = pa.array(["7", "12"]).cast(pa.int64() if pa.types.is_integer(kind) else pa.string()).cast(kind)
    pq.write_table(pa.table({"user_id": ids, "item_id": ids, "split": [0, 0]}), tmp_path / "interactions.parquet")
    pq.write_table(pa.table({"item_id": ids, "has_image": [True, False]}), tmp_path / "items.parquet")
    wanted = Named(
        frozenset({"7", "7.0", "3"}),
        frozenset({"12", "3"}),
        frozenset({("7", "7"), ("7", "12")}),
        frozenset({("7", "image"), ("12", "image")}),
    )
    there = Named(frozenset({"7"}), frozenset({"12"}), frozenset({("7", "7")}), frozenset({("7", "image")}))
    assert present(tmp_path, wanted) == there


@pytest.mark.parametrize("what", ["no folder", "empty folder", "one file", "damaged", "other columns", "a folder"])
def test_a_data_set_that_cannot_be_read_is_none(small, tmp_path, what):
    place = tmp_path / "data"
    if what != "no folder":
        place.mkdir()
    rows, items = place / "interactions.parquet", place / "items.parquet"
    if what in {"one file", "damaged", "other columns", "a folder"}:
        rows.write_bytes((small / "interactions.parquet").read_bytes())
    if what == "damaged":
        items.write_bytes(b"PAR1 and no more")
    if what == "other columns":
        pd.DataFrame({"id": ["i1"]}).to_parquet(items)
    if what == "a folder":
        items.mkdir()
    assert present(place, Named(users=frozenset({"u"}))) is None


def test_of_a_model_it_says_what_the_night_says(small, tmp_path):
    from tru.ops.pipeline.record import known

    ds = load_dataset(small)
    model = prepare(ds, canary_rate=0.1)
    model.save(tmp_path / "prepared.npz")
    wanted = asked(ds)
    there = known(wanted, model)
    for part, whole in zip(vars(there).values(), vars(wanted).values(), strict=True):
        assert 0 < len(part) < len(whole)
    assert present_in_model(tmp_path, named(wanted)) == named(there)
    assert present_in_model(tmp_path, Named()) == Named()


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 and no more"])
def test_a_model_without_its_data_is_none(tmp_path, content):
    if content is not None:
        (tmp_path / "prepared.npz").write_bytes(content)
    assert present_in_model(tmp_path, Named(users=frozenset({"u"}))) is None
    assert present_in_model(tmp_path / "nowhere", Named()) is None


def test_it_waits_for_nothing_heavy():
    code = "import sys, tru.data.presence; sys.exit(bool({'pandas', 'torch', 'scipy'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
