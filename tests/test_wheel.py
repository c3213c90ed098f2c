"""tru as a wheel, away from its checkout: in an environment that sees the libraries of this one, and nothing of tru."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path

import pytest
import yaml

from tests.patience import HANG, until
from tests.workspaces import PARAMS, remains
from tru import __version__
from tru.data.interactions import load_dataset
from tru.ops.requests.lifecycle import Subject
from tru.ops.requests.store import open_inbox
from tru.ops.servers import prefect_api
from tru.ops.workspace import Workspace

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
NEEDED = ("pyproject.toml", "README.md", "LICENSE", "params.yaml", "dvc.yaml", "prefect.yaml", "flows", "tru")
"""What a wheel is built from; the remains of an earlier build in the checkout are not among it."""
TOOLS = ("dvc", "mlflow", "prefect")


@dataclass(frozen=True)
class Installed:
    """An environment with the wheel of tru.

    Attributes:
        wheel: the file.
        bin: where its commands are.
        home: a home of its own.
    """

    wheel: Path
    bin: Path
    home: Path

    def does(self, *command: str, cwd: Path) -> str:
        """What a command, typed in a folder, writes on standard output; it must succeed."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TRU_", "PYTHON", "VIRTUAL_ENV"))}
        path = os.pathsep.join([str(self.bin), kept.get("PATH", os.defpath)])
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=cwd,
            env={**kept, "HOME": str(self.home), "PATH": path},
            capture_output=True,
            text=True,
            timeout=HANG,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Installed:
    root = tmp_path_factory.mktemp("wheel")
    source, home, place = root / "source", root / "home", root / "environment"
    source.mkdir()
    home.mkdir()
    for name in NEEDED:
        if (ROOT / name).is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, source / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, source / name)
    pip("wheel", "-q", "--no-deps", "--no-build-isolation", "--wheel-dir", root / "dist", source)
    (wheel,) = (root / "dist").glob("*.whl")

    venv.create(place, symlinks=True)
    python = place / "bin" / "python"
    asked = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    )
    # A path that a .pth file adds is not searched for further .pth files, so an editable install of tru stays out.
    libraries = [folder for folder in sys.path if Path(folder).name in ("site-packages", "dist-packages")]
    Path(asked.stdout.strip(), "libraries.pth").write_text("\n".join(libraries) + "\n")
    pip("--python", python, "install", "-q", "--no-deps", "--no-index", "--ignore-installed", wheel)
    for tool in (next(iter(entry_points(group="console_scripts", name=name))) for name in TOOLS):
        module, function = tool.value.split(":")
        script = python.with_name(tool.name)
        script.write_text(f"#!{python}\nimport sys\nfrom {module} import {function}\nsys.exit({function}())\n")
        script.chmod(0o755)
    return Installed(wheel, python.parent, home)


def pip(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--disable-pip-version-check", *words], check=True, timeout=HANG)


@pytest.fixture
def folder(installed, tmp_path):
    """An empty folder; whatever `tru up` started below it ends with the test."""
    yield tmp_path
    for state in tmp_path.glob("*/.tru/services.json"):
        installed.does("tru", "down", cwd=state.parents[1])


def test_nothing_but_tru_is_installed(installed, tmp_path):
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = wheel.namelist()
    assert {name.partition("/")[0] for name in names} == {"tru", f"tru-{__version__}.dist-info"}
    carried = {name.removeprefix("tru/templates/") for name in names if name.startswith("tru/templates/")}
    flows = {f"flows/{file.name}" for file in (ROOT / "flows").glob("*.py")}
    assert carried == {"__init__.py", "params.yaml.template", "dvc.yaml.template", "prefect.yaml.template", *flows}
    asked = (
        "import importlib.util, pathlib, tru; print(tru.__file__); print(importlib.util.find_spec('flows'));"
        "print(any(path.is_symlink() for path in pathlib.Path(tru.__file__).parent.rglob('*')))"
    )
    file, flows_module, has_links = installed.does("python", "-c", asked, cwd=tmp_path).splitlines()
    assert Path(file).is_relative_to(installed.bin.parent)
    assert (flows_module, has_links) == ("None", "False")


def test_a_workspace_lives_in_an_empty_folder(installed, folder):
    assert installed.does("tru", "--version", cwd=folder) == f"tru {__version__}\n"
    installed.does("tru", "init", "shop", cwd=folder)
    shop = folder / "shop"
    for name in ("params.yaml", "dvc.yaml", "prefect.yaml", "flows/unlearn.py"):
        assert (shop / name).read_text() == (ROOT / name).read_text()
    (shop / "params.yaml").write_text(yaml.safe_dump(PARAMS))
    ws = Workspace(shop)

    installed.does("tru", "data", "generate", cwd=shop)
    assert "is champion" in installed.does("tru", "train", cwd=shop)
    first, second = (str(user) for user in load_dataset(ws.data).users[[3, 40]])
    installed.does("tru", "requests", "add", "--user", first, cwd=shop)
    assert json.loads(installed.does("tru", "run", "--json", cwd=shop))["erased"]
    assert remains(ws, [Subject.of(user=first)]) == []

    installed.does("dvc", "repro", cwd=shop)
    assert json.loads((ws.metrics / "evaluate.json").read_text())["verdict"]

    installed.does("tru", "requests", "add", "--user", second, cwd=shop)
    ports = ("--prefect-port", "0", "--mlflow-port", "0")
    api = f"{json.loads(installed.does('tru', 'up', '--json', *ports, cwd=shop))['prefect']}/api"
    nightly = prefect_api.post(f"{api}/deployments/filter", {"deployments": {"name": {"any_": ["unlearn-nightly"]}}})
    assert [known["entrypoint"] for known in nightly] == ["flows/unlearn.py:unlearn_nightly"]
    installed.does("prefect", "deployment", "run", "unlearn-nightly", cwd=shop)
    assert ended(api)["type"] == "COMPLETED"
    assert open_inbox(ws).open_batch() is None and remains(ws, [Subject.of(user=second)]) == []
    assert "Stopped" in installed.does("tru", "down", cwd=shop)


def test_a_workspace_of_version_0_1_0_goes_on(installed, folder):
    installed.does("tru", "init", "shop", cwd=folder)
    shop = folder / "shop"
    (shop / "prefect.yaml").unlink()
    shutil.rmtree(shop / "flows")

    ports = ("--prefect-port", "0", "--mlflow-port", "0")
    installed.does("tru", "up", *ports, cwd=shop)
    notes = shop / ".tru" / "services.json"  # as version 0.1.0 wrote it, whose servers may still run
    notes.write_text(json.dumps({k: v for k, v in json.loads(notes.read_text()).items() if k != "named"}))
    up = json.loads(installed.does("tru", "up", "--json", *ports, cwd=shop))
    assert not up["already_running"]
    api = f"{up['prefect']}/api"
    installed.does("prefect", "deployment", "run", "unlearn-nightly", cwd=shop)
    state = ended(api)
    assert (state["type"], state["message"]) == ("COMPLETED", "Nothing to do: no deletion request is due.")


def ended(api: str) -> dict[str, str]:
    """The state of the run that the worker was given, once it has ended."""
    kinds = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]
    wanted = {"flow_runs": {"state": {"type": {"any_": kinds}}, "deployment_id": {"is_null_": False}}}
    (run,) = until(lambda: prefect_api.post(f"{api}/flow_runs/filter", wanted))
    return run["state"]
