"""The examples, each a package of its own: installed and tested; `tru-freedom` trained and made to forget as well."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import pytest
import yaml

from tests.patience import HANG
from tests.workspaces import PARAMS
from tru.unlearning.base import Unlearner
from tru.unlearning.closed_form.method import Tru
from tru.unlearning.params import UnlearnParams

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
EXAMPLES = ["tru-freedom", "tru-pyg-lightgcn"]
METHOD = "tests.test_example_package:Gentle"
TRU = Path(sys.executable).with_name("tru")


def can_build_here() -> bool:
    """Whether what a wheel is built with is installed; otherwise pip fetches it."""
    return find_spec("wheel") is not None or find_spec("setuptools.command.bdist_wheel") is not None


class Place:
    """A folder with the packages installed beside this environment, where commands find them."""

    def __init__(self, folder: Path) -> None:
        self.sources, self.site, self.home = folder / "sources", folder / "site", folder / "home"
        shutil.copytree(ROOT / "examples", self.sources, ignore=shutil.ignore_patterns("__pycache__"))
        self.home.mkdir()
        isolation = ["--no-build-isolation"] if can_build_here() else []
        pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", *isolation]
        packages = [file.parent for file in sorted(self.sources.glob("*/pyproject.toml"))]
        subprocess.run([*pip, "--target", self.site, *packages], check=True, timeout=HANG)

    def does(self, *command: object, cwd: Path) -> str:
        """What a command writes on standard output; it must succeed."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TRU_", "PYTHON"))}
        path = os.pathsep.join([str(self.site), str(ROOT)])
        done = subprocess.run(
            list(map(str, command)),
            cwd=cwd,
            env={**kept, "HOME": str(self.home), "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=HANG,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Place:
    return Place(tmp_path_factory.mktemp("package"))


@pytest.mark.parametrize("example", EXAMPLES)
def test_its_own_tests_pass(place, example):
    source = place.sources / example
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", source]
    last = place.does(*words, cwd=source).splitlines()[-1]
    assert "passed" in last and "skipped" not in last


def test_it_is_listed_with_its_package(place):
    found = json.loads(place.does(TRU, "backbones", "--json", cwd=place.home))
    assert found[-1] | {"summary": ""} == {
        "name": "freedom",
        "path": "tru_freedom:Freedom",
        "package": "tru-freedom",
        "summary": "",
    }
    assert found[-1]["summary"].startswith("FREEDOM (MM'23)")


@dataclass(frozen=True)
class Gentle(Unlearner):
    """TRU under another name, which a workspace names by its path."""

    @classmethod
    def build(cls, params, train, checkpoint):
        return cls()

    def unlearn(self, model, retained):
        return Tru(UnlearnParams(strength=1.0)).unlearn(model, retained).with_facts(method="gentle")


def test_a_workspace_trains_it_forgets_with_it_and_certifies(place):
    shop = place.home / "shop"
    place.does(TRU, "init", shop, cwd=place.home)
    model = {"name": "freedom", "width": 16, "prune": 0.5, "shares": {"image": 0.1, "text": 0.9}}
    (shop / "params.yaml").write_text(yaml.safe_dump(PARAMS | {"model": model, "unlearn": {"method": METHOD}}))
    place.does(TRU, "data", "generate", cwd=shop)
    assert json.loads(place.does(TRU, "train", "--quiet", "--json", cwd=shop))["version"] == "1"
    (stored,) = [json.loads(file.read_text()) for file in (shop / "artifacts").rglob("original/model.json")]
    assert stored["params"]["name"] == "freedom" and stored["params"]["shares"] == model["shares"]

    user = json.loads(place.does(sys.executable, "-c", FIRST_USER, shop, cwd=shop))
    place.does(TRU, "requests", "add", "--user", user, cwd=shop)
    night = json.loads(place.does(TRU, "run", "--quiet", "--json", cwd=shop))
    assert night["batch"] and night["erased"] == [night["batch"]]
    (certificate,) = json.loads(place.does(TRU, "certificate", "list", "--json", cwd=shop))
    assert certificate["genuine"]
    assert METHOD in place.does(TRU, "certificate", "show", certificate["request"], cwd=shop)
    status = json.loads(place.does(TRU, "status", "--json", cwd=shop))
    assert status["champion"]["version"] == "2"


FIRST_USER = """
import json, sys
from pathlib import Path
from tru.data.interactions import load_dataset
print(json.dumps(str(load_dataset(Path(sys.argv[1]) / "data").users[3])))
"""


def test_without_the_package_a_workspace_that_names_it_says_what_is_missing(place, tmp_path):
    (tmp_path / "params.yaml").write_text("model: {name: freedom, prune: 0.5}\n")
    done = subprocess.run(
        [TRU, "train", "--workspace", tmp_path], capture_output=True, text=True, timeout=HANG, cwd=tmp_path
    )
    assert done.returncode == 1
    assert "no backbone is called 'freedom'" in done.stderr
