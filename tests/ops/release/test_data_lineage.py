import json
import subprocess
from pathlib import Path

import pytest

from tru.errors import ReleaseError
from tru.ops.erasure.dvc.lineage import (
    EMPTY,
    Locked,
    RunEntry,
    family,
    listed,
    locked_stages,
    named_in_history,
    out_md5s,
    related,
    stale,
    without_stages,
)

A, B, C, D = ("a" * 32, "b" * 32, "c" * 32, "d" * 32)
ROOT, LOCK, DATA = Path("/w"), Path("/w/dvc.lock"), Path("/w/data")


def stage(name: str, deps: dict[str, str], outs: dict[str, str]) -> Locked:
    return Locked(LOCK, name, {ROOT / p: m for p, m in deps.items()}, {ROOT / p: m for p, m in outs.items()})


def old(*stages: Locked) -> list[str]:
    return [found.name for found in stale(stages, DATA, f"{A}.dir", {"rows": B, "sub/rows": C})]


def test_stage_is_stale_by_what_it_read() -> None:
    assert old(stage("new", {"data": f"{A}.dir"}, {})) == []
    assert old(stage("old", {"data": f"{B}.dir"}, {})) == ["old"]
    assert old(stage("file", {"data/rows": B}, {}), stage("deep", {"data/sub/rows": C}, {})) == []
    assert old(stage("file", {"data/rows": C}, {}), stage("gone", {"data/none": C}, {})) == ["file", "gone"]
    assert old(stage("above", {".": f"{A}.dir"}, {})) == ["above"]
    assert old(stage("elsewhere", {"notes": C, "database/rows": C}, {})) == []


def test_what_is_made_from_stale_is_stale() -> None:
    train = stage("train", {"data": f"{B}.dir"}, {"model": C})
    inside = stage("inside", {"model/file": D}, {"x": D})
    after = stage("after", {"x": D}, {"y": D})
    around = stage("around", {".": D}, {})
    assert old(after, inside, train) == ["after", "inside", "train"]
    assert old(train, around) == ["train", "around"]
    fresh = stage("train", {"data": f"{A}.dir"}, {"model": C})
    assert old(fresh, stage("eval", {"model": C}, {})) == []
    assert old(fresh, stage("eval", {"model": D}, {})) == ["eval"]  # of an older model


def test_lock_files_are_read_and_rewritten(tmp_path: Path) -> None:
    lock = tmp_path / "sub" / "dvc.lock"
    lock.parent.mkdir()
    lock.write_text(f"""
schema: '2.0'
stages:
  one: {{cmd: x, deps: [{{path: ../data, md5: {A}.dir}}], outs: [{{path: out, md5: {B}}}]}}
  two: {{cmd: y, deps: [{{path: data, md5: {A}.dir}}]}}
""")
    one, two = locked_stages(lock, {(lock, "two"): tmp_path})
    assert one == Locked(lock, "one", {tmp_path / "data": f"{A}.dir"}, {lock.parent / "out": B})
    assert two.deps == one.deps and two.outs == {}
    without_stages(lock, ["one", "gone"])
    assert locked_stages(lock, {(lock, "two"): tmp_path}) == [two]
    assert list(lock.parent.iterdir()) == [lock]
    lock.write_text("<<<<<<< HEAD")
    with pytest.raises(ReleaseError, match="git checkout"):
        locked_stages(lock, {})


def test_outputs_and_nothing_else_are_named() -> None:
    text = f"deps: [{{md5: {A}}}]\nouts:\n- md5: {B}.dir\n  path: data\n  files: [{{md5: {C}, relpath: x}}]\n"
    assert out_md5s(text.encode()) == {f"{B}.dir", C}
    assert out_md5s(f"stages: {{s: {{deps: [{{md5: {A}}}], outs: [{{md5: {D}}}]}}}}".encode()) == {D}
    assert out_md5s(f"<<<<<<< HEAD\n- md5: {A}.dir\n=======\n- md5: {B}\n>>>>>>> x".encode()) == {f"{A}.dir", B}
    assert out_md5s(b"\xff\xfe") == set()


def test_folder_lists() -> None:
    assert listed(json.dumps([{"md5": A, "relpath": "x/y"}]).encode()) == {"x/y": A}
    for damaged in (b"", b"[", b"[1]", b"{}x", b'[{"md5": 1}]'):
        assert listed(damaged) is None


def test_family_follows_folders_and_runs_and_not_strangers() -> None:
    lists = {f"{A}.dir": {"rows": B, "none": EMPTY}}
    ours = RunEntry(frozenset({f"{A}.dir", EMPTY}), frozenset({C}))
    next_one = RunEntry(frozenset({C}), frozenset({D}))
    theirs = RunEntry(frozenset({B, f"{D}.dir"}), frozenset({"e" * 32}))  # another data set and one file like ours
    empty = RunEntry(frozenset({EMPTY}), frozenset({"f" * 32}))

    def folder(oid: str) -> dict[str, str]:
        return lists.get(oid, {})

    assert family([f"{A}.dir"], folder) == {f"{A}.dir", B}
    known, runs = related([f"{A}.dir"], folder, [next_one, theirs, empty, ours])
    assert known == {f"{A}.dir", B, C, D} and runs == [ours, next_one]
    assert RunEntry.parse(b"- no") == RunEntry.parse(b"\xff") == RunEntry(frozenset(), frozenset())


def test_history_includes_what_nothing_refers_to(tmp_path: Path) -> None:
    def git(*arguments: str, **more: str) -> str:
        done = subprocess.run(
            ["git", "-C", str(tmp_path), *arguments], capture_output=True, check=True, text=True, **more
        )
        return done.stdout.strip()

    git("init", "-q")
    (tmp_path / "data.dvc").write_text(f"outs:\n- md5: {A}.dir\n")
    git("add", "data.dvc")  # staged, never committed
    git("hash-object", "-w", "--stdin", input=f"outs:\n- md5: {B}\n")
    git("hash-object", "-w", "--stdin", input="x" * 100 + "md5")
    assert named_in_history(tmp_path) == {f"{A}.dir", B}
    git("gc", "-q", "--prune=all")
    assert named_in_history(tmp_path) == {f"{A}.dir"}
    with pytest.raises(ReleaseError, match="git"):
        named_in_history(Path("/"))
