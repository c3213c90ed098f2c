from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tru.data.swap import recover, replace_folder


def _fill(text):
    return lambda new: (new / "file").write_text(text)


def _dead_pid():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_folder_is_replaced_as_a_whole(tmp_path):
    folder = tmp_path / "data"
    replace_folder(folder, _fill("one"))
    (folder / "stale").write_text("x")
    replace_folder(folder, _fill("two"))
    assert [(path.name, path.read_text()) for path in folder.iterdir()] == [("file", "two")]
    assert list(tmp_path.iterdir()) == [folder]


def test_if_filling_fails_nothing_changes(tmp_path):
    folder = tmp_path / "data"
    replace_folder(folder, _fill("one"))
    with pytest.raises(ZeroDivisionError):
        replace_folder(folder, lambda new: (new / "part").write_text(str(1 / 0)))
    assert (folder / "file").read_text() == "one"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_process_killed_while_writing_leaves_the_old_folder(tmp_path):
    folder, pid = tmp_path / "data", _dead_pid()
    replace_folder(folder, _fill("one"))
    (tmp_path / f"data.new-{pid}.swap").mkdir()
    recover(folder)
    assert (folder / "file").read_text() == "one"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_process_killed_between_the_two_renames_has_its_old_folder_put_back(tmp_path):
    folder, pid = tmp_path / "data", _dead_pid()
    replace_folder(tmp_path / f"data.old-{pid}.swap", _fill("one"))
    replace_folder(tmp_path / f"data.new-{pid}.swap", _fill("two"))
    recover(folder)
    assert (folder / "file").read_text() == "one"
    assert list(tmp_path.iterdir()) == [folder]


def test_a_process_killed_before_destroying_the_old_folder_has_it_swept(tmp_path):
    folder, pid = tmp_path / "data", _dead_pid()
    replace_folder(folder, _fill("two"))
    replace_folder(tmp_path / f"data.old-{pid}.swap", _fill("one"))
    recover(folder)
    assert (folder / "file").read_text() == "two"
    assert list(tmp_path.iterdir()) == [folder]


def test_the_work_of_a_living_process_is_left_alone(tmp_path):
    folder = tmp_path / "data"
    replace_folder(folder, _fill("one"))
    (tmp_path / f"data.new-{os.getppid()}.swap").mkdir()
    recover(folder)
    assert (tmp_path / f"data.new-{os.getppid()}.swap").is_dir()


@pytest.mark.parametrize("name", ["data.old-backup", "data.old-2023", "data.new-1", "data.old-", "xdata.old-1.swap"])
def test_what_somebody_put_beside_stays(name, tmp_path):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("mine")
    recover(tmp_path / "data")  # nothing is in place, and it is not put there
    replace_folder(tmp_path / "data", _fill("one"))
    recover(tmp_path / "data")
    assert (tmp_path / name / "mine").read_text() == "mine"
    assert (tmp_path / "data" / "file").read_text() == "one"
