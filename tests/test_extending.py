"""What `docs/extending.md` shows is written to files, tested with the shipped contract, and run."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.patience import HANG

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "extending.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml|toml)\n(.*?)^```", PAGE, flags=re.M | re.S)
NAMED = {
    match[1]: (language, text)
    for language, text in BLOCKS
    if (match := re.match(r"# ([\w/]+\.(?:py|yaml|toml))\n", text))
}
SCRIPTS = [text for language, text in BLOCKS if language == "python" and not text.startswith("# ")]


@pytest.fixture(scope="module")
def package(tmp_path_factory) -> Path:
    """The files that the page names."""
    folder = tmp_path_factory.mktemp("extending")
    for name, (_, text) in NAMED.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    (folder / "my_package" / "__init__.py").touch()
    return folder


def python(folder: Path, *words: str) -> str:
    path = os.pathsep.join([str(folder), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *words],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=HANG,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_shows_a_backbone_and_a_method_with_their_tests():
    assert set(NAMED) == {
        *("pyproject.toml", "params.yaml", "my_package/backbone.py", "my_package/method.py"),
        *("tests/test_backbone.py", "tests/test_method.py"),
    }
    assert len(SCRIPTS) == 2


@pytest.mark.parametrize("name", ["tests/test_backbone.py", "tests/test_method.py"])
def test_what_is_shown_keeps_the_contract(package, name):
    assert "passed" in python(package, "-m", "pytest", "-q", "-p", "no:cacheprovider", name)


@pytest.mark.parametrize("script", SCRIPTS, ids=range(len(SCRIPTS)))
def test_what_is_shown_runs(package, script):
    python(package, "-W", "ignore::DeprecationWarning", "-c", script)


def test_the_settings_that_are_shown_are_read(package):
    ask = (
        "from pathlib import Path; from tru.ops.settings import load_settings; from tru.ops.workspace import Workspace;"
        "found = load_settings(Workspace(Path('.'))); print(found.model.regularisation, found.unlearn.share)"
    )
    assert python(package, "-c", ask) == "0.001 0.25\n"


def test_the_entry_points_that_are_shown_lead_to_the_classes(package):
    groups = tomllib.loads(NAMED["pyproject.toml"][1])["project"]["entry-points"]
    assert set(groups) == {"tru.backbones", "tru.unlearners"}
    paths = [path for group in groups.values() for path in group.values()]
    lines = "; ".join(f"print(EntryPoint('n', '{path}', 'g').load().__name__)" for path in paths)
    found = python(package, "-c", f"from importlib.metadata import EntryPoint; {lines}")
    assert found.split() == ["Factorisation", "Shrink"]
