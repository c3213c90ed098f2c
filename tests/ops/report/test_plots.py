"""The pictures in MLflow: what is drawn, and what is not where numbers are missing."""

import math
from pathlib import Path

import pytest
from PIL import Image

from tests import nights
from tru.ops.report.plots import write_plots

MODELS = {
    name: {"test/ndcg@20": 0.35, "test/recall@20": 0.57, "membership_auc": auc, "canary_auc": 0.55, "seconds": 3.0}
    for name, auc in (("original", 0.95), ("unlearned", 0.57), ("retrained", 0.56), ("retrained-1", 0.58))
}


def drawn(folder: Path) -> set[str]:
    for file in folder.iterdir():
        with Image.open(file) as picture:
            assert picture.format == "PNG" and min(picture.size) > 400
            assert len(picture.convert("L").getcolors() or []) > 10  # not an empty sheet
    return {file.stem for file in folder.iterdir()}


def test_three_pictures_the_same_every_time(tmp_path):
    for name in ("one", "two"):
        files = write_plots(tmp_path / name, MODELS, nights.profiles())
        assert drawn(tmp_path / name) == {"quality", "forgetting", "membership"} == {file.stem for file in files}
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


@pytest.mark.parametrize(
    ("models", "profiles", "expected"),
    [
        (MODELS, {}, {"quality", "membership"}),
        ({"unlearned": {"test/ndcg@20": math.nan, "membership_auc": 0.5}}, {}, {"membership"}),
        ({"original": {}, "retrained": {"test/ndcg@20": 0.3}}, {}, {"quality"}),
        ({"original": {"test/ndcg@20": 0.0}}, {}, {"quality"}),
        ({}, nights.profiles(), {"forgetting"}),
        ({}, {}, set()),
    ],
)
def test_what_has_no_numbers_is_not_drawn(tmp_path, models, profiles, expected):
    write_plots(tmp_path / "plots", models, profiles)
    assert drawn(tmp_path / "plots") == expected
