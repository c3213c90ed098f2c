import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tru.errors import ReleaseError
from tru.ops.release.readdress import is_whole, readdress, rewriter

OLD, NEW = Path("/data/my shop"), Path("/srv/é")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("/data/my shop", "/srv/é"),
        ("/data/my shop/mlartifacts/tru", "/srv/é/mlartifacts/tru"),
        ("file:///data/my%20shop/mlartifacts", "file:///srv/%C3%A9/mlartifacts"),
        ('{"workspace": "/data/my shop"}', '{"workspace": "/srv/é"}'),
        ("uri: /data/my shop/x\npath: file:///data/my%20shop\n", "uri: /srv/é/x\npath: file:///srv/%C3%A9\n"),
        *((same, same) for same in ("/data/my shop2", "/data/my shop-2/x", "/mnt/data/my shop/x", "data/my shop")),
        *((same, same) for same in ("file:///data/my%20shop2/x", "file:///mnt/data/my%20shop", "s3://data/my shop")),
    ],
)
def test_paths_of_the_old_place_and_no_others_are_rewritten(before, after):
    assert rewriter(OLD, NEW)(before) == after


@pytest.fixture
def database(tmp_path):
    file = tmp_path / "some.db"
    with closing(sqlite3.connect(file)) as db, db:
        db.execute('CREATE TABLE "odd table" ("a column" TEXT PRIMARY KEY, n INTEGER, b BLOB)')
        db.execute("CREATE TABLE plain (place VARCHAR(20) CHECK (place <> '/srv/é/refused'))")
        rows = [("/data/my shop/a", 1, b"/data/my shop/a"), ("nothing", 2, None), ("/data/my shop", 3, None)]
        db.executemany('INSERT INTO "odd table" VALUES (?, ?, ?)', rows)
    return file


def test_every_text_of_every_table_is_rewritten(database):
    assert readdress(database, rewriter(OLD, NEW)) == 2
    with closing(sqlite3.connect(database)) as db:
        rows = db.execute('SELECT * FROM "odd table" ORDER BY n').fetchall()
    assert rows == [("/srv/é/a", 1, b"/data/my shop/a"), ("nothing", 2, None), ("/srv/é", 3, None)]
    assert readdress(database, rewriter(OLD, NEW)) == 0


def test_it_is_all_or_nothing(database):
    with closing(sqlite3.connect(database)) as db, db:
        db.execute("INSERT INTO plain VALUES ('/data/my shop/refused')")
    before = database.read_bytes()
    with pytest.raises(ReleaseError, match="cannot be rewritten"):
        readdress(database, rewriter(OLD, NEW))
    assert database.read_bytes() == before


def test_a_damaged_database_is_known(database, tmp_path):
    assert is_whole(database)
    (tmp_path / "broken.db").write_bytes(b"SQLite format 3\0" + b"\xff" * 5000)
    assert not is_whole(tmp_path / "broken.db")
    with pytest.raises(ReleaseError, match="Was it copied while it was in use"):
        readdress(tmp_path / "broken.db", rewriter(OLD, NEW))
