"""Backbones and unlearners of other packages: how they are found, and what is said when they are not."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.patience import HANG
from tru.errors import ModelError, UnlearningError, WorkspaceError
from tru.models.base import Backbone, builder
from tru.models.params import BACKBONES, ModelParams, TrainParams, model_params
from tru.ops.settings import Settings, load_settings
from tru.ops.workspace import Workspace
from tru.plugins import Plugin, PluginRegistry
from tru.unlearning.base import Unlearner, make
from tru.unlearning.params import UNLEARNERS, UnlearnerParams, UnlearnParams, unlearn_params

ROOT = Path(__file__).parents[1]
MODULE = '''
from tru.models.base import Backbone
from tru.models.params import BackboneParams
from tru.unlearning.base import Unlearner
from tru.unlearning.params import UnlearnerParams


class WideParams(BackboneParams):
    depth: int = 3


class Wide(Backbone):
    """A backbone for tests."""

    params_class = WideParams

    def embed(self, inputs): ...
    def loss(self, inputs, batch): ...
    def item_bases(self): ...


class FadeParams(UnlearnerParams):
    rate: float = 0.5


class Fade(Unlearner):
    """An unlearner for tests."""

    params_class = FadeParams

    def __init__(self, params):
        self.params = params

    @classmethod
    def build(cls, params, train, checkpoint):
        return cls(params)

    def unlearn(self, model, retained): ...
'''


def install(folder: Path, package: str, **groups: dict[str, str]) -> None:
    """Lay out a package and its metadata, as pip does."""
    (folder / package).mkdir(parents=True)
    (folder / package / "__init__.py").write_text(MODULE)
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = []
    for group, entries in groups.items():
        lines += [f"[tru.{group}]", *(f"{name} = {path}" for name, path in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def wide(tmp_path, monkeypatch):
    """A package that brings a backbone and an unlearner, on the path of this process; gone afterwards."""
    place = tmp_path / "site"
    install(place, "widepack", backbones={"wide": "widepack:Wide"}, unlearners={"fade": "widepack:Fade"})
    monkeypatch.syspath_prepend(str(place))
    forget_what_was_found()
    yield place
    forget_what_was_found()
    sys.modules.pop("widepack", None)


def forget_what_was_found():
    for registry in (BACKBONES, UNLEARNERS):
        registry.__dict__.pop("_offers", None)


def registry(**builtin: str) -> PluginRegistry:
    return PluginRegistry("backbone", "model.name", "tru.backbones", builtin, ModelError)


@pytest.fixture
def read(tmp_path):
    def read(words: str) -> Settings:
        (tmp_path / "params.yaml").write_text(words)
        return load_settings(Workspace(tmp_path))

    return read


@pytest.mark.parametrize("table", [BACKBONES, UNLEARNERS], ids=["backbones", "unlearners"])
def test_what_is_built_in_is_declared_as_entry_points_too(table):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"][table.group] == table.builtin


def test_everything_that_is_built_in_can_be_loaded():
    for name in BACKBONES.builtin:
        assert issubclass(builder(name), Backbone) and builder(name).params_class is ModelParams
    for name in UNLEARNERS.builtin:
        assert isinstance(make(UnlearnParams(method=name), TrainParams()), Unlearner)


def test_a_backbone_of_another_package_is_found_by_its_name(wide):
    assert BACKBONES.find("wide") == Plugin("wide", "widepack:Wide", "widepack")
    assert list(BACKBONES) == [*BACKBONES.builtin, "wide"]
    assert not BACKBONES.find("wide").is_builtin and BACKBONES.find("mgcn").is_builtin
    assert builder("wide").__name__ == "Wide"


def test_an_unlearner_of_another_package_is_made_with_its_own_settings(wide):
    params = unlearn_params({"method": "fade", "rate": 0.25})
    assert make(params, TrainParams()).params.rate == 0.25
    assert type(params).__name__ == "FadeParams"


@pytest.mark.parametrize("name", ["wide", "widepack:Wide"])
def test_the_settings_of_a_plug_in_are_checked_by_its_own_class(wide, read, name):
    found = read(f"model: {{name: '{name}', width: 32, depth: 5}}\nunlearn: {{method: fade, rate: 0.1}}\n")
    assert (found.model.width, found.model.depth, found.unlearn.rate) == (32, 5, 0.1)
    assert found.model_dump()["model"] == {"name": name, "width": 32, "depth": 5}
    assert found.model_dump(mode="json")["unlearn"] == {"method": "fade", "rate": 0.1}
    assert Settings.model_validate(found.model_dump()) == found
    assert model_params(found.model.model_dump()) == found.model


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("model: {name: wide, dept: 5}", r"model\.dept: not permitted.*did you mean model\.depth\?"),
        ("model: {name: wide, layers: 2}", r"model\.layers: not permitted.*there are name, width, depth"),
        ("model: {name: wide, width: 0}", r"model\.width: "),
        ("unlearn: {method: fade, rate: slow}", r"unlearn\.rate: "),
        ("unlearn: {method: fade, strength: 1.0}", r"unlearn\.strength: not permitted"),
        ("depth: 5\nmodel: {name: wide}", r"depth: not permitted.*did you mean model\.depth\?"),
        ("model: {name: wied}", r"no backbone is called 'wied' \(did you mean wide\?"),
        ("model: {name: wied, depth: 5}", r"params\.yaml: model\.name: no backbone is called 'wied'[^;]*$"),
        ("model: {name: 'widepack:Wyde'}", r"params\.yaml: model\.name: .*cannot be loaded from widepack:Wyde"),
        ("model: {name: 'nowhere.at.all:Wide'}", r"No module named 'nowhere'.*PYTHONPATH"),
    ],
)
def test_what_is_wrong_with_the_settings_of_a_plug_in_is_said(wide, read, words, says):
    with pytest.raises(WorkspaceError, match=says):
        read(words)


def test_two_packages_that_offer_the_same_name_are_both_named(wide, tmp_path, monkeypatch):
    other = tmp_path / "other"
    install(other, "otherpack", backbones={"wide": "otherpack:Wide", "mgcn": "otherpack:Wide"})
    monkeypatch.syspath_prepend(str(other))
    found = registry(mgcn="tru.models.mgcn:MGCN")
    with pytest.raises(ModelError, match=r"(?s)otherpack.*widepack:Wide|widepack.*otherpack:Wide"):
        found.load("wide")
    with pytest.raises(ModelError, match=r"tru and otherpack both offer backbone 'mgcn'.*otherpack:Wide"):
        found.load("mgcn")
    with pytest.raises(ModelError, match="both offer"):
        found.members()
    assert found.load("widepack:Wide").__name__ == "Wide"  # a path is never ambiguous


def test_old_metadata_of_tru_itself_counts_for_nothing(tmp_path, monkeypatch):
    install(tmp_path / "site", "tru_old", backbones={"gone": "tru.models.gone:Gone"})
    info = tmp_path / "site" / "tru_old-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: tru\nVersion: 0.1.0\n")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert list(registry(mgcn="tru.models.mgcn:MGCN")) == ["mgcn"]


@pytest.mark.parametrize("name", ["two words", "a" * 101, "née"])
def test_a_name_that_a_tag_or_a_certificate_could_not_hold_is_not_offered(tmp_path, monkeypatch, name):
    install(tmp_path / "site", "oddpack", backbones={name: "oddpack:Wide"})
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    assert list(registry()) == []
    assert not PluginRegistry.is_path("a" * 200 + ":Wide") and not PluginRegistry.is_path("née:Wide")


@pytest.mark.parametrize("name", ["magic", "", "a.b"])
def test_a_name_that_nobody_bears_is_told_those_there_are(name):
    with pytest.raises(ModelError, match=r"There are: concatenation, lightgcn, mgcn, miggt\..*package\.module:Name"):
        builder(name)
    with pytest.raises(UnlearningError, match=r"There are: ascent, .*tru\."):
        make(UnlearnParams(method=name), TrainParams())


def test_a_model_that_was_stored_with_the_settings_of_every_backbone_is_read():
    stored = ModelParams(name="lightgcn").model_dump() | {"width": 8, "hops": {"id": 3}}
    found = model_params(stored)
    assert type(found) is ModelParams and found.model_dump() == stored


def test_a_class_without_settings_of_its_own_has_those_of_the_built_in_backbones():
    """As what builds a model that was trained elsewhere; a method has the plain ones."""
    found = model_params({"name": "tests.test_plugins:Bare", "width": 8, "layers": 3})
    assert found == ModelParams(name="tests.test_plugins:Bare", width=8, layers=3)
    assert unlearn_params({"method": "tests.test_plugins:Bare"}) == UnlearnerParams(method="tests.test_plugins:Bare")
    with pytest.raises(ValueError, match="sofas"):
        model_params({"name": "tests.test_plugins:Bare", "sofas": 2})


class Bare:
    """Nothing but a name."""


def test_every_process_finds_a_plug_in_and_nobody_imports_it_for_others(wide, tmp_path):
    shop = tmp_path / "shop"
    program = "from tru.cli.init import create; from pathlib import Path; create(Path(__import__('sys').argv[1]))"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(wide), str(ROOT)])}

    def python(*words: object) -> str:
        done = subprocess.run(
            [sys.executable, *map(str, words)], capture_output=True, text=True, env=environment, timeout=HANG
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    python("-c", program, shop)
    ask = (
        "import sys; from pathlib import Path; from tru.ops.settings import load_settings;"
        " from tru.ops.workspace import Workspace; found = load_settings(Workspace(Path(sys.argv[1])));"
        " print(type(found.model).__name__, 'widepack' in sys.modules)"
    )
    assert python("-c", ask, shop) == "ModelParams False\n"
    (shop / "params.yaml").write_text("model: {name: wide, depth: 2}\n")
    assert python("-c", ask, shop) == "WideParams True\n"
