"""The house rules that can be checked: who may import what, how long a module may be, what a command may load."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.patience import HANG

ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for package in ("tru", "flows")
    for path in sorted((ROOT / package).rglob("*.py"))
}
LONGEST = 400

# Each tool in exactly these modules: replacing it costs so many files. A name that ends in a dot is a whole package.
TOOLS = {
    "prefect": {"flows.", "tru.ops.flows.", "tru.ops.servers.prefect_plugin"},
    "mlflow": {
        "tru.ops.release.registry",
        "tru.ops.release.serving_input",
        "tru.ops.release.runs",
        "tru.ops.release.packing",
        "tru.ops.release.serving_model",
        "tru.ops.erasure.mlflow.database",
        "tru.ops.erasure.mlflow.server",
    },
    "dvc": {"tru.ops.release.versions", "tru.ops.erasure.dvc.purge"},
    "boto3": {"tru.ops.storage.s3"},
    "great_expectations": {"tru.ops.checks"},
    "sqlalchemy": {"tru.ops.requests.store", "tru.ops.requests.database"},
    "jinja2": {"tru.ops.report.", "tru.ops.certificates.page"},
    "matplotlib": {"tru.ops.report."},
    "torch_geometric": {"tru.models.graph"},
    "psutil": {"tru.ops.servers.processes"},
    "cryptography": {"tru.ops.certificates.keys"},
    "pytest": {"tru.testing."},
}
# What may be used anywhere inside these, and nowhere else.
ROOMS = {
    "torch": {"tru.elsewhere", "tru.models.", "tru.training", "tru.evaluation.", "tru.unlearning.", "tru.testing."},
    "pandas": {
        *("tru.api", "tru.data.", "tru.ops.checks"),
        *("tru.ops.release.serving_input", "tru.ops.release.serving_model"),
    },
    "pyarrow": {"tru.data.", "tru.ops.erasure."},
}
# Formats that run code when they are read.
PICKLES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
# What no `tru --help` waits for.
HEAVY = ("torch", "torch_geometric", "mlflow", "prefect", "great_expectations", "pandas", "dvc", "sqlalchemy")


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def imported(path: Path) -> set[str]:
    """Every top-level package that a file imports, at its top or inside a function."""
    found: set[str] = set()
    for node in nodes(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute here"
            found.add(node.module or "")
    return {name.split(".")[0] for name in found}


def users_of(package: str) -> set[str]:
    return {module for module, path in MODULES.items() if package in imported(path)}


def is_within(module: str, places: set[str]) -> bool:
    return any(f"{module}.".startswith(place) if place.endswith(".") else module == place for place in places)


@pytest.mark.parametrize("tool", TOOLS)
def test_a_tool_is_imported_where_it_belongs_and_nowhere_else(tool):
    users = users_of(tool)
    assert [module for module in users if not is_within(module, TOOLS[tool])] == []
    assert [place for place in TOOLS[tool] if not any(is_within(module, {place}) for module in users)] == []


@pytest.mark.parametrize("library", ROOMS)
def test_a_library_stays_in_its_rooms(library):
    assert [module for module in users_of(library) if not is_within(module, ROOMS[library])] == []


def test_nothing_is_pickled():
    assert {module for module, path in MODULES.items() if imported(path) & PICKLES} == set()


def test_nothing_that_may_be_a_pickle_is_read_or_written():
    """numpy unpickles when asked to, torch.save pickles, and a frame has a method for it."""
    for module, path in MODULES.items():
        for node in nodes(path):
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant), f"{module}, line {node.value.lineno}: say False here"
                assert node.value.value is False, f"{module}, line {node.value.lineno}: allow_pickle"
            if isinstance(node, ast.Attribute):
                called = f"{node.value.id}.{node.attr}" if isinstance(node.value, ast.Name) else node.attr
                forbidden = called in {"torch.save", "torch.load"} or node.attr in {"to_pickle", "read_pickle"}
                assert not forbidden, f"{module}, line {node.lineno}: {called}"


def test_every_array_file_is_opened_without_pickle():
    for module, path in MODULES.items():
        for node in nodes(path):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"np.load", "numpy.load"}:
                given = {keyword.arg for keyword in node.keywords}
                assert "allow_pickle" in given, f"{module}, line {node.lineno}: say allow_pickle=False"


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_read_in_one_sitting(module):
    lines = MODULES[module].read_text(encoding="utf-8").count("\n")
    assert lines <= LONGEST


def test_every_module_says_what_it_is_for():
    undocumented = [m for m, path in MODULES.items() if not ast.get_docstring(ast.parse(path.read_text()))]
    assert undocumented == []


def test_no_test_has_a_time_limit_that_a_busy_machine_could_pass():
    """Waiting ends with ``tests.patience``; speed is measured in ``benchmarks/``."""
    for path in sorted((ROOT / "tests").rglob("*.py")):
        for node in nodes(path):
            if not isinstance(node, ast.Call):
                continue
            limits = [keyword.value for keyword in node.keywords if keyword.arg == "timeout"]
            if isinstance(node.func, ast.Attribute) and node.func.attr in {"join", "wait", "communicate"}:
                limits += node.args[:1]
            for limit in limits:
                is_number = isinstance(limit, ast.Constant) and isinstance(limit.value, int | float)
                assert not is_number, f"{path.name}, line {node.lineno}: say timeout=HANG"


def test_help_loads_nothing_heavy():
    program = f"""
import sys
sys.argv = ["tru", "--help"]
from tru.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code, end.code
print("loaded:", *[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=HANG, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded:"


def test_import_contracts_are_kept():
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--config", ".importlinter"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=HANG, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
