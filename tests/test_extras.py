"""The library without the extras, and what a command says that needs one."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.patience import HANG
from tru import extras
from tru.errors import MissingExtra

ROOT = Path(__file__).parents[1]
OPS = (
    *("prefect", "mlflow", "dvc", "great_expectations", "sqlalchemy", "cryptography", "matplotlib", "fastapi"),
    *("boto3", "botocore", "dvc_s3"),
)
"""What comes with extras alone; torch brings jinja2, PyG psutil."""
BLOCKER = f"""
import importlib.util, sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {OPS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def without_extras(program, cwd=ROOT):
    """Run a program in which nothing that an extra brings can be imported."""
    return subprocess.run(
        [sys.executable, "-c", BLOCKER + program], cwd=cwd, capture_output=True, text=True, timeout=HANG, check=False
    )


def test_the_library_works_without_them():
    done = without_extras("""
import tru, tru.training, tru.ops.settings, tru.unlearning.base, tru.evaluation.comparison, tru.evaluation.gate
from tru.data.forget import ForgetSet, cut
from tru.data.params import SyntheticParams
from tru.data.prepare import prepare
from tru.data.synthetic import generate
from tru.models.params import ModelParams, TrainParams
from tru.unlearning.base import make
from tru.unlearning.params import UnlearnParams
ds = generate(SyntheticParams(users=60, items=40))
train = TrainParams(epochs=2, min_epochs=1, batch=256, canaries=20)
model = tru.training.fit(ds, ModelParams(width=8), train)
retained = prepare(cut(ds, ForgetSet(users=frozenset([str(ds.users[3])]))), model.recipe.canary_rate)
unlearned = make(UnlearnParams(strength=1.0), train).unlearn(model, retained)
print("users:", len(model.data.users), len(unlearned.data.users))
""")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "users: 60 59"


@pytest.mark.parametrize("command", ["up", "status", "train", "run", "init shop", "requests list", "certificate list"])
def test_a_command_that_needs_one_says_so_in_one_sentence(tmp_path, command):
    (tmp_path / "params.yaml").touch()
    words = command.split()
    done = without_extras(f"import tru.cli\nsys.argv = {['tru', *words]!r}\ntru.cli.main()\n", tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'Error: `tru {words[0]}` needs the extra `ops`: pip install "tru[ops]" (')
    assert line.endswith(" is not installed).")


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["up", "--help"]])
def test_help_needs_none(words):
    done = without_extras(f"import tru.cli\nsys.argv = {['tru', *words]!r}\ntru.cli.main()\n")
    assert done.returncode == 0, done.stderr


def test_a_package_of_nobody_knows_what_is_no_extra():
    assert extras.explained("tru up", ModuleNotFoundError("No module named 'x'", name="x")) is None
    missing = extras.explained("tru erase", ModuleNotFoundError("No module named 'boto3'", name="boto3.session"))
    assert "needs the extra `s3`" in str(missing)


def test_a_command_that_is_not_imported_is_asked_for(monkeypatch):
    extras.require("tru up", "prefect", "mlflow")
    monkeypatch.setattr(extras, "find_spec", lambda package: None)
    with pytest.raises(MissingExtra, match=r'`tru up` needs the extra `ops`: pip install "tru\[ops\]" \(prefect is'):
        extras.require("tru up", "prefect", "mlflow")
