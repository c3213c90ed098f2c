from __future__ import annotations

import pytest

from tru.data.inter import read_inter
from tru.errors import DataError

HEADER = "user_id:token\titem_id:token\ttimestamp:float"


def _write(file, *lines, header=HEADER):
    file.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return file


def test_everything_is_text_and_only_an_empty_cell_is_missing(tmp_path):
    file = _write(tmp_path / "shop.inter", "007\tNA\t1700000000123456789", "null\t1e5\t")
    name, frame, where = read_inter(file)
    assert (
        name == "shop" and frame["user_id"].tolist() == ["007", "null"] and frame["item_id"].tolist() == ["NA", "1e5"]
    )
    assert frame["timestamp"].isna().tolist() == [False, True] and frame["timestamp"][0] == "1700000000123456789"
    assert where.at(frame["user_id"] == "null") == f"{file}, line 3"


@pytest.mark.parametrize(
    ("mark", "words"), [(",", "commas"), (";", "semicolons"), ("|", "bars"), ("::", "double colons"), (" ", "blanks")]
)
@pytest.mark.parametrize("header", ["as well", "with tabs"])
def test_another_separator_is_named(tmp_path, mark, words, header):
    line = HEADER.replace("\t", mark) if header == "as well" else HEADER
    file = _write(tmp_path / "shop.inter", f"1{mark}2{mark}3", header=line)
    with pytest.raises(DataError, match=rf"shop\.inter: its columns are separated by {words}, not by tabs"):
        read_inter(file)


def test_a_single_column_is_not_taken_for_a_separator(tmp_path):
    with pytest.raises(DataError, match="has no column item_id"):
        read_inter(_write(tmp_path / "shop.inter", "1", header="user_id:token"))
    with pytest.raises(DataError, match="has no column user_id, item_id"):
        read_inter(_write(tmp_path / "shop.inter", "1\t2", header="a,b\tc"))


NAMES = [
    ["shop.train.inter", "shop.valid.inter", "shop.test.inter"],
    ["train.inter", "val.inter", "test.inter"],
    ["shop.v2.train.inter", "shop.v2.validation.inter", "shop.v2.test.inter"],
    ["shop.train.inter", "shop.dev.inter", "shop.TEST.inter"],
]


@pytest.mark.parametrize("names", NAMES)
def test_three_files_of_one_split_are_one_data_set(tmp_path, names):
    for k, name in enumerate(names):
        _write(tmp_path / name, f"1\t{k}\t", f"2\t{k}\t")
        (tmp_path / f"._{name}").write_bytes(b"\0\5\x16\7")
    name, frame, where = read_inter(tmp_path)
    assert name == (names[0].removesuffix(".inter").rpartition(".")[0] or tmp_path.name)
    assert sorted(zip(frame["item_id"].tolist(), frame["split"].tolist(), strict=True)) == [
        (str(k), k) for k in range(3) for _ in range(2)
    ]
    assert where.at((frame["split"] == 2) & (frame["user_id"] == "2")) == f"{tmp_path / names[2]}, line 3"


@pytest.mark.parametrize("names", [["shop.train.inter", "shop.test.inter"], ["shop.valid.inter", "shop.train.inter"]])
def test_two_parts_are_a_split_too(tmp_path, names):
    for name in names:
        _write(tmp_path / name, "1\t2\t")
    assert len(read_inter(tmp_path)[1]) == 2


@pytest.mark.parametrize(
    "names",
    [
        ["a.inter", "b.inter"],
        ["shop.train.inter", "shop.test.inter", "shop.inter"],
        ["shop.train.inter", "mall.test.inter"],
        ["shop.valid.inter", "shop.test.inter"],
        ["shop.train.inter", "shop.val.inter", "shop.valid.inter"],
        ["shop.part1.inter", "shop.part2.inter"],
    ],
)
def test_files_that_are_not_one_split_are_not_guessed_at(tmp_path, names):
    for name in names:
        _write(tmp_path / name, "1\t2\t")
    with pytest.raises(DataError, match=rf"holds {len(names)} \.inter files\. Name the one to import"):
        read_inter(tmp_path)
    assert len(read_inter(tmp_path / names[0])[1]) == 1


def test_a_split_in_names_and_in_a_column_is_refused(tmp_path):
    for name in ("shop.train.inter", "shop.test.inter"):
        _write(tmp_path / name, "1\t2\t0", header="user_id\titem_id\tx_label")
    with pytest.raises(DataError, match=r"shop\.train\.inter has a column x_label, and its name says"):
        read_inter(tmp_path)


def test_a_folder_of_hidden_files_alone_holds_nothing(tmp_path):
    (tmp_path / "._shop.inter").write_bytes(b"\0\5\x16\7")
    with pytest.raises(DataError, match="holds no data set"):
        read_inter(tmp_path)
