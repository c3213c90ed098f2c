"""Every call that deletes, or that puts something in the place of something else, is listed with whose it is.

The list is the table "What is deleted" in docs/guarantees.md. Who writes a new call has to answer there how the code
knows that what goes is its own.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "guarantees.md"
PACKAGES = ("tru", "flows", "benchmarks")

# By the name that is called, whatever it is called on.
ALWAYS = {
    *("rmtree", "unlink", "rmdir", "removedirs", "truncate", "ftruncate", "TemporaryDirectory"),
    *("abort_multipart_upload", "kill", "send_signal", "terminate", "killpg"),
}
PREFIXES = ("delete", "_hard_delete")
FUNCTIONS = {"clear", "remove"}
"""Called by their bare name these are functions of ours; as methods they change lists."""
STATEMENTS = re.compile(r"\s*(DELETE|DROP|VACUUM|TRUNCATE)\b")
GIT = {"reset", "clean", "gc", "prune", "checkout", "stash", "rm", "restore"}
MODULES = {"os", "shutil"}


def deleting(call: ast.Call) -> str | None:
    """What a call is named if it deletes; None if it does not."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    owner = getattr(call.func.value, "id", "") if isinstance(call.func, ast.Attribute) else ""
    if name in ALWAYS or name.startswith(PREFIXES):
        only_asks = name == "kill" and any(isinstance(arg, ast.Constant) and arg.value == 0 for arg in call.args)
        return None if only_asks else name
    if name in FUNCTIONS and (isinstance(call.func, ast.Name) or owner in MODULES):
        return name
    if name in {"replace", "rename", "move"} and isinstance(call.func, ast.Attribute):
        # Of a path: one argument. Texts take two, moments and frames keywords or a dictionary.
        of_a_path = name != "move" and len(call.args) == 1 and not call.keywords
        return name if owner in MODULES or (of_a_path and not isinstance(call.args[0], ast.Dict)) else None
    words = [text for argument in call.args for text in texts(argument)]
    if any(STATEMENTS.match(text) for text in words):
        return "sql"
    if name in {"_git", "git", "dvc"} and GIT.intersection(words):
        return "git"
    return None


def texts(node: ast.expr) -> Iterator[str]:
    """The constant text of an argument, or how a formatted one begins."""
    if isinstance(node, ast.JoinedStr):
        node = node.values[0]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value


def partials(call: ast.Call) -> Iterator[ast.Call]:
    """A method that is handed on to be called later, as in ``partial(file.unlink)`` or ``Unit(..., store.delete)``."""
    for argument in call.args:
        if isinstance(argument, ast.Attribute) and (argument.attr in ALWAYS or argument.attr.startswith(PREFIXES)):
            yield ast.Call(func=argument, args=[], keywords=[])


def found_in(tree: ast.AST) -> dict[str, set[str]]:
    """Qualified name of a function -> the deleting calls in it."""
    found: dict[str, set[str]] = {}

    def visit(node: ast.AST, inside: tuple[str, ...]) -> None:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            inside = (*inside, node.name)
        if isinstance(node, ast.Call):
            for call in (node, *partials(node)):
                if name := deleting(call):
                    found.setdefault(".".join(inside) or "module", set()).add(name)
        for child in ast.iter_child_nodes(node):
            visit(child, inside)

    visit(tree, ())
    return found


def in_the_code() -> set[str]:
    """``module.function call`` for every deleting call."""
    every = set()
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for place, calls in found_in(ast.parse(path.read_text(encoding="utf-8"))).items():
                every |= {f"{module}.{place} {call}" for call in calls}
    return every


def on_the_page() -> set[str]:
    """The same from the table: `module.function` and the calls in brackets after it."""
    _, _, section = PAGE.read_text(encoding="utf-8").partition("## What is deleted, and how we know that it is ours")
    listed = re.findall(r"`([\w.]+)` \(([\w, ]+)\)", section.partition("\n## ")[0])
    return {f"{place} {call}" for place, calls in listed for call in calls.split(", ")}


def test_every_deleting_call_is_listed_with_its_proof_and_nothing_else_is():
    code, page = in_the_code(), on_the_page()
    assert sorted(code - page) == [], (
        "new deleting calls: list them in docs/guarantees.md, with how we know whose it is"
    )
    assert sorted(page - code) == [], "listed in docs/guarantees.md, and not in the code any more"


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("shutil.rmtree(folder)", "rmtree"),
        ("from shutil import rmtree; rmtree(folder)", "rmtree"),
        ("path.unlink(missing_ok=True)", "unlink"),
        ("os.remove(path)", "remove"),
        ("names.remove(name)", None),
        ("folders.clear()", None),
        ("clear(folder)", "clear"),
        ("beside.replace(file)", "replace"),
        ("os.replace(a, b)", "replace"),
        ("text.replace('a', 'b')", None),
        ("frame.replace({'': None})", None),
        ("shutil.move(a, b)", "move"),
        ("bar.move(epoch, words)", None),
        ("runs.rename(name, tags)", None),
        ("os.rename(a, b)", "rename"),
        ("os.kill(pid, 0)", None),
        ("replace(batch, owner=None)", None),
        ("moment.replace(tzinfo=UTC)", None),
        ("frame.rename(columns=names)", None),
        ("new.rename(folder)", "rename"),
        ("client.delete_run(id)", "delete_run"),
        ("store._hard_delete_run(id)", "_hard_delete_run"),
        ("db.query(row).delete()", "delete"),
        ("sa.delete(MARKS)", "delete"),
        ("db.execute('VACUUM')", "sql"),
        ("db.execute(f'DELETE FROM {table}')", "sql"),
        ("_git(root, 'reset', '--hard')", "git"),
        ("_git(root, 'add', '--all')", None),
        ("partial(file.unlink, missing_ok=True)", "unlink"),
        ("with tempfile.TemporaryDirectory() as scratch: pass", "TemporaryDirectory"),
        ("os.kill(pid, 9)", "kill"),
    ],
)
def test_the_search_knows_a_deletion_when_it_sees_one(line, named):
    found = found_in(ast.parse(line))
    assert found == ({"module": {named}} if named else {})


def test_it_names_the_function_in_its_class():
    found = found_in(ast.parse("class A:\n    def b(self):\n        def c():\n            x.unlink()\n"))
    assert found == {"A.b.c": {"unlink"}}
