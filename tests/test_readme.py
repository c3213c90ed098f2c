"""The commands that README and docs show exist with these options, and the short ones run as written."""

import json
import os
import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from tests.patience import HANG
from tests.workspaces import PARAMS
from tru.cli.main import app
from tru.data.interactions import save_dataset
from tru.data.params import SyntheticParams
from tru.data.synthetic import generate

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), ROOT / "CONTRIBUTING.md"]
OPTION = re.compile(r"(?<![\w-])--?[a-zA-Z][\w-]*")


def blocks(page):
    """The shell lines of a page's code blocks, block by block, comments off."""
    found = re.findall(r"^ *```(?:bash|sh|console)\n(.*?)^ *```", page.read_text(), flags=re.M | re.S)
    return [[line for raw in block.splitlines() if (line := raw.split("  #")[0].strip())] for block in found]


def shown(page):
    """Every ``tru …`` command of a page, in code blocks and in the text."""
    inline = re.findall(r"`(tru [^`]+)`", page.read_text().replace("\n", " "))
    return [*inline, *(line for block in blocks(page) for line in block if line.startswith("tru "))]


def programs(page):
    """The Python code blocks of a page, as they are written."""
    return re.findall(r"^```python\n(.*?)^```", page.read_text(), flags=re.M | re.S)


@cache
def help_of(*command):
    done = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    return done.output if done.exit_code == 0 else None


def command_of(words):
    """The longest leading part of ``tru A B …`` that is a command."""
    for count in (2, 1):
        if len(words) > count and all(re.fullmatch("[a-z]+", w) for w in words[1 : count + 1]):
            text = help_of(*words[1 : count + 1])
            if text:
                return words[1 : count + 1]
    return None


@pytest.mark.parametrize(("page", "line"), [(p.name, line) for p in PAGES for line in dict.fromkeys(shown(p))])
def test_every_command_shown_exists_with_its_options(page, line):
    line = line.split(" && ")[0].replace("…", "").replace("[", "").replace("]", "")
    words = shlex.split(line.split(" | ")[0])
    command = [] if words[1:2] in ([], ["--help"], ["--workspace"]) else command_of(words)
    assert command is not None, f"{page} shows `{line}`, which is no command"
    missing = [o for o in OPTION.findall(line) if o not in OPTION.findall(help_of(*command))]
    assert not missing, f"{page} shows `{line}`; {missing} unknown"


def test_every_make_target_shown_exists():
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    said = {t for p in PAGES for t in re.findall(r"(?:^|`)make ([a-z]+)", p.read_text(), flags=re.M)}
    assert {"demo", "test"} <= said <= targets


def test_every_place_shown_exists():
    said = re.findall(r"\]\(([^):#]+)\)|^\| `(\w+[./][\w./-]*)`", (ROOT / "README.md").read_text(), flags=re.M)
    assert said and [name for pair in said for name in pair if name and not (ROOT / name).exists()] == []


def test_your_own_data_from_the_folder_to_the_forgotten_user(tmp_path):
    """The block "Your own data" as written, then what the README says can be done in any workspace."""
    source, shop = tmp_path / "source", tmp_path / "shop"
    ds = generate(SyntheticParams(users=150, items=80))
    save_dataset(ds, source)
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "TRU_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**kept, "PATH": path, "HOME": str(tmp_path)}

    def do(line, cwd=tmp_path):
        done = subprocess.run(line, shell=True, cwd=cwd, env=environment, capture_output=True, text=True, timeout=HANG)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    own = next(block for block in blocks(ROOT / "README.md") if block[0].startswith("tru init"))
    assert [line.split()[1] for line in own] == ["init", "data", "train"]
    for line in own:
        do(line.replace("PATH", str(source)))
        if "init" in line:  # the settings of a workspace are its own: smaller ones, to be quick
            (shop / "params.yaml").write_text(yaml.safe_dump(PARAMS))

    user, other = str(ds.users[0]), str(ds.users[1])
    nightly = next(block for block in blocks(ROOT / "README.md") if block[0].startswith("tru up"))
    add = next(line for line in nightly if line.startswith("tru requests add"))
    do(re.sub(r"--user \S+", f"--user {user}", add), shop)
    leavers = tmp_path / "leavers.csv"  # not in the workspace, where the search would find it
    leavers.write_text(f"USER_ID\n{user}\n{other}\n")
    assert "1 requests filed" in do(f"tru requests import {leavers}", shop).replace(
        "1 request filed", "1 requests filed"
    )
    assert json.loads(do(f"tru recommend --user {user} -k 20 --json", shop))["suppressed"] is True
    assert "version 2 is champion" in do("tru run", shop)
    assert "unlearned, verdict pass, 2 requests" in do("tru status", shop)
    assert user not in do("tru requests list", shop)


def write_ratings(folder):
    """A small ``ratings.parquet`` as somebody may have it: two columns, user u17 among others."""
    rows = generate(SyntheticParams(users=120, items=80)).interactions
    numbers = {user: f"u{k}" for k, user in enumerate(sorted(set(rows["user_id"])))}
    rows.assign(user_id=rows["user_id"].map(numbers))[["user_id", "item_id"]].to_parquet(folder / "ratings.parquet")


@pytest.mark.parametrize("page", ["README.md", "docs/library.md"])
def test_the_program_of_the_page_runs_as_written(tmp_path, page):
    write_ratings(tmp_path)
    (program,) = programs(ROOT / page)
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=HANG,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    table, checked, verdict = done.stdout.split("\n\n")
    assert table.split()[:3] == ["original", "unlearned", "retrained"] and "forget recall@20" in table
    assert "left behind" in checked and verdict.startswith("The gate: pass, compared with 2 retrained models.")
    assert "u17" not in done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["ratings.parquet"], "it writes nothing"
