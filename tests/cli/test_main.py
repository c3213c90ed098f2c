import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.patience import HANG
from tru.cli.main import QUIET, app

TRU = Path(sys.executable).with_name("tru")
COMMANDS = [
    *(["init"], ["train"], ["run"], ["status"], ["check"], ["recommend"], ["stage"], ["demo"], ["up"], ["down"]),
    *(["adopt"], ["backbones"], ["unlearners"]),
    *(["batch"], ["batch", "accept"], ["batch", "retry"], ["batch", "split"], ["batch", "release"]),
    *(["rollback"], ["baseline"], ["report"]),
    *(["erase"], ["scan"], ["reapply"]),
    *(["certificate"], ["certificate", "show"], ["certificate", "verify"], ["certificate", "export"]),
    *(["certificate", "list"], ["certificate", "keys"], ["certificate", "keys", "new"]),
    *(["ledger"], ["ledger", "show"], ["ledger", "verify"]),
    *(["data"], ["data", "import"], ["data", "generate"], ["data", "show"]),
    *(["requests"], ["requests", "add"], ["requests", "import"], ["requests", "list"], ["requests", "show"]),
    *(["requests", "withdraw"], ["requests", "refuse"]),
]
# Everything that takes long to import.
HEAVY = {"torch", "mlflow", "prefect", "great_expectations", "dvc", "pandas", "numpy", "sqlalchemy", "pyarrow"}


def tru(*words):
    return subprocess.run([TRU, *words], capture_output=True, text=True, timeout=HANG)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(command):
    done = CliRunner().invoke(app, [*command, "--help"])
    assert done.exit_code == 0 and "Usage:" in done.output


def test_the_list_of_commands_is_complete():
    words = CliRunner().invoke(app, ["--help"]).output
    assert all(command[0] in words for command in COMMANDS)
    assert {name or "?" for name in _names()} == {command[0] for command in COMMANDS}


def _names():
    commands = [c.name or c.callback.__name__ for c in app.registered_commands]
    return commands + [group.name for group in app.registered_groups]


def test_the_help_loads_nothing_heavy():
    code = f"import sys, tru.cli.main; print(sorted({HEAVY!r} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_an_error_of_the_user_is_one_line(tmp_path):
    done = tru("status", "--workspace", tmp_path)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("Error: ") and len(done.stderr.splitlines()) == 1
    assert "tru init" in done.stderr


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path):
    (tmp_path / "params.yaml").write_text("{}\n")
    (tmp_path / ".tru").write_text("a file where a folder should be")
    done = tru("up", "--workspace", tmp_path)
    assert done.returncode == 1 and done.stderr.startswith(f"Error: {tmp_path}/.tru")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("k", ["0", "1001", "many"])
def test_k_has_bounds(k):
    assert CliRunner().invoke(app, ["recommend", "--user", "x", "-k", k]).exit_code == 2


def test_a_workspace_from_nothing(tmp_path):
    root = str(tmp_path / "shop")
    assert "is a workspace. Next:" in CliRunner().invoke(app, ["init", root], catch_exceptions=False).stdout
    status = CliRunner().invoke(app, ["status", "--json", "--workspace", root], catch_exceptions=False)
    assert json.loads(status.stdout)["champion"] is None
    status = CliRunner().invoke(app, ["status"], env={"TRU_WORKSPACE": root}, catch_exceptions=False)
    assert "train one: `tru train`" in status.stdout


def test_the_list_of_a_user_in_words_and_for_programs(trained):
    words = ["recommend", "--user", "a stranger", "-k", "3", "--workspace", str(trained.root)]
    plain = CliRunner().invoke(app, words, catch_exceptions=False).stdout.split()
    found = json.loads(CliRunner().invoke(app, [*words, "--json"], catch_exceptions=False).stdout)
    assert found == {"items": plain, "model_version": "1", "suppressed": False} and len(plain) == 3


def test_a_stage_is_run_by_name(trained):
    (trained.metrics / "data.json").unlink()
    done = CliRunner().invoke(app, ["stage", "prepare", "--workspace", str(trained.root)], catch_exceptions=False)
    assert done.exit_code == 0 and (trained.metrics / "data.json").exists()


def test_no_tool_reports_to_its_vendor():
    assert {"DO_NOT_TRACK", "MLFLOW_DISABLE_TELEMETRY", "PREFECT_SERVER_ANALYTICS_ENABLED"} <= set(QUIET)
